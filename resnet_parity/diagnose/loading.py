"""Load a model for the diagnosis: an architecture, a `module:callable`, or a `.keras` file."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from resnet_spec import ARCHITECTURES, get_architecture

from resnet_parity.adapters.loading import chosen_backend, keras_adapter, torch_adapter
from resnet_parity.diagnose.keras_files import check_file, load_file
from resnet_parity.diagnose.user_code import call_user
from resnet_parity.errors import ParityError
from resnet_parity.probes import random_weights

FRAMEWORKS = ("torch", "keras")

_CHECKPOINTS = (
    *(".pt", ".pth", ".pth.tar", ".th", ".bin", ".ckpt", ".safetensors"),
    *(".h5", ".hdf5", ".npz", ".pkl"),
)
"""How the names of files end that hold weights, not a model that can be loaded as data."""


@dataclass(frozen=True)
class LoadedModel:
    """A model to diagnose: the name that the user gave, and the images that it takes."""

    name: str
    framework: str
    model: Any
    channels: int | None
    """None if the model is built when it first runs."""
    size: tuple[int, int] | None = None
    from_registry: bool = False
    """Whether it was built from the registry, with arbitrary weights."""

    @property
    def architecture(self) -> str:
        """The architecture's name, for a model from the registry."""
        return self.name.rpartition(":")[2]


def check_name(text: str, default: str) -> None:
    """Raise `ParityError` if `text` cannot name a model, before a framework is imported.

    A bare architecture name uses the framework `default`.
    """
    if text.endswith(".keras"):
        check_file(Path(text))
        chosen_backend(None)
        return
    if text.endswith(".onnx"):
        raise ParityError(f"{text} is an ONNX graph; use `resnet-parity onnx-compare`")
    if text.endswith(_CHECKPOINTS):
        raise ParityError(
            f"{text} holds weights, and no model that can be run without code; if they are those "
            f"of a ResNet, make a model of them: resnet-parity convert {shlex.quote(text)} --to "
            "keras; otherwise write a callable that returns the loaded model, and pass "
            "module:callable"
        )
    framework, colon, name = text.partition(":")
    if not colon or framework in FRAMEWORKS:
        get_architecture(name if colon else text)
        if (framework if colon else default) == "keras":
            chosen_backend(None)
    elif framework.endswith(".py") or "/" in framework:
        module = framework.removesuffix(".py").removeprefix("./").replace("/", ".")
        raise ParityError(f"{text!r} names a file; write its module: {module}:{name}")
    elif not name or not framework:
        raise ParityError(
            f"{text!r} does not name a model; write NAME, torch:NAME, keras:NAME, "
            "module:callable or FILE.keras"
        )


def load(text: str, default: str, seed: int) -> LoadedModel:
    """Load the model that a user named; a bare architecture name uses the framework `default`.

    Raises `ParityError` (the file, the module or the callable is invalid),
    `MissingFrameworkError` and `resnet_spec.ArchitectureError`.
    """
    if text.endswith(".keras"):
        return wrap_model(text, load_file(Path(text)))
    framework, colon, name = text.partition(":")
    if not colon or framework in FRAMEWORKS:
        return _from_registry(text, framework if colon else default, name if colon else text, seed)
    return wrap_model(text, call_user(framework, name))


def loading_text(text: str, default: str) -> str:
    """A line of progress on loading that model."""
    framework, colon, _ = text.partition(":")
    framework = framework if colon else default
    if text.endswith(".keras"):
        framework = "keras"
    elif framework not in FRAMEWORKS:
        return f"importing and calling {text}"
    if framework in sys.modules:
        return f"loading {text}"
    title = {"torch": "PyTorch", "keras": "Keras and its backend"}[framework]
    spec = find_spec(framework)
    is_compiled = not (spec and spec.cached) or Path(spec.cached).exists()
    first = (
        "" if is_compiled else " for the first time, which compiles its modules and takes longer"
    )
    return f"importing {title}{first}, loading {text}"


def _from_registry(text: str, framework: str, name: str, seed: int) -> LoadedModel:
    adapter = torch_adapter() if framework == "torch" else keras_adapter()
    arch = ARCHITECTURES.get(name) or get_architecture(name)
    model = adapter.build(arch, random_weights(arch, seed, "float32"), "float32")
    return LoadedModel(text, framework, model, arch.in_channels, from_registry=True)


def wrap_model(text: str, model: Any) -> LoadedModel:
    """Return a user's model with its framework and input size."""
    torch, keras = sys.modules.get("torch.nn"), sys.modules.get("keras")
    # Keras comes first: on its torch backend, a Keras model is a torch.nn.Module too.
    if keras is not None and isinstance(model, keras.Model):
        _check_keras(text, model, keras)
        return LoadedModel(text, "keras", model, *_keras_input(text, model))
    if torch is not None and isinstance(model, torch.Module):
        from resnet_torch.weights import unwrapped

        model = unwrapped(model)
        _check_torch(text, model, torch.parameter.is_lazy)
        convs = (m.in_channels for m in model.modules() if isinstance(m, torch.Conv2d))
        return LoadedModel(text, "torch", model, next(convs, 3))
    raise ParityError(
        f"{text} returns a {type(model).__name__}, not a torch.nn.Module or a keras.Model"
    )


def _check_torch(text: str, model: Any, is_lazy: Callable[[Any], bool]) -> None:
    """Raise if a layer is lazy, a parameter not finite or a buffer NaN; buffers may be infinite."""
    parameters, buffers = list(model.named_parameters()), list(model.named_buffers())
    if any(is_lazy(tensor) for _, tensor in (*parameters, *buffers)):
        raise ParityError(f"{text} has lazy layers; run it once on an image before you return it")
    _refuse(text, [name for name, t in parameters if not t.is_meta and not t.isfinite().all()])
    _refuse(text, [name for name, t in buffers if not t.is_meta and t.isnan().any()])


def _check_keras(text: str, model: Any, keras: Any) -> None:
    """Raise if a weight of a Keras model is not finite or a statistic NaN."""
    ops = keras.ops
    _refuse(text, [w.path for w in model.trainable_weights if not ops.all(ops.isfinite(w))])
    _refuse(text, [w.path for w in model.non_trainable_weights if ops.any(ops.isnan(w))])


def _refuse(text: str, wrong: list[str]) -> None:
    """Raise if any tensor is wrong, because no comparison could prove anything."""
    if wrong:
        more = f" and {len(wrong) - 1} more tensors" if len(wrong) > 1 else ""
        raise ParityError(
            f"{text} holds NaN or infinity in {wrong[0]}{more}: did training diverge?"
        )


def _keras_input(text: str, model: Any) -> tuple[int | None, tuple[int, int] | None]:
    """The number of channels, and (height, width), if the model fixes them."""
    inputs = getattr(model, "inputs", None)
    if not inputs:  # it is built when it first runs
        return None, None
    shape = tuple(inputs[0].shape)
    if len(inputs) != 1 or len(shape) != 4:
        raise ParityError(f"{text} takes {[tuple(i.shape) for i in inputs]}, not images")
    first = shape[1] is not None and shape[1] <= 4 and (shape[3] is None or shape[3] > 4)
    channels, *extents = (shape[1], *shape[2:]) if first else (shape[3], *shape[1:3])
    if channels is None:
        raise ParityError(f"{text} does not say how many channels its images have")
    return channels, None if None in extents else (extents[0], extents[1])
