"""Every row of the table through both exporters, a process for each; the README shows the result.

Run as a module it takes names (all rows unless given), and writes every row as soon as it is there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resnet_spec import ARCHITECTURES, get_architecture

from resnet_parity.exchange.names import EXPORTS
from resnet_parity.exchange.runtimes import ORT_LEVELS
from resnet_parity.files import write_atomically
from resnet_parity.matrix import machine

FILE = Path(__file__).parents[2] / "docs" / "results" / "onnx.json"


def survey(names: Sequence[str], path: Path = FILE) -> list[str]:
    """Compare both exports of those rows, and note what was found; returns the rows that failed."""
    failed = []
    for name in names:
        row = _row(name)
        failed += [] if row["passed"] else [name]
        data = json.loads(path.read_text()) if path.exists() else {"rows": {}}
        rows = data["rows"] | {name: row}
        data = {"machine": machine(), "rows": {n: rows[n] for n in ARCHITECTURES if n in rows}}
        write_atomically(path, f"{json.dumps(data, indent=1)}\n".encode())
    return failed


def _row(name: str) -> dict[str, Any]:
    """What `onnx-compare` says of both exports; per export the worst over runtimes and batches."""
    arguments = ["onnx-compare", *EXPORTS, "--architecture", name, "--json"]
    command = [sys.executable, "-m", "resnet_parity.cli", *arguments]
    result = subprocess.run(
        [*command, "--runtimes", ",".join(ORT_LEVELS)], stdout=subprocess.PIPE, check=False
    )
    if result.returncode not in (0, 1):
        raise SystemExit(result.returncode)
    data = json.loads(result.stdout)
    found: dict[str, Any] = {}
    for verdict in data["verdicts"]:
        export = next((each for each in EXPORTS if verdict["engine"].startswith(each)), None)
        cell = found.setdefault(export or "both", {}).setdefault(
            verdict["rung"], {"status": "pass", "value": 0, "verdicts": 0, "reason": ""}
        )
        cell["verdicts"] += 1
        if verdict["status"] != "pass":
            cell |= {"status": verdict["status"], "reason": verdict["reason"]}
        if verdict["value"] is not None:
            cell["value"] = max(cell["value"], round(verdict["value"], 2))
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "passed": data["passed"],
        "versions": data["versions"],
        "operators": data["operators"],
        "exports": found,
    }


def main(arguments: Sequence[str]) -> int:
    """The command line of the module."""
    names = [get_architecture(name).name for name in arguments or ARCHITECTURES]
    failed = survey(names)
    print(f"{len(names) - len(failed)} of {len(names)} rows pass", *failed)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
