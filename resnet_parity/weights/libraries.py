"""The weights of models and state dicts in memory that other libraries made, by canonical name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_spec import Architecture, WeightsError, get_architecture, shape_problems
from resnet_spec.state_dict import prefix_problem, with_sizes_of, wrapper_problem
from resnet_spec.weights import as_code, check_unmasked, fitting_architecture

from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.identify import canonical_shapes, counters
from resnet_parity.weights.naming import canonical_array, tensor_names

_BFLOAT16 = "torch.bfloat16"


def from_timm(state: Mapping[str, Any], architecture: str | Architecture) -> dict[str, np.ndarray]:
    """Return the weights in the state dict of a timm ResNet, pre-activation or not.

    Values are tensors or arrays. Only the step counters of the norms are ignored. A name means the
    row with the classes and the image channels of the tensors, an `Architecture` exactly that one.

    Raises `resnet_spec.WeightsError` when a tensor is missing, left over or of another shape, and
    when `state` is no state dict, or wraps one.
    """
    if not isinstance(state, Mapping):
        kind = type(state).__name__
        raise WeightsError("this is no state dict", [f"it is a {kind}; pass model.state_dict()"])
    if problem := wrapper_problem(state, "state"):
        raise WeightsError("this is no state dict", [problem])
    check_unmasked(state)
    wide = [name for name, each in state.items() if str(getattr(each, "dtype", "")) == _BFLOAT16]
    if wide:
        problem = f"{len(wide)} of {len(state)} tensors are bfloat16, the first is {wide[0]}"
        fix = "convert them: state = {name: value.float() for name, value in state.items()}"
        raise WeightsError("NumPy has no bfloat16", [problem], fix)
    arch = get_architecture(architecture)
    name = "timm-v2" if arch.preactivation else "torchvision"
    ignored = {*counters(DIALECTS[name], "", arch)}
    found = {
        name: np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        for name, value in state.items()
        if name not in ignored
    }
    return _canonical(architecture, name, found, "pass timm's name of the model")


def from_keras_applications(model: Any, architecture: str | Architecture) -> dict[str, np.ndarray]:
    """Return the weights of a `keras.applications` ResNet (v1 or V2), such as `keras_resnet50`.

    The classifier may have any activation. A model built with `include_top=False` fits an
    architecture without classes. A name means the row with the classes and the image channels of
    the model, an `Architecture` exactly that one.

    Raises `resnet_spec.WeightsError` when a variable is missing, left over or of another shape, and
    for a model or an architecture of another kind.
    """
    arch = get_architecture(architecture)
    layers = getattr(model, "layers", None)
    if not layers or not all(hasattr(layer, "weights") for layer in layers):
        raise WeightsError("this is not a Keras model", [f"it is a {type(model).__name__}"])
    hint = "ResNet50 is keras_resnet50 here and ResNet50V2 is keras_resnet50v2"
    is_other = arch.block != "bottleneck" or arch.se or arch.stem.hidden or arch.avg_down
    if is_other or not arch.residual:
        raise WeightsError(f"Keras Applications builds nothing like {arch.name!r}", [hint])
    found = {
        f"{layer.name}/{variable.path.rpartition('/')[2]}": np.asarray(variable.numpy())
        for layer in layers
        for variable in layer.weights
    }
    name = f"keras-applications{'-v2' if arch.preactivation else ''}"
    return _canonical(architecture, name, found, hint)


def _canonical(
    architecture: str | Architecture, dialect_name: str, found: Mapping[str, np.ndarray], hint: str
) -> dict[str, np.ndarray]:
    """Copies of the arrays, which have the names of a dialect. Raises `WeightsError`."""
    arch, dialect = get_architecture(architecture), DIALECTS[dialect_name]
    summary = f"the weights are not those of a {arch.name!r}; {hint}"
    whole = replace(arch, num_classes=arch.num_classes or 1, out_indices=None)
    names = tensor_names(dialect, whole) or {}
    if problem := prefix_problem(found, names, "state"):
        raise WeightsError(summary, [problem])
    shapes = {name: array.shape for name, array in found.items()}
    by_name = canonical_shapes(dialect, names, shapes)
    shapes |= {name: by_name[p.name] for name, p in names.items() if p.name in by_name}
    by_name |= {name: shape for name, shape in shapes.items() if name not in names}
    if isinstance(architecture, str):
        arch = with_sizes_of(arch, by_name)
    names = tensor_names(dialect, arch) or {}
    expected = {name: parameter.shape for name, parameter in names.items()}
    if problems := shape_problems(expected, shapes):
        theirs = fitting_architecture(arch, by_name)
        fix = f"to read them as they are, pass {as_code(theirs)}" if theirs else ""
        raise WeightsError(summary, problems, fix)
    return {p.name: np.array(canonical_array(dialect, p, found[n])) for n, p in names.items()}
