"""The far end: a process that holds one implementation and does what the checker asks of its adapter.

`python -m resnet_parity.adapters.worker FOLDER torch` or `... FOLDER keras BACKEND`; see `workers`.
"""

from __future__ import annotations

import os
import sys
import traceback
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np

from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.mailbox import Mailbox
from resnet_parity.adapters.messages import pack, unpack
from resnet_parity.errors import ParityError


class Desk:
    """An adapter, and the models that it built and that the checker still uses."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._models: dict[int, Any] = {}
        self._numbers = count()

    def answer(
        self, request: dict[str, Any], arrays: dict[int, np.ndarray]
    ) -> tuple[Any, list[np.ndarray]]:
        """What the method gives, packed, and the arrays in it."""
        for number in request["forget"]:
            self._models.pop(number, None)
        arguments = unpack(request["arguments"], arrays, self._models.__getitem__)
        keywords = unpack(request["keywords"], arrays, self._models.__getitem__)
        value = getattr(self._adapter, request["method"])(*arguments, **keywords)
        given: list[np.ndarray] = []
        return pack(value, given, self._keep), given

    def _keep(self, model: Any) -> int:
        number = next(self._numbers)
        self._models[number] = model
        return number


def main() -> None:
    """Answer until the checker hangs up."""
    folder, framework, *backend = sys.argv[1:]
    mailbox = Mailbox(Path(folder), "worker", *_private_streams())
    try:
        desk = Desk(torch_adapter() if framework == "torch" else keras_adapter(*backend))
    except Exception as error:
        mailbox.send(_failure(error), [])
        return
    mailbox.send({"value": None}, [])
    while (letter := mailbox.receive()) is not None:
        try:
            value, arrays = desk.answer(*letter)
            mailbox.send({"value": value}, arrays)
        except Exception as error:
            mailbox.send(_failure(error), [])


def _private_streams() -> tuple[IO[str], IO[str]]:
    """Where the checker writes and reads; what a framework prints goes to stderr instead."""
    streams = os.fdopen(os.dup(0), "r"), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    return streams


def _failure(error: Exception) -> dict[str, Any]:
    """An error as data; the whole of it goes to stderr, which is shown if the worker dies."""
    traceback.print_exc()
    if isinstance(error, ParityError):
        return {"error": type(error).__name__, "message": str(error)}
    lines = str(error).strip().splitlines()
    return {"error": "", "message": f"{type(error).__name__}: {' '.join(lines[:3])}"}


if __name__ == "__main__":
    main()
