"""The survey of exports: rows add up over runs and machines, and go with their sources."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from resnet_spec import ARCHITECTURES

from benchmarks import onnx as survey
from benchmarks import provenance
from resnet_parity.errors import MissingFrameworkError
from resnet_parity.site import readme, results
from resnet_parity.site.readme import onnx_setups

SOME, OTHER = ({"cpu": cpu, "cores": 2, "system": "Linux"} for cpu in ("some", "other"))


def row(passed: bool = True) -> dict:
    cell = {"status": "pass", "value": 0, "verdicts": 24, "reason": ""}
    exports = {name: {"exact": cell, "float32": cell} for name in ("torch.onnx", "keras.onnx")}
    counts = {name: {"Conv": 19} for name in exports}
    return {"passed": passed, "operators": counts, "exports": exports}


@pytest.fixture
def surveyed(monkeypatch, tmp_path):
    """A function that surveys rows on a machine, and gives what the file then holds."""
    file = tmp_path / "onnx.json"
    for module in (survey, provenance, results):
        monkeypatch.setattr(module, "result_file", lambda _: file)

    def on(machine, versions: dict | None, *names, sources="one", passed=True):
        stamp = {"date": "2026-01-02", "machine": machine, "sources": sources}
        monkeypatch.setattr(provenance, "stamp", lambda _: stamp)
        monkeypatch.setattr(provenance, "digest", lambda _: sources)
        monkeypatch.setattr(survey, "_row", lambda _: versions and (versions, row(passed)))
        failed = survey.survey(names)
        return failed, json.loads(file.read_text())

    return on


def test_rows_of_several_machines_stand_together(surveyed):
    assert surveyed(SOME, {"onnx": "1"}, "resnet20", "resnet18")[0] == []
    failed, data = surveyed(OTHER, {"onnx": "1"}, "resnet34", passed=False)
    assert failed == ["resnet34"]
    assert list(data["rows"]) == ["resnet18", "resnet34", "resnet20"], "in the table's order"
    assert [each["setup"] for each in data["rows"].values()] == [0, 1, 0]
    assert data["setups"] == [{"machine": m, "versions": {"onnx": "1"}} for m in (SOME, OTHER)]
    told = ["2 on some, 2 cores, Linux, onnx 1", "1 on other, 2 cores, Linux, onnx 1"]
    assert list(onnx_setups(data)) == told
    printed = readme.onnx()
    assert f"2 of the 3 rows surveyed pass, of {len(ARCHITECTURES)} in the table (" in printed
    assert (
        "the same operators in 3 of them. Rows that are missing were not run, or gave no answer."
        in printed
    )
    assert "; ".join(told) in printed


def answers(monkeypatch, stdout: str, code: int) -> None:
    """What the command prints, and its exit code."""
    done = SimpleNamespace(stdout=stdout, returncode=code)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: done)


def test_a_cell_is_the_worst_of_its_runs(monkeypatch):
    engine, values = "torch.onnx ort all", [("fail", None), ("skipped", 3.0), ("pass", 1.0)]
    verdicts = [
        {"engine": engine, "check": "float32", "status": s, "value": v, "reason": f"a {s}"}
        for s, v in values
    ]
    data = {"passed": False, "operators": {}, "versions": {}, "verdicts": verdicts}
    answers(monkeypatch, json.dumps(data), 1)
    found = survey._row("resnet20")
    assert found is not None
    cell = found[1]["exports"]["torch.onnx"]["float32"]
    assert cell == {"status": "fail", "value": None, "verdicts": 3, "reason": "a fail"}
    data = {**row(), "exports": {"torch.onnx": {"float32": cell}}}
    assert "fail: infx" in list(readme.onnx_row("resnet20", data))


def test_a_row_without_an_answer_has_failed_and_others_go_on(surveyed):
    """And what was known of it is forgotten."""
    surveyed(SOME, {"onnx": "1"}, "resnet18", "resnet20")
    failed, data = surveyed(SOME, None, "resnet20", "resnet32")
    assert failed == ["resnet20", "resnet32"]
    assert list(data["rows"]) == ["resnet18"]
    assert f"1 of the 1 rows surveyed pass, of {len(ARCHITECTURES)} in the table (" in readme.onnx()


def test_a_survey_of_nothing_is_reported(surveyed):
    failed, data = surveyed(SOME, None, "resnet20")
    assert (failed, data["rows"], data["setups"]) == (["resnet20"], {}, [])
    assert "0 of the 0 rows surveyed pass" in readme.onnx()


@pytest.mark.parametrize("code", [1, 2, -9], ids=["another net", "skipped", "killed"])
def test_a_command_without_an_answer_is_none(code, monkeypatch):
    answers(monkeypatch, "", code)
    assert survey._row("resnet20") is None


def test_a_framework_that_is_missing_ends_the_survey(monkeypatch, surveyed):
    """And leaves what is known of all rows."""
    ask = survey._row
    _, known = surveyed(SOME, {"onnx": "1"}, "resnet20", "resnet32")
    monkeypatch.setattr(survey, "_row", ask)
    answers(monkeypatch, "", MissingFrameworkError.exit_code)
    with pytest.raises(SystemExit):
        survey.survey(["resnet20", "resnet32"])
    assert results.read("onnx") == known


def test_what_no_row_was_made_on_is_forgotten(surveyed):
    surveyed(SOME, {"onnx": "1"}, "resnet20")
    _, data = surveyed(SOME, {"onnx": "2"}, "resnet20")
    assert data["setups"] == [{"machine": SOME, "versions": {"onnx": "2"}}]


def test_rows_of_other_sources_are_gone(surveyed, capsys):
    surveyed(SOME, {"onnx": "1"}, "resnet20", "resnet32")
    _, data = surveyed(SOME, {"onnx": "1"}, "resnet44", sources="two")
    assert list(data["rows"]) == ["resnet44"]
    assert "2 rows are of other sources: gone" in capsys.readouterr().err
