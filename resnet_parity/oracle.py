"""The oracle: a third, independent forward pass in NumPy, straight from the plan.

It shares no code with either hand. In float64 it says what a net *should* give; in int64, on an
exact probe, it gives the one right answer and, with it, a bound on every partial sum, whatever the
order of summation: the proof that float32 or float64 arithmetic cannot round anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from resnet_spec import Architecture, Block, Conv, Linear, MaxPool, Norm, make_plan

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Value:
    """The output of one tap.

    It stands for `array / denominator`; the denominator is one, except behind the global average
    of an integer pass. `bound` is the largest sum of absolute terms, in units of the array, that
    any order of summation could meet on the way to this tap (integer passes only).
    """

    array: np.ndarray
    bound: int = 0
    denominator: int = 1

    def astype(self, dtype: str) -> np.ndarray:
        return self.array.astype(dtype) / np.dtype(dtype).type(self.denominator)


def forward(arch: Architecture, weights: Weights, images: np.ndarray) -> dict[str, Value]:
    """Every tap for images (N, C, H, W), under its canonical name, `logits` among them.

    float64 images give a float64 pass. int64 images give an exact one, for kernels, biases and
    means that are integers and norms that scale by -1, 0 or 1.
    """
    trace: dict[str, Value] = {}
    for name, value in _walk(arch, weights, images):
        trace[name] = value
    trace["logits"] = trace[make_plan(arch).fc.name]
    return trace


def _walk(arch: Architecture, weights: Weights, x: np.ndarray) -> Iterator[tuple[str, Value]]:
    plan = make_plan(arch)
    value = _conv(plan.conv1, weights, x)
    yield plan.conv1.name, value
    value = _norm(plan.bn1, weights, value.array)
    yield plan.bn1.name, value
    x = _relu(value.array)
    if plan.maxpool:
        x = _max_pool(plan.maxpool, x)
        yield plan.maxpool.name, Value(x)
    for block in plan.blocks:
        for name, value in _walk_block(block, weights, x):
            yield name, value
        x = value.array
    value = _global_average(x)
    yield "avgpool", value
    yield plan.fc.name, _linear(plan.fc, weights, value)


def _walk_block(block: Block, weights: Weights, x: np.ndarray) -> Iterator[tuple[str, Value]]:
    identity = x
    if block.projection:
        conv, norm = block.projection
        value = _conv(conv, weights, x)
        yield conv.name, value
        value = _norm(norm, weights, value.array)
        yield norm.name, value
        identity = value.array
    last = block.norms[-1]
    for conv, norm in zip(block.convs, block.norms, strict=True):
        value = _conv(conv, weights, x)
        yield conv.name, value
        value = _norm(norm, weights, value.array)
        yield norm.name, value
        x = value.array if norm is last else _relu(value.array)
    total = _largest(np.abs(x) + np.abs(identity))
    yield block.name, Value(_relu(x + identity), total)


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _conv(conv: Conv, weights: Weights, x: np.ndarray) -> Value:
    """(N, in, H, W) -> (N, out, H', W')."""
    kernel = _tensor(weights, f"{conv.name}.weight", x)
    windows = _windows(_pad(x, conv.padding, 0), conv.kernel, conv.stride, conv.dilation)
    value = (_sparse_sum if _is_exact(x) else _dense_sum)(windows, kernel, conv.groups)
    if not conv.bias:
        return value
    bias = _tensor(weights, f"{conv.name}.bias", x)
    return Value(value.array + bias[:, None, None], value.bound + _largest(np.abs(bias)))


def _sparse_sum(windows: np.ndarray, kernel: np.ndarray, groups: int) -> Value:
    """The convolution as a sum over the nonzero weights alone, in int64.

    NumPy has no fast integer matrix product, and an exact probe is nearly all zeros.
    """
    out, into, row, column = np.nonzero(kernel)
    per_group = kernel.shape[0] // groups
    channel = out // per_group * kernel.shape[1] + into
    terms = windows[:, channel, :, :, row, column]  # (nonzeros, N, H', W')
    terms = terms * kernel[out, into, row, column][:, None, None, None]
    filled, starts = np.unique(out, return_index=True)
    batch, _, height, width = windows.shape[:4]
    result = np.zeros((kernel.shape[0], batch, height, width), dtype=kernel.dtype)
    result[filled] = np.add.reduceat(terms, starts, axis=0)
    bound = _largest(np.add.reduceat(np.abs(terms), starts, axis=0))
    return Value(np.ascontiguousarray(result.swapaxes(0, 1)), bound)


def _dense_sum(windows: np.ndarray, kernel: np.ndarray, groups: int) -> Value:
    """The convolution as one matrix product per group, in float64."""
    batch, channels, height, width, *taps = windows.shape
    grouped = windows.reshape(batch, groups, channels // groups, height, width, *taps)
    columns = grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, batch * height * width, -1)
    matrix = kernel.reshape(groups, kernel.shape[0] // groups, -1).swapaxes(1, 2)
    result = (columns @ matrix).reshape(groups, batch, height, width, -1)
    result = result.transpose(1, 0, 4, 2, 3).reshape(batch, kernel.shape[0], height, width)
    return Value(np.ascontiguousarray(result))


def _norm(norm: Norm, weights: Weights, x: np.ndarray) -> Value:
    """(x - mean) / sqrt(variance + eps) * gamma + beta, per channel."""

    def channel(leaf: str) -> np.ndarray:
        return weights[f"{norm.name}.{leaf}"].astype("float64")[:, None, None]

    gamma, beta, mean = channel("weight"), channel("bias"), channel("running_mean")
    deviation = np.sqrt(channel("running_var") + norm.eps)
    if not _is_exact(x):
        return Value((x - mean) / deviation * gamma + beta)
    scale = np.rint(gamma / deviation).astype(x.dtype)
    mean, beta = mean.astype(x.dtype), beta.astype(x.dtype)
    return Value((x - mean) * scale + beta, _largest(np.abs(x) + np.abs(mean) + np.abs(beta)))


def _max_pool(pool: MaxPool, x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) -> (N, C, H', W'); the border never wins."""
    lowest = np.iinfo(x.dtype).min if _is_exact(x) else -np.inf
    windows = _windows(_pad(x, pool.padding, lowest), pool.kernel, pool.stride, dilation=1)
    return windows.max(axis=(4, 5))


