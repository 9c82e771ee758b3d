"""A line of JSON and a file of arrays: how the checker and a worker write to each other."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np


class Mailbox:
    """One end of the line. Arrays travel as .npz files in a folder that only both ends know."""

    def __init__(self, folder: Path, owner: str, lines: IO[str], answers: IO[str]) -> None:
        """`lines` are read, `answers` written; `owner` tells the files of both ends apart."""
        self._folder, self._owner = folder, owner
        self._lines, self._answers = lines, answers
        self._numbers = count()

    def send(self, message: dict[str, Any], arrays: list[np.ndarray]) -> None:
        file = None
        if arrays:
            file = f"{self._owner}-{next(self._numbers)}.npz"
            np.savez(self._folder / file, *arrays)
        self._answers.write(json.dumps({**message, "arrays": file}) + "\n")
        self._answers.flush()

    def receive(self) -> tuple[dict[str, Any], dict[int, np.ndarray]] | None:
        """The next message and its arrays; None when the other end has gone."""
        line = self._lines.readline()
        if not line.endswith("\n"):
            return None
        message = json.loads(line)
        if message["arrays"] is None:
            return message, {}
        path = self._folder / message["arrays"]
        with np.load(path, allow_pickle=False) as file:
            arrays = {int(name.removeprefix("arr_")): file[name] for name in file.files}
        path.unlink()
        return message, arrays
