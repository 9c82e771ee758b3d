"""The exports of every architecture from both frameworks, each compared in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from resnet_spec import ARCHITECTURES

from benchmarks.provenance import Measured, Results
from resnet_parity.errors import MissingFrameworkError, ParityError
from resnet_parity.onnx_io.reading import EXPORTS
from resnet_parity.onnx_io.runtimes import ORT_LEVELS
from resnet_parity.reports.onnx import WORST_FIRST

EXPORTERS = ("torch", "keras", "tensorflow", "tf2onnx")
"""Packages that write the graphs; the command reports the versions of those that run them."""


def measure(name: str) -> Measured:
    """Run `onnx-compare` on both exports of one architecture.

    Raises `ParityError` where the command ends without a result: an exporter made another network,
    or the memory is too small. Raises `MissingFrameworkError` where a package is missing.
    """
    arguments = ["onnx-compare", *EXPORTS, "--architecture", name, "--json"]
    command = [sys.executable, "-m", "resnet_parity", *arguments]
    result = subprocess.run(
        [*command, "--runtimes", ",".join(ORT_LEVELS)], capture_output=True, text=True, check=False
    )
    reason = (result.stderr.strip().splitlines() or ["no message"])[-1]
    if result.returncode == MissingFrameworkError.exit_code:
        raise MissingFrameworkError(reason)
    if result.returncode < 0:
        raise ParityError(f"onnx-compare was ended by {signal.Signals(-result.returncode).name}")
    if result.returncode > 1 or not result.stdout:
        raise ParityError(f"onnx-compare failed: {reason}")
    data = json.loads(result.stdout)
    exporters = {package: version(package) for package in EXPORTERS}
    return Measured(figures(data), exporters | data["versions"], data["passed"])


def figures(data: Mapping[str, Any]) -> dict[str, Any]:
    """The operators and the checksum of each export, and for each check the worst of all runs."""
    exports: dict[str, Any] = {}
    for verdict in data["verdicts"]:
        export = next((each for each in EXPORTS if verdict["engine"].startswith(each)), "both")
        cell = exports.setdefault(export, {}).setdefault(
            verdict["check"], {"status": "pass", "value": 0, "verdicts": 0, "reason": ""}
        )
        cell["verdicts"] += 1
        if WORST_FIRST.index(verdict["status"]) < WORST_FIRST.index(cell["status"]):
            cell |= {"status": verdict["status"], "reason": verdict["reason"]}
        values = (cell["value"], verdict["value"])
        cell["value"] = None if None in values else max(values[0], round(values[1], 2))
    return {name: data[name] for name in ("graphs", "passed", "operators")} | {"exports": exports}


RESULTS = Results("onnx", 1, ARCHITECTURES, measure)
