"""Measures the rows of benchmarks/results that are stale, or those that are named."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from benchmarks.provenance import Results, measure, stale
from resnet_parity.errors import MissingFrameworkError

FILES = ("matrix", "depth", "impact", "mistaken", "onnx", "dialects", "digits", "training")


def results(name: str) -> Results:
    """The results that a file holds."""
    return import_module(f"benchmarks.{name}").RESULTS


def main(arguments: list[str]) -> int:
    """Run the command; returns 1 where a row failed or is stale, 3 where a package is missing."""
    parser = argparse.ArgumentParser(prog="scripts/results", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="FILE[/ROW]",
        help=f"a file ({', '.join(FILES)}; default: all), or one row, stale or not: onnx/resnet20",
    )
    parser.add_argument("--all", action="store_true", help="measure rows that are not stale, too")
    parser.add_argument("--stale", action="store_true", help="only list the stale rows and why")
    options = parser.parse_args(arguments)
    failed = []
    for name in options.names or FILES:
        file, _, row = name.partition("/")
        if file not in FILES:
            parser.error(f"unknown results {file!r}; they are: {', '.join(FILES)}")
        found = results(file)
        if row and row not in found.rows:
            parser.error(f"{file} has no row {row!r}")
        reasons = {} if row else stale(found)
        for each, reason in reasons.items():
            print(f"{file}/{each} is stale: {reason}", file=sys.stderr)
        if options.stale:
            failed += reasons
            continue
        rows = [row] if row else [each for each in found.rows if options.all or each in reasons]
        try:
            missed = measure(found, rows)
        except MissingFrameworkError as error:
            print(error, file=sys.stderr)
            return error.exit_code
        print(f"{file}: rows measured: {len(rows)}, failed: {len(missed)}", *missed)
        failed += missed
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
