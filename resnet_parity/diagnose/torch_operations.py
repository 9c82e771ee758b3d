"""Translate PyTorch's functions into steps.

Each translation takes the arguments of its function and returns the operands that the model may
have computed, and the steps of the call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resnet_parity.diagnose.record import SAME, Array, Assign, Kind, RecordedStep

Translation = tuple[Sequence[Any], Sequence[RecordedStep]]
Translate = Callable[..., Translation]


def to_array(tensor: Any) -> Array:
    """Return a copy of a tensor as a NumPy array."""
    return tensor.detach().cpu().numpy().copy()


def _tensors(**named: Any) -> dict[str, Any]:
    present = {name: tensor for name, tensor in named.items() if tensor is not None}
    return {
        "tensors": {name: to_array(tensor) for name, tensor in present.items()},
        "assign": {name: _assign(tensor) for name, tensor in present.items()},
    }


def _assign(tensor: Any) -> Assign:
    def assign(value: Array) -> None:
        tensor.data.copy_(tensor.new_tensor(np.ascontiguousarray(value)))

    return assign


def pair(value: Any) -> tuple[int, int]:
    """The values for height and width, given as one or as two."""
    if isinstance(value, Sequence) and len(value) == 1:
        value = value[0]
    return tuple(value) if isinstance(value, Sequence) else (value, value)  # type: ignore


def _around(padding: Any) -> Any:
    if isinstance(padding, str):
        return SAME if padding == "same" else ((0, 0), (0, 0))
    return tuple((each, each) for each in pair(padding))


def _conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Translation:
    settings = {
        "stride": pair(stride),
        "pad": _around(padding),
        "dilation": pair(dilation),
        "groups": groups,
    }
    return [x], [RecordedStep(Kind.CONV, "", settings, **_tensors(weight=weight, bias=bias))]


def _batch_norm(
    x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
) -> Translation:
    settings = {
        "eps": eps,
        "axis": "c",
        "training": bool(training),
        "decay": None if momentum is None else round(1 - momentum, 12),
        "unbiased": True,
    }
    tensors = _tensors(gamma=weight, beta=bias, mean=running_mean, variance=running_var)
    if running_mean is None:  # track_running_stats=False: always the statistics of the batch
        unused = {
            "mean": np.zeros(x.shape[1], "float32"),
            "variance": np.ones(x.shape[1], "float32"),
        }
        tensors["tensors"] |= unused
    return [x], [RecordedStep(Kind.NORM, "", settings, **tensors)]


def _linear(x, weight, bias=None) -> Translation:
    return [x], [RecordedStep(Kind.DENSE, "", **_tensors(weight=weight, bias=bias))]


def _max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, **_
) -> Translation:
    return [x], [_pool(Kind.MAX_POOL, kernel_size, stride, padding, dilation, ceil_mode, False)]


def _avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, *_, **__
) -> Translation:
    step = _pool(Kind.AVERAGE_POOL, kernel_size, stride, padding, 1, ceil_mode, count_include_pad)
    return [x], [step]


def _pool(kind: str, kernel, stride, padding, dilation, ceil: bool, counted: bool) -> RecordedStep:
    settings = {
        "kernel": pair(kernel),
        "stride": pair(stride or kernel),
        "pad": _around(padding),
        "dilation": pair(dilation),
        "ceil": ceil,
        "counted": counted,
        "border": -math.inf if kind == Kind.MAX_POOL else 0.0,
    }
    return RecordedStep(kind, "", settings)


def _leaky_relu(x, negative_slope=0.01, *_, **__) -> Translation:
    return [x], [RecordedStep(Kind.RELU, "", {"slope": negative_slope, "most": None})]


def _permute(x, *axes) -> Translation:
    axes = axes[0] if len(axes) == 1 else axes
    return [x], [RecordedStep(Kind.TRANSPOSE, "", {"axes": tuple(axes)})]


def _pad(x, pad, mode="constant", value=None) -> Translation:
    pairs = [tuple(pad[i : i + 2]) for i in range(0, len(pad), 2)]
    around = (*[(0, 0)] * (4 - len(pairs)), *reversed(pairs))
    return [x], [RecordedStep(Kind.PAD, "", {"around": around, "value": value or 0.0})]


def _one_operand(kind: str, **settings: Any) -> Translate:
    return lambda x, *_, **__: ([x], [RecordedStep(kind, "", settings)])


def _two_operands(kind: str) -> Translate:
    return lambda x, y, **_: ([x, y], [RecordedStep(kind, "")])


_flatten = _one_operand(Kind.FLATTEN, order="chw")
_average = _one_operand(Kind.GLOBAL_AVERAGE)  # the recorder refuses another output size

TRANSLATIONS: dict[str, Translate] = {
    "conv2d": _conv2d,
    "batch_norm": _batch_norm,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _average,
    "mean": _average,
    "relu": _one_operand(Kind.RELU, slope=0.0, most=None),
    "leaky_relu": _leaky_relu,
    "relu6": _one_operand(Kind.RELU, slope=0.0, most=6.0),
    "flatten": _flatten,
    "view": _flatten,
    "reshape": _flatten,
    "permute": _permute,
    "pad": _pad,
    "softmax": _one_operand("softmax"),
    "sigmoid": _one_operand("sigmoid"),
    "silu": _one_operand("silu"),
    "tanh": _one_operand("tanh"),
    "add": _two_operands(Kind.ADD),
    "sub": _two_operands("subtract"),
    "mul": _two_operands(Kind.MULTIPLY),
    "div": _two_operands("divide"),
}
"""By the function's name, without the underscore of the in-place variant."""
