"""Print a diagnosis as text, or convert it to JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from resnet_parity.diagnose.diagnosis import IMAGE_RANGE, Diagnosis, Probe
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.finding import Finding, Size
from resnet_parity.reports.tables import json_data, new_table


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return a diagnosis as JSON data; infinities become None."""
    models = zip(diagnosis.names, diagnosis.frameworks, diagnosis.layers, strict=True)
    return json_data(
        {
            "models": [
                {"name": name, "framework": framework, "layers": layers}
                for name, framework, layers in models
            ],
            "seed": diagnosis.seed,
            "aligned": diagnosis.aligned,
            "same": diagnosis.same,
            "sizes": [_probe_as_json(probe) for probe in diagnosis.probes],
            "notes": diagnosis.notes,
            "remarks": diagnosis.remarks,
            "findings": [
                {
                    "fault": each.fault,
                    "what": each.what,
                    "fix": each.fix(diagnosis.frameworks[1]),
                    "error": each.error,
                    "sizes": each.sizes or [probe.size for probe in diagnosis.probes],
                    "training_only": FAULTS[each.fault].training_only,
                    "places": [{"a": place_a, "b": place_b} for place_a, place_b in each.places],
                }
                for each in diagnosis.findings
            ],
        }
    )


def _probe_as_json(probe: Probe) -> dict[str, Any]:
    divergence = probe.divergence
    return {
        "size": probe.size,
        "same": not probe.diverges,
        "error": probe.error,
        "error_float64": probe.error_float64,
        "limit_float64": probe.limit_float64,
        "first_divergence": divergence
        and {"a": divergence.place_a, "b": divergence.place_b, "error": divergence.error},
    }


def print_diagnosis(console: Console, diagnosis: Diagnosis) -> None:
    """Print the faults in execution order, each with its places, its proof and its fix."""
    for letter, name, framework, layers in zip(
        "AB", diagnosis.names, diagnosis.frameworks, diagnosis.layers, strict=True
    ):
        console.print(Text(f"{letter}  {name} ({framework}, {layers} layers)"))
    sizes = _format_sizes([probe.size for probe in diagnosis.probes])
    images = f"random images of {sizes} in -{IMAGE_RANGE} ... {IMAGE_RANGE}"
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
    if finding.sizes:
        table.add_row("   size", Text(f"at {_format_sizes(finding.sizes)} only"))
    table.add_row("   proof", Text(_proof(finding)))
    table.add_row("   fix", Text(finding.fix(framework)))
    console.print(table)


def _proof(finding: Finding) -> str:
    """Return the error of a finding as a sentence."""
    if FAULTS[finding.fault].training_only:
        return f"one update on the same input differs by {finding.error:.1e}"
    if math.isnan(finding.error):
        return "the layer's input is finite"
    if not math.isfinite(finding.error):
        return "on the same input, the output has another shape"
    return f"on the same input, this fault alone makes an error of {finding.error:.1e}"


def _format_sizes(sizes: Sequence[Size]) -> str:
    return " and ".join(f"{height}x{width}" for height, width in sizes)


def _format_errors(probe: Probe) -> str:
    """Return how far the outputs are apart, as a sentence."""
    if probe.absent:
        return f"{' and '.join(probe.absent)} does not run at this size"
    if math.isnan(probe.error):
        return "an output holds NaN or infinity"
    if not math.isfinite(probe.error):
        return "outputs differ in shape"
    return f"outputs differ by {probe.error:.1e}, in float64 by {probe.error_float64:.1e}"


def _print_verdict(console: Console, diagnosis: Diagnosis) -> None:
    worst = diagnosis.worst
    if diagnosis.same:
        how = ", as far as float32 can tell" if worst.is_float32_only else ""
        console.print(Text(f"the same function{how}: {_format_errors(worst)}", style="bold green"))
        return
    count = len(diagnosis.findings)
    faults = "1 fault is" if count == 1 else f"{count} faults are"
    parting = [probe.size for probe in diagnosis.probes if probe.diverges]
    agreeing = [probe.size for probe in diagnosis.probes if not probe.diverges]
    where = f" at {_format_sizes(parting)}" if parting and agreeing else ""
    if not count:
        verdict = f"not the same function{where}, but no known fault explains it"
    elif parting:
        verdict = f"not the same function{where}: {faults} proven"
    elif diagnosis.training_only:
        verdict = f"the same function in evaluation mode, but {faults} proven"
    else:
        verdict = f"the outputs agree to {worst.limit_float64:.0e}, but {faults} proven"
    console.print(Text(f"{verdict}; {_format_errors(worst)}", style="bold red"))
    if where:
        console.print(Text(f"at {_format_sizes(agreeing)} the outputs agree"))
    if worst.divergence:
        places = f"{worst.divergence.place_a} / {worst.divergence.place_b}"
        console.print(Text(f"when both run unchanged, they first differ at {places}"))
