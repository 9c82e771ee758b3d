"""Runs a Keras network that a file of its own holds, beside that of this project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_spec import Architecture, outputs

from resnet_keras.weights import set_weights
from resnet_parity.adapters.keras import adapter
from resnet_parity.adapters.loading import eager_mode


def results(
    source: str | None,
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    cotangents: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """The outputs, and the gradients of all tensors, of the network in that source code.

    Without `source` it is the network of this project.
    """
    mode = eager_mode(adapter)
    if source is None:
        model: Any = adapter.build(architecture, weights, "float32")
    else:
        namespace: dict[str, Any] = {"__name__": "ejected"}
        exec(compile(source, "<ejected>", "exec"), namespace)
        model = namespace["resnet"]()
        set_weights(model, weights, architecture)
        model.architecture = architecture
    returned = adapter.outputs_of(model, images, mode)
    weighted = {name: cotangents[name] for name in outputs(architecture)}
    gradients = adapter.gradients(model, images, weighted, mode, training=False)
    return returned | {f"gradient of {name}": value for name, value in gradients.items()}
