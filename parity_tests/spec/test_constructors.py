"""One row of the registry is one function of both packages, for callers, `help` and editors.

Pyright reads this file in `scripts/check` and reports each `ignore` that is not needed, so the
wrong calls below also show that an editor marks them.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import importlib
import inspect
import pickle
from dataclasses import fields, replace
from pathlib import Path
from types import ModuleType

import pytest

from resnet_spec import ARCHITECTURES, GROUPS, Architecture, ArchitectureError

import resnet_keras
import resnet_torch
from parity_tests.support import SMALL
from resnet_parity.site.stubs import stub

PACKAGES = (resnet_torch, resnet_keras)
OPTIONS = ["num_classes", "in_channels", "features_only", "out_indices", "dtype"]
KERAS_OPTIONS = ["name", "classifier_activation"]


@pytest.fixture(params=PACKAGES, ids=lambda package: package.__name__)
def package(request) -> ModuleType:
    return request.param


def test_every_row_is_a_function_of_its_own(package):
    for name, row in ARCHITECTURES.items():
        function = getattr(package, name)
        assert inspect.isfunction(function)
        assert (function.__name__, function.__qualname__) == (name, name)
        assert function.__module__ == package.__name__
        assert row.source in (function.__doc__ or "")
        assert pickle.loads(pickle.dumps(function)) is function


def test_the_public_names_are_the_rows_and_the_names_imported(package):
    others = {"create_model", "get_weights", "list_models", "prepare", "set_weights"}
    others |= {"ResNet"} if package is resnet_torch else {"resnet", "architecture_of"}
    assert set(package.__all__) == {*ARCHITECTURES, *others}
    assert len(package.__all__) == len(set(package.__all__))


def test_a_signature_lists_every_option(package):
    """First the options of `create_model`, then the other fields with the row's values."""
    found = inspect.signature(package.resnet50_v1).parameters
    options = OPTIONS + (KERAS_OPTIONS if package is resnet_keras else [])
    rest = [field.name for field in fields(Architecture) if field.name not in options]
    assert list(found) == options + rest
    assert all(each.kind is each.KEYWORD_ONLY for each in found.values())
    assert (found["stride_in_1x1"].default, found["num_classes"].default) == (True, None)


def test_a_docstring_says_what_the_row_is():
    assert (
        resnet_torch.resnet20.__doc__
        == """\
resnet20: basic blocks 3-3-3.

* stem=Stem(channels=16, kernel=3, stride=1, pool=None)
* shortcut='A'
* num_classes=10
* image_size=32

Source: He et al. 2015, arXiv:1512.03385, section 4.2.
Takes the options of `create_model`."""
    )


def test_a_new_row_becomes_a_function_and_a_line_of_the_stub(package, monkeypatch):
    """A row added to the registry is a function of the package and a function of its stub."""
    row = replace(SMALL, name="resnet_new", source="nobody 2025, arXiv:0000.00000")
    monkeypatch.setitem(GROUPS, "new", (row,))
    try:
        importlib.reload(package)
        assert "resnet_new" in package.__all__
        assert package.resnet_new.__name__ == "resnet_new"
        assert package.resnet_new(num_classes=3).architecture == replace(row, num_classes=3)
        assert inspect.signature(package.resnet_new).parameters["stages"].default == row.stages
        doc = package.resnet_new.__doc__
        assert doc.startswith("resnet_new: bottleneck blocks 3-3.")
        assert "nobody 2025" in doc
        assert "def resnet_new(**options: Unpack[_Options])" in stub(package.__name__)
    finally:
        monkeypatch.undo()
        importlib.reload(package)
        del package.resnet_new


def test_the_stubs_are_current(package):
    path = Path(inspect.getfile(package)).with_suffix(".pyi")
    assert path.read_text(encoding="utf-8") == stub(package.__name__), "run scripts/generate"


@pytest.mark.parametrize("positional", [(True,), (False, True), (None,), ("resnet20", 10)])
def test_an_option_without_a_name_is_refused_as_pretrained_is(package, positional):
    with pytest.raises(ArchitectureError, match=r"by name.*no pretrained weights are shipped"):
        package.resnet20(*positional)


def test_an_option_is_accepted_and_a_misspelt_one_refused():
    assert resnet_torch.resnet20(num_classes=3, output_stride=2).architecture.num_classes == 3
    message = "did you mean num_classes"
    with pytest.raises(ArchitectureError, match=message):
        resnet_torch.resnet20(num_clases=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ArchitectureError, match=message):
        resnet_torch.create_model("resnet20", num_clases=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ArchitectureError, match=message):
        resnet_keras.resnet20(num_clases=3)  # pyright: ignore[reportCallIssue]
    with pytest.raises(ArchitectureError, match=message):
        resnet_keras.create_model("resnet20", num_clases=3)  # pyright: ignore[reportCallIssue]
