"""Results as data: what they were made on and when, and of which sources, so that age shows."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.files import write_atomically
from resnet_parity.matrix import machine
from resnet_parity.page.definitions import ROOT
from resnet_parity.page.results import result_file
from resnet_parity.rungs import Adapter

_NET = ("layers", "blocks", "preact_blocks", "model", "weights")
_SPEC = ("architecture", "graph", "layers", "parameters", "parts", "plan", "table", "taps")
_JUDGE = ("derivatives", "engine", "half", "matrix", "oracle", "rungs", "splitmix", "values")


def _hands(*modules: str) -> tuple[str, ...]:
    return tuple(f"resnet_{hand}/{name}.py" for hand in ("torch", "keras") for name in modules)


_FORWARD = (
    *(f"resnet_spec/{name}.py" for name in _SPEC),
    *_hands(*_NET, "adapter", "modes"),
    *(f"resnet_parity/{name}.py" for name in _JUDGE),
    *(f"resnet_parity/probes/{name}.py" for name in ("exact", "probe", "random", "training")),
)
_TRAINING = (
    "resnet_spec/training.py",
    *_hands("gradients", "optimizer", "trainee", "training"),
    *(f"resnet_parity/lockstep/{name}.py" for name in ("__init__", "course", "free")),
)
_EXPORT = tuple(
    f"resnet_parity/exchange/{name}.py"
    for name in (
        "clean",
        "comparison",
        "export",
        "layout",
        "match",
        "naming",
        "nodes",
        "opsets",
        "rules",
        "runtimes",
        "search",
        "subjects",
        "tensors",
    )
)

SOURCES: dict[str, tuple[str, ...]] = {
    "matrix": (*_FORWARD, *_hands("gradients")),
    "depth": (*_FORWARD, "resnet_parity/page/depth.py"),
    "damage": (
        *_FORWARD,
        *_TRAINING,
        *(f"parity_tests/{name}.py" for name in ("damage", "mutants", "training_mutants")),
    ),
    "onnx": (*_FORWARD, *_hands("export"), *_EXPORT),
}
"""Every file of results, and the sources that its figures depend on."""


def digest(name: str) -> str:
    """The SHA-256 of what those sources do: comments, docstrings and line breaks do not count."""
    found = hashlib.sha256()
    for file in SOURCES[name]:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        found.update(f"{file}\n{ast.dump(_bare(tree))}\n".encode())
    return found.hexdigest()


def _bare(tree: ast.AST) -> ast.AST:
    """The tree without the texts that stand by themselves."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [each for each in body if not _is_text(each)]
            node.body = kept or [ast.Pass()]  # pyright: ignore[reportAttributeAccessIssue]
    return tree


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def stamp(name: str) -> dict[str, Any]:
    """What a file of results says of its own making."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "sources": digest(name),
    }


def versions(*adapters: Adapter) -> dict[str, str]:
    """Of Python, NumPy and what those hands run on."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for adapter in adapters:
        found |= adapter.versions()
    return found


def write(name: str, data: Mapping[str, Any]) -> Path:
    """Write a file of results, stamped; the folder must be there."""
    path = result_file(name)
    write_atomically(path, f"{json.dumps({**stamp(name), **data}, indent=1)}\n".encode())
    return path
