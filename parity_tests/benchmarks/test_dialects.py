"""The table of dialects is that of the measured data, which says what is measured again."""

from __future__ import annotations

import pytest

from benchmarks import dialects
from parity_tests.support import ROOT, light
from resnet_parity.site.results import read
from resnet_parity.tolerances import limit
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.targets import TARGETS

ROWS = read("dialects")["rows"]
PAGE = (ROOT / "docs" / "dialects.md").read_text()
RUN = {
    "torchvision": {"torchvision", "timm"},
    "timm-v2": {"timm"},
    "hf": {"transformers"},
    "hf-body": {"transformers"},
    "kerashub": {"KerasHub"},
    "kerashub-v2": {"KerasHub"},
    "keras-applications": {"keras.applications"},
    "keras-applications-v2": {"keras.applications"},
    "keras": {"resnet_keras on keras"},
}
"""The libraries that ran the files of a dialect; the others have no library from PyPI here."""


def test_every_dialect_is_measured_and_in_the_table():
    assert list(ROWS) == list(DIALECTS)
    for name, row in ROWS.items():
        assert f"| `{name}` |" in PAGE
        assert all(file["identified"] and file["bitwise"] for file in row["files"]), name
        assert {file["opened_by"] for file in row["files"] if file.get("opened_by")} == RUN.get(
            name, set()
        )


def test_every_format_is_measured_but_those_with_names_of_the_users_choice():
    measured = {file["to"] for row in ROWS.values() for file in row["files"]}
    assert {*TARGETS} - measured == {"torch", "npz", "onnx"}  # ONNX has a survey of its own


def test_the_measured_errors_keep_their_limit():
    errors = [file["errors"] for row in ROWS.values() for file in row["files"] if "errors" in file]
    assert all(0 < each["float64"] <= limit("float64", "taps") for each in errors)
    assert all(each["float64"] < each["float32"] for each in errors)


@pytest.mark.parametrize("name", light(list(DIALECTS), ["burn", "caffe2", "akamaster"]))
def test_a_dialect_gives_the_stored_columns(name):
    measured = dialects.measure(name)
    assert measured.passed
    stored = ROWS[name]
    assert measured.figures["architecture"] == stored["architecture"]
    for old, new in zip(stored["files"], measured.figures["files"], strict=True):
        assert old | {"errors": None} == new | {"errors": None}
        assert old.get("errors", {}).keys() == new.get("errors", {}).keys()
