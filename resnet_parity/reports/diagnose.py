"""Print a diagnosis as text, or convert it to JSON."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.text import Text

from resnet_parity.diagnose.diagnosis import IMAGE_RANGE, Diagnosis
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.finding import Finding
from resnet_parity.reports.tables import json_data, new_table


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as JSON data; infinities become None."""
    divergence = diagnosis.divergence
    models = zip(diagnosis.names, diagnosis.frameworks, diagnosis.layers, strict=True)
    return json_data(
        {
            "models": [
                {"name": name, "framework": framework, "layers": layers}
                for name, framework, layers in models
            ],
            "seed": diagnosis.seed,
            "size": diagnosis.size,
            "aligned": diagnosis.aligned,
            "same": diagnosis.same,
            "error": diagnosis.error,
            "error_float64": diagnosis.error_float64,
            "limit_float64": diagnosis.limit_float64,
            "first_divergence": divergence
            and {"a": divergence.place_a, "b": divergence.place_b, "error": divergence.error},
            "notes": diagnosis.notes,
            "remarks": diagnosis.remarks,
            "findings": [
                {
                    "fault": each.fault,
                    "what": each.what,
                    "fix": each.fix(diagnosis.frameworks[1]),
                    "error": each.error,
                    "training_only": FAULTS[each.fault].training_only,
                    "places": [{"a": place_a, "b": place_b} for place_a, place_b in each.places],
                }
                for each in diagnosis.findings
            ],
        }
    )


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print the faults in execution order, each with its places, its proof and its fix."""
    for letter, name, framework, layers in zip(
        "AB", diagnosis.names, diagnosis.frameworks, diagnosis.layers, strict=True
    ):
        console.print(Text(f"{letter}  {name} ({framework}, {layers} layers)"))
    height, width = diagnosis.size
    images = f"random {height}x{width} images in -{IMAGE_RANGE} ... {IMAGE_RANGE}"
    console.print(Text(f"{diagnosis.aligned} pairs of layers, compared on {images}"))
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
    (place_a, place_b), *more = finding.places
    also = f", and {len(more)} more" if more else ""
    table.add_row("   in A", Text(place_a + also))
    table.add_row("   in B", Text(place_b + also))
    table.add_row("   proof", Text(_proof(finding)))
    table.add_row("   fix", Text(finding.fix(framework)))
    console.print(table)


def _proof(finding: Finding) -> str:
    """Return the error of a finding as a sentence."""
    if FAULTS[finding.fault].training_only:
        return f"one update on the same input differs by {finding.error:.1e}"
    if not math.isfinite(finding.error):
        return "on the same input, the output has another shape"
    return f"on the same input, this fault alone makes an error of {finding.error:.1e}"


def _print_verdict(console: Console, diagnosis: Diagnosis) -> None:
    figures = f"outputs differ by {diagnosis.error:.1e}"
    figures += f", in float64 by {diagnosis.error_float64:.1e}"
    if not math.isfinite(diagnosis.error):
        figures = "outputs differ in shape"
    if diagnosis.same:
        how = ", as far as float32 can tell" if diagnosis.is_float32_only else ""
        console.print(Text(f"the same function{how}: {figures}", style="bold green"))
        return
    count = len(diagnosis.findings)
    faults = "1 fault is" if count == 1 else f"{count} faults are"
    if not count:
        verdict = "not the same function, but no known fault explains it"
    elif diagnosis.diverges:
        verdict = f"not the same function: {faults} proven"
    elif diagnosis.training_only:
        verdict = f"the same function in evaluation mode, but {faults} proven"
    else:
        verdict = f"the outputs agree to {diagnosis.limit_float64:.0e}, but {faults} proven"
    console.print(Text(f"{verdict}; {figures}", style="bold red"))
    if diagnosis.divergence:
        places = f"{diagnosis.divergence.place_a} / {diagnosis.divergence.place_b}"
        console.print(Text(f"when both run unchanged, they first differ at {places}"))
