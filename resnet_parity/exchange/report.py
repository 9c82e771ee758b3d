"""A comparison of graphs as data, as Markdown, as a table for people."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.text import Text

from resnet_parity.exchange.meeting import Meeting
from resnet_parity.report import COLOUR, verdict_json
from resnet_parity.tables import new_table

_RUNGS = ("exact", "float32")
WORST_FIRST = ("fail", "cannot", "pass")


def as_json(result: Meeting) -> dict[str, Any]:
    """A comparison as plain data; infinities become null."""
    return {
        "architecture": result.architecture.name,
        "subjects": list(result.subjects),
        "seed": result.seed,
        "versions": result.versions,
        "passed": result.passed,
        "left_out": list(result.left_out),
        "notes": list(result.notes),
        "operators": result.operators,
        "verdicts": [verdict_json(verdict) for verdict in result.verdicts],
    }


def summary(data: dict[str, Any]) -> list[tuple[str, dict[str, tuple[str, str]]]]:
    """For every engine and rung the worst status over batches and sizes, and a figure for all."""
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for verdict in data["verdicts"]:
        rungs = rows.setdefault(verdict["engine"], {})
        rungs.setdefault(verdict["rung"], []).append(verdict)
    return [
        (engine, {rung: _of_all(rung, verdicts) for rung, verdicts in rungs.items()})
        for engine, rungs in rows.items()
    ]


def _of_all(rung: str, verdicts: list[dict[str, Any]]) -> tuple[str, str]:
    """All numbers that differ on the exact rung, elsewhere the worst figure; in how many runs."""
    status = min((each["status"] for each in verdicts), key=WORST_FIRST.index)
    runs = f"{len(verdicts)} run" + "s" * (len(verdicts) > 1)
    if rung == "exact" and all(each["value"] is not None for each in verdicts):
        differing, elements = (sum(each[k] for each in verdicts) for k in ("differing", "elements"))
        return status, f"{differing:,} of {elements:,} differ in {runs}"
    worst = max(verdicts, key=lambda each: math.inf if each["value"] is None else each["value"])
    return status, f"{worst['figure']} in {runs}"


def markdown(data: dict[str, Any]) -> str:
    """The matrix as a Markdown table, and notes."""
    lines = [f"| {data['architecture']} | exact | float32 |", "| --- | --- | --- |"]
    for engine, rungs in summary(data):
        cells = (rungs.get(rung, ("", "")) for rung in _RUNGS)
        texts = [text if status == "pass" else f"**{status}** {text}" for status, text in cells]
        lines.append(f"| {engine} | {' | '.join(texts)} |".replace("|  |", "| |"))
    return "\n".join([*lines, *(f"\n{note}" for note in data["notes"])])


def print_comparison(console: Console, data: dict[str, Any]) -> None:
    """The matrix, what failed, and what was left out."""
    versions = ", ".join(f"{name} {number}" for name, number in data["versions"].items())
    console.print(f"{data['architecture']}, seed {data['seed']}\n{versions}\n", soft_wrap=True)
    table = new_table("engine", *_RUNGS)
    for engine, rungs in summary(data):
        cells = [rungs.get(rung, ("cannot", "")) for rung in _RUNGS]
        table.add_row(engine, *(Text(figure, COLOUR[status]) for status, figure in cells))
    console.print(table)
    for verdict in data["verdicts"]:
        if verdict["status"] == "pass":
            continue
        where = f"{verdict['rung']} rung, {verdict['probe']}, {verdict['engine']}"
        text = f"{where}: {verdict['status']}, {verdict['figure']} {verdict['reason']}".rstrip()
        console.print(text, style=COLOUR[verdict["status"]], soft_wrap=True, markup=False)
    for note in data["notes"]:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for reason in data["left_out"]:
        console.print(f"left out: {reason}", style="yellow", soft_wrap=True, markup=False)
    count = len(data["verdicts"])
    passing = sum(verdict["status"] == "pass" for verdict in data["verdicts"])
    word = "parity holds" if data["passed"] else "parity FAILED or is not proven"
    style = "bold green" if data["passed"] else "bold red"
    console.print(f"{word}: {passing} of {count} verdicts pass", style=style)
