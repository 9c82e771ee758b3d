"""Progress of long work, on stderr: a bar on a terminal, a line per step elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from resnet_parity.streams import console, say

Progress = Callable[[str, int], None]
"""A function that takes the name of the step that begins, and the total number of steps."""


@contextmanager
def progress_line() -> Iterator[Progress]:
    """Show progress inside a `with` block; yields the function to call when a step begins."""
    terminal = console(stderr=True)
    if not terminal.is_terminal:
        yield lambda step, total: say(f"{step} ...")
        return

    from rich import progress as rich_progress

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
    )
    with rich_progress.Progress(*columns, console=terminal, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        started = 0

        def begin(step: str, total: int) -> None:
            nonlocal started
            bar.update(task, description=step, total=total, completed=started)
            started += 1

        yield begin
