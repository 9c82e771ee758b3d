"""A few small rows are measured again, and say what is stored: the others can then be believed.

All rows are measured again by `scripts/results --all`, before a release.
"""

from __future__ import annotations

from functools import partial

import pytest

from resnet_spec import get_architecture

from benchmarks import depth, impact
from benchmarks import onnx as survey
from resnet_parity.onnx_io import compare
from resnet_parity.onnx_io.reading import EXPORTS
from resnet_parity.reports.onnx import as_json
from resnet_parity.site.results import read
from resnet_parity.tolerances import limit

RAISE = "the figures have another meaning: raise the schema, and run scripts/results"

IMPACTS = (
    "channel-padding",
    "weight-decay",
    "labels",
    "one-feature",
    "same padding",
    "gate without its ReLU",
    "no gradient through the shortcut",
)
"""Differences and mutants in the spec, in training, in a loss, in logits and in gradients."""


@pytest.mark.parametrize("name", IMPACTS)
def test_an_impact_is_the_stored_one(name):
    stored, found = read("impact")["rows"][name], impact.measure(name).figures
    assert found.keys() <= stored.keys()
    for figure in found.keys() - {"value"}:
        assert found[figure] == stored[figure], RAISE
    if found["value"] is None:  # an error is the impact
        assert stored["value"] is None, RAISE
    else:
        difference = abs(found["value"] - stored["value"])
        assert difference <= limit("results", "impacts") * abs(stored["value"]), RAISE


def test_the_errors_at_every_tap_are_like_the_stored_ones():
    stored, found = read("depth")["rows"]["resnet20"], depth.measure("resnet20").figures
    for figure in ("seed", "image", "taps"):
        assert found[figure] == stored[figure], RAISE
    factor = limit("results", "errors of taps")
    for dtype, frameworks in stored["errors"].items():
        for framework, errors in frameworks.items():
            pairs = zip(stored["taps"], errors, found["errors"][dtype][framework], strict=True)
            for tap, old, new in pairs:
                assert old / factor <= new <= old * factor, (dtype, framework, tap, RAISE)


def test_the_exports_are_the_stored_graphs_and_pass(monkeypatch):
    """One runtime and one batch of the four and three of a row."""
    run = partial(compare.compare_participants, batches=(1,))
    monkeypatch.setattr(compare, "compare_participants", run)
    report = compare.compare_models(EXPORTS, {}, get_architecture("resnet20"), runtimes=["ort all"])
    stored, found = read("onnx")["rows"]["resnet20"], survey.figures(as_json(report))
    for figure in ("passed", "operators", "graphs"):
        assert found[figure] == stored[figure], RAISE
    for export, cells in stored["exports"].items():
        for check, cell in cells.items():
            assert found["exports"][export][check]["status"] == cell["status"], RAISE
            assert found["exports"][export][check]["value"] <= limit(check, "taps")
