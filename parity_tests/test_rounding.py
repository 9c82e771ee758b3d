"""The float64 and float32 rungs: random weights, every tap, nothing but rounding."""

from __future__ import annotations

import numpy as np
import pytest

from parity_tests.support import USERS, engines, random
from resnet_parity.rungs import climb
from resnet_parity.tolerances import least_floor, limit

SPREAD = [
    "resnet18",
    "resnet152",
    "resnext50_32x4d",
    "keras_resnet50",
    "keras_resnet50v2",
    "resnet34_a",
    "plain18",
    "resnet110",
    "resnet50d",
    "seresnet152",
]


@pytest.mark.parametrize("rung", ["float64", "float32"])
@pytest.mark.parametrize("name", [*SPREAD, *(arch.name for arch in USERS)])
def test_random_probe(name, rung):
    probe = random(name, rung)
    verdicts = list(climb(rung, probe, engines(every_mode=name == "resnet18")))
    for verdict in verdicts:
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.figure}, {verdict.divergence}"
        assert 0 < verdict.value <= verdict.limit
    random.cache_clear()


def test_the_floor_is_pytorchs_and_has_a_ceiling():
    """In float32 PyTorch is held to an absolute limit, Keras to PyTorch's own error."""
    torch, channels_last, *keras = climb("float32", random("resnet18", "float32"), engines())
    assert {torch.limit, channels_last.limit} == {limit("float32", "floor")}
    assert {verdict.limit for verdict in keras} == {limit("float32", "tap")}
    errors = np.array([[row.error for row in verdict.rows] for verdict in (torch, channels_last)])
    floors = np.array([row.limit for row in keras[0].rows]) / limit("float32", "tap")
    expected = np.maximum.accumulate(np.maximum(errors.max(axis=0), least_floor()))
    np.testing.assert_array_equal(floors, expected)
