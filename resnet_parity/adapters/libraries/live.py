"""The weights of a model in memory, of either framework."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from resnet_spec import Architecture, get_architecture
from resnet_spec.state_dict import with_sizes_of


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
