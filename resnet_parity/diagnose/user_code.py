"""Run the code of a user's module so that it cannot end this process."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from resnet_parity.adapters.loading import keras_adapter, load_triton, torch_adapter
from resnet_parity.errors import ParityError

PATIENCE = 60.0
"""Seconds after which a line on stderr says what is still running."""

_SCRIPT = "put what a script does under `if __name__ == '__main__':`"


def call_user(module: str, name: str) -> Any:
    """Return the model that `module:name` is or returns, see `import_user`.

    Raises `ParityError` if the code fails or ends the process.
    """
    found = import_user(module, name)
    is_model = hasattr(found, "parameters") or hasattr(found, "get_weights")
    if not isinstance(found, type) and is_model:
        return found
    text = f"{module}:{name}"
    if not callable(found):
        raise ParityError(f"{text} is a {type(found).__name__}, not a callable or a model")
    with contained(text):
        return found()


def import_user(module: str, name: str) -> Any:
    """Return the object `module:name`.

    The current folder comes last on the path, so that no file in it replaces an installed module.
    Raises `ParityError` if the code fails or ends the process.
    """
    load_triton()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "" not in sys.path:
        sys.path.append("")
    with contained(f"{module}:{name}"):
        return _find(importlib.import_module(module), name)


def _find(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            file = getattr(module, "__file__", None)
            raise ParityError(
                f"{module.__name__}:{name} does not exist: {error} ({file})"
            ) from None
    return found


@contextmanager
def contained(text: str, failure: str = "") -> Iterator[None]:
    """Turn an exception of the code in the context into a `ParityError`, also `sys.exit`.

    `text` names the code, `failure` says what it failed to do. A process that it forks ends with
    the context. After a minute, a line on stderr says that it still runs.
    """
    process, leave = os.getpid(), os._exit

    def refuse_exit(code: int) -> None:
        if os.getpid() != process:
            leave(code)
        raise SystemExit(code)

    waiting = threading.Timer(PATIENCE, _report, [f"{text} still runs; Ctrl-C ends it"])
    waiting.daemon = True
    waiting.start()
    os._exit = refuse_exit  # type: ignore
    try:
        yield
    except (ParityError, KeyboardInterrupt):
        raise
    except ModuleNotFoundError as error:
        raise _not_found(text, error) from error
    except SystemExit as error:
        raise ParityError(f"{text} ends the process (exit code {error.code}); {_SCRIPT}") from error
    except BaseException as error:
        failure = failure or f"raised {type(error).__name__}"
        raise ParityError(f"{text} {failure}: {_reason(error)}") from error
    finally:
        os._exit = leave
        waiting.cancel()
        if os.getpid() != process:
            leave(0)


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _reason(error: BaseException) -> str:
    """The first line of an exception's message, else its type."""
    try:
        return str(error).strip().splitlines()[0]
    except Exception:  # it has no message, or none that can be read
        return type(error).__name__


def _not_found(text: str, error: ModuleNotFoundError) -> ParityError:
    if error.name == "torch":
        torch_adapter()  # names the install line
    if error.name == "keras":
        keras_adapter()
    hint = ""
    if error.name == text.partition(":")[0]:
        hint = "; the module must be importable from here"
    return ParityError(f"{text} cannot be imported: {_reason(error)}{hint}")
