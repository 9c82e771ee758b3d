"""Draws the curves of both frameworks on the digits, benchmarks/results/digits.json, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resnet_parity.site.definitions import FRAMEWORKS

TITLE = "Both frameworks on the digits, seeds 0 to 2: accuracy in validation, and loss in training"

_WIDTH, _LEFT, _RIGHT = 520, 52, 12
_FIRST_TOP, _HEIGHT, _GAP, _BOTTOM = 34, 190, 30, 40

_LEAST = 1e-3
"""A smaller error, whose logarithm may not exist, is drawn as this one."""

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#40454a}"
    ".end{text-anchor:end}.middle{text-anchor:middle}"
    "path{stroke:#dcdcd6}polyline,line{fill:none;stroke-width:1.6;stroke-linejoin:round}"
    ".torch{stroke:#b23a0e}.keras{stroke:#0b6a6f;stroke-dasharray:5 3}"
)


@dataclass(frozen=True)
class Panel:
    """A curve of the metrics, its words, the ends of its axis, and the values of grid lines."""

    curve: str
    words: str
    ends: tuple[float, float]
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """The place of a value on the axis: 0 at the bottom, 1 at the top.

        An accuracy is drawn by the logarithm of the error, which separates values near 1.
        """
        low, high = map(self._place, self.ends)
        return (self._place(value) - low) / (high - low)

    def _place(self, value: float) -> float:
        return -math.log(max(1 - value, _LEAST)) if "accuracy" in self.curve else value


_ACCURACIES = (0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)

PANELS = (
    Panel("val_accuracy", "accuracy in validation", (0.1, 0.995), _ACCURACIES),
    Panel("loss", "loss in training", (0.4, 2.2), (0.5, 1.0, 1.5, 2.0)),
)


def curves(rows: Mapping[str, Any]) -> str:
    """An SVG that stands alone, of the rows of benchmarks/results/digits.json."""
    height = _FIRST_TOP + len(PANELS) * (_HEIGHT + _GAP) - _GAP + _BOTTOM
    size = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    epochs = max(len(row[each.curve]) for row in rows.values() for each in PANELS)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{TITLE}">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        *_legend(),
    ]
    for index, each in enumerate(PANELS):
        top = _FIRST_TOP + index * (_HEIGHT + _GAP)
        lines += _axis(each, top)
        for name, row in rows.items():
            points = _points(each, top, row[each.curve], epochs)
            lines += [f'<polyline class="{name.partition(",")[0]}" points="{points}"/>']
    for epoch in (1, *range(5, epochs + 1, 5)):
        x = f"{_x(epoch, epochs):.1f}"
        lines += [f'<text class="middle" x="{x}" y="{height - 22}">{epoch}</text>']
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    lines += [f'<text class="middle" x="{middle:.1f}" y="{height - 5}">epoch</text>', "</svg>\n"]
    return "\n".join(lines)


def _legend() -> Iterator[str]:
    for index, (framework, label) in enumerate(FRAMEWORKS.items()):
        x = _WIDTH - _RIGHT - 200 + 110 * index
        yield f'<line class="{framework}" x1="{x}" y1="14" x2="{x + 32}" y2="14"/>'
        yield f'<text x="{x + 38}" y="18">{label}</text>'


def _axis(panel: Panel, top: int) -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="{top - 8}">{panel.words}</text>'
    for tick in panel.ticks:
        y = _y(panel, top, tick)
        yield f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
        yield f'<text class="end" x="{_LEFT - 7}" y="{y + 4.5:.1f}">{tick}</text>'


def _points(panel: Panel, top: int, values: Sequence[float], epochs: int) -> str:
    return " ".join(
        f"{_x(epoch, epochs):.1f},{_y(panel, top, value):.1f}"
        for epoch, value in enumerate(values, 1)
    )


def _x(epoch: int, epochs: int) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (epoch - 1) / max(epochs - 1, 1)


def _y(panel: Panel, top: int, value: float) -> float:
    return top + _HEIGHT * (1 - panel.share(value))
