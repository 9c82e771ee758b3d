"""The float64 and float32 checks on random probes: every tap differs only by rounding."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import torch

from parity_tests.support import ALL_NAMES, TINY, USERS, engines, light, quick_engines, random
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.protocol import rounding_reason
from resnet_parity.checks import run_check
from resnet_parity.checks.engine import NOISE_FLOOR_MODES
from resnet_parity.tolerances import least_noise_floor, limit

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


def check_taps(name: str, check: str) -> None:
    probe = random(name, check)
    verdicts = list(run_check(check, probe, quick_engines(check, probe.dtype)))
    for verdict in verdicts:
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.figure}, {verdict.divergence}"
        assert 0 < verdict.value <= verdict.limit
    random.cache_clear()


@pytest.mark.parametrize("check", ["float64", "float32"])
@pytest.mark.parametrize("name", light([*SPREAD, *(arch.name for arch in USERS)], QUICK))
def test_random_probe(name, check):
    check_taps(name, check)


@pytest.mark.full
@pytest.mark.parametrize("check", ["float64", "float32"])
@pytest.mark.parametrize("name", [name for name in ALL_NAMES if name not in SPREAD])
def test_random_probe_of_every_row(name, check):
    check_taps(name, check)


@pytest.mark.parametrize("mode", NOISE_FLOOR_MODES)
def test_the_noise_floor_is_the_same_on_any_number_of_threads(mode):
    """In a grouped network: PyTorch convolves it differently on one thread and on two."""
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


def test_the_noise_floor_is_pytorchs_error_and_has_a_limit():
    """PyTorch is compared with an absolute limit, Keras with PyTorch's own error."""
    nchw, channels_last, *keras = run_check("float32", random(TINY.name, "float32"), engines())
    assert {nchw.limit, channels_last.limit} == {limit("float32", "noise floor of taps")}
    assert {verdict.limit for verdict in keras} == {limit("float32", "taps")}
    errors = np.array([[row.error for row in verdict.rows] for verdict in (nchw, channels_last)])
    noise_floors = np.array([row.limit for row in keras[0].rows]) / limit("float32", "taps")
    expected = np.maximum.accumulate(np.maximum(errors.max(axis=0), least_noise_floor()))
    np.testing.assert_array_equal(noise_floors, expected)


@pytest.mark.parametrize(
    "mode", [*NOISE_FLOOR_MODES, pytest.param("compile", marks=pytest.mark.full)]
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_pytorch_gives_halves_on_any_cpu(mode, dtype):
    halves = torch_adapter().norm_of_ones(mode, dtype)
    np.testing.assert_array_equal(halves, np.full((1, 64, 1, 1), 0.5, dtype))


@pytest.mark.parametrize("mode", ["graph", "eager", "xla"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_norm_in_keras_rounds_as_tensorflows_rsqrt_does(mode, dtype):
    """Compared with TensorFlow itself, so that only modes that do round are skipped."""
    jit = tf.function(tf.math.rsqrt, jit_compile=True)
    root = {"graph": tf.function(tf.math.rsqrt), "eager": tf.math.rsqrt, "xla": jit}[mode]
    roots = root(tf.constant(4.0, dtype, shape=64)).numpy()
    framework = keras_adapter()
    np.testing.assert_array_equal(framework.norm_of_ones(mode, dtype).ravel(), roots)
    is_rough = bool((roots != 0.5).any())
    assert (rounding_reason(framework, mode, dtype) is not None) == is_rough
    assert not is_rough or (mode != "xla" and dtype == "float32")
