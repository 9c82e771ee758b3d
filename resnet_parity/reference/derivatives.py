"""The oracle's backward pass: gradients of a weighted sum of what a net returns.

It walks the graph of the spec from its end. Frozen norms divide by constants, as in evaluation; in
training they divide by the batch's own deviation, through which the gradient flows too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np

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
    Norm,
    Operation,
    Relu,
    make_graph,
)

from resnet_parity.reference import oracle
from resnet_parity.reference.values import (
    Value,
    Weights,
    coarse,
    common_bits,
    in_units,
    largest,
    products,
    reduced,
    total,
)

Gradients = dict[str, Value]
"""By the name of the tensor whose gradient it is."""


def backward(
    arch: Architecture,
    weights: Weights,
    values: Mapping[str, Value],
    cotangents: Mapping[str, Value],
    *,
    training: bool = False,
) -> Iterator[tuple[str, Value]]:
    """The gradient of every parameter and, last, of the image, in the order of their making.

    `values` are the outputs of every operation (see `oracle.walk`) and the image, `cotangents` the
    weights of the sum, one array per tap that the net returns. Where two ways meet, the sum has the
    name of the operation that they start from; those come too, for they may round as well.
    """
    arriving: dict[str, list[Value]] = defaultdict(list)
    for name, cotangent in cotangents.items():
        arriving[name].append(cotangent)
    for node in reversed(make_graph(arch)):
        g = total(*arriving.pop(node.name))
        yield f"d {node.name}", g
        inputs = [values[name] for name in node.inputs]
        tensors, passed = _apply(node.operation, weights, inputs, g, training)
        for leaf, value in tensors.items():
            yield f"{node.name}.{leaf}", value
        for name, value in zip(node.inputs, passed, strict=True):
            arriving[name].append(value)
    yield IMAGE, total(*arriving.pop(IMAGE))


def _apply(
    operation: Operation, weights: Weights, inputs: list[Value], g: Value, training: bool
) -> tuple[Gradients, list[Value]]:
    """The gradients of an operation's tensors, by leaf, and those of its inputs."""
    x = inputs[0]
    match operation:
        case Conv():
            return _conv(operation, weights, x, g)
        case Linear():
            return _linear(operation, weights, x, g)
        case Norm() if training:
            return _batch_norm(operation, weights, x, g)
        case Norm():
            return _frozen_norm(operation, weights, x, g)
        case Gate():
            return {}, _gate(x, inputs[1], g)
        case Add():
            return {}, [g, g]
        case Relu():
            return {}, [Value(np.where(x.array > 0, g.array, 0), g.exponent)]
        case MaxPool():
            return {}, [_max_pool(operation, x, g)]
        case AveragePool():
            return {}, [_average_pool(operation, x, g)]
        case GlobalAverage():
            return {}, [_global_average(x, g)]
        case ChannelPad():
            inside = slice(operation.before, operation.before + operation.in_channels)
            return {}, [replace(g, array=g.array[:, inside])]
        case _:
            return {}, [g]  # an identity


