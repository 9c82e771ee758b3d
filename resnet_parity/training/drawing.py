"""Draws a confusion matrix as a PNG file, with matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from resnet_spec.text import printable

from resnet_parity.adapters.loading import quiet
from resnet_parity.lockstep.plot import new_figure, png, temporary_caches

_COUNTED = 20
"""The most classes whose cells show their counts."""

_NAMED = 100
"""The most classes whose names are shown; of more, matplotlib numbers some."""

_LONGEST = 24
"""The most characters of a name that are shown."""

_CELL, _WIDEST = 0.5, 14.0
"""Inches of a cell with its count, and of the widest matrix."""

_LARGEST = 10.0
"""Points of the largest letters."""

_POINTS = 72
"""Points of an inch."""


def confusion_png(counts: np.ndarray, classes: Sequence[str]) -> bytes:
    """Counts (true class, predicted class) as a PNG file; see `confusion_figure`."""
    with temporary_caches(), quiet("matplotlib"):  # it warns of letters that its font lacks
        return png(confusion_figure(counts, classes))


def confusion_figure(counts: np.ndarray, classes: Sequence[str]) -> Any:
    """A figure of matplotlib: the colour of a cell is its share of the photographs of a row.

    Few classes show their counts, too. Shares between 0 and 0.1 have a third of the colours, so
    that a rare confusion is seen.
    """
    from matplotlib.colors import PowerNorm

    number = len(classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(max(_CELL * number, 3.5), _WIDEST)
    points = min(_POINTS * side / number * 0.7, _LARGEST)
    figure = new_figure()
    figure.set_size_inches(side + 3.0, side + 2.2)
    axes = figure.subplots()
    norm = PowerNorm(0.5, 0, 1)
    shown = axes.imshow(shares, cmap="Blues", norm=norm, interpolation="nearest")
    figure.colorbar(shown, label="share of the photographs of the true class", shrink=0.8)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if number <= _NAMED:
        names = [_shortened(printable(name)) for name in classes]
        axes.set_xticks(range(number), names, rotation=90, fontsize=points, parse_math=False)
        axes.set_yticks(range(number), names, fontsize=points, parse_math=False)
    if number <= _COUNTED:
        widest = max(len(str(counts.max())), 1)
        letters = min(points, _POINTS * side / number / widest * 1.2)
        for row, column in np.ndindex(counts.shape):
            colour = "white" if 2 * norm(shares[row, column]) > 1 else "black"
            text = str(counts[row, column])
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=letters)
    return figure


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
