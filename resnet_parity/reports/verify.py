"""The report of `verify`, as text for people (rich) and as JSON for programs."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnet_spec import Architecture, parameter_count

from resnet_parity.checks import CHECKS
from resnet_parity.checks.base import Check
from resnet_parity.probes import default_size
from resnet_parity.reports.tables import COLOUR, json_data, new_table, shape_text
from resnet_parity.verdict import Row, Verdict
from resnet_parity.verify import Report, TopClasses


def as_json(report: Report, *, layers: bool) -> dict[str, Any]:
    """A verification as plain data; infinities become null."""
    return {
        "architecture": report.architecture.name,
        "parameters": parameter_count(report.architecture),
        "seed": report.seed,
        "checks": list(report.checks),
        "versions": report.versions,
        "passed": report.passed,
        "skipped": [
            {"check": v.check, "dtype": v.dtype, "engine": v.engine} for v in report.skipped
        ],
        "warnings": list(report.warnings),
        "notes": list(report.notes),
        "verdicts": [verdict_json(verdict, layers=layers) for verdict in report.verdicts],
        "top_classes": [
            {
                "image": top.image,
                "dtype": top.dtype,
                "engine": top.engine,
                "classes": [
                    {"class": index, "logit": json_data(logit)} for index, logit in top.classes
                ],
            }
            for top in report.top_classes
        ],
    }


def verdict_json(verdict: Verdict, *, layers: bool = False) -> dict[str, Any]:
    """A verdict as plain data; with `layers`, every tap or gradient as well."""
    data = {name: value for name, value in vars(verdict).items() if name not in ("rows", "logits")}
    data |= {
        "value": json_data(verdict.value),
        "elements": sum(row.elements for row in verdict.rows),
        "differing": sum(row.differing for row in verdict.rows),
        "first_divergence": json_data(verdict.divergence),
    }
    return data | ({verdict.quantity: json_data(verdict.rows)} if layers else {})


class VerdictLines:
    """Prints each verdict as soon as it is there; the columns have fixed widths."""

    def __init__(self, architecture: Architecture, seed: int) -> None:
        self._title: str | None = (
            f"{architecture.name}: {parameter_count(architecture):,} parameters, seed {seed}"
        )

    def add(self, console: Console, verdict: Verdict) -> None:
        """Print a verdict, and the title before the first one."""
        if self._title is not None:
            console.print(f"{self._title}\n", markup=False)
            console.print(_columns(show_header=True))
            self._title = None
        table = _columns(show_header=False)
        table.add_row(
            verdict.check,
            CHECKS[verdict.check].probe_text(verdict),
            verdict.quantity,
            verdict.engine,
            Text(verdict.status, COLOUR[verdict.status]),
            verdict.figure,
        )
        console.print(table)


def _columns(*, show_header: bool) -> Table:
    table = new_table()
    table.show_header = show_header
    for name, width in _WIDTHS.items():
        table.add_column(name, min_width=width, overflow="fold")
    return table


_WIDTHS = {"check": 7, "probe": 11, "quantity": 9, "engine": 22, "verdict": 7, "figure": 12}
"""The columns of the verdicts with their least widths."""


def print_report(console: Console, report: Report, *, layers: bool) -> None:
    """Print all but the verdicts: their details, the classes of photographs and, with `layers`,
    every tap.
    """
    for verdict in report.verdicts:
        _print_details(console, verdict)
    for note in report.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    for warning in report.warnings:
        better = "x".join(map(str, default_size(report.architecture, "random")))
        text = f"warning: {warning}; --size {better} sees it"
        console.print(text, style="yellow", markup=False, soft_wrap=True)
    if not report.same_classes:
        console.print("the engines rank the classes of a photograph differently", style="red")
    if report.top_classes:
        console.print()
        console.print(_CLASSES, soft_wrap=True)
        console.print(_class_table(report))
        console.print()
    if layers:
        for table in _layer_tables(report.verdicts):
            console.print(table)
    console.print(", ".join(f"{name} {number}" for name, number in report.versions.items()))
    console.print(_summary(report))


def _print_details(console: Console, verdict: Verdict) -> None:
    where = (
        f"{verdict.check} check, {verdict.probe} probe, {verdict.dtype}, {verdict.quantity}, "
        f"{verdict.engine}"
    )
    if verdict.reason:
        console.print(f"{where}: skipped: {verdict.reason}", style="yellow", soft_wrap=True)
    row = verdict.divergence
    if row is None:
        return
    console.print(
        f"{where}: first divergence at {row.name} {row.shape}: {row.status}, "
        f"{row.differing:,} of {row.elements:,} elements differ, "
        f"relative error {row.error:.1e}, largest difference {row.max_abs:.1e}",
        style=COLOUR[verdict.status],
        soft_wrap=True,
    )


_CLASSES = "The weights are random: the classes mean nothing, only that all engines agree on them."


def _class_table(report: Report) -> Table:
    """A row per photograph and ranking, with the logits of the first engine that gave it."""
    rankings: dict[tuple[int, tuple[int, ...]], list[TopClasses]] = {}
    for top in report.top_classes:
        ranking = tuple(index for index, _ in top.classes)
        rankings.setdefault((top.index, ranking), []).append(top)
    table = new_table("photograph", "top classes (logits)", "engines")
    for (index, _), tops in rankings.items():
        classes = "  ".join(f"{index} ({logit:.4g})" for index, logit in tops[0].classes)
        engines = ", ".join(dict.fromkeys(f"{top.engine} in {top.dtype}" for top in tops))
        every = len(tops) == sum(top.index == index for top in report.top_classes)
        table.add_row(Text(tops[0].image), classes, f"all {len(tops)}" if every else engines)
    return table


def _layer_tables(verdicts: tuple[Verdict, ...]):
    """One table per check, probe and quantity: a row per array, a column per engine."""
    groups: dict[tuple[str, str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        key = (verdict.check, verdict.probe, verdict.dtype, verdict.quantity)
        groups.setdefault(key, []).append(verdict)
    for (name, probe, dtype, quantity), group in groups.items():
        check = CHECKS[name]
        group = [verdict for verdict in group if verdict.rows]
        engines = (verdict.engine for verdict in group)
        table = new_table(quantity.removesuffix("s"), "shape", *engines)
        table.title = f"{name} check, {probe} probe, {dtype}, {quantity}: {check.layers_title}"
        for rows in zip(*(verdict.rows for verdict in group), strict=True):
            cells = [_layer_cell(row, check) for row in rows]
            table.add_row(rows[0].name, shape_text(rows[0].shape), *cells)
        yield table


def _layer_cell(row: Row, check: Check) -> Text:
    figure = row.status if row.status in ("shape", "missing") else check.layer_text(row)
    return Text(figure, "" if row.status == "ok" else "red")


def _summary(report: Report) -> Text:
    count = len(report.verdicts)
    passing = sum(verdict.status == "pass" for verdict in report.verdicts)
    figures = f"{passing} of {count} verdicts pass"
    if report.skipped:
        figures += f", {len(report.skipped)} skipped (see above)"
    if report.failed:
        return Text(f"parity FAILED: {figures}", "bold red")
    if not report.passed:
        return Text(f"parity NOT PROVEN: {figures}", "bold yellow")
    return Text(f"parity holds: {figures}", "bold green")
