"""The oracle's forward pass: a ResNet in NumPy, computed straight from the graph of the spec.

It shares no code with either implementation. On a random or training probe it computes in float64.
On an exact probe it computes with integers times a power of two, so that its result is the only
right one, and bounds every sum, which proves that float32 or float64 arithmetic cannot round (see
`values`).
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
    in_largest_unit,
    in_lowest_terms,
    integers_at,
    largest,
    total,
    weight_value,
)

SIGMOID_IS_ONE_FROM = 64
"""For inputs of this and more a sigmoid is exactly 1 in float32 and float64: exp(-64) < 2^-53."""


def forward(arch: Architecture, weights: Weights, images: np.ndarray) -> dict[str, Value]:
    """Every tap for images (N, C, H, W), by canonical name, then the outputs of the model.

    float64 images make a float64 pass. int64 images make an exact one, which needs integer weights
    and norms that scale by zero or a power of two.
    """
    trace = {node.name: value for node, value in walk(arch, weights, images) if node.is_tap}
    return trace | {name: trace[tap] for name, tap in outputs(arch).items()}


def walk(
    arch: Architecture, weights: Weights, images: np.ndarray, *, training: bool = False
) -> Iterator[tuple[Node, Value]]:
    """Every operation with its output, in execution order.

    In `training`, norms use the statistics of the batch.
    """
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
            return x  # an operation that changes nothing


def batch_statistics(norm: Norm, x: Value) -> dict[str, np.ndarray]:
    """The mean and the biased variance of the batch, which a norm uses in training."""
    axes = (0, 2, 3)
    mean, variance = x.array.mean(axes), x.array.var(axes)
    return {f"{norm.name}.running_mean": mean, f"{norm.name}.running_var": variance}


def _relu(x: Value) -> Value:
    return Value(np.maximum(x.array, 0), x.exponent, term_sizes=x.term_sizes)


def _conv(conv: Conv, weights: Weights, x: Value) -> Value:
    """(N, in, H, W) -> (N, out, H', W')."""
    kernel, x = weight_value(weights, f"{conv.name}.weight", x), in_largest_unit(x)
    windows = conv_windows(conv, x.array)
    if not x.is_exact:
        value = Value(dense_sum(windows, kernel.array, conv.groups))
    else:
        array, bound = _sparse_sum(windows, kernel.array, conv.groups)
        value = Value(array, x.exponent + kernel.exponent, bound=bound)
    if conv.bias:
        bias = weight_value(weights, f"{conv.name}.bias", x)
        value = _add_bias(value, replace(bias, array=bias.array[:, None, None]))
    if x.term_sizes is None:
        return in_lowest_terms(value)
    terms = _term_sizes(conv, weights, x.term_sizes)
    return replace(value, term_sizes=terms[:, :, None, None], averaged_cells=x.averaged_cells)


def _add_bias(value: Value, bias: Value) -> Value:
    """A sum of products and a bias, which an engine may add at any place in the order."""
    if not value.is_exact:
        return Value(value.array + bias.array)
    if not bias.array.any():  # zeros have no unit
        return in_lowest_terms(value)
    exponent = min(value.exponent, bias.exponent)
    terms = value.bound << (value.exponent - exponent)
    array, added = integers_at(value, exponent), integers_at(bias, exponent)
    bound = terms + largest(np.abs(added))
    return in_lowest_terms(Value(array + added, exponent, bound=bound))


def _sparse_sum(windows: np.ndarray, kernel: np.ndarray, groups: int) -> tuple[np.ndarray, int]:
    """The convolution as a sum over the nonzero weights alone, in int64, and its bound.

    NumPy has no fast integer matrix product, and most weights of an exact probe are zero.
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


