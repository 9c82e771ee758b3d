"""The matrix as JSON, and as a table or Markdown that is made from the JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from resnet_parity.checks import CHECKS
from resnet_parity.matrix import Matrix
from resnet_parity.reports.tables import COLOUR, json_data, markdown_table, new_table
from resnet_parity.verdict import Verdict


def as_json(matrix: Matrix) -> dict[str, Any]:
    """The matrix as plain data: a row per engine and a cell per column, for each architecture."""
    return {
        "date": matrix.date,
        "machine": matrix.machine,
        "versions": matrix.versions,
        "seed": matrix.seed,
        "passed": not matrix.failed,
        "absent": matrix.absent,
        "matrices": [
            {
                "architecture": name,
                "columns": list(dict.fromkeys(map(_column, verdicts))),
                "rows": list(_rows(verdicts)),
            }
            for name, verdicts in matrix.verdicts.items()
        ],
    }


def _column(verdict: Verdict) -> str:
    return CHECKS[verdict.check].column(verdict)


def _rows(verdicts: Sequence[Verdict]) -> Iterator[dict[str, Any]]:
    for engine in dict.fromkeys(verdict.engine for verdict in verdicts):
        own = [verdict for verdict in verdicts if verdict.engine == engine]
        cells = {_column(verdict): _cell(verdict) for verdict in own}
        if len(cells) < len(own):
            raise AssertionError(f"two verdicts of {engine} fall into one cell")
        yield {"engine": engine, "cells": cells}


def _cell(verdict: Verdict) -> dict[str, Any]:
    divergence = verdict.divergence
    return {
        "status": verdict.status,
        "figure": verdict.figure,
        "value": json_data(verdict.value),
        "limit": verdict.limit,
        "elements": sum(row.elements for row in verdict.rows),
        "first_divergence": divergence.name if divergence else None,
        "reason": verdict.reason,
    }


def print_matrix(console: Console, data: Mapping[str, Any]) -> None:
    """Print a table per architecture, and the reasons of its cells."""
    console.print(_made_on(data), markup=False, soft_wrap=True)
    for matrix in data["matrices"]:
        console.print(f"\n{matrix['architecture']}, seed {data['seed']}", markup=False)
        table = new_table("engine", *matrix["columns"])
        for row in matrix["rows"]:
            cells = (row["cells"].get(title) for title in matrix["columns"])
            table.add_row(row["engine"], *(_coloured(cell) for cell in cells))
        console.print(table)
        for remark in remarks(matrix):
            console.print(remark, markup=False, soft_wrap=True)
    for engine, reason in data["absent"].items():
        console.print(f"{engine}: not run, {reason}", style="yellow", markup=False, soft_wrap=True)
    if data["passed"]:
        console.print("\nno engine fails", style="bold green")
    else:
        console.print("\nparity FAILED", style="bold red")


def markdown(data: Mapping[str, Any]) -> str:
    """The matrix as Markdown."""
    lines = [f"{_made_on(data)}."]
    for matrix in data["matrices"]:
        titles = matrix["columns"]
        lines += ["", f"`{matrix['architecture']}`, seed {data['seed']}:", ""]
        rows = (
            [row["engine"], *(cell_text(row["cells"].get(title)) for title in titles)]
            for row in matrix["rows"]
        )
        lines.append(markdown_table(["engine", *titles], rows))
        points = [f"* {remark}" for remark in remarks(matrix)]
        lines += ["", *points] if points else []
    absent = [f"* {engine}: not run, {reason}" for engine, reason in data["absent"].items()]
    return "\n".join([*lines, *([""] if absent else []), *absent])


def _made_on(data: Mapping[str, Any]) -> str:
    machine = data["machine"]
    gpu = machine["gpu"] or "no GPU"
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    return (
        f"Made on {data['date']}: {machine['cpu']}, {machine['cores']} cores, {gpu}, "
        f"{machine['system']}; {versions}"
    )


def cell_text(cell: Mapping[str, Any] | None) -> str:
    """The figure without its limit, and the status unless it is a pass."""
    if cell is None:
        return ""
    figure, _, limit = cell["figure"].partition(" (")
    figure += " (noise floor)" if limit.startswith("noise floor") else ""
    return figure if cell["status"] == "pass" else f"{cell['status']}: {figure}"


def _coloured(cell: Mapping[str, Any] | None) -> Text:
    return Text(cell_text(cell), COLOUR[cell["status"]] if cell else "")


def remarks(matrix: Mapping[str, Any]) -> Iterator[str]:
    """Say why cells are not a pass; engines and columns with the same reason share a line."""
    places: dict[str, dict[str, list[str]]] = {}
    for row in matrix["rows"]:
        for title, cell in row["cells"].items():
            if cell["status"] == "pass":
                continue
            why = cell["reason"] or f"first divergence at {cell['first_divergence']}"
            places.setdefault(why, {}).setdefault(row["engine"], []).append(title)
    for why, engines in places.items():
        where = "; ".join(f"{engine} in {', '.join(titles)}" for engine, titles in engines.items())
        yield f"{where}: {why}"
