"""The import rules; each package is imported in a process without the modules it may not use."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

import resnet_keras
import resnet_torch
from parity_tests.support import ROOT, python

FRAMEWORKS = ("torch", "keras", "tensorflow", "jax")
PROJECT = (
    "resnet_spec",
    "resnet_torch",
    "resnet_keras",
    "resnet_parity",
    "parity_tests",
    "benchmarks",
)
USER_PACKAGES = {"resnet_torch": resnet_torch, "resnet_keras": resnet_keras}

FORBIDDEN = {
    "resnet_spec": (*FRAMEWORKS, "numpy", "rich", "PIL"),
    "resnet_torch": ("keras", "tensorflow", "jax", "torchvision", "resnet_keras", "resnet_parity"),
    "resnet_keras": ("torch", "jax", "resnet_torch", "resnet_parity"),
    "resnet_parity.cli": FRAMEWORKS,
    "resnet_parity.verify": FRAMEWORKS,
    "resnet_parity.reports.verify": FRAMEWORKS,
    "resnet_parity.lockstep": FRAMEWORKS,
    "resnet_parity.onnx_io.compare": FRAMEWORKS,
}

BLOCKER = """
import sys
forbidden = {forbidden!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ModuleNotFoundError(f"{{name}} is forbidden here")
sys.meta_path.insert(0, Blocker())
import {package}
sys.exit(", ".join(set(forbidden) & set(sys.modules)) or 0)
"""


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_without(package):
    """The package can be imported without the forbidden modules, and imports none of them."""
    result = python("-c", BLOCKER.format(package=package, forbidden=FORBIDDEN[package]))
    assert result.returncode == 0, result.stderr


# The modules of the user packages, and which of each other they import.
MODULES = {
    "layers": set(),
    "blocks": {"layers"},
    "preact_blocks": {"layers", "blocks"},
    "model": {"layers", "blocks", "preact_blocks"},
    "weights": set(),
    "optimizer": {"model", "weights"},
    "training": {"model", "optimizer"},
    "fit": set(),
    "inference": {"model", "weights"},
    "__init__": {"inference", "model", "weights"},
}

# Those that Keras has besides, and what it imports besides.
KERAS_MODULES = {
    "contexts": set(),
    "operations": set(),
    "network": {"operations"},
    "model": {"contexts"},
    "weights": {"network", "operations"},
    "optimizer": {"contexts"},
    "training": {"contexts", "network", "weights"},
    "fit": {"contexts"},
    "inference": {"contexts", "training"},
}

# That which PyTorch has besides, and what imports it.
TORCH_MODULES = {"distributed": set(), "training": {"distributed"}, "fit": {"distributed"}}

ALLOWED = {
    "resnet_torch": {
        module: MODULES.get(module, set()) | TORCH_MODULES.get(module, set())
        for module in MODULES | TORCH_MODULES
    },
    "resnet_keras": {
        module: MODULES.get(module, set()) | KERAS_MODULES.get(module, set())
        for module in MODULES | KERAS_MODULES
    },
}

MAY_IMPORT = {
    "resnet_spec": {"resnet_spec"},
    "resnet_torch": {"resnet_torch", "resnet_spec", "numpy", "torch"},
    "resnet_keras": {"resnet_keras", "resnet_spec", "numpy", "keras"},
}

IMPORTING_CALLS = {"import_module", "__import__", "find_spec", "importorskip"}


def test_user_packages_hold_these_modules_alone():
    for package in USER_PACKAGES:
        names = {path.name for path in (ROOT / package).iterdir() if path.is_file()}
        modules = {f"{module}.py" for module in ALLOWED[package]}
        assert names == modules | {"__init__.pyi", "py.typed"}


@pytest.mark.parametrize(
    ("package", "module"), [(package, module) for package in ALLOWED for module in ALLOWED[package]]
)
def test_modules_of_a_user_package_import_only_downwards(package, module):
    imports = imported(ROOT / package / f"{module}.py")
    inside = {name.split(".")[1] for name in imports if name.startswith(f"{package}.")}
    assert inside <= ALLOWED[package][module]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_the_design_allows(package):
    for path in (ROOT / package).glob("*.py*"):
        if path.suffix in (".py", ".pyi"):
            external = {name.partition(".")[0] for name in imported(path)} - sys.stdlib_module_names
            assert external <= MAY_IMPORT[package], path


def test_there_is_no_import_cycle():
    """Imports inside functions and under TYPE_CHECKING count."""
    modules = project_modules()
    graph = {name: dependencies(name) - {name} for name in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"import cycle: {' -> '.join(error.args[1])}")


def test_tensorflow_is_named_in_one_module_of_the_keras_side():
    """In imports, calls that import, or any other text that is not a docstring or a message."""
    folders = (ROOT / "resnet_keras", ROOT / "resnet_parity" / "adapters" / "keras")
    paths = [path for folder in folders for path in folder.glob("*.py")]
    assert [path.name for path in paths if names_tensorflow(path)] == ["training.py"]


@pytest.mark.parametrize(
    "line",
    [
        "import tensorflow",
        "import tensorflow.nn as nn",
        "from tensorflow import nn",
        'import_module("tensorflow")',
        'importlib.import_module("tensorflow.nn")',
        '__import__("tensorflow")',
        'NAME = "tensorflow"',
        'sys.modules["tensorflow"]',
    ],
)
def test_every_way_to_name_tensorflow_is_found(line, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(f'"""This docstring names tensorflow."""\n{line}\n')
    assert names_tensorflow(path)
    path.write_text('"""This docstring names tensorflow."""\n')
    assert not names_tensorflow(path)


def test_the_checker_names_a_framework_only_where_the_design_allows():
    """Adapters import one, `diagnose` imports one on demand, the cookbook shows code of both."""
    allowed = {"adapters", "diagnose", "site/cookbook_entries"}
    found = set()
    for path in (ROOT / "resnet_parity").rglob("*.py"):
        names = {name.partition(".")[0] for name in imported(path)}
        if names & {*FRAMEWORKS, *USER_PACKAGES}:
            found.add(path.relative_to(ROOT / "resnet_parity").parent.as_posix())
    tops = {folder if folder in allowed else folder.partition("/")[0] for folder in found}
    assert tops == allowed


def test_diagnose_imports_frameworks_on_demand():
    for path in (ROOT / "resnet_parity" / "diagnose").glob("*.py"):
        tree = ast.parse(path.read_text())
        top = {name.partition(".")[0] for node in tree.body for name in names_in(node)}
        assert not top & {*FRAMEWORKS, *USER_PACKAGES}, path


@pytest.mark.parametrize("package", USER_PACKAGES)
def test_user_packages_define_nothing_for_the_checker_alone(package):
    """Each definition is public, or its own package uses it."""
    sources = {module: (ROOT / package / f"{module}.py").read_text() for module in MODULES}
    nodes = (node for source in sources.values() for node in ast.walk(ast.parse(source)))
    used = {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    for module, source in sources.items():
        for name in definitions(source):
            is_public = name in USER_PACKAGES[package].__all__ or (module, name) in DOCUMENTED
            assert is_public or name in used, f"{package}.{module}.{name}"


# Public by their module: users train with them, as the README shows.
DOCUMENTED = {
    ("optimizer", "sgd"),
    ("optimizer", "averaged"),
    ("optimizer", "get_ema"),
    ("optimizer", "set_ema"),
    ("optimizer", "get_momentum"),
    ("optimizer", "set_momentum"),
    ("training", "for_training"),
    ("training", "cross_entropy"),
    ("training", "train_step"),
    ("training", "freeze_backbone"),
    ("fit", "fit"),
}


def definitions(source: str) -> Iterator[str]:
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            names = (each.id for each in node.targets if isinstance(each, ast.Name))
            yield from (name for name in names if name != "__all__")


def names_tensorflow(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    texts = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    strings = {text for text in texts if isinstance(text, str) and re.fullmatch(r"[\w.]+", text)}
    return any(name.partition(".")[0] == "tensorflow" for name in strings | imported(path))


def imported(path: Path) -> set[str]:
    """The modules that a file imports anywhere, also through `import_module` and the like."""
    tree = ast.parse(path.read_text())
    return {name for node in ast.walk(tree) for name in (*names_in(node), *names_called(node))}


def names_in(node: ast.AST) -> list[str]:
    """The modules, or members of modules, that an import statement names."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{alias.name}" for alias in node.names]
    return []


def names_called(node: ast.AST) -> list[str]:
    """The module that a call imports by its name."""
    if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
        return []
    function: Any = node.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    return [str(node.args[0].value)] if name in IMPORTING_CALLS else []


@cache
def project_modules() -> dict[str, Path]:
    paths = (path for top in PROJECT for path in (ROOT / top).rglob("*.py"))
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in paths}
    return {".".join(p for p in names if p != "__init__"): path for path, names in parts.items()}


def dependencies(module: str) -> set[str]:
    """The modules of the project that a module imports: the longest name that is a module."""
    modules, found = project_modules(), set()
    for name in imported(modules[module]):
        while name and name not in modules:
            name = name.rpartition(".")[0]
        found |= {name} - {""}
    return found
