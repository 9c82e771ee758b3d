"""What the checker needs of a Keras model: build it, run it, and read every tap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

import keras
import numpy as np

from resnet_spec import Architecture, keras_layer_name, outputs, taps

from resnet_keras.model import create_model
from resnet_keras.weights import set_weights
from resnet_parity.adapters.keras.gradients import gradients as gradients
from resnet_parity.adapters.keras.modes import (
    float64_unsupported_reason as float64_unsupported_reason,
)
from resnet_parity.adapters.keras.modes import modes as modes
from resnet_parity.adapters.keras.modes import norm_of_ones as norm_of_ones
from resnet_parity.adapters.keras.modes import predict
from resnet_parity.adapters.keras.modes import unsupported_reason as unsupported_reason


def versions() -> dict[str, str]:
    """The framework and the backend that it runs on, by name and version."""
    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: str(import_module(backend).__version__)}


def build(architecture: Architecture, weights: Mapping[str, np.ndarray], dtype: str) -> keras.Model:
    """A model that holds those weights; Keras predicts in evaluation mode."""
    model = create_model(architecture, dtype=dtype)
    set_weights(model, weights)
    return model


def run(model: keras.Model, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """Every tap of a forward pass over images (N, C, H, W), in canonical layout.

    What the model returns (`logits` of a classifier) comes from a second pass in which nothing is
    tapped, as a user would run it.
    """
    names = [tap.name for tap in taps(model.architecture, *images.shape[2:])]
    tapped = _tapped(model, np.einsum("nchw->nhwc", images), names, mode)
    returned = _returned(model, images, mode)
    return {name: _canonical(value) for name, value in tapped.items()} | returned


def mixed_precision(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    mode: str,
    dtype: str,
) -> dict[str, np.ndarray]:
    """What a model of float32 weights returns when it may compute in that narrower dtype."""
    model = create_model(architecture, dtype=f"mixed_{dtype}")
    set_weights(model, weights)
    returned = _returned(model, images, mode)
    return {name: value.astype("float32") for name, value in returned.items()}


def _returned(model: keras.Model, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """What the model returns, as a user would run it."""
    image = np.einsum("nchw->nhwc", images)
    arrays = map(_canonical, predict(model.input, model.outputs, mode, image))
    return dict(zip(outputs(model.architecture), arrays, strict=True))


def _tapped(
    model: keras.Model, image: np.ndarray, names: Sequence[str], mode: str
) -> dict[str, np.ndarray]:
    """The outputs of the named layers."""
    tensors = [model.get_layer(keras_layer_name(name)).output for name in names]
    return dict(zip(names, predict(model.input, tensors, mode, image), strict=True))


def _canonical(value: np.ndarray) -> np.ndarray:
    """A feature map as (N, C, H, W), logits as they are."""
    return np.ascontiguousarray(np.einsum("nhwc->nchw", value) if value.ndim == 4 else value)
