"""The parts that all reports share: tables, colours, numbers for JSON."""

from __future__ import annotations

import math

from rich.table import Table

COLOUR = {"pass": "green", "fail": "red", "skipped": "yellow"}
"""The colour of each status."""


def finite(value: float) -> float | None:
    """The value, or None for NaN and infinity, which JSON does not have."""
    return value if math.isfinite(value) else None


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it: 64x56x56."""
    return "x".join(map(str, shape))


def new_table(*headers: str) -> Table:
    """A table without a frame that wraps long cells instead of cutting them."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
