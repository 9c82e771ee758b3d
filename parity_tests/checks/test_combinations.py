"""Fields combine freely: random architectures pass every check, not only the registered ones."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from resnet_spec import Architecture, parameters

import resnet_keras
import resnet_torch
from parity_tests.checks.combinations import architectures
from parity_tests.support import quick_engines
from resnet_parity.checks import run_check
from resnet_parity.errors import ProbeError
from resnet_parity.probes import check_exact_size, default_size, exact_probe, random_probe

FEW_DOZENS = settings(
    max_examples=36,
    phases=[Phase.explicit, Phase.generate],  # small networks need no smaller example
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@settings(FEW_DOZENS, max_examples=4)
@given(architectures(), st.integers(0, 7))
def test_every_check_holds(arch: Architecture, seed: int):
    """Exact in float64, because no CPU rounds there and the network need not be compiled."""
    check(arch, seed, "float64")


@pytest.mark.full
@FEW_DOZENS
@given(architectures(), st.integers(0, 7), st.sampled_from(["float32", "float64"]))
def test_every_check_holds_for_more(arch: Architecture, seed: int, dtype: str):
    check(arch, seed, dtype)


def check(arch: Architecture, seed: int, dtype: str) -> None:
    probes = {
        "float64": random_probe(arch, seed, "float64"),
        "float32": random_probe(arch, seed, "float32"),
    }
    if not has_no_exact_probe(arch):
        probes["exact"] = exact_probe(arch, seed, dtype)
    for check, probe in probes.items():
        for verdict in run_check(check, probe, quick_engines(check, probe.dtype)):
            assert verdict.status == "pass", f"{check}, {verdict.engine}: {verdict.divergence}"


def has_no_exact_probe(arch: Architecture) -> bool:
    """Gates before a stride of three average maps whose area is no power of two."""
    if arch.se is None or not any(stage.stride == 3 for stage in arch.stages):
        return False
    try:
        check_exact_size(arch, default_size(arch, "exact"))
    except ProbeError as error:
        assert "no size fits every mean of this net" in str(error)
        return True
    return False


@settings(FEW_DOZENS, max_examples=12)
@given(architectures())
def test_weights_travel_there_and_back(arch: Architecture):
    weights = random_probe(arch, 0, "float32").weights
    torch_model, keras_model = resnet_torch.create_model(arch), resnet_keras.create_model(arch)
    resnet_torch.set_weights(torch_model, weights)
    resnet_keras.set_weights(keras_model, resnet_torch.get_weights(torch_model))
    found = resnet_keras.get_weights(keras_model)
    assert list(found) == [p.name for p in parameters(arch)]
    assert all(found[name].tobytes() == value.tobytes() for name, value in weights.items())
