"""Plots the error at every tap of an architecture: one line per dtype and framework."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any

WIDTH, HEIGHT = 920, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 40
DECADES = range(-17, 1, 2)
"""The powers of ten at which the axis has a grid line."""

_LEAST = 1e-17
"""An error of zero, which has no logarithm, is drawn here; the axis labels it 0."""


def plot(net: Mapping[str, Any], title: str) -> str:
    """An SVG of the errors of one network, a row of benchmarks/results/depth.json."""
    count = len(net["taps"])
    label = f'role="img" aria-label="{escape(title)}"'
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" {label}>',
            *_axis(),
            *_stages(net["taps"]),
            *(
                f'<polyline class="{dtype} {framework}" points="{_points(errors, count)}">'
                f"<title>{dtype} {framework}</title></polyline>"
                for dtype, frameworks in net["errors"].items()
                for framework, errors in frameworks.items()
            ),
            "</svg>",
        ]
    )


def _x(index: float, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * index / max(count - 1, 1)


def _y(error: float) -> float:
    low, high = DECADES[0], DECADES[-1]
    share = (math.log10(max(error, _LEAST)) - low) / (high - low)
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _points(errors: Sequence[float], count: int) -> str:
    return " ".join(f"{_x(i, count):.1f},{_y(error):.1f}" for i, error in enumerate(errors))


def _axis() -> Iterator[str]:
    for decade in DECADES:
        y = f"{_y(10.0**decade):.1f}"
        yield f'<path class="grid" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>'
        label = "0" if decade == DECADES[0] else f"1e{decade}"
        yield f'<text class="tick" x="{LEFT - 8}" y="{y}">{label}</text>'


def _stages(taps: Sequence[str]) -> Iterator[str]:
    """A grid line where each stage begins, and the stage's name."""
    count, index = len(taps), 0
    for part, run in groupby(taps, key=lambda tap: tap.split(".")[0]):
        length = len(list(run))
        if part.startswith("layer"):
            x, middle = _x(index, count), _x(index + (length - 1) / 2, count)
            yield f'<path class="grid" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
            yield f'<text class="stage" x="{middle:.1f}" y="{HEIGHT - 14}">{part}</text>'
        index += length
