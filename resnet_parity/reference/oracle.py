"""The oracle: a third, independent pass in NumPy, straight from the graph of the spec.

It shares no code with either implementation. In float64 it says what a net *should* give. On an exact probe
it computes with integers times a power of two, so that it gives the one right answer and, with it,
the proof that float32 or float64 arithmetic cannot round anywhere (see `values`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from resnet_spec import (
    IMAGE,
    Add,
    Architecture,
    AveragePool,
    ChannelPad,
    Conv,
    Gate,
    GlobalAverage,
    Linear,
    MaxPool,
    Node,
    Norm,
    Operation,
    Relu,
    make_graph,
    outputs,
)

from resnet_parity.reference.values import (
    Value,
    Weights,
    coarse,
    in_units,
    largest,
    reduced,
    tensor,
    total,
)

OPEN_GATE = 64
"""From here on a sigmoid is exactly 1 in float32 and in float64: exp(-64) < 2^-53."""


def forward(arch: Architecture, weights: Weights, images: np.ndarray) -> dict[str, Value]:
    """Every tap for images (N, C, H, W), under its canonical name, then what the model returns.

    float64 images give a float64 pass. int64 images give an exact one, for weights that are
    integers and norms that scale by zero or a power of two.
    """
    trace = {node.name: value for node, value in walk(arch, weights, images) if node.is_tap}
    return trace | {name: trace[tap] for name, tap in outputs(arch).items()}


def walk(
    arch: Architecture, weights: Weights, images: np.ndarray, *, training: bool = False
) -> Iterator[tuple[Node, Value]]:
    """Every operation with its output, in execution order; `training` norms by the batch."""
    values = {IMAGE: Value(images)}
    for node in make_graph(arch):
        inputs = [values[name] for name in node.inputs]
        values[node.name] = _apply(node.operation, weights, inputs, training)
        yield node, values[node.name]


def _apply(operation: Operation, weights: Weights, inputs: list[Value], training: bool) -> Value:
    x = inputs[0]
    match operation:
        case Conv():
            return _conv(operation, weights, x)
        case Norm():
            if training:
                return _norm(operation, {**weights, **batch_statistics(operation, x)}, x)
            return _norm(operation, weights, x)
        case Relu():
            return _relu(x)
        case MaxPool():
            return _max_pool(operation, x)
        case AveragePool():
            return _average_pool(operation, x)
        case ChannelPad():
            return _channel_pad(operation, x)
        case GlobalAverage():
            return _global_average(operation, x)
        case Gate():
            return _gate(x, inputs[1])
        case Add():
            return total(*inputs)
        case Linear():
            return _linear(operation, weights, x)
        case _:
            return x  # an identity


def batch_statistics(norm: Norm, x: Value) -> dict[str, np.ndarray]:
    """What a norm divides by in training: mean and biased variance of the batch."""
    axes = (0, 2, 3)
    mean, variance = x.array.mean(axes), x.array.var(axes)
    return {f"{norm.name}.running_mean": mean, f"{norm.name}.running_var": variance}


def _relu(x: Value) -> Value:
    return Value(np.maximum(x.array, 0), x.exponent, terms=x.terms)


def _conv(conv: Conv, weights: Weights, x: Value) -> Value:
    """(N, in, H, W) -> (N, out, H', W')."""
    kernel, x = tensor(weights, f"{conv.name}.weight", x), coarse(x)
    windows = conv_windows(conv, x.array)
    if not x.is_exact:
        value = Value(_dense_sum(windows, kernel.array, conv.groups))
    else:
        array, bound = _sparse_sum(windows, kernel.array, conv.groups)
        value = Value(array, x.exponent + kernel.exponent, bound=bound)
    if conv.bias:
        bias = tensor(weights, f"{conv.name}.bias", x)
        value = _plus(value, replace(bias, array=bias.array[:, None, None]))
    if x.terms is None:
        return reduced(value)
    terms = _sizes_of_terms(conv, weights, x.terms)
    return replace(value, terms=terms[:, :, None, None], cells=x.cells)


def _plus(value: Value, bias: Value) -> Value:
    """A sum of products and a bias, which may stand anywhere among them."""
    if not value.is_exact:
        return Value(value.array + bias.array)
    if not bias.array.any():  # zeros have no unit
        return reduced(value)
    exponent = min(value.exponent, bias.exponent)
    terms = value.bound << (value.exponent - exponent)
    array, added = in_units(value, exponent), in_units(bias, exponent)
    bound = terms + largest(np.abs(added))
    return reduced(Value(array + added, exponent, bound=bound))


def _sparse_sum(windows: np.ndarray, kernel: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """The convolution as a sum over the nonzero weights alone, in int64, and its bound.

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
    bound = largest(np.add.reduceat(np.abs(terms), starts, axis=0))
    return np.ascontiguousarray(result.swapaxes(0, 1)), bound