def dense_sum(windows: np.ndarray, kernel: np.ndarray, groups: int) -> np.ndarray:
    """The convolution as one matrix product per group: (N, C, H, W, k, k) -> (N, out, H, W)."""
    batch, _, height, width = windows.shape[:4]
    columns = im2col(windows, groups)
    matrix = kernel.reshape(groups, kernel.shape[0] // groups, -1).swapaxes(1, 2)
    result = (columns @ matrix).reshape(groups, batch, height, width, -1)
    result = result.transpose(1, 0, 4, 2, 3).reshape(batch, kernel.shape[0], height, width)
    return np.ascontiguousarray(result)


def im2col(windows: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, H, W, k, k) -> (groups, N H W, C/groups k k)."""
    batch, channels, height, width, *kernel = windows.shape
    grouped = windows.reshape(batch, groups, channels // groups, height, width, *kernel)
    return grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, batch * height * width, -1)


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
    array = integers_at(x, exponent)
    mean, beta = (np.ldexp(each, -exponent).astype(np.int64) for each in (mean, beta))
    bound = largest((np.abs(array) + np.abs(mean)) * np.abs(scale) + np.abs(beta))
    return in_lowest_terms(Value((array - mean) * scale + beta, exponent, bound=bound))


def _max_pool(pool: MaxPool, x: Value) -> Value:
    """(N, C, H, W) -> (N, C, H', W')."""
    return Value(max_pool_windows(pool, x.array).max(axis=(4, 5)), x.exponent)


def _average_pool(pool: AveragePool, x: Value) -> Value:
    """(N, C, H, W) -> (N, C, H', W'), rounded up: means over the cells inside the map.

    The border of zeros on the far edges of an `AveragePool` with `zeros` counts as inside.
    """
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
    # A window at an edge has 2 or 1 of its 4 cells. An engine may divide by that count, or repeat
    # the cells and divide by 4.
    times = pool.kernel**2 // counts
    bound = largest(magnitudes * times)
    return in_lowest_terms(Value(totals * times, x.exponent - 2, bound=bound))


def _channel_pad(pad: ChannelPad, x: Value) -> Value:
    """(N, C, H, W) -> (N, before + C + after, H, W)."""
    widths = ((0, 0), (pad.before, pad.after), (0, 0), (0, 0))
    return replace(x, array=np.pad(x.array, widths))


def _gate(x: Value, gate: Value) -> Value:
    """The input times the sigmoid of the gate, which in an exact pass is 1/2 or 1."""
    if not x.is_exact:
        return Value(x.array * sigmoid(gate.array))
    is_half = gate.array == 0
    is_one = np.ldexp(gate.array.astype("float64"), gate.exponent) >= SIGMOID_IS_ONE_FROM
    wrong = "a sigmoid has an input below 0, or between 0 and 64"
    because = "" if (is_half | is_one).all() else wrong
    doubled = x.array * np.where(is_half, 1, 2)
    return in_lowest_terms(Value(doubled, x.exponent - 1, inexact_because=because))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), element by element."""
    return 1 / (1 + np.exp(-x))


def _global_average(pool: GlobalAverage, x: Value) -> Value:
    """(N, C, H, W) -> (N, C), or (N, C, 1, 1) in a gate."""
    rows, columns = x.array.shape[2:]
    area, keep = rows * columns, not pool.flat
    total = x.array.sum(axis=(2, 3), keepdims=keep)
    if not x.is_exact:
        # A mean over values of both signs may cancel, and so may every sum after it in a gate.
        terms = np.abs(x.array).mean(axis=(2, 3), keepdims=True) if keep else None
        return Value(total / area, term_sizes=terms, averaged_cells=area)
    bits = area.bit_length() - 1
    wrong = f"a mean over {rows}x{columns} cells is no dyadic fraction"
    because = "" if area == 2**bits else wrong
    bound = largest(np.abs(x.array).sum(axis=(2, 3)))
    return Value(total, x.exponent - bits, bound=bound, inexact_because=because)


def _linear(fc: Linear, weights: Weights, x: Value) -> Value:
    """(N, in) -> (N, out)."""
    kernel = weight_value(weights, f"{fc.name}.weight", x)
    bias = weight_value(weights, f"{fc.name}.bias", x)
    if not x.is_exact:
        terms = _term_sizes(fc, weights, x.array)
        return Value(x.array @ kernel.array.T + bias.array, term_sizes=terms)
    bound = largest(np.abs(x.array) @ np.abs(kernel.array.T))
    exponent = x.exponent + kernel.exponent
    return _add_bias(Value(x.array @ kernel.array.T, exponent, bound=bound), bias)


def _term_sizes(layer: Conv | Linear, weights: Weights, x: np.ndarray) -> np.ndarray:
    """The size of the sums of products with x if their terms were independent: (N, out)."""
    kernel = weights[f"{layer.name}.weight"].astype("float64")
    bias = weights[f"{layer.name}.bias"].astype("float64")
    flat = x.reshape(x.shape[:2])
    squares = flat**2 @ (kernel.reshape(kernel.shape[0], -1) ** 2).T + bias**2
    return np.sqrt(squares)


def pad_border(x: np.ndarray, padding: int, value: float) -> np.ndarray:
    """(N, C, H, W) with `padding` more cells of `value` on each side."""
    return np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=value)


def windows_of(x: np.ndarray, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """The inputs of each output cell: (N, C, H, W) -> (N, C, H', W', kernel, kernel), a view."""
    reach = dilation * (kernel - 1) + 1
    windows = sliding_window_view(x, (reach, reach), axis=(2, 3))
    return windows[:, :, ::stride, ::stride, ::dilation, ::dilation]


def max_pool_windows(pool: MaxPool, x: np.ndarray) -> np.ndarray:
    """The inputs of each output cell of a max-pool; the border wins only if it is zero."""
    lowest = np.iinfo(x.dtype).min if np.issubdtype(x.dtype, np.integer) else -np.inf
    padded = pad_border(x, pool.padding, 0 if pool.border == "zero" else lowest)
    return windows_of(padded, pool.kernel, pool.stride, dilation=1)


def conv_windows(conv: Conv, x: np.ndarray) -> np.ndarray:
    """The inputs of each output cell of a convolution, with zeros beyond the edge."""
    padded = pad_border(x, conv.padding, 0)
    return windows_of(padded, conv.kernel, conv.stride, conv.dilation)
