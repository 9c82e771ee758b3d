"""A diagnosis as text for people (rich) and as JSON for programs."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.text import Text

from resnet_parity.diagnose.diagnosis import REACH, Diagnosis
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.finding import Finding
from resnet_parity.reports.tables import new_table


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as plain data; infinities become null."""
    divergence = diagnosis.divergence
    return {
        "models": [
            {"name": name, "framework": framework, "layers": layers}
            for name, framework, layers in zip(
                diagnosis.names, diagnosis.frameworks, diagnosis.layers, strict=True
            )
        ],
        "seed": diagnosis.seed,
        "size": list(diagnosis.size),
        "aligned": diagnosis.aligned,
        "same": diagnosis.same,
        "error": _finite(diagnosis.error),
        "error_float64": _finite(diagnosis.exact),
        "limit_float64": diagnosis.limit,
        "first_divergence": divergence
        and {"a": divergence.here, "b": divergence.there, "error": _finite(divergence.error)},
        "notes": list(diagnosis.notes),
        "remarks": list(diagnosis.remarks),
        "findings": [_finding_json(each, diagnosis.frameworks[1]) for each in diagnosis.findings],
    }


def _finding_json(finding: Finding, framework: str) -> dict[str, Any]:
    return {
        "fault": finding.fault,
        "what": finding.what,
        "fix": finding.fix(framework),
        "error": _finite(finding.error),
        "training_only": FAULTS[finding.fault].trains,
        "places": [{"a": here, "b": there} for here, there in finding.places],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """The faults in order of execution, each with its places, its proof and its mend."""
    for letter, name, framework, layers in zip(
        "AB", diagnosis.names, diagnosis.frameworks, diagnosis.layers, strict=True
    ):
        console.print(Text(f"{letter}  {name} ({framework}, {layers} layers)"))
    height, width = diagnosis.size
    seen = f"seen on {height}x{width} images of random numbers in -{REACH} ... {REACH}"
    console.print(Text(f"{diagnosis.aligned} layers pair, {seen}"))
    for note in diagnosis.notes:
        console.print(Text(f"   {note}"))
    for number, finding in enumerate(diagnosis.findings, 1):
        console.print()
        _print_finding(console, number, finding, diagnosis.frameworks[1])
    console.print()
    for remark in diagnosis.remarks:
        console.print(Text(f"   {remark}"))
    _print_verdict(console, diagnosis)


def _print_finding(console: Console, number: int, finding: Finding, framework: str) -> None:
    console.print(Text(f"{number}. {finding.what}", style="bold"))
    table = new_table("", "")
    table.show_header = False
    (here, there), *more = finding.places
    also = f", and {len(more)} more" if more else ""
    table.add_row("   in A", Text(here + also))
    table.add_row("   in B", Text(there + also))
    table.add_row("   proof", Text(_proof(finding)))
    table.add_row("   mend", Text(finding.fix(framework)))
    console.print(table)


def _proof(finding: Finding) -> str:
    """The figure in a sentence."""
    if FAULTS[finding.fault].trains:
        return f"one update on the same tensor differs by {finding.error:.1e}"
    if not math.isfinite(finding.error):
        return "on the same tensor it gives another shape"
    return f"on the same tensor this alone makes an error of {finding.error:.1e}"


def _print_verdict(console: Console, diagnosis: Diagnosis) -> None:
    figures = f"outputs differ by {diagnosis.error:.1e}, in float64 by {diagnosis.exact:.1e}"
    if not math.isfinite(diagnosis.error):
        figures = "outputs differ in shape"
    if diagnosis.same:
        how = ", as far as float32 can tell" if diagnosis.rounded else ""
        console.print(Text(f"the same function{how}: {figures}", style="bold green"))
        return
    count = len(diagnosis.findings)
    faults = "1 fault is" if count == 1 else f"{count} faults are"
    verdict = f"not the same function: {faults} proven; {figures}" if count else ""
    divergence = diagnosis.divergence
    if not count:
        where = f" first at {divergence.here} / {divergence.there}" if divergence else ""
        verdict = f"not the same function, and the cause is not known: {figures}{where}"
    elif not diagnosis.diverges:
        agree = f"the outputs agree to {diagnosis.limit:.0e}"
        if diagnosis.trains_alone:
            agree = "the same function in evaluation"
        verdict = f"{agree}, but {faults} proven; {figures}"
    console.print(Text(verdict, style="bold red"))
    if divergence and count:
        places = f"{divergence.here} / {divergence.there}"
        console.print(Text(f"run as they are, the models part first at {places}"))