def _dense_sum(windows: np.ndarray, kernel: np.ndarray, groups: int) -> np.ndarray:
    """The convolution as one matrix product per group, in float64."""
    batch, channels, height, width, *taps = windows.shape
    grouped = windows.reshape(batch, groups, channels // groups, height, width, *taps)
    columns = grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, batch * height * width, -1)
    matrix = kernel.reshape(groups, kernel.shape[0] // groups, -1).swapaxes(1, 2)
    result = (columns @ matrix).reshape(groups, batch, height, width, -1)
    result = result.transpose(1, 0, 4, 2, 3).reshape(batch, kernel.shape[0], height, width)
    return np.ascontiguousarray(result)


def _norm(norm: Norm, weights: Weights, x: Value) -> Value:
    """(x - mean) / sqrt(variance + eps) * gamma + beta, per channel."""

    def channel(leaf: str) -> np.ndarray:
        return weights[f"{norm.name}.{leaf}"].astype("float64")[:, None, None]

    gamma, beta, mean = channel("weight"), channel("bias"), channel("running_mean")
    deviation = np.sqrt(channel("running_var") + norm.eps)
    if not x.is_exact:
        return Value((x.array - mean) / deviation * gamma + beta)
    scale = np.rint(gamma / deviation).astype(np.int64)
    exponent = min(x.exponent, 0)
    array = in_units(x, exponent)
    mean, beta = (np.ldexp(each, -exponent).astype(np.int64) for each in (mean, beta))
    bound = largest((np.abs(array) + np.abs(mean)) * np.abs(scale) + np.abs(beta))
    return reduced(Value((array - mean) * scale + beta, exponent, bound=bound))


def _max_pool(pool: MaxPool, x: Value) -> Value:
    """(N, C, H, W) -> (N, C, H', W'); the border never wins, unless it is of zeros."""
    lowest = np.iinfo(x.array.dtype).min if x.is_exact else -np.inf
    border = 0 if pool.border == "zero" else lowest
    padded = surround(x.array, pool.padding, border)
    windows = windows_of(padded, pool.kernel, pool.stride, dilation=1)
    return Value(windows.max(axis=(4, 5)), x.exponent)


def _average_pool(pool: AveragePool, x: Value) -> Value:
    """(N, C, H, W) -> (N, C, H', W'), rounded up, each the mean of the cells that there are."""
    rows, columns = (-(-extent // pool.stride) for extent in x.array.shape[2:])
    reach = [(count - 1) * pool.stride + pool.kernel for count in (rows, columns)]
    over = [max(0, end - extent) for end, extent in zip(reach, x.array.shape[2:], strict=True)]
    after = ((0, 0), (0, 0), (0, over[0]), (0, over[1]))
    cells = np.ones_like(x.array[:1, :1])
    padded = np.pad(x.array, after)
    cells = np.pad(cells, after, constant_values=1 if pool.zeros else 0)
    totals = windows_of(padded, pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    counts = windows_of(cells, pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    if not x.is_exact:
        return Value(totals / counts)
    magnitudes = windows_of(np.abs(padded), pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    # Of 4 cells an edge has 2 or 1. An engine may divide by that, or take the others twice.
    times = pool.kernel**2 // counts
    bound = largest(magnitudes * times)
    return reduced(Value(totals * times, x.exponent - 2, bound=bound))


def _channel_pad(pad: ChannelPad, x: Value) -> Value:
    """(N, C, H, W) -> (N, before + C + behind, H, W)."""
    around = ((0, 0), (pad.before, pad.after), (0, 0), (0, 0))
    return replace(x, array=np.pad(x.array, around))


def _gate(x: Value, gate: Value) -> Value:
    """The input times the sigmoid of the gate, which in an exact pass is a half or one."""
    if not x.is_exact:
        return Value(x.array * sigmoid(gate.array))
    shut, flaw = _shut(gate)
    return reduced(Value(x.array * np.where(shut, 1, 2), x.exponent - 1, flaw=flaw))


def _shut(gate: Value) -> tuple[np.ndarray, str]:
    """Where an exact gate is a half and not one, and why it may be neither."""
    shut = gate.array == 0
    is_open = np.ldexp(gate.array.astype("float64"), gate.exponent) >= OPEN_GATE
    return shut, "" if (shut | is_open).all() else "a sigmoid is met between 0 and 64, or below 0"


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)): the shape stays."""
    return 1 / (1 + np.exp(-x))


def _global_average(pool: GlobalAverage, x: Value) -> Value:
    """(N, C, H, W) -> (N, C), or (N, C, 1, 1) in a gate."""
    rows, columns = x.array.shape[2:]
    area, keep = rows * columns, not pool.flat
    total = x.array.sum(axis=(2, 3), keepdims=keep)
    if not x.is_exact:
        # Means of what has both signs may cancel, and so may every sum behind them in a gate.
        terms = np.abs(x.array).mean(axis=(2, 3), keepdims=True) if keep else None
        return Value(total / area, terms=terms, cells=area)
    bits = area.bit_length() - 1
    flaw = "" if area == 2**bits else f"a mean over {rows}x{columns} cells is no dyadic fraction"
    bound = largest(np.abs(x.array).sum(axis=(2, 3)))
    return Value(total, x.exponent - bits, bound=bound, flaw=flaw)


def _linear(fc: Linear, weights: Weights, x: Value) -> Value:
    """(N, in) -> (N, out)."""
    kernel = tensor(weights, f"{fc.name}.weight", x)
    bias = tensor(weights, f"{fc.name}.bias", x)
    if not x.is_exact:
        terms = _sizes_of_terms(fc, weights, x.array)
        return Value(x.array @ kernel.array.T + bias.array, terms=terms)
    bound = largest(np.abs(x.array) @ np.abs(kernel.array.T))
    exponent = x.exponent + kernel.exponent
    return _plus(Value(x.array @ kernel.array.T, exponent, bound=bound), bias)


def _sizes_of_terms(layer: Conv | Linear, weights: Weights, x: np.ndarray) -> np.ndarray:
    """How large sums of products with x would be if their terms were independent: (N, out)."""
    kernel = weights[f"{layer.name}.weight"].astype("float64")
    bias = weights[f"{layer.name}.bias"].astype("float64")
    flat = x.reshape(x.shape[:2])
    squares = flat**2 @ (kernel.reshape(kernel.shape[0], -1) ** 2).T + bias**2
    return np.sqrt(squares)


def surround(x: np.ndarray, padding: int, value: float) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=value)


def windows_of(x: np.ndarray, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """What each output cell sees: (N, C, H, W) -> (N, C, H', W', kernel, kernel), no copy."""
    reach = dilation * (kernel - 1) + 1
    windows = sliding_window_view(x, (reach, reach), axis=(2, 3))
    return windows[:, :, ::stride, ::stride, ::dilation, ::dilation]


def conv_windows(conv: Conv, x: np.ndarray) -> np.ndarray:
    """What each output cell of a convolution sees, zeros beyond the edge."""
    padded = surround(x, conv.padding, 0)
    return windows_of(padded, conv.kernel, conv.stride, conv.dilation)
