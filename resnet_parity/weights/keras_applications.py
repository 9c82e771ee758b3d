"""The weights of a Keras Applications ResNet, v1 or v2, under canonical names."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec import Architecture, Parameter, WeightsError, get_architecture

from resnet_parity.weights.dialect import to_canonical
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.naming import tensor_names

_HINT = "ResNet50 is keras_resnet50 here and ResNet50V2 is keras_resnet50v2"


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
    is_other = arch.block != "bottleneck" or arch.se or arch.stem.hidden or arch.avg_down
    if is_other or not arch.residual:
        raise WeightsError(f"Keras Applications builds nothing like {arch.name!r}", [_HINT])
    found = {
        f"{layer.name}/{variable.path.rpartition('/')[2]}": variable
        for layer in layers
        for variable in layer.weights
    }
    return to_canonical(architecture, _dialect, found, _read, _HINT)


def _dialect(arch: Architecture) -> dict[str, Parameter]:
    suffix = "-v2" if arch.preactivation else ""
    names = tensor_names(DIALECTS[f"keras-applications{suffix}"], arch)
    assert names is not None
    return names


def _read(variable: Any, parameter: Parameter) -> np.ndarray:
    array = np.asarray(variable.numpy())
    fits = array.ndim == len(parameter.keras_axes)
    return np.einsum(parameter.to_torch, array) if fits else array
