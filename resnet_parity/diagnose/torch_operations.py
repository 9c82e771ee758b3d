"""PyTorch's functions in neutral words; each takes the arguments of the function of its name.

Each returns the operands that may come from the net, and the steps that the call stands for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resnet_parity.diagnose.record import (
    ADD,
    AFFINE,
    AVERAGE_POOL,
    CONV,
    DENSE,
    FLATTEN,
    GLOBAL_AVERAGE,
    MAX_POOL,
    MULTIPLY,
    NORM,
    PAD,
    RELU,
    SAME,
    TRANSPOSE,
    Array,
    Assign,
    RecordedStep,
)

Words = tuple[Sequence[Any], Sequence[RecordedStep]]
Translate = Callable[..., Words]


def numbers_of(tensor: Any) -> Array:
    """A copy of a tensor's numbers."""
    return tensor.detach().cpu().numpy().copy()


def _tensors(**named: Any) -> dict[str, Any]:
    present = {name: tensor for name, tensor in named.items() if tensor is not None}
    return {
        "tensors": {name: numbers_of(tensor) for name, tensor in present.items()},
        "assign": {name: _assign(tensor) for name, tensor in present.items()},
    }


def _assign(tensor: Any) -> Assign:
    def assign(value: Array) -> None:
        tensor.data.copy_(tensor.new_tensor(np.ascontiguousarray(value)))

    return assign


def pair(value: Any) -> tuple[int, int]:
    """Height's and width's number, given as one or as two."""
    if isinstance(value, Sequence) and len(value) == 1:
        value = value[0]
    return tuple(value) if isinstance(value, Sequence) else (value, value)  # type: ignore


def _around(padding: Any) -> Any:
    if isinstance(padding, str):
        return SAME if padding == "same" else ((0, 0), (0, 0))
    return tuple((each, each) for each in pair(padding))


def _conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Words:
    numbers = {
        "stride": pair(stride),
        "pad": _around(padding),
        "dilation": pair(dilation),
        "groups": groups,
    }
    return [x], [RecordedStep(CONV, "", numbers, **_tensors(weight=weight, bias=bias))]


def _batch_norm(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> Words:
    numbers = {
        "eps": eps,
        "axis": "c",
        "training": bool(training),
        "decay": None if momentum is None else round(1 - momentum, 12),
        "unbiased": True,
    }
    words = _tensors(gamma=weight, beta=bias, mean=running_mean, variance=running_var)
    if running_mean is None:  # track_running_stats=False: those of the batch, always
        unused = {
            "mean": np.zeros(x.shape[1], "float32"),
            "variance": np.ones(x.shape[1], "float32"),
        }
        words["tensors"] |= unused
    return [x], [RecordedStep(NORM, "", numbers, **words)]


def _linear(x, weight, bias=None) -> Words:
    return [x], [RecordedStep(DENSE, "", **_tensors(weight=weight, bias=bias))]


def _max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_) -> Words:
    return [x], [_pool(MAX_POOL, kernel_size, stride, padding, dilation, ceil_mode, False)]


def _avg_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
) -> Words:
    step = _pool(AVERAGE_POOL, kernel_size, stride, padding, 1, ceil_mode, count_include_pad)
    return [x], [step]


def _pool(kind: str, kernel, stride, padding, dilation, ceil: bool, counted: bool) -> RecordedStep:
    numbers = {
        "kernel": pair(kernel),
        "stride": pair(stride or kernel),
        "pad": _around(padding),
        "dilation": pair(dilation),
        "ceil": ceil,
        "counted": counted,
        "border": -math.inf if kind == MAX_POOL else 0.0,
    }
    return RecordedStep(kind, "", numbers)


def _adaptive_avg_pool2d(x, output_size) -> Words:
    return [x], [RecordedStep(GLOBAL_AVERAGE, "")]  # the recorder refuses another output size


def _mean(x, dim=None, keepdim=False, **_) -> Words:
    return [x], [RecordedStep(GLOBAL_AVERAGE, "")]


def _relu(x, *_, **__) -> Words:
    return [x], [RecordedStep(RELU, "", {"slope": 0.0, "most": None})]


def _leaky_relu(x, negative_slope=0.01, *_, **__) -> Words:
    return [x], [RecordedStep(RELU, "", {"slope": negative_slope, "most": None})]


def _relu6(x, *_, **__) -> Words:
    return [x], [RecordedStep(RELU, "", {"slope": 0.0, "most": 6.0})]


def _flatten(x, *_, **__) -> Words:
    return [x], [RecordedStep(FLATTEN, "", {"order": "chw"})]


def _permute(x, *axes) -> Words:
    axes = axes[0] if len(axes) == 1 else axes
    return [x], [RecordedStep(TRANSPOSE, "", {"axes": tuple(axes)})]


def _pad(x, pad, mode="constant", value=None) -> Words:
    pairs = [tuple(pad[i : i + 2]) for i in range(0, len(pad), 2)]
    around = (*[(0, 0)] * (4 - len(pairs)), *reversed(pairs))
    return [x], [RecordedStep(PAD, "", {"around": around, "value": value or 0.0})]


def _named(kind: str) -> Translate:
    return lambda x, *_, **__: ([x], [RecordedStep(kind, "")])


def _two(kind: str) -> Translate:
    return lambda x, y, **_: ([x, y], [RecordedStep(kind, "")])


TRANSLATIONS: dict[str, Translate] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_avg_pool2d,
    "mean": _mean,
    "relu": _relu,
    "leaky_relu": _leaky_relu,
    "relu6": _relu6,
    "flatten": _flatten,
    "view": _flatten,
    "reshape": _flatten,
    "permute": _permute,
    "pad": _pad,
    "softmax": _named("softmax"),
    "sigmoid": _named("sigmoid"),
    "silu": _named("silu"),
    "tanh": _named("tanh"),
    "add": _two(ADD),
    "sub": _two("subtract"),
    "mul": _two(MULTIPLY),
    "div": _two("divide"),
}
"""By the function's name, without the underscore of its in-place twin."""


def constant(kind: str, value: Array, first: bool) -> RecordedStep | None:
    """`x kind value` as a scale and an offset per channel; `first`: the value stands before x."""
    flat = np.asarray(value, "float64").reshape(-1)
    if kind == ADD:
        scale, offset = np.ones(1), flat
    elif kind == "subtract":
        scale, offset = (-np.ones(1), flat) if first else (np.ones(1), -flat)
    elif kind == MULTIPLY:
        scale, offset = flat, np.zeros(1)
    elif kind == "divide" and not first:
        scale, offset = 1 / flat, np.zeros(1)
    else:
        return None
    return RecordedStep(AFFINE, "", tensors={"scale": scale, "offset": offset})
