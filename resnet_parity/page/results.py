"""Where the pages and the results lie: in the checkout, or in the installed package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_spec.differences import DIFFERENCES

from resnet_parity.page.definitions import ROOT

_INSTALLED = Path(__file__).parent / "site"
DOCS = _INSTALLED if _INSTALLED.is_dir() else ROOT / "docs"


def result_file(name: str) -> Path:
    """A file of results; `scripts/results` writes it."""
    return DOCS / "results" / f"{name}.json"


def read(name: str) -> dict[str, Any]:
    """What it holds."""
    return json.loads(result_file(name).read_text(encoding="utf-8"))


def damages() -> dict[str, str]:
    """What each difference costs, in words."""
    data = read("damage")
    return {row.id: damage_text(data["differences"][row.id]) for row in DIFFERENCES}


def damage_text(entry: Mapping[str, Any]) -> str:
    """A number and what it is: `0.17 relative error of the logits`."""
    if entry["value"] is None:
        return entry["words"]
    return f"{entry['value']:.2g} {entry['words']}"
