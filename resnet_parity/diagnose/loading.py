"""Who comes to the diagnosis: a name of the table, a `module:callable`, or a `.keras` file."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_spec import ARCHITECTURES, get_architecture

from resnet_parity.adapters.loading import keras_adapter, load_triton, torch_adapter
from resnet_parity.errors import ParityError
from resnet_parity.probes import random_weights

FRAMEWORKS = ("torch", "keras")

_MAX_BYTES = 4 * 2**30
"""Unpacked; a ResNet-152 in float64 has half a gigabyte."""

_MAX_CONFIG = 2**26
_MODULES = {
    "keras",
    *(f"keras.{part}" for part in ("layers", "initializers", "regularizers", "constraints")),
    *(f"keras.{part}" for part in ("activations", "dtype_policies", "models")),
}
"""Where the classes of an image model of Keras' own layers come from."""

_THAT_LOAD_MORE = {
    *("Lambda", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("StringLookup", "IntegerLookup", "TextVectorization"),
}
"""Keras' own layers that run code of the file's author, or open other files that it names."""


@dataclass(frozen=True)
class LoadedModel:
    """A model to examine: what the user called it, and the images that it takes."""

    name: str
    framework: str
    model: Any
    channels: int
    size: tuple[int, int] | None = None
    ours: bool = False
    """Built from the table, with weights that mean nothing."""

    @property
    def row(self) -> str:
        """The name in the table of one of ours."""
        return self.name.rpartition(":")[2]


def check_name(text: str) -> None:
    """Refuse what can be no model before a framework is imported; raises `ParityError`."""
    if text.endswith(".keras"):
        _check_file(Path(text))
        return
    if text.endswith(".onnx"):
        raise ParityError(f"{text} is a graph; `resnet-parity onnx-compare` compares those")
    if text.endswith((".h5", ".hdf5", ".pt", ".pth", ".safetensors")):
        raise ParityError(
            f"{text} is not read here: it may hold code, or weights alone; load it into a model "
            "yourself and give module:callable, or save a .keras file"
        )
    framework, colon, name = text.partition(":")
    if not colon or framework in FRAMEWORKS:
        get_architecture(name if colon else text)
    elif not name or not framework:
        raise ParityError(
            f"{text!r} is no model; write NAME, torch:NAME, keras:NAME, "
            "module:callable or FILE.keras"
        )


def load(text: str, default: str, seed: int) -> LoadedModel:
    """The model that a user named; a bare name of the table is built in the implementation `default`.

    Raises `ParityError` (the file, the module or the callable is no good),
    `MissingFrameworkError` and `resnet_spec.ArchitectureError`.
    """
    if text.endswith(".keras"):
        return examined(text, _from_file(Path(text)))
    framework, colon, name = text.partition(":")
    if not colon or framework in FRAMEWORKS:
        return _ours(text, framework if colon else default, name if colon else text, seed)
    return examined(text, _called(framework, name))


def _ours(text: str, framework: str, name: str, seed: int) -> LoadedModel:
    adapter = torch_adapter() if framework == "torch" else keras_adapter()
    arch = ARCHITECTURES.get(name) or get_architecture(name)
    model = adapter.build(arch, random_weights(arch, seed, "float32"), "float32")
    return LoadedModel(text, framework, model, arch.in_channels, ours=True)


def examined(text: str, model: Any) -> LoadedModel:
    """A user's model, with what can be read off it."""
    torch, keras = sys.modules.get("torch.nn"), sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model):  # on torch it is a module as well
        _check_keras(text, model, keras)
        return LoadedModel(text, "keras", model, *_keras_input(text, model))
    if torch is not None and isinstance(model, torch.Module):
        _check_torch(text, model, torch.parameter.is_lazy)
        convs = (m.in_channels for m in model.modules() if isinstance(m, torch.Conv2d))
        return LoadedModel(text, "torch", model, next(convs, 3))
    raise ParityError(
        f"{text} gives a {type(model).__name__}, not a torch.nn.Module or a keras.Model"
    )


