"""The columns of a chapter: aligned lines of code, and the differences that they carry."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from resnet_spec.differences import DIFFERENCES, Difference

from resnet_parity.site.alignment import align
from resnet_parity.site.colour import coloured
from resnet_parity.site.definitions import FRAMEWORKS, Definition, Pair, module_file

TAG = re.compile(r"# DIFFERS\(([a-z-]+)\)")
_ROWS = {row.id: row for row in DIFFERENCES}


@dataclass(frozen=True)
class Line:
    """A line of code. `met` says whether the other implementation has a corresponding line."""

    number: int
    anchor: str
    indent: int
    text: str
    html: str
    met: bool = False


@dataclass(frozen=True)
class Note:
    """A difference, the row of its first tag, and its anchor."""

    row: int
    difference: Difference
    anchor: str


@dataclass(frozen=True)
class Columns:
    """A pair of definitions, row by row; a line is None where a column is empty."""

    anchor: str
    title: str
    why: str
    files: dict[str, str]
    lines: dict[str, list[Line | None]]
    notes: list[Note]

    @property
    def rows(self) -> int:
        return max(len(lines) for lines in self.lines.values())


def columns(module: str, pair: Pair) -> Columns:
    """Align both definitions of a pair; a tag becomes a link to its note."""
    sides = {"torch": pair.torch, "keras": pair.keras}
    rows = align(*(side.lines if side else () for side in sides.values()))
    place = f"{module}-{pair.name}"
    lines: dict[str, list[Line | None]] = {framework: [] for framework in FRAMEWORKS}
    for indices in rows:
        for (framework, side), index in zip(sides.items(), indices, strict=True):
            line = None
            if side is not None and index is not None:
                line = line_of(side, index, anchor(framework, module, side.first + index))
                link = rf'# <a href="#{place}-\1" data-tag="\1">DIFFERS(\1)</a>'
                line = replace(line, html=TAG.sub(link, line.html), met=None not in indices)
            lines[framework].append(line)
    title = " / ".join(dict.fromkeys(side.name for side in sides.values() if side))
    return Columns(
        anchor=place,
        title=title,
        why=pair.why,
        files={framework: module_file(framework, module) for framework in FRAMEWORKS},
        lines=lines,
        notes=list(_notes(place, rows, sides["torch"], sides["keras"])),
    )


def anchor(framework: str, module: str, number: int) -> str:
    """Return the anchor of a line on its chapter's page."""
    return f"{framework}-{module}-L{number}"


def line_of(side: Definition, index: int, own_anchor: str) -> Line:
    """Return one line of a definition."""
    number, text = side.first + index, side.lines[index]
    indent = len(text) - len(text.lstrip())
    return Line(number, own_anchor, indent, text, coloured(side.file)[number - 1])


def _notes(
    place: str,
    rows: Sequence[tuple[int | None, int | None]],
    torch: Definition | None,
    keras: Definition | None,
) -> Iterator[Note]:
    """Yield each difference once, at the row of its first tag."""
    found: dict[str, int] = {}
    for row, indices in enumerate(rows):
        for side, index in zip((torch, keras), indices, strict=True):
            tag = TAG.search(side.lines[index]) if side and index is not None else None
            if tag:
                found.setdefault(tag[1], row)
    for name, row in found.items():
        yield Note(row, _ROWS[name], f"{place}-{name}")
