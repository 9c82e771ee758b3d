"""Imports an implementation's adapter, and with it the framework, at the first use."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import Any, Literal, cast, get_args
from urllib.parse import urlparse
from urllib.request import url2pathname

from resnet_parity.adapters.protocol import Adapter, RunAdapter
from resnet_parity.errors import MissingFrameworkError, ParityError

KerasBackend = Literal["tensorflow", "jax", "torch"]
KERAS_BACKENDS: tuple[str, ...] = get_args(KerasBackend)


def torch_adapter() -> Adapter:
    """Import the adapter of the PyTorch implementation.

    Raises `MissingFrameworkError` when PyTorch is not installed.
    """
    require("torch")
    return cast(Adapter, importlib.import_module("resnet_parity.adapters.torch.adapter"))


def keras_adapter(backend: str | None = None) -> Adapter:
    """Import the adapter of the Keras implementation on a backend.

    The default is the backend of a Keras that is already imported, then `KERAS_BACKEND`, then
    tensorflow.

    Raises `MissingFrameworkError` when Keras or the backend is not installed, `ParityError` when
    the backend is unknown or Keras already runs on another one in this process.
    """
    backend = chosen_backend(backend or _running_backend())
    require("keras", backend)
    running = _running_backend()
    if running not in (None, backend):
        raise ParityError(
            f"Keras already runs on {running} in this process and cannot change to {backend}; "
            f"start a new process with KERAS_BACKEND={backend}"
        )
    return _import_keras_adapter(backend)


def both_adapters(keras_backend: str | None = None) -> tuple[Adapter, Adapter]:
    """Import both adapters; one error names all that is missing."""
    require("torch", "keras", chosen_backend(keras_backend or _running_backend()))
    return torch_adapter(), keras_adapter(keras_backend)


def run_adapter(framework: str, keras_backend: str | None = None) -> tuple[Adapter, RunAdapter]:
    """Import the adapters of one framework, "torch" or "keras", that a run of `train` uses."""
    adapter = torch_adapter() if framework == "torch" else keras_adapter(keras_backend)
    runs = importlib.import_module(f"resnet_parity.adapters.{framework}.runs")
    return adapter, cast(RunAdapter, runs)


def native_images(framework: str) -> Callable[..., Any]:
    """The class of images that one framework, "torch" or "keras", prepares by its own means.

    Raises `MissingFrameworkError` when torchvision is not installed, which PyTorch needs for it.
    """
    if framework == "torch":
        require("torchvision")
        load_triton()
    module = importlib.import_module(f"resnet_parity.adapters.{framework}.images")
    return module.NativeImages


def chosen_backend(backend: str | None) -> str:
    """That Keras backend, by default `KERAS_BACKEND` or tensorflow; raises where it is unknown."""
    backend = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend not in KERAS_BACKENDS:
        raise ParityError(
            f"unknown Keras backend {backend!r}; it is one of: {', '.join(KERAS_BACKENDS)}"
        )
    return backend


def _running_backend() -> str | None:
    """The backend of Keras, if this process has imported it."""
    keras = sys.modules.get("keras")
    return keras.backend.backend() if keras else None


def require(*modules: str) -> None:
    """Raise `MissingFrameworkError`, with one install line, if any of the modules is missing."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        are, them = ("is", "it") if len(missing) == 1 else ("are", "them")
        raise MissingFrameworkError(
            f"{', '.join(missing)} {are} not installed; install {them} with: "
            f"python -m pip install {_requirements(modules, missing)}"
        )


def _requirements(modules: Sequence[str], missing: Sequence[str]) -> str:
    """The extras of an editable checkout that hold the missing modules, else their own pins."""
    try:
        project = distribution("resnet-parity")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return " ".join(missing)
    extras: dict[str, set[str]] = {}
    pins: dict[str, str] = {}
    for line in project.requires or []:  # such as: torch>=2.11; extra == 'torch'
        pin, _, marker = (part.strip() for part in line.partition(";"))
        name = re.split(r"[<>=!~\s]", pin)[0]
        pins[name] = pin
        if (extra := re.search(r"""extra == ['"](\w+)""", marker)) and extra[1] != "all":
            extras.setdefault(extra[1], set()).add(name)

    def nearest(module: str) -> str | None:
        holding = (extra for extra in extras if module in extras[extra])
        return max(holding, key=lambda e: (len(extras[e] & {*modules}), e in modules), default=None)

    chosen = list(dict.fromkeys(map(nearest, missing)))
    origin = json.loads(project.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable") and None not in chosen:
        checkout = url2pathname(urlparse(origin["url"]).path)
        return f"-e '{checkout}[{','.join(map(str, chosen))}]'"
    return " ".join(f"'{pins.get(module, module)}'" for module in missing)


def _import_keras_adapter(backend: str) -> Adapter:
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax":
        # Without it jax silently turns every float64 array into float32.
        os.environ.setdefault("JAX_ENABLE_X64", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports it on other backends too
    load_triton()
    if backend == "tensorflow":
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
        with stderr_hidden_unless_it_fails():
            importlib.import_module("tensorflow")
    _import_keras()
    return cast(Adapter, importlib.import_module("resnet_parity.adapters.keras.adapter"))


def _import_keras() -> None:
    """Import Keras, which reads settings of the user while it is imported."""
    try:
        with stderr_hidden_unless_it_fails():
            importlib.import_module("keras")
    except Exception as error:
        home = os.environ.get("KERAS_HOME", "~/.keras")
        raise ParityError(
            f"Keras cannot be imported: {error}; correct or delete its settings in "
            f"{home}/keras.json, or install Keras again"
        ) from error


def eager_mode(adapter: Adapter) -> str:
    """The adapter's mode without a compiler, if any: the fastest for a model that runs rarely."""
    return "eager" if "eager" in adapter.modes() else adapter.modes()[0]


def load_triton() -> None:
    """Import triton, which PyTorch installs on some platforms, before TensorFlow.

    PyTorch imports it late (in its compiler and optimisers); after TensorFlow that crashes the
    process: https://github.com/tensorflow/tensorflow/issues/124205.
    """
    if find_spec("triton") is not None and "tensorflow" not in sys.modules:
        importlib.import_module("triton")


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Silence a logger, but for errors, and all warnings; restored at exit."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def stderr_hidden_unless_it_fails() -> Iterator[None]:
    """Hide output to stderr, even of C++ code; print it after all if an exception is raised.

    TensorFlow announces its CPU kernels on stderr before its own log level takes effect.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except BaseException:
            hidden.seek(0)
            os.write(original, hidden.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
