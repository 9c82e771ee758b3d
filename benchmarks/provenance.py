"""Writes measured rows into benchmarks/results, each with a key that says when it is stale.

A row is stale, alone, when it is missing, when it could not be measured, or when its key differs
from today's: its schema number, which a person raises, or the hash of the spec it was measured on.
The date, the machine and the versions are recorded and shown; they make nothing stale, and neither
does the code that measured.

A row of onnx.json also holds `graphs`, the checksum of each exported graph (`graph_checksum`: its
operators, edges, attributes and weights, all of which are the same on every machine). To see
whether they still hold, a graph has to be exported: the sentinel tests do so for one row, and a
full measuring for all. Rows of before there were checksums have none.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from resnet_spec import Architecture, to_json

from resnet_parity.adapters.protocol import Adapter
from resnet_parity.errors import MissingFrameworkError
from resnet_parity.files import write_atomically
from resnet_parity.machine import machine
from resnet_parity.site.results import load, result_file

PROSE = ("source",)
"""Fields of a spec that no figure depends on; a key leaves them out."""

ADDED: dict[str, Any] = {}
"""Fields that a spec or its parts gained after rows were measured, and their value until then.

A key leaves such a field out where it has that value, so that a new field makes no row stale.
"""


@dataclass(frozen=True)
class Measured:
    """The figures of a row as JSON, the versions it was measured with, and whether they pass."""

    figures: Mapping[str, Any]
    versions: Mapping[str, str]
    passed: bool = True


@dataclass(frozen=True)
class Results:
    """One file of results.

    * `schema`: raise it when figures of the same spec change their meaning: another probe, seed or
      size, another norm, a new figure. Then all rows are stale;
    * `rows`: every row in order, and the spec that it is measured on, None where there is none;
    * `measure`: measures a row; what it raises is recorded as the reason why there are no figures.
    """

    name: str
    schema: int
    rows: Mapping[str, Architecture | None]
    measure: Callable[[str], Measured] = field(repr=False)

    def key(self, row: str) -> dict[str, Any]:
        """The part of a row that decides whether it is stale."""
        return {"schema": self.schema, "spec": spec_hash(self.rows[row])}


def spec_hash(arch: Architecture | None) -> str | None:
    """The SHA-256 of a spec's canonical JSON: every field but prose, the keys sorted."""
    if arch is None:
        return None
    text = json.dumps(_counted(json.loads(to_json(arch))), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _counted(value: Any) -> Any:
    """A spec or a part of one, without prose and added fields that have their old value."""
    if isinstance(value, list):
        return [_counted(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: _counted(each)
        for name, each in value.items()
        if name not in PROSE and (name not in ADDED or each != ADDED[name])
    }


def stale(results: Results) -> dict[str, str]:
    """The stale rows of a file and why, among them rows that are no longer asked for."""
    known = load(results.name)["rows"]
    reasons = {row: _reason(known.get(row), results.key(row)) for row in results.rows}
    reasons |= {row: "no longer a row" for row in known if row not in results.rows}
    return {row: reason for row, reason in reasons.items() if reason}


def _reason(entry: Mapping[str, Any] | None, key: Mapping[str, Any]) -> str:
    """Why an entry is stale; empty where it is not."""
    if entry is None:
        return "not measured"
    if entry["schema"] != key["schema"]:
        return f"measured with schema {entry['schema']}, which is now {key['schema']}"
    if entry["spec"] != key["spec"]:
        return "its spec changed"
    return f"could not be measured: {entry['failed']}" if "failed" in entry else ""


def measure(results: Results, rows: Iterable[str]) -> list[str]:
    """Measure rows and write each as soon as it is measured; return those that failed.

    A row that cannot be measured is written with its reason, and the others go on. Rows that are
    no longer asked for are dropped. Raises `MissingFrameworkError`, which every row would meet;
    then the row stays as it is.
    """
    failed = []
    write(results, {})
    for row in rows:
        print(f"measuring {results.name}/{row} ...", file=sys.stderr)
        try:
            measured = results.measure(row)
        except MissingFrameworkError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            print(f"{results.name}/{row} could not be measured: {reason}", file=sys.stderr)
            measured = Measured({"failed": reason}, versions(), passed=False)
        write(results, {row: measured})
        failed += [] if measured.passed else [row]
    return failed


def write(results: Results, measured: Mapping[str, Measured]) -> None:
    """Write those rows over the ones in the file, and drop all that are no longer asked for."""
    data = load(results.name)
    rows = {
        name: {**row, "setup": data["setups"][row["setup"]]} for name, row in data["rows"].items()
    }
    for name, each in measured.items():
        setup = {
            "date": datetime.now(UTC).date().isoformat(),
            "machine": machine(),
            "versions": dict(each.versions),
        }
        rows[name] = {**results.key(name), "setup": setup, **each.figures}
    rows = {name: rows[name] for name in results.rows if name in rows}
    setups: list[Any] = []  # each once; rows hold its index
    for row in rows.values():
        setups += [] if row["setup"] in setups else [row["setup"]]
    placed = {name: {**row, "setup": setups.index(row["setup"])} for name, row in rows.items()}
    content = _text({"setups": setups, "rows": placed})
    write_atomically(result_file(results.name), f"{content}\n".encode())


def _text(value: Any, indent: str = "") -> str:
    """JSON that holds each list and each object of plain values on one line."""
    children = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list) or not any(isinstance(c, dict | list) for c in children):
        return json.dumps(value)
    inner = f"{indent} "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(key)}: {_text(each, inner)}" for key, each in value.items()]
    else:
        lines = [f"{inner}{_text(each, inner)}" for each in value]
    start, end = "{}" if isinstance(value, dict) else "[]"
    body = ",\n".join(lines)
    return f"{start}\n{body}\n{indent}{end}"


def versions(*adapters: Adapter) -> dict[str, str]:
    """The versions of Python, NumPy and what the adapters run on."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for adapter in adapters:
        found |= adapter.versions()
    return found
