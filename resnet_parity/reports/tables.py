"""What all printed tables share."""

from __future__ import annotations

from rich.table import Table


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as people write it: 64x56x56."""
    return "x".join(map(str, shape))


def new_table(*headers: str) -> Table:
    """A table without a frame, which wraps long cells instead of cutting them."""
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table
