"""The cookbook: what a ResNet needs, written in both frameworks, with a proof that both agree.

An entry is a file of `cookbook_entries`. Its docstring is a title and a remark. Four parts follow:
the code that both snippets share, a snippet for each framework, and the assertions.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.compare import relative_error
from resnet_parity.tolerances import limit

FOLDER = Path(__file__).parent / "cookbook_entries"
PARTS = ("shared", "torch", "keras", "agree")


@dataclass(frozen=True)
class Entry:
    """An entry; `parts` holds its code by part, as it runs and as the page shows it."""

    name: str
    title: str
    remark: str
    parts: Mapping[str, str]
    file: Path


def entries() -> list[Entry]:
    """Return all entries in order."""
    return [_read(path) for path in sorted(FOLDER.glob("*.py"))]


def _read(path: Path) -> Entry:
    text = path.read_text(encoding="utf-8")
    title, _, remark = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")
    _, *pieces = re.split(r"^# --- (\w+)\n", text, flags=re.MULTILINE)
    parts = {name: code.strip() for name, code in zip(pieces[::2], pieces[1::2], strict=True)}
    if tuple(parts) != PARTS:
        raise ValueError(f"{path}: its parts are {', '.join(parts)} instead of {', '.join(PARTS)}")
    return Entry(path.stem.partition("_")[2], title, remark, parts, path)


def run(entry: Entry) -> dict[str, Any]:
    """Run an entry and return its names; an assertion that fails raises."""
    names: dict[str, Any] = {}
    text = entry.file.read_text(encoding="utf-8")
    exec(compile(text, entry.file, "exec"), names)
    return names


def agree(theirs: Any, ours: Any, dtype: str = "float64") -> None:
    """Raise `AssertionError` unless two results agree within the tolerance of a dtype."""
    expected, found = (np.asarray(each, "float64") for each in (ours, theirs))
    assert found.shape == expected.shape, f"{found.shape} is not {expected.shape}"
    error = relative_error(expected, found)
    assert error <= limit("cookbook", dtype), f"they differ by {error:.1e}"
