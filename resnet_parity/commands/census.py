"""`census`: the operators of an ONNX file, and which of them its net does not need."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_parity.commands.options import Result, add_command, console, print_json


def add(commands: Any) -> None:
    """The parser of `census`."""
    parser = add_command(
        commands, "census", _census, "the operators of an ONNX file, and what is not canonical"
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="an ONNX file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _census(arguments: argparse.Namespace) -> Result:
    from resnet_parity.errors import ParityError
    from resnet_parity.frameworks import require

    for module in ("onnx", "onnxscript"):
        require(module)

    from resnet_parity.exchange.reading import read_model

    proto = read_model(arguments.file)  # before what takes seconds to import

    from resnet_parity.exchange.census import census
    from resnet_parity.exchange.recognise import recognise
    from resnet_parity.tables import new_table

    arch, layout, trouble = None, "nchw", ""
    try:
        found = recognise(proto, str(arguments.file))
        arch, layout = found.architecture, found.match.layout
    except ParityError as error:
        trouble = str(error)
    counts = census(proto, arch, layout)
    odd = [count for count in counts if count.found != count.needed]
    code = 1 if odd or arch is None else 0

    def show() -> None:
        if arguments.json:
            name = None if arch is None else arch.name
            rows = [vars(count) for count in counts]
            print_json(
                {"architecture": name, "canonical": not code, "operators": rows, "reason": trouble}
            )
            return
        table = new_table("operator", "found", "needed", "")
        for count in counts:
            needed = "?" if arch is None else str(count.needed)
            table.add_row(count.operator, str(count.found), needed, count.remark)
        console().print(table)
        if arch is None:
            console().print(trouble, style="yellow", soft_wrap=True, markup=False)
        elif odd:
            names = ", ".join(count.operator for count in odd)
            console().print(f"{arch.name}: not canonical in {names}", style="yellow")
        else:
            console().print(f"{arch.name}: canonical", style="green")

    return code, show
