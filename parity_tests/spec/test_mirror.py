"""The two implementations and their adapters are mirrored: files, definitions, parameters, tags."""

from __future__ import annotations

import ast
import copy
import re

import pytest

from resnet_spec import ARCHITECTURES
from resnet_spec.differences import DIFFERENCES

from parity_tests.support import ROOT
from resnet_parity.site.definitions import (
    ADAPTER_MODULES,
    FRAMEWORKS,
    definitions,
    key,
    module_file,
)
from resnet_parity.site.unpaired import UNPAIRED

TORCH, KERAS = ROOT / "resnet_torch", ROOT / "resnet_keras"
ADAPTERS = ROOT / "resnet_parity" / "adapters"
USER_MODULES = (
    "layers",
    "blocks",
    "preact_blocks",
    "model",
    "weights",
    "optimizer",
    "training",
    "fit",
    "inference",
    "__init__",
)
TORCH_MODULES = ("distributed",)
"""A module that Keras needs not: one process trains on all devices."""

KERAS_MODULES = ("contexts", "network", "operations")
"""Modules that PyTorch needs not: its models know their architecture, and it has no globals."""

FILES = (*USER_MODULES, *ADAPTER_MODULES)

# (file, definition of the torch implementation): why the two may have other parameters.
SIGNATURES = {
    ("training_state", "start"): "PyTorch has two memory layouts",
    (
        "images",
        "pipeline",
    ): "PyTorch's transforms share a generator, layers of Keras have their own",
    ("fit", "fit"): "PyTorch casts and scales in the loop, Keras in the model and the optimiser",
    ("optimizer", "get_ema"): "PyTorch averages in a second model, Keras in the optimiser",
    ("optimizer", "set_ema"): "PyTorch averages in a second model, Keras in the optimiser",
    ("model", "ResNet"): "the layers of a Keras graph have unique names, a module its own",
    ("model", "create_model"): "a Keras model has a name, and Keras' losses take probabilities",
    ("weights", "get_weights"): "a Keras graph may hold several networks, a module is one",
    ("weights", "set_weights"): "a Keras graph may hold several networks, a module is one",
    ("weights", "tensors_of"): "a Keras model holds the layers of a ResNet among others",
}

# A function of these files returns a module in PyTorch, and applies a layer to x in Keras.
LAYERS = ("layers", "blocks", "preact_blocks")


def _definitions(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node for node in tree.body if isinstance(node, kinds)]


def _parameters(node) -> list[str]:
    """Names, kinds and defaults of the parameters; of a module those of forward, then __init__."""
    if isinstance(node, ast.ClassDef):
        methods = {each.name: each for each in node.body if isinstance(each, ast.FunctionDef)}
        called = (methods[name] for name in ("forward", "__init__") if name in methods)
        return [part for each in called for part in _parameters(each)[1:]]
    arguments = copy.deepcopy(node.args)
    for each in ast.walk(arguments):
        if isinstance(each, ast.arg):
            each.annotation = None  # a Tensor here, a KerasTensor there
    return [part for part in ast.unparse(arguments).split(", ") if part]


def _path(framework: str, file: str):
    """The source of a module of that framework ("torch" or "keras")."""
    return ROOT / module_file(framework, file)


def _agree(file: str, ours, theirs) -> bool:
    torch, keras = _parameters(ours), _parameters(theirs)
    makes_module = file in LAYERS and isinstance(ours, ast.FunctionDef)
    return keras == (["x", *torch] if makes_module else torch)


def test_same_files():
    for folder, others in ((TORCH, TORCH_MODULES), (KERAS, KERAS_MODULES)):
        names = {path.name for path in folder.glob("*") if path.is_file()}
        assert names == {
            *(f"{file}.py" for file in (*USER_MODULES, *others)),
            "__init__.pyi",
            "py.typed",
        }
    for framework in FRAMEWORKS:
        names = {path.stem for path in (ADAPTERS / framework).glob("*") if path.is_file()}
        assert names == {*ADAPTER_MODULES, "__init__"}


@pytest.mark.parametrize("file", FILES)
def test_same_definitions_in_the_same_order(file):
    def keys(framework):
        names = [node.name for node in _definitions(_path(framework, file))]
        return [key(name) for name in names if (file, name) not in UNPAIRED]

    assert keys("torch") == keys("keras")


@pytest.mark.parametrize("file", FILES)
def test_same_parameters(file):
    theirs = {key(node.name): node for node in _definitions(_path("keras", file))}
    for ours in _definitions(_path("torch", file)):
        if (file, ours.name) in SIGNATURES or (file, ours.name) in UNPAIRED:
            continue
        assert _agree(file, ours, theirs[key(ours.name)]), ours.name


def test_no_exception_has_become_needless():
    for file, name in SIGNATURES:
        ours = {node.name: node for node in _definitions(_path("torch", file))}[name]
        theirs = {key(n.name): n for n in _definitions(_path("keras", file))}[key(name)]
        assert not _agree(file, ours, theirs), f"{file}.{name} agrees by now"
    for file, name in UNPAIRED:
        keys = [
            {key(each.name) for each in definitions(module_file(framework, file))}
            for framework in FRAMEWORKS
        ]
        assert (key(name) in keys[0]) != (key(name) in keys[1]), f"{file}.{name} is paired by now"


TAG = re.compile(r"# DIFFERS\(([a-z-]+)\): (.*)")


@pytest.mark.parametrize("file", FILES)
def test_the_same_definitions_carry_the_same_tags(file):
    def tags(framework):
        path = _path(framework, file)
        source = path.read_text()
        return {
            key(node.name): sorted(TAG.findall(ast.get_source_segment(source, node) or ""))
            for node in _definitions(path)
            if (file, node.name) not in UNPAIRED
        }

    assert tags("torch") == tags("keras")


def test_tags_are_the_rows_of_the_table():
    source = "".join(
        _path(framework, file).read_text() for framework in FRAMEWORKS for file in FILES
    )
    assert set(TAG.findall(source)) == {(row.id, row.summary) for row in DIFFERENCES}
    assert source.count("DIFFERS") == len(TAG.findall(source)), "a tag is misspelt"


@pytest.mark.parametrize("row", DIFFERENCES, ids=lambda row: row.id)
def test_every_difference_names_a_test_that_exists(row):
    file, _, name = row.test.partition("::")
    assert name in {node.name for node in _definitions(ROOT / file)}


@pytest.mark.parametrize("package", ["resnet_torch", "resnet_keras"])
def test_no_builder_knows_a_name(package):
    """A row differs from others in its fields alone, so no source file names one."""
    for path in (ROOT / package).glob("*.py"):
        words = set(re.findall(r"\w+", path.read_text()))
        assert not words & set(ARCHITECTURES), path
        assert "name ==" not in path.read_text()


def test_files_stay_small():
    others = [KERAS / f"{file}.py" for file in KERAS_MODULES]
    others += [TORCH / f"{file}.py" for file in TORCH_MODULES]
    for path in [*others, *(_path(framework, file) for framework in FRAMEWORKS for file in FILES)]:
        assert len(path.read_text().splitlines()) <= 150, path
