"""Probes are drawn as documented, are exact as claimed, and exercise every channel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    ChannelPad,
    Conv,
    Linear,
    Norm,
    Stage,
    Stem,
    get_architecture,
    make_plan,
    parameters,
    taps,
)

from parity_tests.support import ALL_NAMES, ONE_OF_EACH_KIND, SMALL, TINY, USERS, exact, find, light
from resnet_parity.errors import ProbeError
from resnet_parity.probes import blind_spots, default_size, exact_probe, random_probe
from resnet_parity.probes import exact as exact_probes
from resnet_parity.probes.exact import (
    DENSITIES,
    SEEDS_TO_COVER,
    Density,
    exact_weights,
    guess_density,
)
from resnet_parity.probes.splitmix import Stream, fnv1a
from resnet_parity.reference import oracle


def splitmix(state: int, count: int) -> list[int]:
    """SplitMix64 in Python integers, after the recipe in the docstring."""
    mask, draws = 2**64 - 1, []
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        draws.append(z ^ (z >> 31))
    return draws


def test_splitmix_is_the_published_generator():
    """The first outputs for seed 1234567, as Vigna's reference C program prints them."""
    assert splitmix(1234567, 3) == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_fnv1a_is_the_published_hash():
    """From the test vectors at http://www.isthe.com/chongo/src/fnv/test_fnv.c."""
    assert fnv1a("") == 0xCBF29CE484222325
    assert fnv1a("a") == 0xAF63DC4C8601EC8C
    assert fnv1a("foobar") == 0x85944171F73967E8


def test_a_stream_draws_what_the_docstring_says():
    draws = splitmix(fnv1a("exact/tiny/0/image"), 12)
    stream = Stream("exact/tiny/0/image")
    assert stream.draws(3).tolist() == draws[:3]
    assert stream.below(17, 3).tolist() == [(draw >> 32) * 17 >> 32 for draw in draws[3:6]]
    assert stream.uniform(3).tolist() == [(draw >> 11) * 2.0**-53 for draw in draws[6:9]]
    assert stream.permutation(3).tolist() == sorted(range(3), key=lambda i: draws[9 + i])


def test_an_exact_kernel_can_be_drawn_again_from_the_docstring():
    """The recipe of `probes.exact`, followed step by step for one grouped convolution."""
    arch = USERS[0]
    conv = make_plan(arch).stages[1].blocks[0].conv2
    seed, dtype = 11, "float32"
    probe = exact_probe(arch, seed, dtype)
    count, _, _ = probe.density or (0, 0, 0)
    into, out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    stream = Stream(f"exact/{arch.name}/{seed}/{conv.name}")
    signs = stream.below(2, conv.out_channels)
    rows = stream.below(3, conv.out_channels * count)
    columns = stream.below(3, conv.out_channels * count)
    order = Stream(f"exact/{arch.name}/{conv.name}").permutation(into)
    step = out * count if out * count < into else 1
    kernel = np.zeros((conv.out_channels, into, 3, 3))
    for o in range(conv.out_channels):
        for j in range(count):
            channel = order[(seed % 8 * step + o % out * count + j) % into]
            where = o, channel, rows[o * count + j], columns[o * count + j]
            kernel[where] = (1 - 2 * signs[o]) * (-1) ** j
    np.testing.assert_array_equal(probe.weights[f"{conv.name}.weight"], kernel)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_exact_probe_holds_small_integers(dtype):
    probe = exact("resnet18", dtype)
    for name, value in (*probe.weights.items(), ("image", probe.images)):
        assert value.dtype == dtype
        if name.endswith("running_var"):
            assert (value + np.dtype(dtype).type(probe.architecture.bn_eps) == 2.0**-14).all()
        elif value.ndim == 1 and name.endswith(".weight"):  # a norm, also in `downsample.1`
            assert set(np.unique(value)) == {-(2.0**-7), 2.0**-7}, "a zero gamma hides a branch"
        else:
            np.testing.assert_array_equal(value, np.round(value))
            assert np.abs(value).max() <= 8


def test_an_exact_probe_tells_height_from_width():
    height, width = default_size(ARCHITECTURES["resnet50"], "exact")
    assert (height, width) == (64, 128)
    kernel = exact("resnet50", "float32").weights["layer1.0.conv2.weight"]
    assert (kernel != kernel.swapaxes(2, 3)).any()


GROUPED = ["grouped-basic", "dilated-stride-three"]


