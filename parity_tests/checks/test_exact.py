"""The exact check: every engine, every tap, bit for bit.

Every architecture is tested here in float64, and in float32 with the conformance vectors.
"""

from __future__ import annotations

import keras
import pytest

from parity_tests.support import (
    ALL_NAMES,
    EVERYTHING,
    ONE_OF_EACH_KIND,
    TINY,
    USERS,
    engines,
    exact,
    light,
    quick_engines,
)
from resnet_parity.adapters.protocol import rounding_reason
from resnet_parity.checks import run_check

USER_NAMES = [EVERYTHING.name, *(arch.name for arch in USERS)]


def check(name: str, dtype: str, *, every_mode: bool) -> None:
    """All engines pass, except modes of Keras that round and say so."""
    probe = exact(name, dtype)
    asked = engines() if every_mode else quick_engines("exact", dtype)
    rough = {each.name for each in asked if rounding_reason(each.adapter, each.mode, dtype)}
    allowed = {"keras graph", "keras eager"} if every_mode and dtype == "float32" else set()
    assert rough <= allowed, "XLA does not round on any CPU"
    verdicts = list(run_check("exact", probe, asked))
    assert len(verdicts) == 2 * len(asked)
    for verdict in verdicts:
        if verdict.engine in rough:
            assert verdict.status == "skipped"
            assert "1 / sqrt(4) is" in verdict.reason
            continue
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.divergence}"
        expected = probe.expected if verdict.quantity == "taps" else probe.gradients
        assert {row.name for row in verdict.rows} == set(expected)
        assert all(row.differing == 0 for row in verdict.rows)
    exact.cache_clear()  # the probe of a wide network takes a gigabyte
    keras.backend.clear_session()


@pytest.mark.full
@pytest.mark.usefixtures("keras_in_another_process")
@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_float32_in_every_mode(name):
    """Arrays and gradients: PyTorch NCHW and channels_last, Keras in graph, eager and XLA."""
    check(name, "float32", every_mode=True)


SPREAD = ["resnet18", "keras_resnet50v2", "seresnet50"]


@pytest.mark.parametrize("name", light(SPREAD, SPREAD[:1]))
def test_float64(name):
    check(name, "float64", every_mode=False)


@pytest.mark.full
@pytest.mark.parametrize("name", [name for name in ALL_NAMES if name not in SPREAD])
def test_float64_of_every_row(name):
    check(name, "float64", every_mode=False)


@pytest.mark.parametrize("name", light([TINY.name, "gated"], [TINY.name]))
def test_every_mode(name):
    check(name, "float32", every_mode=True)


OWN = [(name, dtype) for name in USER_NAMES for dtype in ("float32", "float64")]
QUICK = [(EVERYTHING.name, "float32"), *((name, "float64") for name in USER_NAMES)]


@pytest.mark.parametrize(("name", "dtype"), light(OWN, QUICK))
def test_a_users_own_architecture(name, dtype):
    """In float64 no CPU rounds, so the whole network need not be compiled."""
    check(name, dtype, every_mode=False)


@pytest.mark.parametrize("name", USER_NAMES)
def test_a_users_own_architecture_in_pytorch(name, torch_engines):
    verdicts = list(run_check("exact", exact(name, "float32"), torch_engines))
    assert len(verdicts) == 2 * len(torch_engines) == 4
    for verdict in verdicts:
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.divergence}"
