"""The oracle's backward pass: gradients of a weighted sum of the outputs of a net.

It walks the graph of the spec from its end. A frozen norm divides by a constant, as in evaluation.
In training a norm divides by the deviation of the batch, and the gradient flows through that too.
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
    common_trailing_zeros,
    in_largest_unit,
    in_lowest_terms,
    integers_at,
    largest,
    sum_of_products,
    total,
)

Gradients = dict[str, Value]
"""Gradients by the name of their tensor."""


def backward(
    arch: Architecture,
    weights: Weights,
    values: Mapping[str, Value],
    cotangents: Mapping[str, Value],
    *,
    training: bool = False,
) -> Iterator[tuple[str, Value]]:
    """The gradient of every parameter and, last, of the image, in the order of computation.

    `values` holds the image and the output of every operation (see `oracle.walk`), `cotangents` the
    weights of the sum: one array per tap that the network returns. The gradient of an operation's
    output is yielded too, as "d NAME", because its sum over the operation's users may round.
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
    """The gradients of an operation's tensors, by leaf name, and of its inputs."""
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
            return {}, [g]  # an operation that changes nothing


def _conv(conv: Conv, weights: Weights, x: Value, g: Value) -> tuple[Gradients, list[Value]]:
    """For x (N, in, H, W) and g (N, out, H', W')."""

    def of_kernel(x: np.ndarray, g: np.ndarray) -> np.ndarray:
        columns = oracle.im2col(oracle.conv_windows(conv, x), conv.groups)
        return (_rows(g, conv.groups).swapaxes(1, 2) @ columns).reshape(kernel.shape)

    def of_input(kernel: np.ndarray, g: np.ndarray) -> np.ndarray:
        matrix = kernel.reshape(conv.groups, conv.out_channels // conv.groups, -1)
        return _col2im(conv, _rows(g, conv.groups) @ matrix, g.shape[2:], x.array.shape)

    kernel = weights[f"{conv.name}.weight"]
    tensors = {"weight": _kernel_gradient(of_kernel, x, g)}
    if conv.bias:
        tensors["bias"] = _sum_over_cells(g)
    like = Value(kernel.astype(x.array.dtype))
    return tensors, [sum_of_products(of_input, like, g)]


def _kernel_gradient(contract: Callable[..., np.ndarray], x: Value, g: Value) -> Value:
    """Sums of products over all cells, with the sizes of their terms.

    Before a norm these sums cancel, because the gradient of a norm's input sums to zero.
    """
    value = sum_of_products(contract, x, g)
    if x.is_exact:
        return value
    return replace(value, term_sizes=np.sqrt(contract(x.array**2, g.array**2)))


def _rows(g: np.ndarray, groups: int) -> np.ndarray:
    """(N, C, H, W) -> (groups, N H W, C/groups)."""
    batch, channels, height, width = g.shape
    grouped = g.reshape(batch, groups, channels // groups, height * width)
    return grouped.transpose(1, 0, 3, 2).reshape(groups, batch * height * width, -1)


def _col2im(
    conv: Conv, columns: np.ndarray, size: tuple[int, ...], shape: tuple[int, ...]
) -> np.ndarray:
    """The gradient that each output cell sends back to its window, summed where windows overlap."""
    batch, channels, height, width = shape
    padded = np.zeros((batch, channels, height + 2 * conv.padding, width + 2 * conv.padding))
    parts = columns.reshape(conv.groups, batch, *size, -1, conv.kernel, conv.kernel)
    parts = parts.transpose(5, 6, 1, 0, 4, 2, 3).reshape(
        conv.kernel, conv.kernel, batch, channels, *size
    )
    for row, column in np.ndindex(conv.kernel, conv.kernel):
        place = _strided_cells(conv.stride, size, row * conv.dilation, column * conv.dilation)
        padded[place] += parts[row, column]
    edge = conv.padding
    return padded[:, :, edge : edge + height, edge : edge + width]


def _strided_cells(stride: int, size: tuple[int, ...], row: int, column: int) -> tuple[slice, ...]:
    """A slice of every stride-th cell from (row, column) on, one for each output cell."""
    rows = slice(row, row + stride * (size[0] - 1) + 1, stride)
    columns = slice(column, column + stride * (size[1] - 1) + 1, stride)
    return slice(None), slice(None), rows, columns


def _linear(fc: Linear, weights: Weights, x: Value, g: Value) -> tuple[Gradients, list[Value]]:
    """For x (N, in) and g (N, out)."""
    kernel = Value(weights[f"{fc.name}.weight"].astype(x.array.dtype))
    tensors = {
        "weight": _kernel_gradient(lambda x, g: g.T @ x, x, g),
        "bias": _sum_over_cells(replace(g, array=g.array[:, :, None, None])),
    }
    return tensors, [sum_of_products(lambda kernel, g: g @ kernel, kernel, g)]


def _sum_over_cells(g: Value) -> Value:
    """(N, C, H, W) -> (C,)."""
    axes, g = (0, 2, 3), in_largest_unit(g)
    if not g.is_exact:
        return Value(g.array.sum(axes), term_sizes=np.sqrt((g.array**2).sum(axes)))
    return in_lowest_terms(
        Value(g.array.sum(axes), g.exponent, bound=largest(np.abs(g.array).sum(axes)))
    )


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
    # An engine may sum x and the mean separately, so both count as terms.
    exponent = min(x.exponent, 0)
    array, g = integers_at(x, exponent), in_largest_unit(g)
    mean = np.ldexp(mean, -exponent).astype(np.int64)[:, None, None]
    sums = sum_of_products(lambda x, g: (x * g).sum((0, 2, 3)), Value(array - mean, exponent), g)
    sizes = (np.abs(array) + np.abs(mean)).astype("float64") * np.abs(g.array)
    bound = largest(sizes.sum((0, 2, 3))) >> common_trailing_zeros(array, mean)
    bits = round(np.log2(deviation[0]))
    tensors = {
        "weight": in_lowest_terms(replace(sums, exponent=sums.exponent - bits, bound=bound)),
        "bias": _sum_over_cells(g),
    }
    scale = np.rint(gamma / deviation).astype(np.int64)[:, None, None]
    return tensors, [in_lowest_terms(Value(g.array * scale, g.exponent))]


def _norm_tensors(normed: np.ndarray, g: Value) -> Gradients:
    axes = (0, 2, 3)
    products = normed * g.array
    gamma = Value(products.sum(axes), term_sizes=np.sqrt((products**2).sum(axes)))
    return {"weight": gamma, "bias": _sum_over_cells(g)}


def _batch_norm(norm: Norm, weights: Weights, x: Value, g: Value) -> tuple[Gradients, list[Value]]:
    """As `_frozen_norm`, with the mean and the biased variance of the batch.

    Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.
    """
    statistics = oracle.batch_statistics(norm, x)
    mean, variance = (each[:, None, None] for each in statistics.values())
    deviation = np.sqrt(variance + norm.eps)
    normed = (x.array - mean) / deviation
    tensors = _norm_tensors(normed, g)
    cells = g.array.size // g.array.shape[1]
    gamma = weights[f"{norm.name}.weight"].astype("float64")[:, None, None]
    through_variance = tensors["weight"].array[:, None, None] * normed
    through_mean = tensors["bias"].array[:, None, None]
    passed = gamma / deviation * (g.array - (through_mean + through_variance) / cells)
    return tensors, [Value(passed)]


def _gate(x: Value, gate: Value, g: Value) -> list[Value]:
    """y = x * sigmoid(gate): the derivative of a sigmoid s is s (1 - s)."""
    if not x.is_exact:
        factor = oracle.sigmoid(gate.array)
        at_gate = (x.array * g.array).sum((2, 3), keepdims=True) * factor * (1 - factor)
        return [Value(g.array * factor), Value(at_gate)]
    is_half = gate.array == 0  # there the derivative is 1/4; elsewhere s is 1 and the derivative 0
    sums = sum_of_products(lambda x, g: (x * g).sum((2, 3), keepdims=True), x, g)
    at_gate = replace(sums, array=np.where(is_half, sums.array, 0), exponent=sums.exponent - 2)
    passed = Value(g.array * np.where(is_half, 1, 2), g.exponent - 1)
    return [in_lowest_terms(passed), in_lowest_terms(at_gate)]


def _max_pool(pool: MaxPool, x: Value, g: Value) -> Value:
    """The gradient goes to the largest cell of each window, of equals to the first in row order."""
    windows = oracle.max_pool_windows(pool, x.array)
    winner = windows.reshape(*windows.shape[:4], -1).argmax(axis=-1)
    back = oracle.pad_border(np.zeros(x.array.shape, g.array.dtype), pool.padding, 0)
    sizes = np.zeros_like(back)
    for place in range(pool.kernel**2):
        cells = _strided_cells(pool.stride, g.array.shape[2:], *divmod(place, pool.kernel))
        sent = np.where(winner == place, g.array, 0)
        back[cells] += sent
        sizes[cells] += np.abs(sent)
    edge, (height, width) = pool.padding, x.array.shape[2:]
    inside = back[:, :, edge : edge + height, edge : edge + width]
    return in_lowest_terms(Value(inside, g.exponent, bound=largest(sizes) if x.is_exact else 0))


def _average_pool(pool: AveragePool, x: Value, g: Value) -> Value:
    """The gradient of each window, shared equally among the cells that it averages."""
    (rows, columns), (height, width) = g.array.shape[2:], x.array.shape[2:]
    reach = ((rows - 1) * pool.stride + pool.kernel, (columns - 1) * pool.stride + pool.kernel)
    room = (max(reach[0], height), max(reach[1], width))  # a large stride may skip cells
    counted = np.zeros((1, 1, *room), dtype=g.array.dtype)
    extra = 1 if pool.zeros else 0
    counted[:, :, : height + extra, : width + extra] = 1
    counts = oracle.windows_of(counted, pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    share = g.array * (pool.kernel**2 // counts) if x.is_exact else g.array / counts
    back = np.zeros((*g.array.shape[:2], *room), g.array.dtype)
    sizes = np.zeros_like(back)
    for row, column in np.ndindex(pool.kernel, pool.kernel):
        cells = _strided_cells(pool.stride, (rows, columns), row, column)
        back[cells] += share
        sizes[cells] += np.abs(share)
    inside = back[:, :, :height, :width]
    if not x.is_exact:
        return Value(inside)
    return in_lowest_terms(Value(inside, g.exponent - 2, bound=largest(sizes)))


def _global_average(x: Value, g: Value) -> Value:
    """The gradient of each mean, shared equally among all cells."""
    cells = x.array.shape[2] * x.array.shape[3]
    spread = np.broadcast_to(g.array.reshape(*g.array.shape[:2], 1, 1), x.array.shape)
    if not x.is_exact:
        return Value(spread / cells)
    return in_lowest_terms(Value(spread.copy(), g.exponent - (cells.bit_length() - 1)))