@pytest.mark.parametrize(
    "name", light([*ONE_OF_EACH_KIND, *(arch.name for arch in USERS)], ["resnet18", *GROUPED])
)
def test_eight_seeds_exercise_every_channel_of_every_layer(name):
    """Each input of each layer is read, and each channel of each tap varies.

    Networks with gates have sparser probes, so their channels take more seeds to vary. A hidden
    unit of a gate has two values, one per image, and is left out, because some are zero in both.
    """
    arch = find(name)
    varied: dict[str, np.ndarray] = {}
    read: dict[str, np.ndarray] = {}
    for seed in range(2 * SEEDS_TO_COVER if arch.se else SEEDS_TO_COVER):
        probe = exact_probe(arch, seed, "float32")
        for tap, value in probe.expected.items():
            if ".se.fc" not in tap:
                channels = np.moveaxis(value, 1, 0).reshape(value.shape[1], -1)
                varied[tap] = varied.get(tap, False) | (np.ptp(channels, axis=1) > 0)
        for layer in make_plan(arch).layers:
            if not isinstance(layer, Norm) and seed < SEEDS_TO_COVER:
                used = _read_inputs(layer, probe.weights[f"{layer.name}.weight"])
                read[layer.name] = read.get(layer.name, False) | used
    for tap, padded in _channels_of_zeros(arch).items():
        assert not varied[tap][padded].any()
        varied[tap] = varied[tap] | padded
    assert {tap: np.flatnonzero(~seen) for tap, seen in varied.items() if not seen.all()} == {}
    assert {layer: np.flatnonzero(~seen) for layer, seen in read.items() if not seen.all()} == {}


def _channels_of_zeros(arch: Architecture) -> dict[str, np.ndarray]:
    """A mask of the channels that shortcut A adds, by tap."""
    shortcuts = [layer for block in make_plan(arch).blocks for layer in block.shortcut]
    return {
        pad.name: np.pad(
            np.zeros(pad.in_channels, bool), (pad.before, pad.after), constant_values=1
        )
        for pad in shortcuts
        if isinstance(pad, ChannelPad)
    }


