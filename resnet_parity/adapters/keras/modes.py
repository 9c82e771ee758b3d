"""The modes in which Keras runs a model, by backend."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np

from resnet_keras.contexts import functional
from resnet_keras.training import tensorflow

TENSORFLOW_MODES = ("graph", "eager", "xla")
MODES = {"jax": ("jit",), "torch": ("eager",)}
"""The modes of the other backends."""


def modes() -> tuple[str, ...]:
    """The modes in which this framework can run a model, the default first."""
    return TENSORFLOW_MODES if tensorflow() else MODES[keras.backend.backend()]


def unsupported_reason(mode: str, check: str) -> str | None:
    """Why this mode cannot run that check on this machine; None if it can."""
    if mode in modes():
        return None
    return f"Keras on {keras.backend.backend()} has no mode {mode}"


def float64_unsupported_reason() -> str | None:
    """Why a float64 model does not compute in float64; None if it does."""
    if tensorflow():
        return None
    backend = keras.backend.backend()
    return f"Keras {keras.__version__} on {backend} computes parts of a float64 model in float32"


@cache
def norm_of_ones(mode: str, dtype: str) -> np.ndarray:
    """The output of a norm of variance 4 for ones (1, 1, 1, 64): halves, unless it rounds.

    Keras multiplies by `rsqrt`. In float32, TensorFlow's graph and eager modes take it from the
    CPU's approximate instruction and refine it once; its accuracy depends on the CPU.
    """
    channels = 64  # enough for vector instructions
    image = keras.Input((1, 1, channels), dtype=dtype)
    variance = keras.initializers.Constant(4.0)
    norm = keras.layers.BatchNormalization(
        epsilon=0.0, moving_variance_initializer=variance, dtype=dtype
    )
    (normed,) = predict(image, norm(image), mode, np.ones((1, 1, 1, channels), dtype))
    return normed


def compile_options(mode: str) -> dict[str, bool]:
    """The arguments of `compile` that select a mode."""
    return {"run_eagerly": mode == "eager", "jit_compile": mode in ("xla", "jit")}


def predict(inputs: Any, outputs: Any, mode: str, image: np.ndarray) -> list[np.ndarray]:
    """The outputs that the layers between these tensors compute in a mode."""
    model = functional(inputs, outputs)
    model.compile(**compile_options(mode))
    arrays = model.predict_on_batch(image)
    return arrays if isinstance(arrays, list) else [arrays]  # Keras unpacks a list of one
