"""Global settings for the time of a call: dtypes of Keras, and Python's recursion limit."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import KerasTensor

_DEEPEST = 100_000
"""The recursion limit while Keras walks a model; ResNet-1202 has 5,400 layers in a row."""


def functional(inputs: KerasTensor, outputs: Any, **options: Any) -> keras.Model:
    """A `keras.Model` of any depth: Keras finds its layers by recursion, one call for each."""
    with deep_recursion():
        return keras.Model(inputs, outputs, **options)


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Raise Python's recursion limit inside, for Keras to walk a deep model; restore it after."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@contextmanager
def dtype_policy(dtype: str | None) -> Iterator[Any]:
    """Set the dtype policy of every layer built inside; restore the global one after."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or previous)
    try:
        yield keras.config.dtype_policy()
    finally:
        keras.config.set_dtype_policy(previous)


@contextmanager
def floatx(model: keras.Model) -> Iterator[None]:
    """Set Keras' default float to that of the model inside, for learning rates and losses."""
    previous = keras.config.floatx()
    keras.config.set_floatx(model.input.dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(previous)
