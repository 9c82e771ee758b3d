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

MARKS = {"pass": "✓", "fail": "✗", "skipped": "-"}
"""The mark of each status in a cell."""

LEGEND = (
    "exact: elements that differ; float64: relative error; float32, bfloat16, float16: a multiple "
    "(x) of the noise floor, or the noise floor itself. ✓ pass, ✗ fail, - skipped."
)
"""Explains the cells of the matrix."""


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
    console.print(LEGEND, markup=False, soft_wrap=True)
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
    lines = [f"{_made_on(data)}.", "", LEGEND]
    for matrix in data["matrices"]:
        titles = matrix["columns"]
        lines += ["", f"`{matrix['architecture']}`, seed {data['seed']}:", ""]
        rows = (
            [row["engine"], *(cell_text(row["cells"].get(title)) for title in titles)]
            for row in matrix["rows"]
        )
        lines += [markdown_table(["engine", *titles], rows), ""]
        lines += [f"* compared elements: {_elements(matrix)}"]
        lines += [f"* {remark}" for remark in remarks(matrix)]
    absent = [f"* {engine}: not run, {reason}" for engine, reason in data["absent"].items()]
    return "\n".join([*lines, *([""] if absent else []), *absent])


def _elements(matrix: Mapping[str, Any]) -> str:
    """The number of elements that each column compares; columns with the same number together."""
    columns: dict[int, list[str]] = {}
    for title in matrix["columns"]:
        cells = (row["cells"].get(title) for row in matrix["rows"])
        most = max((cell["elements"] for cell in cells if cell), default=0)
        columns.setdefault(most, []).append(title)
    return "; ".join(f"{', '.join(titles)} {most:,}" for most, titles in columns.items())


def _made_on(data: Mapping[str, Any]) -> str:
    machine = data["machine"]
    gpu = machine["gpu"] or "no GPU"
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    return (
        f"Made on {data['date']}: {machine['cpu']}, {machine['cores']} cores, {gpu}, "
        f"{machine['system']}; {versions}"
    )


def cell_text(cell: Mapping[str, Any] | None) -> str:
    """A mark and the figure without its unit and limit, which `LEGEND` explains."""
    if cell is None:
        return ""
    mark = MARKS[cell["status"]]
    return mark if cell["figure"] == "not run" else f"{mark} {cell['figure'].split()[0]}"


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
