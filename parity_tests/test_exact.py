"""The exact rung: every row of the table, every engine, every tap, bit for bit."""

from __future__ import annotations

import keras
import pytest

from parity_tests.support import ALL_NAMES, EVERYTHING, ONE_OF_EACH_KIND, USERS, engines, exact
from resnet_parity.rungs import climb

USER_NAMES = [EVERYTHING.name, *(arch.name for arch in USERS)]


def check(name: str, dtype: str, *, every_mode: bool) -> None:
    probe = exact(name, dtype)
    verdicts = list(climb("exact", probe, engines(every_mode=every_mode, eager=True)))
    assert len(verdicts) == 2 + (3 if every_mode else 1)
    for verdict in verdicts:
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.divergence}"
        assert {row.name for row in verdict.rows} == set(probe.expected)
        assert all(row.differing == 0 for row in verdict.rows)
    exact.cache_clear()  # a wide net's probe holds a gigabyte
    keras.backend.clear_session()


@pytest.mark.parametrize("name", ALL_NAMES)
def test_float32(name):
    """PyTorch NCHW and channels_last; Keras on TensorFlow eager, of each kind graph and XLA too."""
    check(name, "float32", every_mode=name in ONE_OF_EACH_KIND)


SPREAD = ["resnet18", "resnet152", "resnext50_32x4d", "keras_resnet50v2", "resnet50d", "seresnet50"]


@pytest.mark.parametrize("name", SPREAD)
def test_float64(name):
    check(name, "float64", every_mode=name == "resnet18")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", USER_NAMES)
def test_a_users_own_architecture(name, dtype):
    check(name, dtype, every_mode=dtype == "float32")
