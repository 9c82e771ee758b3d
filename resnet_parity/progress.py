"""Progress of long work, on stderr: a bar on a terminal, a line per step elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import progress as rich_progress
from rich.console import Console

Progress = Callable[[str, int], None]
"""Takes the step which begins now and the number of all steps."""


@contextmanager
def progress_line() -> Iterator[Progress]:
    """What shows progress while it lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step, total: console.print(f"{step} ...", style=None, soft_wrap=True)
        return
    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
    )
    with rich_progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        begun = 0

        def begin(step: str, total: int) -> None:
            nonlocal begun
            bar.update(task, description=step, total=total, completed=begun)
            begun += 1

        yield begin
