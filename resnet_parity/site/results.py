"""Results that are kept as data, and where they and the pages lie: in a checkout, or installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_spec.differences import DIFFERENCES

ROOT = Path(__file__).parents[2]
"""Of the packages; each name of a source file is relative to it."""

_INSTALLED = Path(__file__).parent / "built"
SITE = _INSTALLED if _INSTALLED.is_dir() else ROOT / "build" / "site"
"""The folder of the built site: inside an installed package, ignored by git in a checkout."""


def result_file(name: str) -> Path:
    """A file of results; `scripts/results` writes it."""
    return ROOT / "benchmarks" / "results" / f"{name}.json"


def read(name: str) -> dict[str, Any]:
    """What it holds."""
    return json.loads(result_file(name).read_text(encoding="utf-8"))


def impacts() -> dict[str, str]:
    """What each difference costs, in words."""
    data = read("impact")
    return {row.id: impact_text(data["differences"][row.id]) for row in DIFFERENCES}


def impact_text(entry: Mapping[str, Any]) -> str:
    """A number and what it is: `relative error 0.17 in the logits of resnet50, no warning`."""
    value, silent = entry["value"], entry.get("silent")
    words = entry["words"] if value is None else entry["words"].format(f"{value:.2g}")
    return words if silent is None else f"{words}, {'no warning' if silent else 'with a warning'}"
