"""The two hands are mirrored: files, definitions, order, parameters, tags and public surface."""

from __future__ import annotations

import ast
import re

import pytest

from resnet_spec import ARCHITECTURES
from resnet_spec.differences import DIFFERENCES

from parity_tests.support import ROOT

TORCH, KERAS = ROOT / "resnet_torch", ROOT / "resnet_keras"
FILES = ("layers", "blocks", "model", "weights", "adapter", "__init__")

# (file, torch definition, keras definition): why the two may have other parameters. A functional
# Keras layer takes its input tensor at once and needs a name where torch has an attribute.
SIGNATURES = {
    ("layers", "conv"): "Keras applies the layer at once, so it takes the tensor first",
    ("layers", "batch_norm"): "Keras applies the layer at once, so it takes the tensor first",
    ("layers", "relu"): "Keras names every layer; in torch a ReLU has no weights and no name",
    ("layers", "max_pool"): "Keras applies the layer at once, so it takes the tensor first",
    ("layers", "add"): "Keras names every layer; in torch a sum is an operator",
    ("layers", "global_average_pool"): "Keras applies and names the layer at once",
    ("layers", "linear"): "Keras applies the layer at once, so it takes the tensor first",
    ("blocks", "shortcut"): "Keras applies the layers at once, so it takes the tensor first",
    ("blocks", "BasicBlock"): "a torch module has __init__(block) and forward(x)",
    ("blocks", "Bottleneck"): "a torch module has __init__(block) and forward(x)",
    ("model", "ResNet"): "a torch module has __init__(architecture) and forward(image)",
    ("adapter", "_tapped"): "torch hooks run modules, Keras builds a model in the chosen mode",
}

# Definitions that one hand has and the other does not.
UNPAIRED = {
    ("model", "_dtype_policy"): "torch converts a model, Keras needs a policy while it builds",
    ("adapter", "_compiled"): "torch runs a module as it is, Keras compiles one per mode",
    ("adapter", "_canonical"): "torch's layout is the canonical one",
}


def _definitions(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in tree.body if isinstance(node, kinds)]


def _key(name: str) -> str:
    """`BasicBlock` pairs with `basic_block`."""
    return name.replace("_", "").lower()


def _parameters(node) -> list[str]:
    if isinstance(node, ast.ClassDef):
        methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
        return [*_parameters(methods["__init__"])[1:], *_parameters(methods["forward"])[1:]]
    arguments = node.args
    return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def test_same_files():
    names = {path.name for path in TORCH.glob("*") if path.is_file()}
    assert names == {path.name for path in KERAS.glob("*") if path.is_file()}
    assert names == {*(f"{file}.py" for file in FILES), "py.typed"}


@pytest.mark.parametrize("file", FILES)
def test_same_definitions_in_the_same_order(file):
    def keys(folder):
        names = [node.name for node in _definitions(folder / f"{file}.py")]
        return [_key(name) for name in names if (file, name) not in UNPAIRED]

    assert keys(TORCH) == keys(KERAS)


@pytest.mark.parametrize("file", FILES)
def test_same_parameters(file):
    theirs = {_key(node.name): node for node in _definitions(KERAS / f"{file}.py")}
    for ours in _definitions(TORCH / f"{file}.py"):
        if (file, ours.name) in SIGNATURES or (file, ours.name) in UNPAIRED:
            continue
        assert _parameters(ours) == _parameters(theirs[_key(ours.name)]), ours.name


def test_no_exception_has_become_needless():
    for file, name in SIGNATURES:
        ours = {node.name: node for node in _definitions(TORCH / f"{file}.py")}[name]
        theirs = {_key(n.name): n for n in _definitions(KERAS / f"{file}.py")}[_key(name)]
        assert _parameters(ours) != _parameters(theirs), f"{file}.{name} is equal by now"
    for file, name in UNPAIRED:
        keys = [
            {_key(n.name) for n in _definitions(hand / f"{file}.py")} for hand in (TORCH, KERAS)
        ]
        assert (_key(name) in keys[0]) != (_key(name) in keys[1]), f"{file}.{name} is paired by now"


TAG = re.compile(r"# DIFFERS\(([a-z-]+)\): (.*)")


@pytest.mark.parametrize("file", FILES)
def test_tags_stand_in_both_hands_with_the_same_words(file):
    def tags(folder):
        return sorted(TAG.findall((folder / f"{file}.py").read_text()))

    assert tags(TORCH) == tags(KERAS)


def test_tags_are_the_rows_of_the_table():
    source = "".join(path.read_text() for path in (*TORCH.glob("*.py"), *KERAS.glob("*.py")))
    assert set(TAG.findall(source)) == {(row.id, row.summary) for row in DIFFERENCES}
    assert source.count("DIFFERS") == len(TAG.findall(source)), "a tag is misspelt"


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.id)
def test_every_difference_names_a_test_that_exists(row):
    file, _, name = row.test.partition("::")
    assert name in {node.name for node in _definitions(ROOT / "parity_tests" / file)}


@pytest.mark.parametrize("package", ["resnet_torch", "resnet_keras"])
def test_public_surface(package):
    source = (ROOT / package / "__init__.py").read_text()
    for name in (*ARCHITECTURES, "create_model", "get_weights", "set_weights"):
        assert f'"{name}"' in source, name
        assert re.search(rf"^{name} = partial\(create_model, \"{name}\"\)$", source, re.M) or (
            name not in ARCHITECTURES
        )


def test_files_stay_small():
    for path in (*TORCH.glob("*.py"), *KERAS.glob("*.py")):
        assert len(path.read_text().splitlines()) <= 150, path
