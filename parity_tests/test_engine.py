"""The comparison and the rungs: statuses, figures, first divergence, and what is not excused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from parity_tests.support import TINY, exact, random, training
from resnet_parity.engine import BITWISE, compare, first_divergence, relative_error
from resnet_parity.hands import stand_in
from resnet_parity.rungs import Engine, cannot, climb
from resnet_parity.tolerances import limit
from resnet_parity.verification import Report

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


def test_bits_tell_all_apart_but_the_sign_of_a_zero():
    expected = {"a": np.array([0.0, 1.0])}
    for actual, differing in (([-0.0, 1.0], 0), ([5e-324, 1.0], 1), ([0.0, 1 + 2**-52], 1)):
        (row,) = compare(expected, {"a": np.array(actual)}, BITWISE)
        assert row.differing == differing


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_never_passes(value):
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
    """A hand that gives prepared outputs."""

    def __init__(
        self, outputs: dict[str, np.ndarray], float64_obstacle: str | None, half: float
    ) -> None:
        self._outputs, self._float64_obstacle, self._half = outputs, float64_obstacle, half

    def modes(self):
        return ("eager",)

    def obstacle(self, mode, rung):
        return None

    def versions(self):
        return {"fake": "1"}

    def float64_obstacle(self):
        return self._float64_obstacle

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


def fake(
    outputs: dict[str, np.ndarray],
    float64_obstacle: str | None = None,
    mode: str = "eager",
    half: float = 0.5,
) -> Engine:
    return Engine("fake", Fake(outputs, float64_obstacle, half), mode)


def floor(outputs: dict[str, np.ndarray]) -> Engine:
    """One that runs as PyTorch does where it makes the floor."""
    return fake(outputs, mode="nchw")


def shifted(taps, error: float):
    return {name: value * (1 + error) for name, value in taps.items()}


def test_an_engine_that_cannot_hold_float64_says_so_and_is_not_passed():
    probe = random(TINY.name, "float64")
    (verdict,) = climb("float64", probe, (fake(shifted(probe.expected, 1e-7), "rounds"),))
    assert (verdict.status, verdict.reason) == ("cannot", "rounds")


def test_an_obstacle_excuses_rounding_and_nothing_else():
    probe = random(TINY.name, "float64")
    (verdict,) = climb("float64", probe, (fake(shifted(probe.expected, 1e-3), "rounds"),))
    assert (verdict.status, verdict.reason) == ("fail", "")


ROUGH = 0.5 - 2**-24
"""What an Intel Xeon makes of 1 / sqrt(4)."""


@pytest.mark.parametrize("kind", ["taps", "gradients"])
def test_a_rough_norm_excuses_nothing_in_float32(kind):
    probe = random(TINY.name, "float32") if kind == "taps" else training(TINY.name, "float32")
    right = probe.expected if kind == "taps" else probe.gradients
    wrong = dict(right)
    name = "conv1" if kind == "taps" else "conv1.weight"
    wrong[name] = right[name] * (1 + (8e-6 if kind == "taps" else 1e-3))
    first, second = climb("float32", probe, (floor(right), fake(wrong, half=ROUGH)))
    assert (first.status, second.status, second.subject) == ("pass", "fail", kind)


def test_an_engine_that_rounds_exact_probes_in_float32_is_not_judged_by_them():
    probe = replace(exact(TINY.name, "float32"), gradients={})
    (verdict,) = climb("exact", probe, (fake({}, half=ROUGH),))
    told = "1 / sqrt(4) is 0.49999994 in eager mode on this machine"
    assert (verdict.status, verdict.reason) == ("cannot", told)


HALVES = [
    ("float32", 0.5 - 2**-23, "cannot"),
    ("float32", 0.5 + 2**-23, "cannot"),
    ("float32", 0.5 - 2**-22, "fail"),
    ("float32", 0.5 + 2**-22, "fail"),
    *(("float32", half, "fail") for half in (0.5, 0.45, np.nan, np.inf)),
    ("float64", ROUGH, "fail"),
]


@pytest.mark.parametrize(("dtype", "half", "status"), HALVES)
def test_a_norm_that_errs_by_more_than_rounding_is_judged(dtype, half, status):
    probe = replace(exact(TINY.name, dtype), gradients={})
    (verdict,) = climb("exact", probe, (fake(shifted(probe.expected, 1e-3), half=half),))
    assert (verdict.status, not verdict.reason) == (status, status == "fail")


def test_what_stands_in_has_no_obstacle_and_does_not_round(monkeypatch):
    hand = fake({}).adapter
    monkeypatch.setattr(hand, "modes", lambda: ("eager", "broken", "rough", "sound"), raising=False)
    monkeypatch.setattr(hand, "obstacle", lambda mode, _: "no compiler" * (mode == "broken"))
    monkeypatch.setattr(
        hand,
        "norm_of_ones",
        lambda mode, dtype: np.full(4, ROUGH if mode in ("eager", "rough") else 0.5, dtype),
    )
    told = "sound mode stands in for eager, because 1 / sqrt(4) is 0.49999994 in eager mode on this"
    assert stand_in(hand, "eager", "float32") == ("sound", f"{told} machine")
    assert stand_in(hand, "sound", "float32") == ("sound", None)
    assert stand_in(hand, "eager", "float64") == ("eager", None)


def report(*verdicts: tuple[str, ...], rungs=("exact",)) -> Report:
    """Of engine, probe, dtype, subject and status."""
    made = (
        replace(cannot("exact", probe, dtype, engine, "", subject), status=status)  # pyright: ignore
        for engine, probe, dtype, subject, status in verdicts
    )
    return Report(TINY, 0, rungs, {}, tuple(made))


PASS = ("keras graph", "exact", "float32", "taps", "pass")


def test_a_rung_alone_is_proven_of_each_hand_in_some_mode():
    rough = ("keras eager", "exact", "float32", "taps", "cannot")
    assert report(PASS, rough).passed
    assert not report(PASS, ("keras eager", "exact", "float32", "taps", "fail")).passed
    for part, other in enumerate(("torch nchw", "photographs", "float64", "gradients")):
        elsewhere = (*rough[:part], other, *rough[part + 1 :])
        assert not report(PASS, elsewhere).passed, other
        assert report(PASS, elsewhere, rungs=("exact", "float64")).passed
    assert not report(rough, rungs=("exact", "float64")).passed, "nothing is proven at all"


@pytest.mark.parametrize("rung", ["exact", "float64"])
def test_missing_logits_fail(rung):
    probe = (exact if rung == "exact" else random)(TINY.name, "float64")
    taps = {name: value for name, value in probe.expected.items() if name != "logits"}
    verdict, *_ = climb(rung, probe, (fake(taps),))
    assert [row.status for row in verdict.rows if row.name == "logits"] == ["missing"]
    assert (verdict.status, verdict.logits) == ("fail", None)


def test_an_engine_without_an_obstacle_is_not_excused():
    probe = random(TINY.name, "float64")
    (verdict,) = climb("float64", probe, (fake(shifted(probe.expected, 1e-9)),))
    assert verdict.status == "fail"


def test_a_broken_floor_is_accused_and_hides_nothing():
    """A first hand that is wrong fails by its own limit, however well the second one does."""
    probe = random(TINY.name, "float32")
    wrong, right = shifted(probe.expected, 1e-3), dict(probe.expected)
    lost = {name: value for name, value in right.items() if name != "fc"}
    for broken in (wrong, lost):
        first, second, third = climb("float32", probe, (floor(broken), fake(right), fake(wrong)))
        assert (first.status, first.limit) == ("fail", limit("float32", "floor"))
        assert (second.status, third.status) == ("pass", "fail")


def test_twice_the_floor_is_the_limit():
    probe = random(TINY.name, "float32")
    first = floor(shifted(probe.expected, 1e-6))
    statuses = []
    for error in (1.9e-6, 2.1e-6):
        _, second = climb("float32", probe, (first, fake(shifted(probe.expected, error))))
        statuses.append(second.status)
    assert statuses == ["pass", "fail"]


def test_the_floor_of_gradients_is_the_largest_error_of_any():
    """An engine may err in one gradient by twice what PyTorch errs by in another."""
    probe = training(TINY.name, "float32")
    first, *rest = probe.gradients
    torch = {**probe.gradients, first: probe.gradients[first] * (1 + 1e-5)}
    verdicts = []
    for error in (1.5e-5, 4e-5):
        other = {**probe.gradients, **{name: probe.gradients[name] * (1 + error) for name in rest}}
        _, verdict = climb("float32", probe, (floor(torch), fake(other)))
        verdicts.append((verdict.subject, verdict.status))
    assert verdicts == [("gradients", "pass"), ("gradients", "fail")]


def test_tf32_has_no_budget_for_gradients():
    probe = training(TINY.name, "float32")
    _, verdict = climb(
        "float32", probe, (floor(probe.gradients), fake(probe.gradients, mode="cuda tf32"))
    )
    assert (verdict.status, "no budget" in verdict.reason) == ("cannot", True)
