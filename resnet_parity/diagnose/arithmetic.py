"""Evaluate a step of a record, in float64 NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from resnet_parity.compare import relative_error
from resnet_parity.diagnose.record import SAME, Array, Call, Kind, RecordedStep
from resnet_parity.reference.oracle import dense_sum

Sides = tuple[tuple[int, int], tuple[int, int]]
"""Padding before and after, of the height and of the width."""


def evaluate(step: RecordedStep, inputs: Sequence[Array]) -> Array:
    """Return the output of the step for those inputs, in float64.

    Raises `ValueError` when the inputs do not fit the step.
    """
    if step.call is not None:
        return _called(step.call, inputs)
    if step.kind not in EVALUATORS:
        raise ValueError(f"no evaluator for {step.kind}")
    arrays = [np.asarray(each, "float64") for each in inputs]
    with np.errstate(all="ignore"):  # NaN and infinity are compared like other values
        return EVALUATORS[step.kind](step, *arrays)


def _called(call: Call, inputs: Sequence[Array]) -> Array:
    try:
        return call(inputs).astype("float64")
    except Exception as error:  # a framework's own: it does not take these shapes
        raise ValueError(str(error)) from error


def relative_error_where_finite(expected: Array, actual: Array) -> float:
    """The relative error of the elements that are finite in both."""
    finite = np.isfinite(expected) & np.isfinite(actual)
    return relative_error(np.where(finite, expected, 0), np.where(finite, actual, 0))


def sides(pad: Any, extents: Sequence[int], kernel: Any, stride: Any, dilation: Any) -> Sides:
    """The padding before and after, per axis; "same" completes the last window."""
    if pad != SAME:
        return pad
    pairs = []
    for extent, size, step, spacing in zip(extents, kernel, stride, dilation, strict=True):
        reach = spacing * (size - 1) + 1
        total = max((math.ceil(extent / step) - 1) * step + reach - extent, 0)
        pairs.append((total // 2, total - total // 2))
    return pairs[0], pairs[1]


def _windows(x: Array, kernel: Any, stride: Any, dilation: Any) -> Array:
    """The window of each output cell: (N, C, H, W) -> (N, C, H', W', kh, kw), without a copy."""
    reach = [spacing * (size - 1) + 1 for size, spacing in zip(kernel, dilation, strict=True)]
    if any(extent < size for extent, size in zip(x.shape[2:], reach, strict=True)):
        raise ValueError(f"a window of {reach} does not fit {x.shape[2:]}")
    windows = sliding_window_view(x, reach, axis=(2, 3))
    return windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def _conv(step: RecordedStep, x: Array) -> Array:
    settings, kernel = step.settings, step.tensors["weight"].astype("float64")
    size, groups = kernel.shape[2:], settings["groups"]
    if x.ndim != 4 or x.shape[1] != kernel.shape[1] * groups:
        raise ValueError(f"{x.shape} does not fit a kernel of {kernel.shape}")
    stride, dilation = settings["stride"], settings["dilation"]
    around = sides(settings["pad"], x.shape[2:], size, stride, dilation)
    windows = _windows(np.pad(x, ((0, 0), (0, 0), *around)), size, stride, dilation)
    return dense_sum(windows, kernel, groups) + _per_channel(step.tensors.get("bias"), 0.0)


def _per_channel(tensor: Array | None, default: float) -> Array:
    """Reshape a tensor of one number per channel so that it broadcasts over a feature map."""
    return np.full((1, 1, 1), default) if tensor is None else tensor.reshape(-1, 1, 1)


def _dense(step: RecordedStep, x: Array) -> Array:
    if x.ndim != 4 or x.shape[2:] != (1, 1):
        raise ValueError(f"{x.shape} is not a vector, which a dense layer takes")
    result = x[:, :, 0, 0] @ step.tensors["weight"].astype("float64").T
    return result[:, :, None, None] + _per_channel(step.tensors.get("bias"), 0.0)


def _norm(step: RecordedStep, x: Array) -> Array:
    axis = "nchw".index(step.settings["axis"])
    if x.ndim != 4 or x.shape[axis] != len(step.tensors["mean"]):
        raise ValueError(f"{x.shape} does not fit {len(step.tensors['mean'])} means")
    along = np.moveaxis(x, axis, 1)
    mean, variance = (_per_channel(step.tensors[name], 0.0) for name in ("mean", "variance"))
    if step.settings["training"]:
        mean = along.mean(axis=(0, 2, 3)).reshape(-1, 1, 1)
        variance = along.var(axis=(0, 2, 3)).reshape(-1, 1, 1)
    scale = _per_channel(step.tensors.get("gamma"), 1.0) / np.sqrt(
        variance.astype("float64") + step.settings["eps"]
    )
    return np.moveaxis(
        (along - mean) * scale + _per_channel(step.tensors.get("beta"), 0.0), 1, axis
    )


def _max_pool(step: RecordedStep, x: Array) -> Array:
    windows, _ = _pool_windows(step, x, step.settings["border"])
    return windows.max(axis=(4, 5))


def _average_pool(step: RecordedStep, x: Array) -> Array:
    windows, counted = _pool_windows(step, x, 0.0)
    return windows.sum(axis=(4, 5)) / counted.sum(axis=(4, 5))


def _pool_windows(step: RecordedStep, x: Array, border: float) -> tuple[Array, Array]:
    """The windows of a pool, and a mask of the cells that count in its mean."""
    settings = step.settings
    kernel, stride, dilation = settings["kernel"], settings["stride"], settings["dilation"]
    around = sides(settings["pad"], x.shape[2:], kernel, stride, dilation)
    beyond = [(0, 0), (0, 0)]
    if settings["ceil"]:
        beyond = [
            (0, _overhang(extent + sum(pair), pair[0] + extent, *sizes))
            for extent, pair, *sizes in zip(
                x.shape[2:], around, kernel, stride, dilation, strict=True
            )
        ]
    cells = np.ones((1, 1, *x.shape[2:]))
    cells = np.pad(cells, ((0, 0), (0, 0), *around), constant_values=float(settings["counted"]))
    cells = np.pad(cells, ((0, 0), (0, 0), *beyond))
    padded = np.pad(x, ((0, 0), (0, 0), *around), constant_values=border)
    outside = -np.inf if step.kind == Kind.MAX_POOL else 0.0
    padded = np.pad(padded, ((0, 0), (0, 0), *beyond), constant_values=outside)
    return tuple(_windows(each, kernel, stride, dilation) for each in (padded, cells))  # type: ignore


def _overhang(extent: int, last_start: int, kernel: int, stride: int, dilation: int) -> int:
    """The cells to add for one more window of a pool, which must begin before `last_start`."""
    reach = dilation * (kernel - 1) + 1
    count = math.ceil((extent - reach) / stride)
    count -= count * stride >= last_start
    return max(0, count * stride + reach - extent)


def _pad(step: RecordedStep, x: Array) -> Array:
    return np.pad(x, step.settings["around"], constant_values=step.settings["value"])


def _relu(step: RecordedStep, x: Array) -> Array:
    result = np.where(x > 0, x, step.settings["slope"] * x)
    return result if step.settings["most"] is None else np.minimum(result, step.settings["most"])


def _softmax(step: RecordedStep, x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _affine(step: RecordedStep, x: Array) -> Array:
    return x * _per_channel(step.tensors["scale"], 1.0) + _per_channel(step.tensors["offset"], 0.0)


def _flatten(step: RecordedStep, x: Array) -> Array:
    ordered = np.einsum(f"nchw->n{step.settings['order']}", x)
    return ordered.reshape(len(x), -1)[:, :, None, None]


def _broadcast(operation: Callable[..., Array]) -> Callable[..., Array]:
    return lambda step, *inputs: operation(*inputs)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), elementwise.

    The oracle's formula overflows far below zero, which its own inputs never are; a user's may be.
    """
    return 0.5 * (1 + np.tanh(0.5 * x))