def _conv(conv: Conv, weights: Weights, x: Value, g: Value) -> tuple[Gradients, list[Value]]:
    """Of (N, in, H, W) and (N, out, H', W')."""

    def of_kernel(x: np.ndarray, g: np.ndarray) -> np.ndarray:
        columns = _columns(oracle.conv_windows(conv, x), conv.groups)
        return (_rows(g, conv.groups).swapaxes(1, 2) @ columns).reshape(kernel.shape)

    def of_input(kernel: np.ndarray, g: np.ndarray) -> np.ndarray:
        matrix = kernel.reshape(conv.groups, conv.out_channels // conv.groups, -1)
        return _scattered(conv, _rows(g, conv.groups) @ matrix, g.shape[2:], x.array.shape)

    kernel = weights[f"{conv.name}.weight"]
    tensors = {"weight": _with_terms(of_kernel, x, g)}
    if conv.bias:
        tensors["bias"] = _sum_over_cells(g)
    like = Value(kernel.astype(x.array.dtype))
    return tensors, [products(of_input, like, g)]


def _with_terms(contract: Callable[..., np.ndarray], x: Value, g: Value) -> Value:
    """Sums of products over all cells: behind a norm they cancel, for those of its gradient do."""
    value = products(contract, x, g)
    if x.is_exact:
        return value
    return replace(value, terms=np.sqrt(contract(x.array**2, g.array**2)))


def _rows(g: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, H, W) -> (groups, N H W, C/groups)."""
    batch, channels, height, width = g.shape
    grouped = g.reshape(batch, groups, channels // groups, height * width)
    return grouped.transpose(1, 0, 3, 2).reshape(groups, batch * height * width, -1)


def _columns(windows: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, H, W, k, k) -> (groups, N H W, C/groups k k)."""
    batch, channels, height, width, *kernel = windows.shape
    grouped = windows.reshape(batch, groups, channels // groups, height, width, *kernel)
    return grouped.transpose(1, 0, 3, 4, 2, 5, 6).reshape(groups, batch * height * width, -1)


def _scattered(
    conv: Conv, columns: np.ndarray, size: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """What each output cell sends back to its window, summed where windows overlap."""
    batch, channels, height, width = shape
    padded = np.zeros((batch, channels, height + 2 * conv.padding, width + 2 * conv.padding))
    parts = columns.reshape(conv.groups, batch, *size, -1, conv.kernel, conv.kernel)
    parts = parts.transpose(5, 6, 1, 0, 4, 2, 3).reshape(
        conv.kernel, conv.kernel, batch, channels, *size
    )
    for row, column in np.ndindex(conv.kernel, conv.kernel):
        place = _cells(conv.stride, size, row * conv.dilation, column * conv.dilation)
        padded[place] += parts[row, column]
    edge = conv.padding
    return padded[:, :, edge : edge + height, edge : edge + width]


def _cells(stride: int, size: tuple[int, ...], row: int, column: int) -> tuple[slice, ...]:
    """Every stride-th cell from there on, as many as there are outputs."""
    rows = slice(row, row + stride * (size[0] - 1) + 1, stride)
    columns = slice(column, column + stride * (size[1] - 1) + 1, stride)
    return slice(None), slice(None), rows, columns


def _linear(fc: Linear, weights: Weights, x: Value, g: Value) -> tuple[Gradients, list[Value]]:
    """Of (N, in) and (N, out)."""
    kernel = Value(weights[f"{fc.name}.weight"].astype(x.array.dtype))
    tensors = {
        "weight": _with_terms(lambda x, g: g.T @ x, x, g),
        "bias": _sum_over_cells(replace(g, array=g.array[:, :, None, None])),
    }
    return tensors, [products(lambda kernel, g: g @ kernel, kernel, g)]


def _sum_over_cells(g: Value) -> Value:
    """(N, C, H, W) -> (C,)."""
    axes, g = (0, 2, 3), coarse(g)
    if not g.is_exact:
        return Value(g.array.sum(axes), terms=np.sqrt((g.array**2).sum(axes)))
    return reduced(Value(g.array.sum(axes), g.exponent, bound=largest(np.abs(g.array).sum(axes))))


def _frozen_norm(norm: Norm, weights: Weights, x: Value, g: Value) -> tuple[Gradients, list[Value]]:
    """y = (x - mean) / deviation * gamma + beta, where mean and deviation are constants."""
    gamma, mean, variance = (
        weights[f"{norm.name}.{leaf}"].astype("float64")
        for leaf in ("weight", "running_mean", "running_var")
    )
    deviation = np.sqrt(variance + norm.eps)
    if not x.is_exact:
        normed = (x.array - mean[:, None, None]) / deviation[:, None, None]
        passed = Value(g.array * (gamma / deviation)[:, None, None])
        return _norm_tensors(normed, g), [passed]
    # An engine may take the sums over x and over the mean apart, so both count as terms.
    exponent = min(x.exponent, 0)
    array, g = in_units(x, exponent), coarse(g)
    mean = np.ldexp(mean, -exponent).astype(np.int64)[:, None, None]
    sums = products(lambda x, g: (x * g).sum((0, 2, 3)), Value(array - mean, exponent), g)
    sizes = (np.abs(array) + np.abs(mean)).astype("float64") * np.abs(g.array)
    bound = largest(sizes.sum((0, 2, 3))) >> common_bits(array, mean)
    bits = round(np.log2(deviation[0]))
    tensors = {
        "weight": reduced(replace(sums, exponent=sums.exponent - bits, bound=bound)),
        "bias": _sum_over_cells(g),
    }
    scale = np.rint(gamma / deviation).astype(np.int64)[:, None, None]
    return tensors, [reduced(Value(g.array * scale, g.exponent))]


def _norm_tensors(normed: np.ndarray, g: Value) -> Gradients:
    axes = (0, 2, 3)
    products = normed * g.array
    gamma = Value(products.sum(axes), terms=np.sqrt((products**2).sum(axes)))
    return {"weight": gamma, "bias": _sum_over_cells(g)}


def _batch_norm(norm: Norm, weights: Weights, x: Value, g: Value) -> tuple[Gradients, list[Value]]:
    """As in `_frozen_norm`, with the mean and the biased variance of the batch.

    Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
    """
    statistics = oracle.batch_statistics(norm, x)
    mean, variance = (each[:, None, None] for each in statistics.values())
    deviation = np.sqrt(variance + norm.eps)
    normed = (x.array - mean) / deviation
    tensors = _norm_tensors(normed, g)
    cells = g.array.size // g.array.shape[1]
    gamma = weights[f"{norm.name}.weight"].astype("float64")[:, None, None]
    along = tensors["weight"].array[:, None, None] * normed
    even = tensors["bias"].array[:, None, None]
    passed = gamma / deviation * (g.array - (even + along) / cells)
    return tensors, [Value(passed)]


def _gate(x: Value, gate: Value, g: Value) -> list[Value]:
    """y = x * sigmoid(gate): the derivative of a sigmoid s is s (1 - s)."""
    if not x.is_exact:
        open_ = oracle.sigmoid(gate.array)
        at_gate = (x.array * g.array).sum((2, 3), keepdims=True) * open_ * (1 - open_)
        return [Value(g.array * open_), Value(at_gate)]
    shut = gate.array == 0  # a half, and its derivative a quarter; else one and zero
    sums = products(lambda x, g: (x * g).sum((2, 3), keepdims=True), x, g)
    at_gate = replace(sums, array=np.where(shut, sums.array, 0), exponent=sums.exponent - 2)
    passed = Value(g.array * np.where(shut, 1, 2), g.exponent - 1)
    return [reduced(passed), reduced(at_gate)]


def _max_pool(pool: MaxPool, x: Value, g: Value) -> Value:
    """To the largest cell of each window, of equal ones to the first in rows from the top."""
    lowest = np.iinfo(x.array.dtype).min if x.is_exact else -np.inf
    border = 0 if pool.border == "zero" else lowest
    padded = oracle.surround(x.array, pool.padding, border)
    windows = oracle.windows_of(padded, pool.kernel, pool.stride, dilation=1)
    winner = windows.reshape(*windows.shape[:4], -1).argmax(axis=-1)
    back, sizes = np.zeros_like(padded, dtype=g.array.dtype), np.zeros_like(padded, g.array.dtype)
    for place in range(pool.kernel**2):
        cells = _cells(pool.stride, g.array.shape[2:], *divmod(place, pool.kernel))
        sent = np.where(winner == place, g.array, 0)
        back[cells] += sent
        sizes[cells] += np.abs(sent)
    edge, (height, width) = pool.padding, x.array.shape[2:]
    inside = back[:, :, edge : edge + height, edge : edge + width]
    return reduced(Value(inside, g.exponent, bound=largest(sizes) if x.is_exact else 0))


def _average_pool(pool: AveragePool, x: Value, g: Value) -> Value:
    """A share to each cell of each window."""
    (rows, columns), (height, width) = g.array.shape[2:], x.array.shape[2:]
    reach = ((rows - 1) * pool.stride + pool.kernel, (columns - 1) * pool.stride + pool.kernel)
    room = (max(reach[0], height), max(reach[1], width))  # a wide stride may leave cells out
    there = np.zeros((1, 1, *room), dtype=g.array.dtype)
    extra = 1 if pool.zeros else 0
    there[:, :, : height + extra, : width + extra] = 1
    counts = oracle.windows_of(there, pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    share = g.array * (pool.kernel**2 // counts) if x.is_exact else g.array / counts
    back = np.zeros((*g.array.shape[:2], *room), g.array.dtype)
    sizes = np.zeros_like(back)
    for row, column in np.ndindex(pool.kernel, pool.kernel):
        cells = _cells(pool.stride, (rows, columns), row, column)
        back[cells] += share
        sizes[cells] += np.abs(share)
    inside = back[:, :, :height, :width]
    if not x.is_exact:
        return Value(inside)
    return reduced(Value(inside, g.exponent - 2, bound=largest(sizes)))


def _global_average(x: Value, g: Value) -> Value:
    """The same share to every cell."""
    cells = x.array.shape[2] * x.array.shape[3]
    spread = np.broadcast_to(g.array.reshape(*g.array.shape[:2], 1, 1), x.array.shape)
    if not x.is_exact:
        return Value(spread / cells)
    return reduced(Value(spread.copy(), g.exponent - (cells.bit_length() - 1)))
