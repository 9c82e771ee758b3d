"""The oracle against definitions written as loops, and against PyTorch's operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from resnet_spec import (
    AveragePool,
    ChannelPad,
    Conv,
    Gate,
    GlobalAverage,
    Linear,
    MaxPool,
    Norm,
    Relu,
    SqueezeExcitation,
)

from parity_tests.support import TINY, exact
from resnet_parity.compare import relative_error
from resnet_parity.reference import oracle
from resnet_parity.reference.values import Value
from resnet_parity.tolerances import limit

CONVS = [
    Conv("c", 4, 6, 3, stride=2),
    Conv("c", 4, 6, 1, stride=2),
    Conv("c", 4, 6, 3, dilation=2, bias=True),
    Conv("c", 8, 12, 3, groups=4),
    Conv("c", 3, 5, 7, stride=2),
    Conv("c", 4, 4, 5, stride=3, groups=4),
]


def loops(conv: Conv, kernel: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The definition of a convolution, one number at a time."""
    padded = np.pad(x, ((0, 0), (0, 0), (conv.padding,) * 2, (conv.padding,) * 2))
    reach = conv.dilation * (conv.kernel - 1) + 1
    height, width = (
        (extent + 2 * conv.padding - reach) // conv.stride + 1 for extent in x.shape[2:]
    )
    result = np.zeros((x.shape[0], conv.out_channels, height, width), dtype=x.dtype)
    into, out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    for n, o, row, column in np.ndindex(*result.shape):
        for i, r, c in np.ndindex(into, conv.kernel, conv.kernel):
            y, z = row * conv.stride + r * conv.dilation, column * conv.stride + c * conv.dilation
            result[n, o, row, column] += kernel[o, i, r, c] * padded[n, o // out * into + i, y, z]
    return result


@pytest.mark.parametrize("conv", CONVS, ids=str)
@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_convolution_is_its_definition(conv, dtype):
    generator = np.random.default_rng(0)
    shape = (conv.out_channels, conv.in_channels // conv.groups, conv.kernel, conv.kernel)
    kernel = generator.integers(-3, 4, shape) * generator.integers(0, 2, shape)
    x = generator.integers(-9, 10, (2, conv.in_channels, 8, 10)).astype(dtype)
    bias = generator.integers(-9, 10, conv.out_channels)
    weights = {"c.weight": kernel, "c.bias": bias}
    value = oracle._conv(conv, weights, Value(x))
    expected = loops(conv, kernel, x) + (bias[:, None, None] if conv.bias else 0)
    assert value.array.dtype == x.dtype
    np.testing.assert_array_equal(value.astype("float64"), expected)
    if dtype == "int64":
        added = int(np.abs(bias).max()) if conv.bias else 0
        assert value.bound == loops(conv, np.abs(kernel), np.abs(x)).max() + added


def test_a_bound_is_in_units_that_divide_every_term():
    """Multiples of 1/4 times multiples of 4: the sums and their bound are those of integers."""
    conv = Conv("c", 4, 6, 3)
    generator = np.random.default_rng(0)
    kernel = generator.integers(-1, 2, (6, 4, 3, 3))
    x = generator.integers(-9, 10, (2, 4, 8, 10))
    plain = oracle._conv(conv, {"c.weight": kernel}, Value(x))
    scaled = oracle._conv(conv, {"c.weight": 4 * kernel}, Value(x, exponent=-2))
    np.testing.assert_array_equal(scaled.astype("float64"), plain.astype("float64"))
    assert scaled.bound == plain.bound


def test_max_pool_never_lets_the_border_win():
    x = -1 - np.random.default_rng(0).random((2, 3, 6, 8))
    ours = oracle._max_pool(MaxPool("p", 3, 2, 1, border="lowest"), Value(x)).array
    theirs = functional.max_pool2d(torch.from_numpy(x), 3, 2, 1).numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert (ours < 0).all()


def test_a_border_of_zeros_wins_against_negative_values():
    x = -1 - np.random.default_rng(0).random((2, 3, 6, 8))
    ours = oracle._max_pool(MaxPool("p", 3, 2, 1, border="zero"), Value(x)).array
    theirs = functional.max_pool2d(functional.pad(torch.from_numpy(x), (1, 1, 1, 1)), 3, 2).numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert (ours == 0).any()
    assert (ours < 0).any()


@pytest.mark.parametrize("size", [(6, 8), (7, 9), (6, 9), (1, 1)])
@pytest.mark.parametrize("dtype", ["int64", "float64"])
@pytest.mark.parametrize("stride", [2, 3])
def test_average_pool_rounds_up_and_averages_cells_inside_the_map(size, dtype, stride):
    x = np.random.default_rng(0).integers(-9, 10, (2, 3, *size)).astype(dtype)
    value = oracle._average_pool(AveragePool("p", 2, stride), Value(x))
    theirs = functional.avg_pool2d(
        torch.from_numpy(x).double(), 2, stride, ceil_mode=True, count_include_pad=False
    )
    np.testing.assert_array_equal(value.astype("float64"), theirs.numpy())


@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_average_pool_that_keeps_the_size_counts_its_zeros(dtype):
    x = np.random.default_rng(0).integers(-9, 10, (2, 3, 6, 8)).astype(dtype)
    value = oracle._average_pool(AveragePool("p", 2, stride=1, zeros=1), Value(x))
    padded = functional.pad(torch.from_numpy(x).double(), (0, 1, 0, 1))
    theirs = functional.avg_pool2d(padded, 2, 1)
    np.testing.assert_array_equal(value.astype("float64"), theirs.numpy())


def test_channel_pad_puts_zeros_before_and_after():
    x = np.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2)
    value = oracle._channel_pad(ChannelPad("p", 3, before=1, after=2), Value(x))
    np.testing.assert_array_equal(value.array, np.pad(x, ((0, 0), (1, 2), (0, 0), (0, 0))))


def gate(kernel: int, bias: int) -> tuple[SqueezeExcitation, dict[str, np.ndarray]]:
    """A gate whose second layer multiplies by `kernel` and adds `bias`."""
    fc1, fc2 = (Conv(f"se.{name}", 4, 4, 1, bias=True) for name in ("fc1", "fc2"))
    mean = GlobalAverage("se.mean", flat=False)
    se = SqueezeExcitation(mean, fc1, Relu("se.relu"), fc2, Gate("se"))
    identity = np.eye(4, dtype=np.int64)[:, :, None, None]
    zeros = np.zeros(4, dtype=np.int64)
    return se, {
        "se.fc1.weight": identity,
        "se.fc1.bias": zeros,
        "se.fc2.weight": kernel * identity,
        "se.fc2.bias": zeros + bias,
    }


def run_gate(se: SqueezeExcitation, weights: dict[str, np.ndarray], x: np.ndarray) -> Value:
    """The gate's operations one after another, as the graph has them."""
    mean = oracle._global_average(GlobalAverage("mean", flat=False), Value(x))
    hidden = oracle._relu(oracle._conv(se.fc1, weights, mean))
    return oracle._gate(Value(x), oracle._conv(se.fc2, weights, hidden))


def test_a_gate_agrees_with_pytorch():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 6))
    se, weights = gate(kernel=3, bias=-1)
    ours = run_gate(se, weights, x)
    mean = torch.from_numpy(x).mean((2, 3), keepdim=True)
    theirs = torch.from_numpy(x) * torch.sigmoid(3 * torch.relu(mean) - 1)
    assert np.abs(ours.array - theirs.numpy()).max() < limit("float64", "taps")


