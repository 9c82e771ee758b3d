"""The neutral record of a model: what it computes, step by step, in the words of no framework.

Arrays are canonical: feature maps (N, C, H, W), vectors (N, C, 1, 1), kernels (out, in, H, W),
dense kernels (out, in).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Array = np.ndarray
Assign = Callable[[Array], None]

INPUT, OUTPUT = "input", "output"
CONV, DENSE, NORM = "conv", "dense", "norm"
RELU, ADD, MULTIPLY = "relu", "add", "multiply"
MAX_POOL, AVERAGE_POOL, GLOBAL_AVERAGE = "max-pool", "average-pool", "global-average"
PAD, AFFINE, FLATTEN, TRANSPOSE = "pad", "rescale", "flatten", "transpose"
IDENTITY, REVERSE = "identity", "reverse-channels"
OPAQUE = "opaque"

SAME = "same"
"""A padding that is worked out from the size of what comes in."""


@dataclass(frozen=True)
class RecordedStep:
    """One layer or operation: its kind, its numbers, its tensors, and the steps that feed it.

    `place` says where a user finds it. `assign` sets the model's own tensor, by name. `call` runs
    the model's own operation where this project has no words for it (kind `opaque`).
    """

    kind: str
    place: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    tensors: Mapping[str, Array] = field(default_factory=dict)
    inputs: tuple[int, ...] = ()
    assign: Mapping[str, Assign] = field(default_factory=dict, repr=False)
    call: Callable[[Sequence[Array]], Array] | None = field(default=None, repr=False)

    def changed(self, **parts: Any) -> RecordedStep:
        """A copy with some numbers or tensors replaced; None takes a tensor away."""
        numbers, tensors = dict(self.numbers), dict(self.tensors)
        for name, value in parts.items():
            if name in numbers:
                numbers[name] = value
            elif value is None:
                tensors.pop(name, None)
            else:
                tensors[name] = value
        return replace(self, numbers=numbers, tensors=tensors)


@dataclass(frozen=True)
class Record:
    """A model as steps in an order in which they can be computed.

    The first step is the input, the last the output. `outputs` holds what the framework itself
    gave at each step, where it shows it.
    """

    framework: str
    steps: tuple[RecordedStep, ...]
    outputs: Mapping[int, Array]

    @property
    def norms(self) -> tuple[RecordedStep, ...]:
        """The batch normalisations."""
        return tuple(step for step in self.steps if step.kind == NORM)


def canonical(array: Array, layout: str) -> Array:
    """An array of that layout ("nhwc" say) as (N, C, H, W); vectors as (N, C, 1, 1)."""
    if array.ndim == 2:
        return array[:, :, None, None]
    if array.ndim == 4:
        return np.einsum(f"{layout}->nchw", array)
    return array
