"""The ways in which Keras can run a model, by backend."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from resnet_keras.model import functional

MODES = {"tensorflow": ("graph", "eager", "xla"), "jax": ("jit",), "torch": ("eager",)}


def modes() -> tuple[str, ...]:
    """The ways in which this framework can run the model, the usual one first."""
    return MODES[keras.backend.backend()]


def obstacle(mode: str, rung: str) -> str | None:
    """Why this mode cannot stand on that rung, on this machine; None where it can."""
    if mode in modes():
        return None
    return f"Keras on {keras.backend.backend()} has no mode {mode}"


def compile_options(mode: str) -> dict[str, bool]:
    """How `compile` is told of that mode."""
    return {"run_eagerly": mode == "eager", "jit_compile": mode in ("xla", "jit")}


def predict(inputs: Any, outputs: Any, mode: str, image: np.ndarray) -> list[np.ndarray]:
    """What the layers between those tensors give in that mode."""
    model = functional(inputs, outputs)
    model.compile(**compile_options(mode))
    arrays = model.predict_on_batch(image)
    return arrays if isinstance(arrays, list) else [arrays]  # Keras unpacks a list of one
