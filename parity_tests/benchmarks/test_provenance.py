"""Measured rows: each has its own key, goes stale alone and is written once it is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resnet_spec import ARCHITECTURES, get_architecture, make_graph

from benchmarks import __main__ as scripts_results
from benchmarks import provenance
from benchmarks.__main__ import FILES
from benchmarks.depth import DTYPES, NETS
from benchmarks.provenance import Measured, Results, spec_hash, stale
from parity_tests.support import ROOT
from resnet_parity.errors import MissingFrameworkError, ParityError
from resnet_parity.site import results as reading
from resnet_parity.site.evidence import PLOTTED

SPECS = {name: get_architecture(name) for name in ("resnet18", "resnet20", "resnet50")}


@pytest.mark.parametrize("name", FILES)
def test_no_row_is_stale(name):
    assert stale(scripts_results.results(name)) == {}, f"run scripts/results {name}"


@pytest.mark.parametrize("name", FILES)
def test_every_row_says_what_it_was_measured_on(name):
    data = reading.read(name)
    for row in data["rows"].values():
        setup = data["setups"][row["setup"]]
        assert len(setup["date"]) == len("2026-01-02")
        assert setup["machine"]["cpu"] and setup["versions"]
    assert {row["setup"] for row in data["rows"].values()} == set(range(len(data["setups"])))


@pytest.mark.parametrize("name", FILES)
def test_a_changed_spec_makes_its_own_rows_stale_and_no_other(name):
    found = scripts_results.results(name)
    row, spec = next((row, spec) for row, spec in found.rows.items() if spec is not None)
    changed = replace(found, rows={**found.rows, row: replace(spec, bn_eps=3e-5)})
    assert stale(changed) == {row: "its spec changed"}


@pytest.mark.parametrize("name", FILES)
def test_a_key_holds_no_path_and_no_hash_of_code(name):
    """So that moving, renaming or rewording code makes nothing stale."""
    found = scripts_results.results(name)
    for row, spec in found.rows.items():
        assert found.key(row) == {"schema": found.schema, "spec": spec_hash(spec)}
    packages = ("resnet_spec", "resnet_torch", "resnet_keras", "resnet_parity", "benchmarks")
    files = {path.name for each in packages for path in (ROOT / each).rglob("*.py")}
    text = reading.result_file(name).read_text()
    assert not [file for file in files if file in text]


def test_the_hash_of_a_spec_is_the_same_in_every_process_and_python():
    assert spec_hash(ARCHITECTURES["resnet18"]) == reading.read("depth")["rows"]["resnet18"]["spec"]
    assert spec_hash(None) is None


def test_prose_is_no_part_of_the_key():
    arch = ARCHITECTURES["resnet18"]
    assert spec_hash(replace(arch, source="another text")) == spec_hash(arch)
    assert len({spec_hash(each) for each in ARCHITECTURES.values()}) == len(ARCHITECTURES)


@pytest.mark.parametrize(
    ("field", "value", "other"),
    [("groups", 1, "resnext50_32x4d"), ("kernel", 7, "resnet50d")],
    ids=["of the spec", "of its stem"],
)
def test_a_new_field_makes_nothing_stale_while_it_has_its_old_value(
    field, value, other, monkeypatch
):
    """As if the field had been added after rows were measured."""
    before = spec_hash(ARCHITECTURES["resnet50"]), spec_hash(ARCHITECTURES[other])
    monkeypatch.setattr(provenance, "ADDED", {field: value})
    assert spec_hash(ARCHITECTURES["resnet50"]) != before[0], "it is left out"
    assert spec_hash(ARCHITECTURES[other]) == before[1], "it is counted"


@pytest.fixture
def results(monkeypatch, tmp_path) -> Results:
    """Three rows whose figure is the number of letters of their name, in an empty folder."""
    file = tmp_path / "some.json"
    for module in (provenance, reading):
        monkeypatch.setattr(module, "result_file", lambda _: file)
    return Results("some", 1, SPECS, lambda row: Measured({"letters": len(row)}, {"python": "3"}))


def refuse(row: str) -> Measured:
    if row == "resnet20":
        raise ParityError("no memory")
    return Measured({"letters": len(row)}, {"python": "4"})


def test_rows_are_stale_until_they_are_measured(results):
    assert stale(results) == dict.fromkeys(SPECS, "not measured")
    assert provenance.measure(results, ["resnet50", "resnet18"]) == []
    assert stale(results) == {"resnet20": "not measured"}
    assert list(reading.read("some")["rows"]) == ["resnet18", "resnet50"], "in the order of rows"
    assert reading.read("some")["rows"]["resnet50"]["letters"] == 8


def test_a_raised_schema_makes_every_row_stale(results):
    provenance.measure(results, SPECS)
    raised = replace(results, schema=2)
    assert stale(raised) == dict.fromkeys(SPECS, "measured with schema 1, which is now 2")
    provenance.measure(raised, ["resnet18"])
    assert set(stale(raised)) == {"resnet20", "resnet50"}


def test_a_row_that_cannot_be_measured_has_a_reason_and_others_go_on(results, capsys):
    failing = replace(results, measure=refuse)
    assert provenance.measure(failing, SPECS) == ["resnet20"]
    assert stale(failing) == {"resnet20": "could not be measured: ParityError: no memory"}
    assert "some/resnet20 could not be measured: ParityError: no memory" in capsys.readouterr().err
    assert set(reading.read("some")["rows"]) == {"resnet18", "resnet50"}, "pages skip it"
    assert provenance.measure(results, ["resnet20"]) == []
    assert stale(results) == {}


def test_a_row_whose_figures_do_not_pass_is_written_and_has_failed(results):
    failing = replace(results, measure=lambda _: Measured({"letters": 0}, {}, passed=False))
    assert provenance.measure(failing, ["resnet18"]) == ["resnet18"]
    assert reading.read("some")["rows"]["resnet18"]["letters"] == 0


def test_a_missing_framework_ends_the_run_and_leaves_every_row(results):
    def missing(row: str) -> Measured:
        raise MissingFrameworkError("onnx is not installed")

    provenance.measure(results, SPECS)
    before = reading.load("some")
    with pytest.raises(MissingFrameworkError):
        provenance.measure(replace(results, measure=missing), SPECS)
    assert reading.load("some") == before


def test_rows_of_several_setups_share_a_file(results):
    provenance.measure(results, SPECS)
    provenance.measure(replace(results, measure=refuse), ["resnet18"])
    data = reading.read("some")
    assert [row["setup"] for row in data["rows"].values()] == [0, 1, 1]
    assert [each["versions"] for each in data["setups"]] == [{"python": "4"}, {"python": "3"}]
    assert [each["rows"] for each in reading.setups(data)] == [1, 2]


def test_what_is_no_longer_asked_for_is_dropped(results):
    provenance.measure(results, SPECS)
    fewer = replace(results, rows={"resnet18": SPECS["resnet18"]})
    assert stale(fewer) == dict.fromkeys(["resnet20", "resnet50"], "no longer a row")
    provenance.measure(fewer, [])
    assert list(reading.load("some")["rows"]) == ["resnet18"]
    assert len(reading.load("some")["setups"]) == 1


def test_a_file_is_json_with_plain_values_on_one_line(results):
    figures = {"list": [1, 2], "text": "[ { two\nlines } ]", "nested": {"a": [], "b": {"c": 1}}}
    provenance.measure(replace(results, measure=lambda _: Measured(figures, {})), ["resnet18"])
    row = reading.load("some")["rows"]["resnet18"]
    assert {name: row[name] for name in figures} == figures
    assert '"list": [1, 2],\n' in reading.result_file("some").read_text()


@pytest.fixture
def command(monkeypatch, results):
    """`scripts/results` on that file alone."""
    monkeypatch.setattr(scripts_results, "FILES", ("some",))
    monkeypatch.setattr(scripts_results, "results", lambda name: results)
    return scripts_results.main


def measured(capsys) -> str:
    return capsys.readouterr().out.strip()


def test_the_command_measures_what_is_stale_what_is_named_or_all(command, capsys):
    assert command(["--stale"]) == 1
    assert command(["some/resnet20"]) == 0
    assert measured(capsys) == "some: rows measured: 1, failed: 0"
    assert command([]) == 0
    assert measured(capsys) == "some: rows measured: 2, failed: 0"
    assert command([]) == 0
    assert measured(capsys) == "some: rows measured: 0, failed: 0"
    assert command(["--all"]) == 0
    assert measured(capsys) == "some: rows measured: 3, failed: 0"
    assert command(["--stale"]) == 0


def test_the_command_ends_with_1_where_a_row_fails(command, results, monkeypatch, capsys):
    monkeypatch.setattr(scripts_results, "results", lambda _: replace(results, measure=refuse))
    assert command([]) == 1
    assert measured(capsys) == "some: rows measured: 3, failed: 1 resnet20"


@pytest.mark.parametrize("name", ["nothing", "some/nothing"])
def test_the_command_knows_its_rows(command, name):
    with pytest.raises(SystemExit) as ended:
        command([name])
    assert ended.value.code == 2


def test_the_depth_of_every_net_has_all_of_its_taps():
    data = reading.read("depth")["rows"]
    assert tuple(data) == NETS
    assert set(PLOTTED) < set(NETS)
    for name, net in data.items():
        taps = [node.name for node in make_graph(ARCHITECTURES[name]) if node.is_tap]
        assert net["taps"] == [*taps, "logits"]
        assert tuple(net["errors"]) == DTYPES
        for frameworks in net["errors"].values():
            assert {len(errors) for errors in frameworks.values()} == {len(net["taps"])}
