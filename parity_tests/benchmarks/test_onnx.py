"""The survey of exports: a row is the worst of its runs, and the README counts rows and setups."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from resnet_spec import ARCHITECTURES

from benchmarks import onnx as survey
from benchmarks import provenance
from benchmarks.provenance import Measured
from resnet_parity.errors import MissingFrameworkError, ParityError
from resnet_parity.site import results as reading
from resnet_parity.site import tables
from resnet_parity.site.tables import onnx_setups

SOME, OTHER = ({"cpu": cpu, "cores": 2, "system": "Linux"} for cpu in ("some", "other"))


def figures(passed: bool = True) -> dict:
    cell = {"status": "pass", "value": 0, "verdicts": 24, "reason": ""}
    exports = {name: {"exact": cell, "float32": cell} for name in ("torch.onnx", "keras.onnx")}
    counts = {name: {"Conv": 19} for name in exports}
    return {"passed": passed, "operators": counts, "exports": exports}


@pytest.fixture
def surveyed(monkeypatch, tmp_path):
    """A function that writes rows as measured on a machine."""
    file = tmp_path / "onnx.json"
    for module in (provenance, reading):
        monkeypatch.setattr(module, "result_file", lambda _: file)

    def on(machine: dict, *names: str, passed: bool = True) -> None:
        monkeypatch.setattr(provenance, "machine", lambda: machine)
        measured = Measured(figures(passed), {"onnx": "1"}, passed)
        provenance.write(survey.RESULTS, dict.fromkeys(names, measured))

    return on


def test_the_readme_counts_rows_and_setups(surveyed):
    surveyed(SOME, "resnet20", "resnet18")
    surveyed(OTHER, "resnet34", passed=False)
    data = reading.read("onnx")
    assert list(data["rows"]) == ["resnet18", "resnet34", "resnet20"], "in the registry's order"
    assert [each["setup"] for each in data["rows"].values()] == [0, 1, 0]
    texts = ["2 on some, 2 cores, Linux, onnx 1", "1 on other, 2 cores, Linux, onnx 1"]
    assert list(onnx_setups(data)) == texts
    printed = tables.onnx()
    assert (
        f"2 of 3 surveyed architectures pass, of {len(ARCHITECTURES)} in the registry (" in printed
    )
    assert (
        "the same operators in 3 of them. Missing architectures were not run or gave no answer."
        in printed
    )
    assert "; ".join(texts) in printed


def test_a_survey_of_nothing_is_reported(surveyed):
    surveyed(SOME)
    assert "0 of 0 surveyed architectures pass" in tables.onnx()


def answers(monkeypatch, stdout: str, code: int, stderr: str = "") -> None:
    """Replace the command by one with this output and exit code."""
    done = SimpleNamespace(stdout=stdout, stderr=stderr, returncode=code)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)


def test_a_cell_is_the_worst_of_its_runs(monkeypatch):
    engine, values = "torch.onnx ort all", [("fail", None), ("skipped", 3.0), ("pass", 1.0)]
    verdicts = [
        {"engine": engine, "check": "float32", "status": s, "value": v, "reason": f"a {s}"}
        for s, v in values
    ]
    data = {"passed": False, "operators": {}, "graphs": {}, "versions": {}, "verdicts": verdicts}
    answers(monkeypatch, json.dumps(data), 1)
    found = survey.measure("resnet20")
    assert not found.passed
    cell = found.figures["exports"]["torch.onnx"]["float32"]
    assert cell == {"status": "fail", "value": None, "verdicts": 3, "reason": "a fail"}
    row = {**figures(), "exports": {"torch.onnx": {"float32": cell}}}
    assert "fail: infx" in list(tables.onnx_row("resnet20", row))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, "onnx-compare failed: another net"),
        (2, "onnx-compare failed: another net"),
        (-9, "onnx-compare was ended by SIGKILL"),
    ],
    ids=["another net", "usage", "killed"],
)
def test_a_command_without_an_answer_gives_a_reason(code, reason, monkeypatch):
    answers(monkeypatch, "", code, "progress ...\nanother network\n")
    with pytest.raises(ParityError, match=reason):
        survey.measure("resnet20")


def test_a_missing_framework_is_none_of_a_row(monkeypatch):
    answers(monkeypatch, "", MissingFrameworkError.exit_code, "onnx is not installed")
    with pytest.raises(MissingFrameworkError, match="onnx is not installed"):
        survey.measure("resnet20")
