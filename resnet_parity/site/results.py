"""Locates and reads the measured results, and locates the built site, in a checkout or a wheel."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_spec.differences import DIFFERENCES

ROOT = Path(__file__).parents[2]
"""The folder that holds the packages; names of source files are relative to it."""

BESIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
"""The documents outside of `docs`."""

_BUILT = Path(__file__).parent / "built"
INSTALLED = _BUILT.is_dir()
"""Whether this is an installed wheel, which carries the built site."""

SITE = _BUILT if INSTALLED else ROOT / "build" / "site"
"""The folder of the built site: inside the installed package, or ignored by git in a checkout."""

RESULTS = SITE / "results" if INSTALLED else ROOT / "benchmarks" / "results"
"""The folder of measured results; the built site holds a copy."""


def result_file(name: str) -> Path:
    """The file of one set of results; `scripts/results` writes it."""
    return RESULTS / f"{name}.json"


def load(name: str) -> dict[str, Any]:
    """A file of results: `setups` (date, machine, versions), and `rows` with a setup's index each.

    A row that could not be measured has a reason in `failed`. A missing file has no rows.
    """
    file = result_file(name)
    return json.loads(file.read_text("utf-8")) if file.exists() else {"setups": [], "rows": {}}


def read(name: str) -> dict[str, Any]:
    """A file of results without the rows that could not be measured."""
    data = load(name)
    return data | {"rows": {n: row for n, row in data["rows"].items() if "failed" not in row}}


def setups(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The setups of a file of results, each with the number of its `rows`."""
    counts = Counter(row["setup"] for row in data["rows"].values())
    return [{**setup, "rows": counts[index]} for index, setup in enumerate(data["setups"])]


def matrices(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of matrix.json as `resnet-parity matrix --json` prints them, one for each setup."""
    found: dict[str, dict[str, Any]] = {}
    for name, row in data["rows"].items():
        shared = {**data["setups"][row["setup"]], "seed": row["seed"], "absent": row["absent"]}
        document = found.setdefault(json.dumps(shared), {**shared, "matrices": []})
        matrix = {"architecture": name, "columns": row["columns"], "rows": row["rows"]}
        document["matrices"].append(matrix)
    return list(found.values())


def impact_table(table: str) -> dict[str, Any]:
    """The rows of impact.json that are differences, or mutants."""
    rows = read("impact")["rows"]
    return {name: row for name, row in rows.items() if row["table"] == table}


def impacts() -> dict[str, str]:
    """The impact of each difference in words, by the difference's id."""
    rows = impact_table("differences")
    return {
        each.id: impact_text(rows[each.id]) if each.id in rows else "not measured"
        for each in DIFFERENCES
    }


def impact_text(row: Mapping[str, Any]) -> str:
    """A number and its meaning: `relative error 0.17 in the logits of resnet50, no warning`."""
    value, silent = row["value"], row.get("silent")
    text = row["words"] if value is None else row["words"].format(f"{value:.2g}")
    return text if silent is None else f"{text}, {'no warning' if silent else 'with a warning'}"
