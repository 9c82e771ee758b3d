"""The oracle, held to definitions written out as loops and to PyTorch's operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from resnet_spec import Conv, Linear, MaxPool, Norm

from parity_tests.support import TINY, exact
from resnet_parity import oracle
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
    value = oracle._conv(conv, weights, x)
    expected = loops(conv, kernel, x) + (bias[:, None, None] if conv.bias else 0)
    assert value.array.dtype == x.dtype
    np.testing.assert_array_equal(value.array, expected)
    if dtype == "int64":
        added = int(np.abs(bias).max()) if conv.bias else 0
        assert value.bound == loops(conv, np.abs(kernel), np.abs(x)).max() + added


def test_max_pool_never_lets_the_border_win():
    x = -1 - np.random.default_rng(0).random((2, 3, 6, 8))
    ours = oracle._max_pool(MaxPool("p", 3, 2, 1), x)
    theirs = functional.max_pool2d(torch.from_numpy(x), 3, 2, 1).numpy()
    np.testing.assert_array_equal(ours, theirs)
    assert (ours < 0).all()


def test_norm_is_pytorchs():
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2, 5, 4, 6))
    leaves = ("running_mean", "running_var", "weight", "bias")
    values = {leaf: generator.random(5) + 0.1 for leaf in leaves}
    mean, variance, gamma, beta = (torch.from_numpy(values[leaf]) for leaf in leaves)
    theirs = functional.batch_norm(torch.from_numpy(x), mean, variance, gamma, beta, eps=1e-3)
    weights = {f"n.{leaf}": value for leaf, value in values.items()}
    ours = oracle._norm(Norm("n", 5, eps=1e-3, decay=0.9), weights, x).array
    assert np.abs(ours - theirs.numpy()).max() < limit("float64", "tap")


def test_the_head_keeps_its_fractions():
    """Average and logits of an integer pass stand for the exact quotient."""
    x = np.arange(2 * 3 * 2 * 4).reshape(2, 3, 2, 4)
    pooled = oracle._global_average(x)
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
        np.testing.assert_array_equal(value.array, probe.expected[name], err_msg=name)
