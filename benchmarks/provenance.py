"""Results as data: what they were made on and when, and of which sources, so that age shows."""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.adapters.protocol import Adapter
from resnet_parity.errors import ParityError
from resnet_parity.files import write_atomically
from resnet_parity.machine import machine
from resnet_parity.site.results import ROOT, result_file
from resnet_parity.site.syntax import is_text

_BACKENDS = tuple(
    f"resnet_{framework}.{module}"
    for framework in ("torch", "keras")
    for module in ("__init__", "adapter", "trainee", "export")
)
"""What the checker imports by a name that is put together."""

ROOTS: dict[str, tuple[str, ...]] = {
    "matrix": ("benchmarks.matrix", "resnet_parity.adapters.worker", *_BACKENDS),
    "depth": ("benchmarks.depth", *_BACKENDS),
    "impact": ("benchmarks.impact", *_BACKENDS),
    "onnx": ("benchmarks.onnx", "resnet_parity.cli.onnx_compare", *_BACKENDS),
}
"""Every file of results, and the modules that measure it."""

NO_SOURCES = {
    "benchmarks.provenance": "stamps what others measured",
    "resnet_parity.site.results": "reads it",
    "resnet_parity.progress": "shows how far it is",
    "resnet_parity.reports.tables": "prints",
    "resnet_parity.reports.verify": "prints",
    "resnet_parity.reports.matrix": "prints",
    "resnet_parity.reports.onnx": "prints",
    "resnet_parity.adapters.messages": "prints",
    "resnet_parity.cli.options": "reads a command line",
    "resnet_parity.cli.onnx_compare": "reads a command line",
    "resnet_spec.differences": "words",
}
"""What measuring modules import, and no figure depends on."""


@cache
def sources(name: str) -> tuple[str, ...]:
    """The files of this project that the figures of a result depend on: all that is imported."""
    found: set[Path] = set()
    waiting = [module for root in ROOTS[name] for module in _files(root)]
    while waiting:
        file = waiting.pop()
        if file not in found and _module(file) not in (NO_SOURCES.keys() - set(ROOTS[name])):
            found.add(file)
            waiting += _imported(file)
    return tuple(sorted(file.relative_to(ROOT).as_posix() for file in found))


def _module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def _files(module: str) -> Iterator[Path]:
    """The file of a module, or of a package; nothing for what is not of this project."""
    path = ROOT.joinpath(*module.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if module.partition(".")[0] in _PACKAGES and file.is_file():
            yield file


_PACKAGES = ("resnet_spec", "resnet_torch", "resnet_keras", "resnet_parity", "parity_tests")


def _imported(file: Path) -> Iterator[Path]:
    """What a file imports, wherever in it."""
    for node in ast.walk(_tree(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _files(alias.name)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from _files(node.module)
            for alias in node.names:
                yield from _files(f"{node.module}.{alias.name}")


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def digest(name: str) -> str:
    """The SHA-256 of what those sources do: comments, docstrings and line breaks do not count."""
    found = hashlib.sha256()
    for file in sources(name):
        found.update(f"{file}\n{_told(_tree(ROOT / file))}\n".encode())
    return found.hexdigest()


def _told(node: Any) -> str:
    """A tree in words that no version of Python changes: what is empty is left out."""
    if isinstance(node, list):
        kept = [each for each in node if not is_text(each)]
        return f"[{', '.join(map(_told, kept))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = ((name, getattr(node, name, None)) for name in node._fields)
    told = [f"{name}={_told(value)}" for name, value in fields if value not in (None, [])]
    return f"{type(node).__name__}({', '.join(told)})"


def stamp(name: str) -> dict[str, Any]:
    """What a file of results says of its own making; taken before anything is measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "sources": digest(name),
    }


def versions(*adapters: Adapter) -> dict[str, str]:
    """Of Python, NumPy and what those implementations run on."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for adapter in adapters:
        found |= adapter.versions()
    return found


def write(name: str, stamped: Mapping[str, Any], data: Mapping[str, Any]) -> Path:
    """Write a file of results with the stamp that was taken before it was measured.

    Raises `ParityError` where the sources have changed since.
    """
    sources.cache_clear()
    if digest(name) != stamped["sources"]:
        raise ParityError(f"the sources changed while {name} was measured; measure it again")
    path = result_file(name)
    text = json.dumps({**stamped, **data}, indent=1)
    # A list of numbers or names stands in one line.
    text = re.sub(r"\[\s*([^\[\]{}]*?)\s*\]", lambda inner: f"[{_joined(inner[1])}]", text)
    write_atomically(path, f"{text}\n".encode())
    return path


def _joined(lines: str) -> str:
    return " ".join(line.strip() for line in lines.splitlines())
