"""The Keras adapter: builds a model, runs it and reads every tap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

import keras
import numpy as np

from resnet_spec import Architecture, keras_layer_name, outputs, taps

from resnet_keras.inference import prepare
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
    """The versions of the framework and of its backend, by their names."""
    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: str(import_module(backend).__version__)}


def build(architecture: Architecture, weights: Mapping[str, np.ndarray], dtype: str) -> keras.Model:
    """Build a model with these weights; Keras predicts in evaluation mode."""
    model = create_model(architecture, dtype=dtype)
    set_weights(model, weights)
    return model


def run(model: keras.Model, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """Return every tap of a forward pass over images (N, C, H, W), in canonical layout.

    The model's outputs (`logits` of a classifier) come from a second pass without taps, as a user
    would run it.
    """
    names = [tap.name for tap in taps(model.architecture, *images.shape[2:])]
    tapped = _tapped(model, np.einsum("nchw->nhwc", images), names, mode)
    returned = outputs_of(model, images, mode)
    return {name: _canonical(value) for name, value in tapped.items()} | returned


def mixed_precision(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    mode: str,
    dtype: str,
) -> dict[str, np.ndarray]:
    """The outputs of a model with float32 weights that may compute in that narrower dtype."""
    model = create_model(architecture, dtype=f"mixed_{dtype}")
    set_weights(model, weights)
    returned = outputs_of(model, images, mode)
    return {name: value.astype("float32") for name, value in returned.items()}


def prepared(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    mode: str,
    dtype: str,
) -> dict[str, np.ndarray]:
    """The outputs of the copy that `prepare` makes, which computes in that dtype."""
    model = prepare(build(architecture, weights, "float32"), dtype=dtype)
    return outputs_of(model, images, mode)


def outputs_of(model: keras.Model, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """The model's outputs, computed as a user would."""
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
    """A feature map (N, H, W, C) as (N, C, H, W); logits unchanged."""
    return np.ascontiguousarray(np.einsum("nhwc->nchw", value) if value.ndim == 4 else value)
