"""One process per implementation and backend, so that Keras' backends can stand in one report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from resnet_parity import errors
from resnet_parity.adapters.mailbox import Mailbox
from resnet_parity.adapters.messages import pack, unpack
from resnet_parity.adapters.protocol import Adapter
from resnet_parity.errors import ParityError

_LAST_LINES = 20


class RemoteModel:
    """A model that lives in a worker; when this end is forgotten, so is that one."""


class RemoteAdapter:
    """An adapter whose every method runs in a worker; `implementation` is "torch" or "keras BACKEND".

    `environment` is added to that of this process. Close it, or use `remote_adapters`.

    Its methods raise `ParityError` when the worker fails or dies, and what the adapter raises of
    this project's own errors.
    """

    def __init__(self, framework: str, environment: dict[str, str] | None = None) -> None:
        self._framework = framework
        self._numbers: weakref.WeakKeyDictionary[RemoteModel, int] = weakref.WeakKeyDictionary()
        self._forgotten: list[int] = []
        folder = TemporaryDirectory(prefix="resnet-parity-")
        self._noise = Path(folder.name) / "stderr"
        with _uninterrupted():
            self._process = _start(framework, folder.name, self._noise, environment or {})
            self._finish = weakref.finalize(self, _end, self._process, folder)
        assert self._process.stdin and self._process.stdout
        self._mailbox = Mailbox(
            Path(folder.name), "judge", self._process.stdout, self._process.stdin
        )
        self._ready = False

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return partial(self._call, method)

    def close(self) -> None:
        """End the worker and remove its files."""
        self._finish()

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        if not self._ready:
            self._receive()  # that its framework is there
            self._ready = True
        arrays: list[np.ndarray] = []
        request = {
            "method": method,
            "arguments": pack(arguments, arrays, self._number),
            "keywords": pack(keywords, arrays, self._number),
            "forget": self._forgotten[:],
        }
        self._forgotten.clear()
        try:
            self._mailbox.send(request, arrays)
        except (BrokenPipeError, ValueError) as error:  # ValueError: it was closed
            raise self._death() from error
        return self._receive()

    def _receive(self) -> Any:
        letter = self._mailbox.receive()
        if letter is None:
            raise self._death()
        answer, arrays = letter
        if "error" in answer:
            kind = getattr(errors, answer["error"], None)
            raise kind(answer["message"]) if kind else self._failure(answer["message"])
        return unpack(answer["value"], arrays, self._model)

    def _model(self, number: int) -> RemoteModel:
        model = RemoteModel()
        self._numbers[model] = number
        weakref.finalize(model, self._forgotten.append, number)
        return model

    def _number(self, model: RemoteModel) -> int:
        return self._numbers[model]

    def _failure(self, message: str) -> ParityError:
        return ParityError(f"{self._framework} failed in its worker: {message}")

    def _death(self) -> ParityError:
        """What is known of a worker that no longer answers."""
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        noise = self._noise.read_text(errors="replace") if self._noise.exists() else ""
        last = "\n".join(noise.strip().splitlines()[-_LAST_LINES:])
        said = f"; its last words:\n{last}" if last else ""
        return ParityError(f"the worker of {self._framework} died ({how}){said}")


@contextmanager
def remote_adapters(*frameworks: str) -> Iterator[dict[str, Adapter]]:
    """A worker per implementation, by its name; all have ended when this is left, however it is left."""
    with ExitStack() as stack:
        adapters = {}
        for framework in frameworks:
            adapter = RemoteAdapter(framework)
            stack.callback(adapter.close)
            adapters[framework] = cast(Adapter, adapter)
        yield adapters


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C, or it might come between a worker's start and the promise to end it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ctrl-C is for the main thread alone
        return
    pressed = []
    previous = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if pressed:
        raise KeyboardInterrupt


def _start(
    framework: str, folder: str, noise: Path, environment: dict[str, str]
) -> subprocess.Popen[str]:
    """The worker, in a session of its own: Ctrl-C is for the checker, who ends it."""
    _, _, backend = framework.partition(" ")
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    # On a GPU, NVIDIA's libraries would round float32 products to TF32. PyTorch has a switch.
    chosen = {"KERAS_BACKEND": backend, "NVIDIA_TF32_OVERRIDE": "0"} if backend else {}
    with noise.open("w") as stderr:
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "resnet_parity.adapters.worker",
                folder,
                *framework.split(),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PYTHONPATH": path, **chosen, **environment},
            start_new_session=True,
        )


def _end(process: subprocess.Popen[str], folder: TemporaryDirectory[str]) -> None:
    """Kill the worker and what it started; it holds nothing that is worth waiting for."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in filter(None, (process.stdin, process.stdout)):
        with suppress(OSError):  # what was written and not read
            stream.close()
    folder.cleanup()
