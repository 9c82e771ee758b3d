"""Keras networks of files of their own: built, and run in training mode."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from resnet_spec import Architecture, outputs

from resnet_keras.model import create_model
from resnet_keras.weights import get_weights as get_weights
from resnet_keras.weights import set_weights as set_weights


def network(source: str | None, architecture: Architecture) -> Any:
    """The network in that source code, else that of this project, with initial values of a seed."""
    keras.utils.set_random_seed(0)
    if source is None:
        return create_model(architecture, dtype="float32")
    namespace: dict[str, Any] = {"__name__": "ejected"}
    exec(compile(source, "<ejected>", "exec"), namespace)
    model = namespace["resnet"]()
    model.architecture = architecture
    return model


def trained(model: Any, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """The outputs of a pass in training mode, which updates the running statistics."""
    returned = model(np.einsum("nchw->nhwc", images), training=True)
    returned = returned if isinstance(returned, list) else [returned]
    arrays = map(keras.ops.convert_to_numpy, returned)
    return dict(zip(outputs(model.architecture), arrays, strict=True))
