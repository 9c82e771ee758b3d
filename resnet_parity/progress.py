"""Progress of long work, on stderr: a bar on a terminal, a line per step elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Event, Thread
from time import monotonic

from resnet_parity.streams import console, say

Progress = Callable[[str, int], None]
"""A function that takes the name of the step that begins, and the total number of steps."""

QUIET = 2.0
"""The seconds after which a line says that a step still runs, where there is no terminal."""


@dataclass(frozen=True)
class ProgressLine:
    """Called with a step, shows it; inside `paused()` the caller may print on the terminal."""

    begin: Progress
    paused: Callable[[], AbstractContextManager[None]] = nullcontext

    def __call__(self, step: str, total: int) -> None:
        self.begin(step, total)


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """Show progress inside a `with` block; yields the function to call when a step begins."""
    terminal = console(stderr=True)
    if not terminal.is_terminal:
        with _lines() as begin_line:
            yield ProgressLine(begin_line)
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

        @contextmanager
        def paused() -> Iterator[None]:
            bar.stop()  # erases the bar
            yield
            bar.start()

        yield ProgressLine(begin, paused)


@contextmanager
def _lines() -> Iterator[Progress]:
    """A line per step, and one with the elapsed time whenever nothing was printed for a while."""
    start, ended, begun = monotonic(), Event(), Event()

    def wait() -> None:
        while not ended.is_set():
            if not begun.wait(QUIET):
                say(f"... {monotonic() - start:.0f} s")
            begun.clear()

    def begin(step: str, total: int) -> None:
        begun.set()
        say(f"{step} ...")

    thread = Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield begin
    finally:
        ended.set()
        begun.set()
        thread.join()
