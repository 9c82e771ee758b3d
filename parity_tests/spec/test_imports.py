"""Who may import whom, each pair proven in a process of its own."""

from __future__ import annotations

import ast

import pytest

from parity_tests.support import ROOT, python

FRAMEWORKS = ("torch", "keras", "tensorflow", "jax")

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
    """The package imports although every forbidden module is absent, and none slipped in."""
    result = python("-c", BLOCKER.format(package=package, forbidden=FORBIDDEN[package]))
    assert result.returncode == 0, result.stderr


def test_the_keras_implementation_never_names_tensorflow():
    """The build must not need it; on another backend it may not even be installed."""
    for path in sorted((ROOT / "resnet_keras").glob("*.py")):
        names = {name.partition(".")[0] for name in _imports(path)}
        assert names <= {"resnet_spec", "resnet_keras", "keras", "numpy"} | STDLIB, path.name


STDLIB = {
    "__future__",
    "collections",
    "contextlib",
    "functools",
    "importlib",
    "logging",
    "pathlib",
    "sys",
    "tempfile",
    "typing",
    "warnings",
}

# layers <- blocks <- preact_blocks <- model <- __init__; weights beside model; the adapter on top.
ORDER = {
    "layers": set(),
    "blocks": {"layers"},
    "preact_blocks": {"layers", "blocks"},
    "model": {"layers", "blocks", "preact_blocks"},
    "weights": set(),
    "optimizer": {"model", "weights"},
    "training": {"model", "optimizer"},
    "modes": {"model"},
    "trainee": {"model", "weights", "optimizer", "training", "modes"},
    "gradients": {"model", "modes", "weights"},
    "export": {"model"},
    "adapter": {"model", "modes", "weights", "gradients"},
    "__init__": {"model", "weights"},
}


@pytest.mark.parametrize("framework", ["resnet_torch", "resnet_keras"])
@pytest.mark.parametrize("file", ORDER)
def test_files_of_a_implementation_import_only_downwards(framework, file):
    imports = _imports(ROOT / framework / f"{file}.py")
    inside = {name.partition(".")[2] for name in imports if name.startswith(f"{framework}.")}
    assert inside <= ORDER[file]


def test_nothing_but_the_checker_imports_an_adapter():
    for path in ROOT.glob("resnet_*/*.py"):
        if "adapter" in path.read_text() and path.name != "adapter.py":
            assert path.parent.name == "resnet_parity", path


def _imports(path) -> set[str]:
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found
