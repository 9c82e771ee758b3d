"""The registry of checks: one new class and its tolerance make a check that every command knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from resnet_spec import ARCHITECTURES

from parity_tests.support import TINY
from resnet_parity import cli, matrix
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.checks import CHECKS, DEFAULT_CHECKS
from resnet_parity.checks.base import Measurement, PlannedProbe, ProbeRequest
from resnet_parity.checks.tap_check import Found, NoiseFloor, TapCheck
from resnet_parity.probes import random_probe
from resnet_parity.reports.matrix import as_json
from resnet_parity.tolerances import TOLERANCES, Tolerance, limit


class Toy(TapCheck):
    """The largest absolute difference of any tap."""

    name = "toy"
    description = "random probes; no tap is off by more than a thousandth"
    layers_title = "largest difference"

    def probes(self, request: ProbeRequest) -> Iterator[PlannedProbe]:
        make = partial(random_probe, request.arch, request.seed, "float32", request.size)
        yield PlannedProbe("float32", "random probe for the toy", make)

    def measure(self, found: Found, noise_floor: NoiseFloor) -> Measurement:
        rows = found.compare(limit("toy", found.quantity))
        worst = max(row.max_abs for row in rows)
        return Measurement(worst, limit("toy", found.quantity), f"off by {worst:.0e}", rows)

    def layer_text(self, row) -> str:
        return f"{row.max_abs:.0e} off"


@pytest.fixture
def toy(monkeypatch) -> str:
    """The name of the toy check, while it is registered."""
    monkeypatch.setitem(CHECKS, "toy", Toy())
    monkeypatch.setitem(TOLERANCES, ("toy", "taps"), Tolerance(1e-3, "difference", "a toy"))
    monkeypatch.setitem(ARCHITECTURES, TINY.name, TINY)
    monkeypatch.setattr("resnet_parity.adapters.keras.adapter.modes", lambda: ("eager",))
    return "toy"


def test_the_help_lists_every_check(toy, capsys):
    for command in ("verify", "matrix"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        printed = capsys.readouterr().out
        assert "{exact,float64,float32,half,prepared,toy,all}" in "".join(printed.split())
        for name, check in CHECKS.items():
            assert f"  {name:<8} {check.description}" in printed


def test_verify_runs_a_new_check_and_prints_its_layers(toy, capsys):
    assert cli.main(["verify", TINY.name, "--check", toy, "--size", "32x48", "--layers"]) == 0
    captured = capsys.readouterr()
    assert "parity holds: 3 of 3 verdicts pass" in captured.out
    assert "toy check, random probe, float32, taps: largest difference" in captured.out
    assert " off" in captured.out
    assert "toy check, random probe for the toy ..." in captured.err
    assert cli.main(["verify", TINY.name, "--check", toy, "--size", "32x48", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {(v["check"], v["limit"]) for v in data["verdicts"]} == {(toy, 1e-3)}


def test_the_matrix_has_a_column_for_a_new_check(toy, monkeypatch):
    @contextmanager
    def adapters_here(*frameworks: str):
        yield {f: torch_adapter() if f == "torch" else keras_adapter() for f in frameworks}

    monkeypatch.setattr(matrix, "remote_adapters", adapters_here)
    engines = ["keras tensorflow eager"]
    (tiny,) = as_json(matrix.run_matrix([TINY], engines=engines, checks=["float32", toy]))[
        "matrices"
    ]
    assert tiny["columns"] == ["float32", "float32 gradients", "toy float32"]
    assert all(row["cells"]["toy float32"]["status"] == "pass" for row in tiny["rows"])


def test_every_quantity_of_a_check_has_a_tolerance():
    for name, check in CHECKS.items():
        for quantity in check.quantities:
            assert (name, quantity) in TOLERANCES


def test_checks_of_outputs_must_be_asked_for():
    assert set(CHECKS) - set(DEFAULT_CHECKS) == {"half", "prepared"}