EVALUATORS: dict[str, Callable[..., Array]] = {
    Kind.CONV: _conv,
    Kind.DENSE: _dense,
    Kind.NORM: _norm,
    Kind.MAX_POOL: _max_pool,
    Kind.AVERAGE_POOL: _average_pool,
    Kind.GLOBAL_AVERAGE: _broadcast(lambda x: x.mean(axis=(2, 3), keepdims=True)),
    Kind.PAD: _pad,
    Kind.RELU: _relu,
    Kind.ADD: _broadcast(np.add),
    Kind.MULTIPLY: _broadcast(np.multiply),
    Kind.AFFINE: _affine,
    Kind.FLATTEN: _flatten,
    Kind.TRANSPOSE: lambda step, x: x.transpose(step.settings["axes"]),
    Kind.REVERSE: _broadcast(lambda x: x[:, ::-1]),
    Kind.IDENTITY: _broadcast(lambda x: x),
    Kind.OUTPUT: _broadcast(lambda x: x),
    "softmax": _softmax,
    "sigmoid": _broadcast(sigmoid),
    "tanh": _broadcast(np.tanh),
    "silu": _broadcast(lambda x: x * sigmoid(x)),
    "subtract": _broadcast(np.subtract),
}
"""By kind; the model's own operation runs any kind that is not listed."""
