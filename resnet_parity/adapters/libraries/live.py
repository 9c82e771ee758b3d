"""The weights of a model in memory, of either framework."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any

import numpy as np

from resnet_spec import Architecture, get_architecture
from resnet_spec.state_dict import with_sizes_of

from resnet_parity.adapters.libraries.keras_libraries import ResNetKeras
from resnet_parity.adapters.libraries.torch_libraries import ResNetTorch


def weights_of(
    model: Any, architecture: str | Architecture | None
) -> tuple[Architecture, dict[str, np.ndarray]]:
    """The architecture, with the sizes of the model, and the weights by canonical name.

    Raises `resnet_spec.WeightsError` and `resnet_spec.ArchitectureError` as `get_weights` does.
    """
    is_torch = hasattr(model, "named_parameters")
    package: Any = importlib.import_module("resnet_torch" if is_torch else "resnet_keras")
    weights = package.get_weights(model, architecture)
    chosen = architecture or getattr(model, "architecture", None)
    if chosen is None:
        chosen = package.architecture_of(model)  # Keras alone returns weights without a name
    shapes = {name: array.shape for name, array in weights.items()}
    return with_sizes_of(get_architecture(chosen), shapes), weights


def runner(model: Any) -> Callable[[np.ndarray, str], np.ndarray] | None:
    """Runs a model in memory on images (N, C, H, W) in a dtype; the model stays as it is.

    None for a Keras model that takes one size alone, that does not return logits, or whose backend
    has no float64.
    """
    is_torch = hasattr(model, "named_parameters")
    library = ResNetTorch() if is_torch else ResNetKeras()
    if not library.has_float64():
        return None
    if is_torch:
        model = importlib.import_module("resnet_torch.weights").unwrapped(model)
    else:
        network: Any = importlib.import_module("resnet_keras.network")
        if tuple(model.input_shape[1:3]) != (None, None) or not network.returns_logits(model):
            return None
    models: dict[str, Any] = {}

    def run(images: np.ndarray, dtype: str) -> np.ndarray:
        if dtype not in models:
            models[dtype] = library.in_dtype(copy.deepcopy(model) if is_torch else model, dtype)
        return library.run(models[dtype], images)

    return run
