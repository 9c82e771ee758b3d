"""`inspect`: the operators of an ONNX file, and those that its architecture does not need."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_parity.cli.options import Result, add_command, console, print_json


def add(commands: Any) -> None:
    """The parser of `inspect`."""
    parser = add_command(
        commands,
        "inspect",
        _inspect,
        "count the operators of an ONNX file, and name those that are not canonical",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="an ONNX file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _inspect(arguments: argparse.Namespace) -> Result:
    from resnet_parity.adapters.loading import require
    from resnet_parity.errors import ParityError

    for module in ("onnx", "onnxscript"):
        require(module)

    from resnet_parity.onnx_io.reading import read_model

    proto = read_model(arguments.file)  # before imports that take seconds

    from resnet_parity.onnx_io.identify import identify
    from resnet_parity.onnx_io.operators import compare_operators
    from resnet_parity.reports.tables import new_table

    arch, layout, reason = None, "nchw", ""
    try:
        found = identify(proto, str(arguments.file))
        arch, layout = found.architecture, found.match.layout
    except ParityError as error:
        reason = str(error)
    counts = compare_operators(proto, arch, layout)
    odd = [count for count in counts if count.found != count.needed]
    code = 1 if odd or arch is None else 0

    def show() -> None:
        if arguments.json:
            name = None if arch is None else arch.name
            rows = [vars(count) for count in counts]
            print_json(
                {"architecture": name, "canonical": not code, "operators": rows, "reason": reason}
            )
            return
        table = new_table("operator", "found", "needed", "")
        for count in counts:
            needed = "?" if arch is None else str(count.needed)
            table.add_row(count.operator, str(count.found), needed, count.remark)
        console().print(table)
        if arch is None:
            console().print(reason, style="yellow", soft_wrap=True, markup=False)
        elif odd:
            names = ", ".join(count.operator for count in odd)
            console().print(f"{arch.name}: not canonical in {names}", style="yellow")
        else:
            console().print(f"{arch.name}: canonical", style="green")

    return code, show
