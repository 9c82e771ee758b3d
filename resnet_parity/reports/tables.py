"""The parts that all reports share: tables, colours, data for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from rich.table import Table

COLOUR = {"pass": "green", "fail": "red", "skipped": "yellow"}
"""The colour of each status."""


def json_data(value: Any) -> Any:
    """A value as JSON has it: dataclasses as objects, NaN and infinity as None."""
    if is_dataclass(value):
        return {each.name: json_data(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {key: json_data(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_data(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it: 64x56x56."""
    return "x".join(map(str, shape))


def markdown_table(headers: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """A table in Markdown."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def new_table(*headers: str) -> Table:
    """A table without a frame that wraps long cells instead of cutting them."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