def _global_average(x: np.ndarray) -> Value:
    """(N, C, H, W) -> (N, C); an integer pass keeps the sum and divides later."""
    area = x.shape[2] * x.shape[3]
    total = x.sum(axis=(2, 3))
    if _is_exact(x):
        return Value(total, _largest(np.abs(x).sum(axis=(2, 3))), area)
    return Value(total / area)


def _linear(fc: Linear, weights: Weights, pooled: Value) -> Value:
    """(N, in) -> (N, out)."""
    x = pooled.array
    kernel = _tensor(weights, f"{fc.name}.weight", x)
    bias = _tensor(weights, f"{fc.name}.bias", x) * pooled.denominator
    result = x @ kernel.T + bias
    if not _is_exact(x):
        return Value(result)
    bound = _largest(np.abs(x) @ np.abs(kernel.T) + np.abs(bias))
    return Value(result, bound, pooled.denominator)


def _is_exact(x: np.ndarray) -> bool:
    return np.issubdtype(x.dtype, np.integer)


def _tensor(weights: Weights, name: str, like: np.ndarray) -> np.ndarray:
    return weights[name].astype(like.dtype)


def _largest(terms: np.ndarray) -> int:
    return int(terms.max()) if _is_exact(terms) else 0


def _pad(x: np.ndarray, padding: int, value: float) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=value)


def _windows(x: np.ndarray, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """What each output cell sees: (N, C, H, W) -> (N, C, H', W', kernel, kernel), no copy."""
    reach = dilation * (kernel - 1) + 1
    windows = sliding_window_view(x, (reach, reach), axis=(2, 3))
    return windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