def test_an_exact_gate_is_a_half_or_one_and_reports_when_it_is_neither():
    x = np.random.default_rng(0).integers(-9, 10, (2, 4, 4, 8))
    se, weights = gate(kernel=2**20, bias=0)
    value = run_gate(se, weights, x)
    positive = x.mean(axis=(2, 3), keepdims=True) > 0
    np.testing.assert_array_equal(value.astype("float64"), x * np.where(positive, 1, 0.5))
    assert value.inexact_because == ""
    assert 0 < positive.mean() < 1
    for wrong in (gate(kernel=1, bias=0), gate(kernel=2**20, bias=-1)):
        value = run_gate(*wrong, x)
        assert "sigmoid" in value.inexact_because


def test_a_mean_that_is_no_dyadic_fraction_is_reported():
    value = oracle._global_average(
        GlobalAverage("avgpool"), Value(np.ones((2, 3, 2, 6), dtype=np.int64))
    )
    assert "2x6" in value.inexact_because


def test_norm_agrees_with_pytorch():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 5, 4, 6))
    leaves = ("running_mean", "running_var", "weight", "bias")
    values = {leaf: generator.random(5) + 0.1 for leaf in leaves}
    mean, variance, gamma, beta = (torch.from_numpy(values[leaf]) for leaf in leaves)
    theirs = functional.batch_norm(torch.from_numpy(x), mean, variance, gamma, beta, eps=1e-3)
    weights = {f"n.{leaf}": value for leaf, value in values.items()}
    ours = oracle._norm(Norm("n", 5, eps=1e-3, decay=0.9), weights, Value(x)).array
    assert np.abs(ours - theirs.numpy()).max() < limit("float64", "taps")


def test_the_head_is_exact_with_fractions():
    """The average and the logits of an integer pass are the exact quotients."""
    x = np.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4)
    pooled = oracle._global_average(GlobalAverage("avgpool"), Value(x))
    np.testing.assert_array_equal(pooled.astype("float64"), x.mean(axis=(2, 3)))
    weights = {"fc.weight": np.array([[1, -1, 0], [0, 2, 1]]), "fc.bias": np.array([3, -4])}
    logits = oracle._linear(Linear("fc", 3, 2), weights, pooled).astype("float64")
    expected = x.mean(axis=(2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]
    np.testing.assert_array_equal(logits, expected)


def test_integers_and_float64_agree_on_an_exact_probe():
    probe = exact(TINY.name, "float64")
    trace = oracle.forward(TINY, probe.weights, probe.images)
    assert set(trace) == set(probe.expected)
    for name, value in trace.items():
        np.testing.assert_array_equal(value.astype("float64"), probe.expected[name], err_msg=name)


def test_errors_are_measured_against_terms_that_cancel():
    """Two large terms that cancel leave a small number; its error is relative to the terms."""
    weights = {"fc.weight": np.array([[3.0, -4.0]]), "fc.bias": np.array([0.0])}
    value = oracle._linear(Linear("fc", 2, 1), weights, Value(np.array([[4.0, 3.0 + 1e-6]])))
    assert round(value.scale, 3) == round(12 * np.sqrt(2), 3)
    off = value.array + 1e-7
    assert relative_error(value.array, off) > limit("float64", "waived rounding of taps")
    assert relative_error(value.array, off, value.scale) < limit(
        "float64", "waived rounding of taps"
    )
