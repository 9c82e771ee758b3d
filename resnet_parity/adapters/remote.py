"""Adapters that run in a process of their own: one worker per framework and Keras backend.

The checker and its worker exchange pickles over a socket pair that no other process holds. Models
stay in the worker, and the checker refers to them by number.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from io import BufferedRWPair
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, cast

from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.protocol import Adapter
from resnet_parity.errors import ParityError
from resnet_parity.signals import signals_postponed

_ROOT = Path(__file__).parents[2]
_SERVE = "from resnet_parity.adapters.remote import serve; serve()"
_LAST_LINES = 20


@dataclass(eq=False)
class RemoteModel:
    """A model that a worker holds under this number, until this object is garbage-collected."""

    number: int


class RemoteAdapter:
    """An adapter whose methods run in a worker; `framework` is "torch" or "keras BACKEND".

    `environment` is added to that of this process. Close it, or use `remote_adapters`.

    Its methods raise `ParityError` when the worker fails or dies. A `ParityError` of the adapter
    keeps its class; any other error becomes a `ParityError`.
    """

    def __init__(self, framework: str, environment: dict[str, str] | None = None) -> None:
        self._framework = framework
        self._forgotten: list[int] = []
        self._output = TemporaryFile()  # noqa: SIM115, closed by _end
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._stream = ours.makefile("rwb")
            with signals_postponed():
                self._process = _start(framework, theirs, self._output, environment or {})
                self._end = weakref.finalize(self, _end, self._process, self._stream, self._output)

    def __getattr__(self, method: str) -> Any:
        if method.startswith("_"):
            raise AttributeError(method)
        return partial(self._call, method)

    def close(self) -> None:
        """Kill the worker and its children."""
        self._end()

    def _call(self, method: str, *arguments: Any, **keywords: Any) -> Any:
        forgotten = [self._forgotten.pop() for _ in self._forgotten[:]]
        try:
            _send((method, arguments, keywords, forgotten), self._stream)
            reply = pickle.load(self._stream)
        except (OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
            raise self._death() from error  # ValueError: the stream is closed
        if isinstance(reply, ParityError):
            raise reply
        if isinstance(reply, RemoteModel):
            weakref.finalize(reply, self._forgotten.append, reply.number)
        return reply

    def _death(self) -> ParityError:
        """Exit status and last output of a worker that no longer answers."""
        code = self._process.wait()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        lines: list[str] = []
        if not self._output.closed:
            self._output.seek(0)
            lines = self._output.read().decode(errors="replace").strip().splitlines()
        output = "\n".join(["; its last output:", *lines[-_LAST_LINES:]]) if lines else ""
        memory = " - perhaps no memory was left: take a smaller network or size" * (
            code == -signal.SIGKILL
        )
        return ParityError(f"the worker of {self._framework} died ({how}){memory}{output}")


@contextmanager
def remote_adapters(*frameworks: str) -> Iterator[dict[str, Adapter]]:
    """A worker for each of these frameworks, by name; leaving the context kills them all."""
    with ExitStack() as stack:
        adapters = {}
        for framework in frameworks:
            adapter = RemoteAdapter(framework)
            stack.callback(adapter.close)
            adapters[framework] = cast(Adapter, adapter)
        yield adapters


def _start(
    framework: str, connection: socket.socket, output: IO[bytes], environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start a worker in a session of its own, so that Ctrl-C reaches only the checker.

    Not by `multiprocessing`, whose spawned processes run the caller's main module again.
    """
    _, _, backend = framework.partition(" ")
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # On a GPU, NVIDIA's libraries would round float32 products to TF32. PyTorch has a switch.
    chosen = {"KERAS_BACKEND": backend, "NVIDIA_TF32_OVERRIDE": "0"} if backend else {}
    descriptor = connection.fileno()
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _SERVE, str(descriptor), *framework.split()],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        pass_fds=[descriptor],
        env={**os.environ, "PYTHONPATH": path, **chosen, **environment},
        start_new_session=True,
    )


def _end(process: subprocess.Popen[bytes], stream: BufferedRWPair, output: IO[bytes]) -> None:
    """Kill the worker and its children; nothing in them is worth waiting for."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    output.close()
    with suppress(OSError):  # from a request that was never read
        stream.close()


def serve() -> None:
    """Answer the checker's requests until it closes the connection; runs in the worker."""
    descriptor, framework, *backend = sys.argv[1:]
    stream = socket.socket(fileno=int(descriptor)).makefile("rwb")
    models: dict[int, Any] = {}
    numbers = count()
    adapter: Any
    try:
        adapter = torch_adapter() if framework == "torch" else keras_adapter(*backend)
    except Exception as error:
        adapter = error
    while stream.peek():
        try:
            reply = _reply(adapter, models, next(numbers), *pickle.load(stream))
        except Exception as error:
            reply = _failure(error, " ".join([framework, *backend]))
        _send(reply, stream)


def _reply(
    adapter: Any,
    models: dict[int, Any],
    number: int,
    method: str,
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    forgotten: list[int],
) -> Any:
    """The result of one call; a model that it builds stays in `models` under that number."""
    if isinstance(adapter, Exception):
        raise adapter

    def resolved(value: Any) -> Any:
        return models[value.number] if isinstance(value, RemoteModel) else value

    for each in forgotten:
        del models[each]
    by_name = {name: resolved(value) for name, value in keywords.items()}
    result = getattr(adapter, method)(*map(resolved, arguments), **by_name)
    if method != "build":
        return result
    models[number] = result
    return RemoteModel(number)


def _send(message: Any, stream: BufferedRWPair) -> None:
    """Write a message; protocol 5 streams arrays without a copy of the whole."""
    pickle.dump(message, stream, protocol=5)
    stream.flush()


def _failure(error: Exception, framework: str) -> ParityError:
    """The error to raise in the checker; its traceback goes to stderr, in case the worker dies."""
    traceback.print_exception(error)
    if isinstance(error, ParityError):
        return error.with_traceback(None)
    message = " ".join(str(error).strip().splitlines()[:3])
    return ParityError(f"{framework} failed in its worker: {type(error).__name__}: {message}")
