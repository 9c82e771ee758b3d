"""The standard streams of a command: closed, full or in a narrow encoding, none raises."""

from __future__ import annotations

import ctypes
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from typing import IO, Any

from resnet_spec.text import printable

from resnet_parity.errors import ParityError
from resnet_parity.signals import ReaderGone


def open_streams() -> None:
    """Open a closed stream on the null device, and escape what an encoding does not have.

    Else the next file that is opened would take the place of the closed stream, and get its output.
    """
    for name in ("stdin", "stdout", "stderr"):  # in the order of their numbers
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def stdout_reserved() -> Iterator[None]:
    """Send to stderr all that Python, C or a child process prints on stdout inside the context.

    Frameworks and models of users print; nothing but the result may reach stdout.
    """
    reserved = os.dup(1), sys.stdout
    _flush(sys.stdout)
    _reserved.append(reserved)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _flush(reserved[1])
        _reserved.remove(reserved)
        os.dup2(reserved[0], 1)
        os.close(reserved[0])


_reserved: list[tuple[int, IO[str]]] = []
"""The descriptors and streams that `stdout_reserved` has put aside, the last one last."""


@contextmanager
def _stdout_restored() -> Iterator[None]:
    """Print on stdout again, for a part of the result, inside `stdout_reserved`."""
    if not _reserved:
        yield
        return
    descriptor, stream = _reserved[-1]
    _flush(stream)
    os.dup2(descriptor, 1)
    try:
        with redirect_stdout(stream):
            yield
    finally:
        os.dup2(2, 1)


def _flush(stream: IO[str]) -> None:
    """Write what Python and C have buffered for stdout to where descriptor 1 leads now."""
    stream.flush()
    with suppress(OSError, TypeError, AttributeError):  # no C library to ask
        ctypes.CDLL(None).fflush(None)


def show_result(show: Callable[[], Any], *, is_last: bool = True) -> None:
    """Call what prints a result on stdout; raises `ParityError` if it cannot be written.

    A reader that closes the pipe early, such as `head`, changes no exit code after the last part of
    the result. Before it, `ReaderGone` is raised: nobody would see the rest.
    """
    with _stdout_restored():
        try:
            show()
            sys.stdout.flush()
        except BrokenPipeError:
            _discard(sys.stdout)
            if not is_last:
                raise ReaderGone from None
        except OSError as error:
            _discard(sys.stdout)
            raise ParityError(f"the result cannot be written: {error.strerror}") from error


def say(message: str) -> None:
    """Print a message on stderr; work goes on where it cannot be written."""
    try:
        print(printable(message, keep="\n"), file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _discard(stream: IO[str]) -> None:
    """Send the rest to the null device; else Python would fail at exit, with another exit code."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    for descriptor, kept in _reserved:
        if kept is stream:
            os.dup2(null, descriptor)
    os.close(null)
    with suppress(OSError):
        stream.flush()  # what could not be written is still in its buffer


def is_terminal() -> bool:
    """Whether stdout is a terminal."""
    return sys.stdout.isatty()


def console(*, stderr: bool = False) -> Any:
    """A console of rich that takes no markup and escapes all text that does not print.

    It wraps lines on a terminal, and never in a file or a pipe.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.text import Text

    class SafeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would exit with 1, the code of failed parity

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(
                printable(text, keep="\n"), **options
            )  # before it is measured

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None):
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else printable(text, keep="\n"), style, control)

    width = None if stderr or is_terminal() else 240
    return SafeConsole(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
