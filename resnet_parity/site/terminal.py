"""Prints a pair of definitions side by side in a terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from resnet_spec import ARCHITECTURES, ArchitectureError, get_architecture
from resnet_spec.hints import did_you_mean, nearest_architectures

from resnet_parity.errors import ParityError
from resnet_parity.site.chapters import CHAPTERS
from resnet_parity.site.columns import Columns, Line, columns
from resnet_parity.site.definitions import FRAMEWORKS, Pair, key, pairs
from resnet_parity.site.lines import classes_of
from resnet_parity.site.results import impacts

_NARROW = 120
"""The terminal width in columns below which the implementations are printed one below the other."""

MODULES = tuple(module for chapter in CHAPTERS for module in chapter.modules)


def find(name: str) -> Columns:
    """Return the pair of a name: `Bottleneck`, `blocks.Bottleneck` or `resnet50.Bottleneck`.

    Raises `ParityError` if no implementation defines the name or the architecture does not use it.
    """
    prefix, _, wanted = name.rpartition(".")
    if name in MODULES:
        raise ParityError(f"{name} is a module; name one of its definitions: {_names(name)}")
    if prefix and prefix not in MODULES:
        _check_net(prefix, wanted)
    modules = (prefix,) if prefix in MODULES else MODULES
    found = [(module, pair) for module in modules for pair in pairs(module) if _is(pair, wanted)]
    if not found:
        raise ParityError(f"no implementation defines {name!r}; {_hint(prefix, wanted)}")
    return columns(*found[0])


def _names(*modules: str) -> str:
    return ", ".join(pair.name for module in modules for pair in pairs(module))


def _is(pair: Pair, wanted: str) -> bool:
    return any(side and key(side.name) == key(wanted) for side in (pair.torch, pair.keras))


def _hint(prefix: str, wanted: str) -> str:
    """A suggestion for a name that was not found."""
    if wanted in ARCHITECTURES:
        blocks = ", ".join(sorted(classes_of(get_architecture(wanted))))
        return f"{wanted} is an architecture; its blocks are: {blocks}"
    elsewhere = [m for m in MODULES for pair in pairs(m) if _is(pair, wanted)]
    if elsewhere:
        return f"it is in {elsewhere[0]}"
    if prefix in MODULES:
        return f"{prefix} has: {_names(prefix)}"
    near = did_you_mean(wanted, _names(*MODULES).split(", "))
    return near.strip(" ()") or f"modules are: {', '.join(MODULES)}"


def _check_net(prefix: str, wanted: str) -> None:
    """Raise `ParityError` if `prefix` is no architecture, or uses no block of the wanted name."""
    try:
        own = classes_of(get_architecture(prefix))
    except ArchitectureError as error:
        raise ParityError(
            f"{prefix!r} is neither an architecture"
            f"{nearest_architectures(prefix, ARCHITECTURES)} nor one of the modules "
            f"{', '.join(MODULES)}{did_you_mean(prefix, MODULES)}"
        ) from error
    others = {name for row in ARCHITECTURES.values() for name in classes_of(row)} - own
    if key(wanted) in map(key, others):
        raise ParityError(f"{prefix} has no {wanted}; its blocks are: {', '.join(sorted(own))}")


def as_json(pair: Columns) -> dict[str, Any]:
    """Return both definitions, row by row, and their differences as plain data."""
    impact = impacts()
    rows = zip(*(pair.lines[framework] for framework in FRAMEWORKS), strict=True)
    return {
        "title": pair.title,
        "files": pair.files,
        "unpaired": pair.why,
        "rows": [
            {
                framework: line and [line.number, line.text]
                for framework, line in zip(FRAMEWORKS, row, strict=True)
            }
            for row in rows
        ],
        "differences": [
            {**vars(note.difference), "impact": impact[note.difference.id]} for note in pair.notes
        ],
    }


def code_width(width: int) -> int:
    """The columns for code in a terminal of that width: half of it, or nearly all."""
    return width // 2 - 6 if width >= _NARROW else width - 5


def print_pair(console: Console, pair: Columns) -> None:
    """Print two columns, or in a narrow terminal one below the other."""
    if console.width >= _NARROW:
        _print_beside(console, pair)
    else:
        _print_below(console, pair)
    impact = impacts()
    for note in pair.notes:
        row = note.difference
        console.print()
        console.print(Text.assemble((row.id, "bold yellow"), f": {row.summary}"), soft_wrap=True)
        console.print(f"  ignored: {row.ignored}", markup=False, soft_wrap=True)
        console.print(f"  impact: {impact[row.id]}", markup=False, soft_wrap=True)
        console.print(f"  pinned by {row.test}", markup=False, soft_wrap=True)


def _print_beside(console: Console, pair: Columns) -> None:
    table = Table.grid(padding=(0, 1))
    half = code_width(console.width)
    for framework, label in FRAMEWORKS.items():
        table.add_column(justify="right", style="dim", header=framework)
        table.add_column(width=half, overflow="fold", header=label)
    heads = (
        (Text(""), Text(f"{FRAMEWORKS[framework]}  {pair.files[framework]}", "bold"))
        for framework in FRAMEWORKS
    )
    table.add_row(*(cell for head in heads for cell in head))
    sides = (_cells(pair, framework) for framework in FRAMEWORKS)
    for torch, keras in zip(*sides, strict=True):
        table.add_row(*torch, *keras)
    console.print(table)


def _print_below(console: Console, pair: Columns) -> None:
    for framework, label in FRAMEWORKS.items():
        console.print(Text(f"{label}  {pair.files[framework]}", "bold"))
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", style="dim")
        table.add_column(overflow="fold")
        for line, cells in zip(pair.lines[framework], _cells(pair, framework), strict=True):
            if line:
                table.add_row(*cells)
        console.print(table)
        console.print()


def _cells(pair: Columns, framework: str) -> list[tuple[Text, Text]]:
    """A number and a line of code per row; the first row of a missing side gives the reason."""
    lines = pair.lines[framework]
    if not any(lines):
        return [(Text(""), Text(pair.why if not row else "", "italic")) for row in range(pair.rows)]
    numbers = (Text(str(line.number) if line else "") for line in lines)
    return list(zip(numbers, _coloured(lines), strict=True))


def _coloured(lines: list[Line | None]) -> list[Text]:
    """The highlighted lines; all are highlighted at once because a string may span several."""
    code = "\n".join(line.text for line in lines if line)
    highlighted = iter(Syntax(code, "python", theme="ansi_dark").highlight(code).split("\n"))
    return [next(highlighted) if line else Text("") for line in lines]
