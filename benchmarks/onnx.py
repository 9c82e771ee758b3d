"""Every row of the table through both exporters, a process for each; the README shows the result.

Run as a module it takes names (all rows unless given), and writes every row as soon as it is there.
Rows that were surveyed with other sources are forgotten; a row says what it was made on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_spec import ARCHITECTURES, get_architecture

from benchmarks import provenance
from resnet_parity.errors import MissingFrameworkError
from resnet_parity.onnx_io.participant_names import EXPORTS
from resnet_parity.onnx_io.runtimes import ORT_LEVELS
from resnet_parity.reports.onnx import WORST_FIRST
from resnet_parity.site.results import read, result_file


def survey(names: Sequence[str]) -> list[str]:
    """Compare both exports of those rows, and note what was found; returns the rows that failed.

    One that gave no answer has no entry, not even an older one.

    Raises `ParityError` where the sources change meanwhile.
    """
    failed = []
    stamp = provenance.stamp("onnx")
    for name in names:
        found = _row(name)
        rows = _known_rows(stamp)
        rows.pop(name, None)
        if found is not None:
            versions, row = found
            setup = {"machine": stamp["machine"], "versions": versions}
            rows[name] = {"date": stamp["date"], **row, "setup": setup}
        failed += [] if found is not None and found[1]["passed"] else [name]
        provenance.write("onnx", stamp, _by_setup({n: rows[n] for n in ARCHITECTURES if n in rows}))
    return failed


def _known_rows(stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the same sources gave, each with what it was made on."""
    if not result_file("onnx").exists():
        return {}
    data = read("onnx")
    if data.get("sources") != stamp["sources"]:
        print(f"{len(data['rows'])} rows are of other sources: gone", file=sys.stderr)
        return {}
    return {
        name: {**row, "setup": data["setups"][row["setup"]]} for name, row in data["rows"].items()
    }


def _by_setup(rows: Mapping[str, Any]) -> dict[str, Any]:
    """What rows were made on stands once, and a row has its place there."""
    setups: list[Any] = []
    for row in rows.values():
        setups += [] if row["setup"] in setups else [row["setup"]]
    placed = {name: {**row, "setup": setups.index(row["setup"])} for name, row in rows.items()}
    return {"setups": setups, "rows": placed}


def _row(name: str) -> tuple[dict[str, str], dict[str, Any]] | None:
    """The versions, and what `onnx-compare` says of both exports: the worst of all runs.

    None where it has nothing to say, as of a net that an exporter makes another of, or one that
    does not fit in memory; what it told on the way stands on the terminal.
    """
    arguments = ["onnx-compare", *EXPORTS, "--architecture", name, "--json"]
    command = [sys.executable, "-m", "resnet_parity.cli", *arguments]
    result = subprocess.run(
        [*command, "--runtimes", ",".join(ORT_LEVELS)], stdout=subprocess.PIPE, check=False
    )
    if result.returncode == MissingFrameworkError.exit_code:  # so it is for every row
        raise SystemExit(result.returncode)
    if result.returncode not in (0, 1) or not result.stdout:
        return None
    data = json.loads(result.stdout)
    found: dict[str, Any] = {}
    for verdict in data["verdicts"]:
        export = next((each for each in EXPORTS if verdict["engine"].startswith(each)), None)
        cell = found.setdefault(export or "both", {}).setdefault(
            verdict["check"], {"status": "pass", "value": 0, "verdicts": 0, "reason": ""}
        )
        cell["verdicts"] += 1
        if WORST_FIRST.index(verdict["status"]) < WORST_FIRST.index(cell["status"]):
            cell |= {"status": verdict["status"], "reason": verdict["reason"]}
        values = (cell["value"], verdict["value"])
        cell["value"] = None if None in values else max(values[0], round(values[1], 2))
    row = {"passed": data["passed"], "operators": data["operators"], "exports": found}
    return data["versions"], row


def main(arguments: Sequence[str]) -> int:
    """The command line of the module."""
    names = [get_architecture(name).name for name in arguments or ARCHITECTURES]
    failed = survey(names)
    print(f"{len(names) - len(failed)} of {len(names)} rows pass", *failed)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
