"""Both files of a network side by side: corresponding lines share a row."""

from __future__ import annotations

import re
from itertools import zip_longest

from resnet_spec import Architecture

from resnet_parity.eject.files import FRAMEWORKS, eject
from resnet_parity.eject.text import COLUMNS
from resnet_parity.site.alignment import align
from resnet_parity.site.columns import Columns, Line

_NAMED = re.compile(
    r"""^(\s*)(?:x|gate) = ([\w.]+)\((.*?)name=f?"(?:\{name\}_)?(relu|\w+)\d*"\).*"""
)
"""A Keras layer with its name: it corresponds to the attribute of that name in PyTorch."""


def side_by_side(
    arch: Architecture, width: int, *, size: tuple[int, int] | None = None, loader: bool = False
) -> Columns:
    """The files for columns of that width, which wraps code to fit, aligned part by part.

    Both have the same parts in the same order: header, functions, classes.
    """
    before = COLUMNS.set(min(COLUMNS.get(), width))
    try:
        texts = {each: eject(arch, each, size=size, loader=loader) for each in FRAMEWORKS}
    finally:
        COLUMNS.reset(before)
    found: dict[str, list[Line | None]] = {framework: [] for framework in FRAMEWORKS}
    numbers = dict.fromkeys(FRAMEWORKS, 0)
    parts = (text.rstrip("\n").replace("\n\n\n", "\n\n\n\0").split("\0") for text in texts.values())
    for both in zip_longest(*parts, fillvalue=""):
        sides = [part.removesuffix("\n").split("\n") if part else [] for part in both]
        for row in align(sides[0], [_as_in_torch(line) for line in sides[1]]):
            for framework, side, index in zip(FRAMEWORKS, sides, row, strict=True):
                line = None
                if index is not None:
                    numbers[framework] += 1
                    line = _line(numbers[framework], side[index], met=None not in row)
                found[framework].append(line)
    files = {each: f"{arch.name}_{each}.py" for each in FRAMEWORKS}
    return Columns(arch.name, arch.name, "", files, found, [])


_SYNONYMS = {
    " identity = ": " ",
    "layers.GlobalAveragePooling2D(": "nn.AdaptiveAvgPool2d(1",
    "x = layers.Dense(": "self.fc = nn.Linear(",
}


def _as_in_torch(line: str) -> str:
    """A line of the Keras file in the form of the line of PyTorch that it corresponds to."""
    line = _NAMED.sub(r"\1self.\4 = \2(\3", line)
    for theirs, ours in _SYNONYMS.items():
        line = line.replace(theirs, ours)
    return line


def _line(number: int, text: str, *, met: bool) -> Line:
    return Line(number, "", len(text) - len(text.lstrip()), text, "", met)
