"""What the judge needs of a Keras model: build it, run it, and read every tap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

import keras
import numpy as np

from resnet_spec import Architecture, keras_layer_name, outputs, taps

from resnet_keras.model import create_model, functional
from resnet_keras.weights import set_weights

_MODES = {"tensorflow": ("graph", "eager", "xla"), "jax": ("jit",), "torch": ("eager",)}


def versions() -> dict[str, str]:
    """The framework and the backend that it runs on, by name and version."""
    backend = keras.backend.backend()
    return {"keras": keras.__version__, backend: import_module(backend).__version__}


def modes() -> tuple[str, ...]:
    """The ways in which this framework can run the model, the usual one first."""
    return _MODES[keras.backend.backend()]


def float64_obstacle() -> str | None:
    """Why a float64 model may not be float64 all through; on TensorFlow it is."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return None
    return f"Keras {keras.__version__} on {backend} computes parts of a float64 model in float32"


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
    image = np.einsum("nchw->nhwc", images)
    names = [tap.name for tap in taps(model.architecture, *images.shape[2:])]
    arrays = _tapped(model, image, names, mode)
    returned = _predict(model.input, model.outputs, mode, image)
    arrays |= zip(outputs(model.architecture), returned, strict=True)
    return {name: _canonical(value) for name, value in arrays.items()}


def _tapped(
    model: keras.Model, image: np.ndarray, names: Sequence[str], mode: str
) -> dict[str, np.ndarray]:
    """The outputs of the named layers."""
    tensors = [model.get_layer(keras_layer_name(name)).output for name in names]
    return dict(zip(names, _predict(model.input, tensors, mode, image), strict=True))


def _predict(inputs, outputs, mode: str, image: np.ndarray) -> list[np.ndarray]:
    """What the layers between those tensors give in that mode."""
    model = functional(inputs, outputs)
    model.compile(run_eagerly=mode == "eager", jit_compile=mode in ("xla", "jit"))
    arrays = model.predict_on_batch(image)
    return arrays if isinstance(arrays, list) else [arrays]  # Keras unpacks a list of one


def _canonical(value: np.ndarray) -> np.ndarray:
    """A feature map as (N, C, H, W), logits as they are."""
    return np.ascontiguousarray(np.einsum("nhwc->nchw", value) if value.ndim == 4 else value)
