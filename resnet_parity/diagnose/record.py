"""The framework-neutral record of a model: the steps that it computes.

Arrays are canonical: feature maps (N, C, H, W), vectors (N, C, 1, 1), kernels (out, in, H, W),
dense kernels (out, in).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

Array = np.ndarray
Assign = Callable[[Array], None]
Call = Callable[[Sequence[Array]], Array]

SAME = "same"
"""Padding that depends on the size of the input."""


class Kind(StrEnum):
    """The operation of a step. An operation that is not listed has its own name as its kind."""

    INPUT, OUTPUT = "input", "output"
    CONV, DENSE, NORM = "conv", "dense", "norm"
    RELU, ADD, MULTIPLY = "relu", "add", "multiply"
    MAX_POOL, AVERAGE_POOL, GLOBAL_AVERAGE = "max-pool", "average-pool", "global-average"
    PAD, AFFINE, FLATTEN, TRANSPOSE = "pad", "rescale", "flatten", "transpose"
    IDENTITY, REVERSE = "identity", "channel-reversal"
    OPAQUE = "opaque"


@dataclass(frozen=True)
class RecordedStep:
    """One layer or operation: its kind, settings, tensors, and the steps that it reads.

    `place` is where a user finds it in the model. `assign` sets the model's own tensors, by name.
    `call` runs the model's own operation if this project cannot translate it (kind `opaque`).
    """

    kind: str
    place: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Array] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    assign: Mapping[str, Assign] = field(default_factory=dict, repr=False)
    call: Call | None = field(default=None, repr=False)
    in_place: bool = False
    """Whether it overwrites its input."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the kernel, or of a norm's mean; empty for a step without tensors."""
        main = self.tensors.get("weight", self.tensors.get("mean"))
        return () if main is None else main.shape

    def changed(self, **parts: Any) -> RecordedStep:
        """Return a copy with some settings or tensors replaced; None removes a tensor."""
        settings, tensors = dict(self.settings), dict(self.tensors)
        for name, value in parts.items():
            if name in settings:
                settings[name] = value
            elif value is None:
                tensors.pop(name, None)
            else:
                tensors[name] = value
        return replace(self, settings=settings, tensors=tensors)


@dataclass(frozen=True)
class Record:
    """A model as a list of steps in execution order.

    The first step is the input, the last the output. `outputs` holds the framework's own output of
    each step, where it is visible.
    """

    framework: str
    steps: tuple[RecordedStep, ...]
    outputs: Mapping[int, Array]
    output_shape: tuple[int, ...] = ()
    """The shape of the framework's own output."""

    @property
    def norms(self) -> tuple[RecordedStep, ...]:
        """The batch normalisations."""
        return tuple(step for step in self.steps if step.kind == Kind.NORM)


def canonical(array: Array, layout: str) -> Array:
    """Return an array of that layout (such as "nhwc") as (N, C, H, W); vectors as (N, C, 1, 1)."""
    if array.ndim == 2:
        return array[:, :, None, None]
    return np.einsum(f"{layout}->nchw", array) if array.ndim == 4 else array


def affine_step(kind: str, value: Array, *, value_first: bool) -> RecordedStep | None:
    """Return the rescaling that an operation with a constant computes, or None if it is none.

    `value_first` is true for `value - x`, false for `x - value`.
    """
    flat = np.asarray(value, "float64").reshape(-1)
    if kind == Kind.ADD:
        scale, offset = np.ones(1), flat
    elif kind == "subtract":
        scale, offset = (-np.ones(1), flat) if value_first else (np.ones(1), -flat)
    elif kind == Kind.MULTIPLY:
        scale, offset = flat, np.zeros(1)
    elif kind == "divide" and not value_first:
        scale, offset = 1 / flat, np.zeros(1)
    else:
        return None
    return RecordedStep(Kind.AFFINE, "", tensors={"scale": scale, "offset": offset})
