"""A comparison of ONNX graphs as data, as Markdown and as a printed table."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from resnet_parity.reports.tables import COLOUR, markdown_table, new_table
from resnet_parity.reports.verify import verdict_json

if TYPE_CHECKING:
    from resnet_parity.onnx_io.compare import ComparisonReport

ONNX_CHECKS = ("exact", "float32")
"""The checks that run on ONNX files: a graph returns no gradients and has one dtype."""

WORST_FIRST = ("fail", "skipped", "pass")


def as_json(result: ComparisonReport) -> dict[str, Any]:
    """A comparison as plain data; infinities become null."""
    return {
        "architecture": result.architecture.name,
        "compared": list(result.participants),
        "seed": result.seed,
        "versions": result.versions,
        "passed": result.passed,
        "skipped_runtimes": list(result.skipped_runtimes),
        "notes": list(result.notes),
        "operators": result.operators,
        "graphs": result.graphs,
        "verdicts": [verdict_json(verdict) for verdict in result.verdicts],
    }


def summary(data: dict[str, Any]) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """For every engine and check, the worst status over batches and sizes, and one figure."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for verdict in data["verdicts"]:
        checks = rows.setdefault(verdict["engine"], {})
        checks.setdefault(verdict["check"], []).append(verdict)
    return [
        (engine, {check: _of_all(check, verdicts) for check, verdicts in checks.items()})
        for engine, checks in rows.items()
    ]


def _of_all(check: str, verdicts: list[dict[str, Any]]) -> tuple[str, str]:
    """The worst status and a figure: all elements that differ (exact), or the worst figure."""
    status = min((each["status"] for each in verdicts), key=WORST_FIRST.index)
    runs = f"{len(verdicts)} run" + "s" * (len(verdicts) > 1)
    if check == "exact" and all(each["value"] is not None for each in verdicts):
        differing, elements = (sum(each[k] for each in verdicts) for k in ("differing", "elements"))
        return status, f"{differing:,} of {elements:,} differ in {runs}"
    worst = max(verdicts, key=lambda each: math.inf if each["value"] is None else each["value"])
    return status, f"{worst['figure']} in {runs}"


def markdown(data: dict[str, Any]) -> str:
    """The comparison as a Markdown table, and the notes."""
    rows = []
    for engine, checks in summary(data):
        cells = (checks.get(check, ("", "")) for check in ONNX_CHECKS)
        texts = (text if status == "pass" else f"**{status}** {text}" for status, text in cells)
        rows.append([engine, *texts])
    table = markdown_table([data["architecture"], *ONNX_CHECKS], rows)
    return "\n".join([table.replace("|  |", "| |"), *(f"\n{note}" for note in data["notes"])])


def print_comparison(console: Console, data: dict[str, Any]) -> None:
    """Print the comparison, the verdicts that did not pass, and the runtimes that were skipped."""
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    console.print(f"{data['architecture']}, seed {data['seed']}\n{versions}\n", soft_wrap=True)
    table = new_table("engine", *ONNX_CHECKS)
    for engine, checks in summary(data):
        cells = [checks.get(check, ("skipped", "")) for check in ONNX_CHECKS]
        table.add_row(engine, *(Text(figure, COLOUR[status]) for status, figure in cells))
    console.print(table)
    for verdict in data["verdicts"]:
        if verdict["status"] == "pass":
            continue
        where = f"{verdict['check']} check, {verdict['probe']}, {verdict['engine']}"
        text = f"{where}: {verdict['status']}, {verdict['figure']} {verdict['reason']}".rstrip()
        console.print(text, style=COLOUR[verdict["status"]], soft_wrap=True, markup=False)
    for note in data["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for reason in data["skipped_runtimes"]:
        console.print(f"skipped: {reason}", style="yellow", soft_wrap=True, markup=False)
    count = len(data["verdicts"])
    passing = sum(verdict["status"] == "pass" for verdict in data["verdicts"])
    word = "parity holds" if data["passed"] else "parity FAILED or was not checked"
    style = "bold green" if data["passed"] else "bold red"
    console.print(f"{word}: {passing} of {count} verdicts pass", style=style)