def _check_torch(text: str, model: Any, is_lazy: Callable[[Any], bool]) -> None:
    """Refuse layers without a shape and parameters that are no numbers; buffers may be infinite."""
    parameters, buffers = list(model.named_parameters()), list(model.named_buffers())
    if any(is_lazy(tensor) for _, tensor in (*parameters, *buffers)):
        raise ParityError(f"{text} has lazy layers; run it once on an image before you return it")
    _refuse(text, [name for name, t in parameters if not t.is_meta and not t.isfinite().all()])
    _refuse(text, [name for name, t in buffers if not t.is_meta and t.isnan().any()])


def _check_keras(text: str, model: Any, keras: Any) -> None:
    """The same of a Keras model."""
    if isinstance(model, keras.Sequential) and not model.built:
        raise ParityError(
            f"{text} is a Sequential that is not built; begin it with "
            "keras.Input((height, width, channels))"
        )
    ops = keras.ops
    _refuse(text, [w.path for w in model.trainable_weights if not ops.all(ops.isfinite(w))])
    _refuse(text, [w.path for w in model.non_trainable_weights if ops.any(ops.isnan(w))])


def _refuse(text: str, wrong: list[str]) -> None:
    """Every comparison of such a model would fail, and nothing be proven."""
    if wrong:
        more = f" and {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
        raise ParityError(
            f"{text} holds NaN or infinity in {wrong[0]}{more}: has training diverged?"
        )


def _keras_input(text: str, model: Any) -> tuple[int, tuple[int, int] | None]:
    """Channels, and height and width where the model has fixed them."""
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return 3, None
    shape = tuple(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4:
        raise ParityError(f"{text} takes {[tuple(i.shape) for i in inputs]}, not images")
    first = shape[1] is not None and shape[1] <= 4 and (shape[3] is None or shape[3] > 4)
    channels, *extents = (shape[1], *shape[2:]) if first else (shape[3], *shape[1:3])
    if channels is None:
        raise ParityError(f"{text} does not say how many channels its images have")
    return channels, None if None in extents else (extents[0], extents[1])


def _called(module: str, name: str) -> Any:
    """What the user's callable returns; whatever it raises becomes one message."""
    load_triton()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found()
    except ModuleNotFoundError as error:
        if error.name in FRAMEWORKS:
            (torch_adapter if error.name == "torch" else keras_adapter)()  # says how to install it
        hint = "; the module must be importable from here" if error.name == module else ""
        raise ParityError(f"{module}:{name} cannot be imported: {error}{hint}") from error
    except (Exception, SystemExit) as error:
        reason = (str(error).strip() or "no message").splitlines()[0]
        raise ParityError(f"{module}:{name} raised {type(error).__name__}: {reason}") from error


def _check_file(path: Path) -> None:
    """A zip of sane size that holds a model of Keras' own layers and nothing else."""
    if not path.is_file():
        raise ParityError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info.file_size for info in archive.infolist()}
            if sum(members.values()) > _MAX_BYTES:
                raise ParityError(f"{path} unpacks to more than {_MAX_BYTES:,} bytes")
            if not 0 < members.get("config.json", 0) <= _MAX_CONFIG:
                raise ParityError(f"{path} has no config.json of a Keras model")
            config = json.loads(archive.read("config.json"))
            if not isinstance(config, dict):
                raise ValueError("its config.json describes no model")
    except (zipfile.BadZipFile, ValueError, RecursionError) as error:
        raise ParityError(f"{path} is no .keras file: {error}") from error
    config.pop("compile_config", None)  # how it was trained is not loaded
    for module, name in _objects(config):
        if name in _THAT_LOAD_MORE or not _is_harmless(module):
            raise ParityError(
                f"{path} holds {module}.{name}, which would run code of the file's author; "
                "load it yourself and give module:callable"
            )


def _is_harmless(module: str) -> bool:
    return module in _MODULES or module.startswith("keras.src.models.")


def _objects(config: Any) -> Iterator[tuple[str, str]]:
    """Every (module, class) that the file asks Keras to build."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            name = node.get("class_name")
            if isinstance(name, str) and not (name.startswith("__") and node.get("module") is None):
                yield str(node.get("module") or node.get("registered_name") or "keras"), name
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _from_file(path: Path) -> Any:
    _check_file(path)
    keras_adapter()
    keras = importlib.import_module("keras")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ParityError(f"{path} cannot be loaded: {reason}") from error
