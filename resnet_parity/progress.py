"""Progress of long work, on stderr: a bar on a terminal, a line per step elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress_line() -> Iterator[Callable[[str, int], None]]:
    """A function that takes the step which begins now and the number of all steps."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step, total: console.print(f"{step} ...", style=None, soft_wrap=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        begun = 0

        def begin(step: str, total: int) -> None:
            nonlocal begun
            bar.update(task, description=step, total=total, completed=begun)
            begun += 1

        yield begin
