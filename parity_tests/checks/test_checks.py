"""The comparison and the checks: statuses, figures, first divergence, waivers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity_tests.support import TINY, exact, random, training
from resnet_parity.adapters.protocol import fallback_mode
from resnet_parity.checks import CHECKS, run_check
from resnet_parity.checks.engine import Engine
from resnet_parity.checks.float64 import Float64
from resnet_parity.checks.tap_check import TapCheck
from resnet_parity.compare import compare, relative_error
from resnet_parity.tolerances import limit
from resnet_parity.verdict import BITWISE, first_divergence
from resnet_parity.verify import Report

EXPECTED = {"a": np.array([[1.0, 2.0]]), "b": np.array([[3.0, -4.0]])}


def status(actual: dict[str, np.ndarray], limits=BITWISE) -> list[str]:
    return [row.status for row in compare(EXPECTED, actual, limits)]


def test_statuses():
    assert status(dict(EXPECTED)) == ["ok", "ok"]
    assert status({"a": EXPECTED["a"]}) == ["ok", "missing"]
    assert status({**EXPECTED, "b": EXPECTED["b"].T}) == ["ok", "shape"]
    assert status({**EXPECTED, "a": EXPECTED["a"] + 1e-15}) == ["mismatch", "ok"]
    assert status({**EXPECTED, "a": EXPECTED["a"] + 1e-15}, 1e-12) == ["ok", "ok"]
    assert status({**EXPECTED, "a": EXPECTED["a"].astype("float32")}) == ["mismatch", "ok"]


def test_bits_differ_unless_only_the_sign_of_a_zero_does():
    expected = {"a": np.array([0.0, 1.0])}
    for actual, differing in (([-0.0, 1.0], 0), ([5e-324, 1.0], 1), ([0.0, 1 + 2**-52], 1)):
        (row,) = compare(expected, {"a": np.array(actual)}, BITWISE)
        assert row.differing == differing


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_never_pass(value):
    broken = {**EXPECTED, "b": np.array([[3.0, value]])}
    for expected, actual in ((EXPECTED, broken), (broken, EXPECTED)):
        row = compare(expected, actual, 1e300)[1]
        assert (row.status, row.error, row.max_abs) == ("mismatch", np.inf, np.inf)


def test_rows_hold_the_figures():
    actual = {**EXPECTED, "b": np.array([[3.0, -4.5]])}
    rows = compare(EXPECTED, actual, {"a": 0.0, "b": 0.05})
    assert (rows[1].differing, rows[1].max_abs, rows[1].error) == (1, 0.5, 0.1)
    assert first_divergence(rows) is rows[1]
    assert first_divergence(rows[:1]) is None


def test_negative_differences_count():
    assert relative_error(np.array([4.0]), np.array([3.0])) == 0.25


class Fake:
    """An adapter that gives outputs made before."""

    def __init__(
        self, outputs: dict[str, np.ndarray], float64_unsupported_reason: str | None, half: float
    ) -> None:
        self._outputs, self._float64_unsupported_reason, self._half = (
            outputs,
            float64_unsupported_reason,
            half,
        )

    def modes(self):
        return ("eager",)

    def unsupported_reason(self, mode, check):
        return None

    def versions(self):
        return {"fake": "1"}

    def float64_unsupported_reason(self):
        return self._float64_unsupported_reason

    def norm_of_ones(self, mode, dtype):
        return np.array([[0.5, self._half, 0.5]], dtype)

    def build(self, architecture, weights, dtype):
        return None

    def run(self, model, images, mode):
        return self._outputs

    def gradients(self, model, images, cotangents, mode, *, training):
        return self._outputs

    def mixed_precision(self, architecture, weights, images, mode, dtype):
        return self._outputs

    def prepared(self, architecture, weights, images, mode, dtype):
        return self._outputs


def fake(
    outputs: dict[str, np.ndarray],
    float64_unsupported_reason: str | None = None,
    mode: str = "eager",
    half: float = 0.5,
) -> Engine:
    return Engine("fake", Fake(outputs, float64_unsupported_reason, half), mode)


def noise_floor(outputs: dict[str, np.ndarray]) -> Engine:
    """An engine in one of the modes that set the noise floor."""
    return fake(outputs, mode="nchw")


def shifted(taps, error: float):
    return {name: value * (1 + error) for name, value in taps.items()}


def test_an_engine_whose_float64_is_partly_float32_is_skipped_with_its_reason():
    probe = random(TINY.name, "float64")
    (verdict,) = run_check("float64", probe, (fake(shifted(probe.expected, 1e-7), "rounds"),))
    assert (verdict.status, verdict.reason) == ("skipped", "rounds")


def test_a_waiver_covers_rounding_and_nothing_else():
    probe = random(TINY.name, "float64")
    (verdict,) = run_check("float64", probe, (fake(shifted(probe.expected, 1e-3), "rounds"),))
    assert (verdict.status, verdict.reason) == ("fail", "")


def test_a_check_without_a_waiver_limit_waives_nothing(monkeypatch):
    monkeypatch.setattr(Float64, "waiver_limit", TapCheck.waiver_limit)
    probe = random(TINY.name, "float64")
    (verdict,) = run_check("float64", probe, (fake(shifted(probe.expected, 1e-7), "rounds"),))
    assert (verdict.status, verdict.reason) == ("fail", "")


ROUGH = 0.5 - 2**-24
"""1 / sqrt(4) as an Intel Xeon computes it."""


@pytest.mark.parametrize("kind", ["taps", "gradients"])
def test_a_norm_that_rounds_waives_nothing_in_float32(kind):
    probe = random(TINY.name, "float32") if kind == "taps" else training(TINY.name, "float32")
    right = probe.expected if kind == "taps" else probe.gradients
    wrong = dict(right)
    name = "conv1" if kind == "taps" else "conv1.weight"
    wrong[name] = right[name] * (1 + (8e-6 if kind == "taps" else 1e-3))
    first, second = run_check("float32", probe, (noise_floor(right), fake(wrong, half=ROUGH)))
    assert (first.status, second.status, second.quantity) == ("pass", "fail", kind)


def test_an_engine_that_rounds_skips_exact_probes_in_float32():
    probe = replace(exact(TINY.name, "float32"), gradients={})
    (verdict,) = run_check("exact", probe, (fake({}, half=ROUGH),))
    reason = "1 / sqrt(4) is 0.49999994 in eager mode on this machine"
    assert (verdict.status, verdict.reason) == ("skipped", reason)


HALVES = [
    ("float32", 0.5 - 2**-23, "skipped"),
    ("float32", 0.5 + 2**-23, "skipped"),
    ("float32", 0.5 - 2**-22, "fail"),
    ("float32", 0.5 + 2**-22, "fail"),
    *(("float32", half, "fail") for half in (0.5, 0.45, np.nan, np.inf)),
    ("float64", ROUGH, "fail"),
]


@pytest.mark.parametrize(("dtype", "half", "status"), HALVES)
def test_a_norm_that_errs_by_more_than_rounding_is_not_skipped(dtype, half, status):
    probe = replace(exact(TINY.name, dtype), gradients={})
    (verdict,) = run_check("exact", probe, (fake(shifted(probe.expected, 1e-3), half=half),))
    assert (verdict.status, not verdict.reason) == (status, status == "fail")


def test_the_fallback_mode_is_supported_and_does_not_round(monkeypatch):
    framework = fake({}).adapter
    monkeypatch.setattr(
        framework, "modes", lambda: ("eager", "broken", "rough", "sound"), raising=False
    )
    monkeypatch.setattr(
        framework, "unsupported_reason", lambda mode, _: "no compiler" * (mode == "broken")
    )
    monkeypatch.setattr(
        framework,
        "norm_of_ones",
        lambda mode, dtype: np.full(4, ROUGH if mode in ("eager", "rough") else 0.5, dtype),
    )
    note = "sound mode runs instead of eager, because 1 / sqrt(4) is 0.49999994 in eager mode on"
    assert fallback_mode(framework, "eager", "float32") == ("sound", f"{note} this machine")
    assert fallback_mode(framework, "sound", "float32") == ("sound", None)
    assert fallback_mode(framework, "eager", "float64") == ("eager", None)


def report(*verdicts: tuple[str, ...], checks=("exact",)) -> Report:
    """A report with verdicts of these engines, probes, dtypes, quantities and statuses."""
    made = (
        replace(CHECKS["exact"].skipped(probe, dtype, engine, "", quantity), status=status)  # pyright: ignore
        for engine, probe, dtype, quantity, status in verdicts
    )
    return Report(TINY, 0, checks, {}, tuple(made))


PASS = ("keras graph", "exact", "float32", "taps", "pass")


def test_a_single_check_must_pass_in_some_mode_of_each_implementation():
    rough = ("keras eager", "exact", "float32", "taps", "skipped")
    assert report(PASS, rough).passed
    assert not report(PASS, ("keras eager", "exact", "float32", "taps", "fail")).passed
    in_float64 = (*rough[:2], "float64", *rough[3:])
    assert report(PASS, in_float64).passed, "one dtype proves the exact check"
    for part, other in ((0, "torch nchw"), (1, "photographs"), (3, "gradients")):
        elsewhere = (*rough[:part], other, *rough[part + 1 :])
        assert not report(PASS, elsewhere).passed, other
        assert report(PASS, elsewhere, checks=("exact", "float64")).passed
    assert not report(rough, checks=("exact", "float64")).passed, "nothing is proven at all"


@pytest.mark.parametrize("check", ["exact", "float64"])
def test_missing_logits_fail(check):
    probe = (exact if check == "exact" else random)(TINY.name, "float64")
    taps = {name: value for name, value in probe.expected.items() if name != "logits"}
    verdict, *_ = run_check(check, probe, (fake(taps),))
    assert [row.status for row in verdict.rows if row.name == "logits"] == ["missing"]
    assert (verdict.status, verdict.logits) == ("fail", None)


def test_an_engine_without_a_reason_gets_no_waiver():
    probe = random(TINY.name, "float64")
    (verdict,) = run_check("float64", probe, (fake(shifted(probe.expected, 1e-9)),))
    assert verdict.status == "fail"


def test_a_pytorch_that_is_wrong_fails_and_hides_nothing():
    """PyTorch fails by its own limit, and does not raise the noise floor for others."""
    probe = random(TINY.name, "float32")
    wrong, right = shifted(probe.expected, 1e-3), dict(probe.expected)
    lost = {name: value for name, value in right.items() if name != "fc"}
    for broken in (wrong, lost):
        first, second, third = run_check(
            "float32", probe, (noise_floor(broken), fake(right), fake(wrong))
        )
        assert (first.status, first.limit) == ("fail", limit("float32", "noise floor of taps"))
        assert (second.status, third.status) == ("pass", "fail")


def test_twice_the_noise_floor_is_the_limit():
    probe = random(TINY.name, "float32")
    first = noise_floor(shifted(probe.expected, 1e-6))
    statuses = []
    for error in (1.9e-6, 2.1e-6):
        _, second = run_check("float32", probe, (first, fake(shifted(probe.expected, error))))
        statuses.append(second.status)
    assert statuses == ["pass", "fail"]


def test_the_noise_floor_of_gradients_is_the_largest_error_of_any():
    """An engine may err in one gradient by twice PyTorch's error in another."""
    probe = training(TINY.name, "float32")
    first, *rest = probe.gradients
    torch = {**probe.gradients, first: probe.gradients[first] * (1 + 1e-5)}
    verdicts = []
    for error in (1.5e-5, 4e-5):
        other = {**probe.gradients, **{name: probe.gradients[name] * (1 + error) for name in rest}}
        _, verdict = run_check("float32", probe, (noise_floor(torch), fake(other)))
        verdicts.append((verdict.quantity, verdict.status))
    assert verdicts == [("gradients", "pass"), ("gradients", "fail")]


def test_tf32_has_no_tolerance_for_gradients():
    probe = training(TINY.name, "float32")
    _, verdict = run_check(
        "float32", probe, (noise_floor(probe.gradients), fake(probe.gradients, mode="cuda tf32"))
    )
    assert (verdict.status, "no tolerance" in verdict.reason) == ("skipped", True)
