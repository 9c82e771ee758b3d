"""Signals that end a process: as exceptions, so that files and workers are cleaned up."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
_DEFAULT = (signal.SIG_DFL, signal.default_int_handler)


class Stopped(KeyboardInterrupt):
    """A signal that ends the process; `exit_code` is the one that shells give it."""

    def __init__(self, number: int) -> None:
        self.exit_code = 128 + number
        stopped = f"stopped by {signal.Signals(number).name}"
        super().__init__("interrupted" if number == signal.SIGINT else stopped)


class ReaderGone(Stopped):
    """The reader of a result left, as `head` does, while the command still had work to do."""

    def __init__(self) -> None:
        super().__init__(signal.SIGPIPE)


@contextmanager
def signals_raised() -> Iterator[None]:
    """Raise `Stopped` for a signal that would end the process; those ignored, as by nohup, stay."""
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        raise Stopped(number)

    with _handled(_ENDING, stop, lambda current: current in _DEFAULT):
        try:
            yield
        except Exception as error:
            if received:  # PyTorch's exporter makes an error of its own of any exception
                raise Stopped(received[0]) from error
            raise


@contextmanager
def signals_noted() -> Iterator[list[int]]:
    """Note signals in a list, for work that ends at its next step; the second raises `Stopped`."""
    received: list[int] = []
    owner = os.getpid()

    def note(number: int, _: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker ends with its owner, or when that ends it
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
        elif received:
            raise Stopped(number)
        else:
            received.append(number)

    with _handled(_ENDING, note, callable):
        yield received


@contextmanager
def signals_postponed() -> Iterator[None]:
    """Postpone signals, Ctrl-C included, so that no process is started without its finalizer."""
    received: list[int] = []

    def postpone(number: int, _: FrameType | None) -> None:
        received.append(number)

    with _handled(_ENDING, postpone, lambda current: current is not None):
        yield
    for number in received[:1]:
        signal.raise_signal(number)


@contextmanager
def _handled(
    names: tuple[str, ...],
    handler: Callable[[int, FrameType | None], None],
    is_wanted: Callable[[object], object],
) -> Iterator[None]:
    """Set a handler where the present one is wanted; only the main thread receives signals."""
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    wanted = [number for number in numbers if is_wanted(signal.getsignal(number))]
    previous = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield
    finally:
        for number, each in previous.items():
            signal.signal(number, each)
