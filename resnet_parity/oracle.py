"""The oracle: a third, independent forward pass in NumPy, straight from the plan.

It shares no code with either hand. In float64 it says what a net *should* give. On an exact probe
it computes in int64 with a power of two as the unit, so that it gives the one right answer and,
with it, a bound on every partial sum, whatever the order of summation: the proof that float32 or
float64 arithmetic cannot round anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from resnet_spec import (
    Architecture,
    AveragePool,
    Block,
    ChannelPad,
    Conv,
    Identity,
    Linear,
    MaxPool,
    Norm,
    Plan,
    ShortcutLayer,
    SqueezeExcitation,
    make_plan,
    outputs,
)

Weights = Mapping[str, np.ndarray]
Step = tuple[str, "Value"]

OPEN_GATE = 64
"""From here on a sigmoid is exactly 1 in float32 and in float64: exp(-64) < 2^-53."""


@dataclass(frozen=True)
class Value:
    """The output of one tap: `array` times two to the power of `exponent`.

    In a float64 pass `scale` is the size of the terms of a sum that leaves few numbers; they may
    cancel, so errors are held against it where it is larger; `cells` counts those of a mean, which
    some engines sum one after another. In an exact pass `bound` is the
    largest sum of absolute terms that any order of summation could meet on the way to this tap, in
    units that divide every term, and `flaw` says in words why the tap is not exact, if it is not.
    """

    array: np.ndarray
    exponent: int = 0
    scale: float = 0.0
    cells: int = 1
    bound: int = 0
    flaw: str = ""

    @property
    def is_exact(self) -> bool:
        return np.issubdtype(self.array.dtype, np.integer)

    def astype(self, dtype: str) -> np.ndarray:
        return np.ldexp(self.array.astype(dtype), self.exponent)


def forward(arch: Architecture, weights: Weights, images: np.ndarray) -> dict[str, Value]:
    """Every tap for images (N, C, H, W), under its canonical name, then what the model returns.

    float64 images give a float64 pass. int64 images give an exact one, for weights that are
    integers and norms that scale by zero or a power of two.
    """
    trace = dict(walk(arch, weights, images))
    return trace | {name: trace[tap] for name, tap in outputs(arch).items()}


def walk(arch: Architecture, weights: Weights, images: np.ndarray) -> Iterator[Step]:
    """The taps of `forward`, one by one in execution order."""
    plan = make_plan(arch)
    x = Value(images)
    for name, value in _walk_stem(plan, weights, x):
        yield name, value
        x = value
    for block in plan.blocks:
        for name, value in _walk_block(block, weights, x):
            yield name, value
            x = value
    if not plan.features:
        yield from _walk_head(plan, weights, x)


def _walk_stem(plan: Plan, weights: Weights, x: Value) -> Iterator[Step]:
    for layer in plan.stem.layers:
        x = _layer(layer, weights, x)
        yield layer.name, x
        if layer in plan.stem.hidden_norms:
            x = _relu(x)
    if plan.stem.norm:
        x = _relu(x)
        yield "relu", x
    if plan.stem.pool:
        x = _max_pool(plan.stem.pool, x)
        yield plan.stem.pool.name, x


def _walk_block(block: Block, weights: Weights, x: Value) -> Iterator[Step]:
    """Every tap of one block; the last is its output."""
    way_around, last = x, block.norms[-1]
    for layer in block.branch:
        x = _layer(layer, weights, x)
        yield layer.name, x
        if isinstance(layer, Norm) and (block.preactivation or layer is not last):
            x = _relu(x)
        if layer is block.bn1 and block.preactivation and block.projects:
            way_around = x
    if block.se:
        for name, value in _walk_gate(block.se, weights, x):
            yield name, value
            x = value
    for layer in block.shortcut or ():
        way_around = _layer(layer, weights, way_around)
        if not isinstance(layer, Identity):
            yield layer.name, way_around
    if block.shortcut is not None:
        x = _add(x, way_around)
    yield block.name, x if block.preactivation else _relu(x)


def _walk_gate(se: SqueezeExcitation, weights: Weights, x: Value) -> Iterator[Step]:
    """Means, two 1x1 convolutions, and the input times the sigmoid of what they give."""
    mean = _global_average(x)
    means = replace(mean, array=mean.array[:, :, None, None])
    first = _conv(se.fc1, weights, means)
    second = _conv(se.fc2, weights, _relu(first))
    if x.is_exact:
        first = replace(first, flaw=mean.flaw, bound=max(first.bound, mean.bound))
    else:  # means of what has both signs may cancel, and so may every sum behind them
        sizes = _sizes_of_terms(se.fc1, weights, np.abs(x.array).mean((2, 3)))
        first = replace(first, scale=float(np.linalg.norm(sizes)), cells=mean.cells)
        sizes = _sizes_of_terms(se.fc2, weights, sizes)
        second = replace(second, scale=float(np.linalg.norm(sizes)))
    yield se.fc1.name, first
    yield se.fc2.name, second
    yield se.name, _gated(x, second)


def _walk_head(plan: Plan, weights: Weights, x: Value) -> Iterator[Step]:
    if plan.norm:
        x = _norm(plan.norm, weights, x)
        yield plan.norm.name, x
        x = _relu(x)
    x = _global_average(x)
    yield "avgpool", x
    if plan.fc:
        yield plan.fc.name, _linear(plan.fc, weights, x)


def _layer(layer: ShortcutLayer, weights: Weights, x: Value) -> Value:
    if isinstance(layer, Conv):
        return _conv(layer, weights, x)
    if isinstance(layer, Norm):
        return _norm(layer, weights, x)
    if isinstance(layer, MaxPool):
        return _max_pool(layer, x)
    if isinstance(layer, AveragePool):
        return _average_pool(layer, x)
    return _channel_pad(layer, x) if isinstance(layer, ChannelPad) else x


def _relu(x: Value) -> Value:
    return Value(np.maximum(x.array, 0), x.exponent)


def _add(x: Value, y: Value) -> Value:
    if not x.is_exact:
        return Value(x.array + y.array)
    exponent = min(x.exponent, y.exponent)
    first, second = _in_units(x, exponent), _in_units(y, exponent)
    bound = _largest(np.abs(first) + np.abs(second))
    return _reduced(Value(first + second, exponent, bound=bound >> _common_bits(first, second)))


def _conv(conv: Conv, weights: Weights, x: Value) -> Value:
    """(N, in, H, W) -> (N, out, H', W')."""
    kernel, x = _tensor(weights, f"{conv.name}.weight", x), _coarse(x)
    windows = _windows(_pad(x.array, conv.padding, 0), conv.kernel, conv.stride, conv.dilation)
    if not x.is_exact:
        value = Value(_dense_sum(windows, kernel.array, conv.groups))
    else:
        array, bound = _sparse_sum(windows, kernel.array, conv.groups)
        value = Value(array, x.exponent + kernel.exponent, bound=bound)
    if not conv.bias:
        return _reduced(value)
    bias = _tensor(weights, f"{conv.name}.bias", x)
    return _plus(value, replace(bias, array=bias.array[:, None, None]))


def _plus(value: Value, bias: Value) -> Value:
    """A sum of products and a bias, which may stand anywhere among them."""
    if not value.is_exact:
        return Value(value.array + bias.array)
    if not bias.array.any():  # zeros have no unit
        return _reduced(value)
    exponent = min(value.exponent, bias.exponent)
    terms = value.bound << (value.exponent - exponent)
    array, added = _in_units(value, exponent), _in_units(bias, exponent)
    bound = terms + _largest(np.abs(added))
    return _reduced(Value(array + added, exponent, bound=bound))


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
    bound = _largest(np.add.reduceat(np.abs(terms), starts, axis=0))
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
    array = _in_units(x, exponent)
    mean, beta = (np.ldexp(each, -exponent).astype(np.int64) for each in (mean, beta))
    bound = _largest((np.abs(array) + np.abs(mean)) * np.abs(scale) + np.abs(beta))
    return _reduced(Value((array - mean) * scale + beta, exponent, bound=bound))


def _max_pool(pool: MaxPool, x: Value) -> Value:
    """(N, C, H, W) -> (N, C, H', W'); the border never wins, unless it is of zeros."""
    lowest = np.iinfo(x.array.dtype).min if x.is_exact else -np.inf
    border = 0 if pool.border == "zero" else lowest
    padded = _pad(x.array, pool.padding, border)
    windows = _windows(padded, pool.kernel, pool.stride, dilation=1)
    return Value(windows.max(axis=(4, 5)), x.exponent)


def _average_pool(pool: AveragePool, x: Value) -> Value:
    """(N, C, H, W) -> (N, C, H', W'), rounded up, each the mean of the cells that there are."""
    rows, columns = (-(-extent // pool.stride) for extent in x.array.shape[2:])
    reach = [(count - 1) * pool.stride + pool.kernel for count in (rows, columns)]
    over = [max(0, end - extent) for end, extent in zip(reach, x.array.shape[2:], strict=True)]
    behind = ((0, 0), (0, 0), (0, over[0]), (0, over[1]))
    cells = np.ones_like(x.array[:1, :1])
    padded = np.pad(x.array, behind)
    cells = np.pad(cells, behind, constant_values=1 if pool.zeros else 0)
    totals = _windows(padded, pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    counts = _windows(cells, pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    if not x.is_exact:
        return Value(totals / counts)
    magnitudes = _windows(np.abs(padded), pool.kernel, pool.stride, dilation=1).sum(axis=(4, 5))
    # Of 4 cells an edge has 2 or 1. An engine may divide by that, or take the others twice.
    times = pool.kernel**2 // counts
    bound = _largest(magnitudes * times)
    return _reduced(Value(totals * times, x.exponent - 2, bound=bound))


def _channel_pad(pad: ChannelPad, x: Value) -> Value:
    """(N, C, H, W) -> (N, before + C + behind, H, W)."""
    around = ((0, 0), (pad.before, pad.behind), (0, 0), (0, 0))
    return replace(x, array=np.pad(x.array, around))


def _gated(x: Value, gate: Value) -> Value:
    """The input times the sigmoid of the gate, which in an exact pass is a half or one."""
    if not x.is_exact:
        return Value(x.array / (1 + np.exp(-gate.array)))
    shut = gate.array == 0
    is_open = np.ldexp(gate.array.astype("float64"), gate.exponent) >= OPEN_GATE
    flaw = "" if (shut | is_open).all() else "a sigmoid is met between 0 and 64, or below 0"
    return _reduced(Value(x.array * np.where(shut, 1, 2), x.exponent - 1, flaw=flaw))


def _global_average(x: Value) -> Value:
    """(N, C, H, W) -> (N, C)."""
    rows, columns = x.array.shape[2:]
    area = rows * columns
    total = x.array.sum(axis=(2, 3))
    if not x.is_exact:
        return Value(total / area, cells=area)
    bits = area.bit_length() - 1
    flaw = "" if area == 2**bits else f"a mean over {rows}x{columns} cells is no dyadic fraction"
    bound = _largest(np.abs(x.array).sum(axis=(2, 3)))
    return Value(total, x.exponent - bits, bound=bound, flaw=flaw)


def _linear(fc: Linear, weights: Weights, x: Value) -> Value:
    """(N, in) -> (N, out)."""
    kernel = _tensor(weights, f"{fc.name}.weight", x)
    bias = _tensor(weights, f"{fc.name}.bias", x)
    if not x.is_exact:
        sizes = _sizes_of_terms(fc, weights, x.array)
        scale = float(np.linalg.norm(sizes))
        return Value(x.array @ kernel.array.T + bias.array, scale=scale)
    bound = _largest(np.abs(x.array) @ np.abs(kernel.array.T))
    exponent = x.exponent + kernel.exponent
    return _plus(Value(x.array @ kernel.array.T, exponent, bound=bound), bias)


def _sizes_of_terms(layer: Conv | Linear, weights: Weights, x: np.ndarray) -> np.ndarray:
    """How large sums of products with x would be if their terms were independent: (N, out)."""
    kernel = weights[f"{layer.name}.weight"].astype("float64")
    bias = weights[f"{layer.name}.bias"].astype("float64")
    squares = x**2 @ (kernel.reshape(kernel.shape[0], -1) ** 2).T + bias**2
    return np.sqrt(squares)


def _tensor(weights: Weights, name: str, like: Value) -> Value:
    """Weights for a pass of the same kind."""
    return _coarse(Value(weights[name].astype(like.array.dtype)))


def _coarse(value: Value) -> Value:
    """The same numbers in the largest unit that divides them all."""
    if not value.is_exact:
        return value
    bits = _common_bits(value.array)
    return replace(value, array=value.array >> bits, exponent=value.exponent + bits)


def _common_bits(*arrays: np.ndarray) -> int:
    """How often two divides every integer."""
    together = 0
    for array in arrays:
        together |= int(np.bitwise_or.reduce(array, axis=None))
    return (together & -together).bit_length() - 1 if together else 0


def _in_units(value: Value, exponent: int) -> np.ndarray:
    """The integers of a value in units of two to that power, which is not above its own."""
    return value.array << (value.exponent - exponent)


def _reduced(value: Value) -> Value:
    """The same numbers with smaller integers, where they are fractions and need not be."""
    if value.exponent >= 0:
        return value
    bits = min(_common_bits(value.array), -value.exponent) if value.array.any() else -value.exponent
    return replace(value, array=value.array >> bits, exponent=value.exponent + bits)


def _largest(terms: np.ndarray) -> int:
    return int(terms.max())


def _pad(x: np.ndarray, padding: int, value: float) -> np.ndarray:
    return np.pad(x, ((0, 0), (0, 0), (padding,) * 2, (padding,) * 2), constant_values=value)


def _windows(x: np.ndarray, kernel: int, stride: int, dilation: int) -> np.ndarray:
    """What each output cell sees: (N, C, H, W) -> (N, C, H', W', kernel, kernel), no copy."""
    reach = dilation * (kernel - 1) + 1
    windows = sliding_window_view(x, (reach, reach), axis=(2, 3))
    return windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