def _read_inputs(layer: Conv | Linear, kernel: np.ndarray) -> np.ndarray:
    """A mask of the layer's inputs that have a nonzero weight."""
    groups = layer.groups if isinstance(layer, Conv) else 1
    grouped = kernel.reshape(groups, kernel.shape[0] // groups, kernel.shape[1], -1)
    return (grouped != 0).any(axis=(1, 3)).ravel()


def test_different_seeds_differ_in_every_layer():
    first, second = exact("resnet50", "float32", 0), exact("resnet50", "float32", 1)
    for name in first.weights:
        if not name.endswith("running_var"):
            assert (first.weights[name] != second.weights[name]).any(), name
    for name in first.expected:
        assert (first.expected[name] != second.expected[name]).any(), name


def test_the_same_seed_gives_the_same_probe():
    for make in (exact_probe, random_probe):
        first, second = make(TINY, 3, "float32"), make(TINY, 3, "float32")
        for name in first.weights:
            np.testing.assert_array_equal(first.weights[name], second.weights[name])
        np.testing.assert_array_equal(first.images, second.images)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_float64_probes_are_denser(name):
    arch = ARCHITECTURES[name]
    sparse, dense = (guess_density(arch, 8, dtype) for dtype in ("float32", "float64"))
    assert DENSITIES.index(dense) < DENSITIES.index(sparse)


def test_an_architecture_that_overflows_raises(monkeypatch):
    monkeypatch.setitem(exact_probes._MANTISSA_BITS, "float32", 8)
    with pytest.raises(ProbeError, match=r"'tiny' fits float32: sums at .* above 2\^8"):
        exact_probe(TINY, 0, "float32")


def test_a_deep_narrow_net_gets_a_sparser_probe():
    """Where the guessed density overflows, the next sparser one that is proven to fit is used."""
    stem = Stem(channels=4, kernel=3, stride=1, pool=None)
    deep = Architecture("deep", "basic", (Stage(60, 4),), stem=stem)
    probe = exact_probe(deep, 0, "float32")
    zero = np.mean([probe.weights[f"layer1.{i}.bn2.weight"] == 0 for i in range(60)])
    assert 0 < zero < 1


@pytest.mark.parametrize("strides", [(3, 3, 3), (2, 3), (3, 2), (1, 5)])
def test_the_default_size_is_even_before_every_stride(strides):
    pyramid = tuple(Stage(1, 16, stride=stride) for stride in strides)
    for stem in (Stem(16), Stem(16, 3, 1, None)):
        arch = Architecture("odd", "basic", pyramid, stem=stem)
        for kind in ("exact", "random"):
            height, width = default_size(arch, kind)
            assert height != width
            assert blind_spots(arch, (height, width)) == []
            assert taps(arch, height, width)[-3].shape[1] * arch.reduction == height


def test_blind_spots_are_named():
    arch = ARCHITECTURES["resnet18"]
    assert blind_spots(arch, (64, 96)) == []
    assert len(blind_spots(arch, (64, 64))) == 1
    assert blind_spots(arch, (32, 48))[0].startswith("odd extents before layer4.0.conv1, so")
    assert blind_spots(arch, (32, 64)) == [
        "layer4.0.conv2, layer4.1.conv1, layer4.1.conv2 reach beyond the whole map, "
        "so a wrong kernel rim may go unseen"
    ]


@pytest.mark.parametrize("seed", range(SEEDS_TO_COVER))
def test_the_sparsest_probes_lose_whole_blocks_but_never_all(seed):
    arch = ARCHITECTURES["resnet110"]
    weights = exact_weights(arch, seed, "float32", Density(2, 1, 64))
    last = [weights[f"{block.name}.bn2.weight"] for block in make_plan(arch).blocks]
    assert {gamma.any() for gamma in last} == {False, True}


def test_a_probe_has_taps_where_no_gradients_fit(monkeypatch):
    """The largest sum of `tiny` is 2^9.4 forward, and 2^9.7 backward at the sparsest density."""
    monkeypatch.setitem(exact_probes._MANTISSA_BITS, "float32", 9.55)
    probe = exact_probe(TINY, 0, "float32")
    assert (probe.cotangents, probe.gradients) == ({}, {})
    assert {"layer2.0", "logits"} <= set(probe.expected)


def test_a_map_without_a_power_of_two_area_is_refused():
    with pytest.raises(ProbeError, match=r"the map of layer4.2 in 'resnet50' is 7x7.*take 64x128"):
        exact_probe(ARCHITECTURES["resnet50"], 0, "float32", (224, 224))


def test_float32_sums_in_any_order_are_exact():
    """Sums in three orders equal the integers, as the bound promises."""
    probe = exact(SMALL.name, "float32")
    name = "layer2.0.conv2"
    x = np.maximum(probe.expected["layer2.0.bn1"], 0).astype("float32")
    conv = make_plan(SMALL).stages[1].blocks[0].conv2
    windows = oracle.conv_windows(conv, x)
    kernel = probe.weights[f"{name}.weight"]
    terms = windows[:, None] * kernel[None, :, :, None, None]
    terms = np.moveaxis(terms, (3, 4), (1, 2)).reshape(*x.shape[:1], *terms.shape[3:5], 32, -1)
    for order in (terms, terms[..., ::-1], np.sort(terms, axis=-1)):
        total = np.cumsum(order, axis=-1, dtype="float32")[..., -1]
        np.testing.assert_array_equal(np.moveaxis(total, 3, 1), probe.expected[name])


def test_random_probes_are_not_degenerate():
    probe = random_probe(get_architecture("resnet18"), 0, "float64")
    height, width = probe.images.shape[2:]
    assert height != width
    assert height % 2 == 0
    assert width % 2 == 0
    assert probe.images.shape[0] > 1
    for parameter in parameters(probe.architecture):
        value = probe.weights[parameter.name]
        assert len(np.unique(value)) == value.size, f"{parameter.name} repeats values"
        if parameter.name.endswith("running_var"):
            assert value.min() > 0
    for tap in taps(probe.architecture, height, width):
        assert np.std(probe.expected[tap.name]) > 0.01, tap.name


def test_float32_is_float64_cast_down():
    narrow, wide = (random_probe(TINY, 0, dtype) for dtype in ("float32", "float64"))
    for name, value in wide.weights.items():
        np.testing.assert_array_equal(narrow.weights[name], value.astype("float32"))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("eps", [1e-3, 1e-5, 1.001e-5, 2e-5, 1e-6, 0.3])
def test_variance_and_epsilon_give_a_power_of_four(eps, dtype):
    weights = exact_probe(replace(TINY, bn_eps=eps), 0, dtype).weights
    squared = weights["bn1.weight"] ** 2
    assert (np.frexp(squared)[0] == 0.5).all()
    np.testing.assert_array_equal(weights["bn1.running_var"] + np.dtype(dtype).type(eps), squared)
    assert (weights["bn1.running_var"] >= np.dtype(dtype).type(eps)).all()
