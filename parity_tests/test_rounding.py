"""The float64 and float32 rungs: random weights, every tap, nothing but rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from parity_tests.support import ALL_NAMES, TINY, USERS, engines, light, quick_engines, random
from resnet_parity.frameworks import keras_adapter, torch_adapter
from resnet_parity.hands import rounding
from resnet_parity.rungs import FLOOR_MODES, climb
from resnet_parity.tolerances import least_floor, limit

SPREAD = [
    "resnet18",
    "resnext50_32x4d",
    "keras_resnet50",
    "resnetv2_18",
    "resnet34_a",
    "plain18",
    "resnet20",
    "resnet50d",
    "seresnet18",
]

QUICK = ["resnet18", "resnet50", "seresnet18", *(arch.name for arch in USERS)]


def check(name: str, rung: str) -> None:
    probe = random(name, rung)
    verdicts = list(climb(rung, probe, quick_engines(rung, probe.dtype)))
    for verdict in verdicts:
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.figure}, {verdict.divergence}"
        assert 0 < verdict.value <= verdict.limit
    random.cache_clear()


@pytest.mark.parametrize("rung", ["float64", "float32"])
@pytest.mark.parametrize("name", light([*SPREAD, *(arch.name for arch in USERS)], QUICK))
def test_random_probe(name, rung):
    check(name, rung)


@pytest.mark.full
@pytest.mark.parametrize("rung", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in ALL_NAMES if name not in SPREAD])
def test_random_probe_of_every_row(name, rung):
    check(name, rung)


@pytest.mark.parametrize("mode", FLOOR_MODES)
def test_the_floor_is_the_same_on_any_number_of_threads(mode):
    """In a grouped net, whose convolutions PyTorch computes in another way on one than on two."""
    probe = random("resnext50_32x4d", "float32")
    adapter = torch_adapter()
    model = adapter.build(probe.architecture, probe.weights, "float32")
    before, found = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(adapter.run(model, probe.images, mode))
        assert torch.get_num_threads() == threads
    torch.set_num_threads(before)
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name], err_msg=name)


def test_the_floor_is_pytorchs_and_has_a_ceiling():
    """In float32 PyTorch is held to an absolute limit, Keras to PyTorch's own error."""
    nchw, channels_last, *keras = climb("float32", random(TINY.name, "float32"), engines())
    assert {nchw.limit, channels_last.limit} == {limit("float32", "floor")}
    assert {verdict.limit for verdict in keras} == {limit("float32", "tap")}
    errors = np.array([[row.error for row in verdict.rows] for verdict in (nchw, channels_last)])
    floors = np.array([row.limit for row in keras[0].rows]) / limit("float32", "tap")
    expected = np.maximum.accumulate(np.maximum(errors.max(axis=0), least_floor()))
    np.testing.assert_array_equal(floors, expected)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_norm_of_ones_shows_the_rounding_of_a_mode(dtype):
    """PyTorch and XLA's mode give halves on any CPU; a rough rsqrt is recognised, if there is."""
    keras, torch = keras_adapter(), torch_adapter()
    halves = {mode: torch.norm_of_ones(mode, dtype) for mode in FLOOR_MODES}
    halves |= {mode: keras.norm_of_ones(mode, dtype) for mode in keras.modes()}
    for mode, found in halves.items():
        assert (found.dtype, found.size) == (dtype, 64)
        hand = torch if mode in FLOOR_MODES else keras
        is_rough = bool((found != 0.5).any())
        assert (rounding(hand, mode, dtype) is not None) == is_rough
        assert not is_rough or (mode in ("graph", "eager") and dtype == "float32")
