"""Every architecture as one plain file in each framework, in two columns, as `eject` writes it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from resnet_spec import ARCHITECTURES, GROUPS, parameter_count

from resnet_parity.eject.text import COLUMNS
from resnet_parity.eject.two_columns import side_by_side
from resnet_parity.site.colour import coloured_text
from resnet_parity.site.columns import Columns
from resnet_parity.site.definitions import FRAMEWORKS

ORDER = {
    "plain20": "convolutions, norms and ReLUs alone: no shortcuts",
    "resnet20": "adds shortcuts; where channels double, zeros are added to them",
    "resnet18": "adds projections, a stem that strides and a max-pool",
    "resnet50": "replaces basic blocks by bottlenecks",
    "resnet50d": "replaces the stem by three convolutions, and pools before it projects",
    "seresnet50": "adds gates that weigh channels",
    "resnetv2_50": "puts norms and ReLUs before the convolutions",
}
"""The networks in the order in which they are easiest to learn, with what each brings."""


@dataclass(frozen=True)
class Row:
    """An architecture in the table: its parameters, and the number of lines of each file."""

    name: str
    parameters: int
    lines: dict[str, int]


@cache
def files(name: str) -> Columns:
    """Both files of an architecture, aligned and coloured."""
    found = side_by_side(ARCHITECTURES[name], COLUMNS.get())
    lines = {}
    for framework, column in found.lines.items():
        texts = [line.text for line in column if line]
        html = iter(coloured_text("\n".join(texts)))
        lines[framework] = [
            line and replace(line, html=next(html, ""), anchor=f"{framework}-L{line.number}")
            for line in column
        ]
    return replace(found, lines=lines)


def groups() -> Iterator[tuple[str, list[Row]]]:
    """Yield the rows of each group of architectures."""
    for title, group in GROUPS.items():
        yield title, [_row(arch.name) for arch in group]


def _row(name: str) -> Row:
    columns = files(name)
    counts = {framework: sum(map(bool, columns.lines[framework])) for framework in FRAMEWORKS}
    return Row(name, parameter_count(ARCHITECTURES[name]), counts)


def neighbours(name: str) -> tuple[str, str]:
    """The architectures before and after this one in `ORDER`; empty where there is none."""
    names = [*ORDER]
    if name not in names:
        return "", ""
    place = names.index(name)
    return names[place - 1] if place else "", names[place + 1] if names[place + 1 :] else ""
