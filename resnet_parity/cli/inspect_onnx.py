"""`inspect` of an ONNX file: its operators, and those that its architecture does not need."""

from __future__ import annotations

import argparse

from resnet_parity.cli import options


def inspect_onnx(arguments: argparse.Namespace) -> options.Result:
    """Count the operators of an ONNX file, and name those that are not canonical."""
    from resnet_parity.adapters.loading import require
    from resnet_parity.errors import ParityError
    from resnet_parity.files import check_readable

    check_readable(arguments.file)
    require("onnx", "onnxscript")

    from resnet_parity.onnx_io.reading import read_model

    proto = read_model(arguments.file)  # before imports that take seconds

    from resnet_parity.onnx_io.identify import identify
    from resnet_parity.onnx_io.operators import compare_operators
    from resnet_parity.reports.tables import new_table

    arch, layout, reason, notes = None, "nchw", "", []
    try:
        found = identify(proto, str(arguments.file))
        arch, layout, notes = found.architecture, found.match.layout, list(found.notes)
    except ParityError as error:
        reason = str(error)
    counts = compare_operators(proto, arch, layout)
    odd = [count for count in counts if count.found != count.needed]
    code = 2 if arch is None else int(bool(odd))

    def show() -> None:
        if arguments.json:
            name, rows = arch and arch.name, [vars(count) for count in counts]
            data = {"architecture": name, "canonical": not code, "operators": rows}
            options.print_json(data | {"reason": reason, "notes": notes})
            return
        table = new_table("operator", "found", "needed", "")
        for count in counts:
            needed = "?" if arch is None else str(count.needed)
            table.add_row(count.operator, str(count.found), needed, count.remark)
        options.console().print(table)
        for note in notes:
            options.print_text(note)
        if arch is None:
            options.print_text(reason, style="yellow")
        elif odd:
            rows = (f"{each.found} {each.operator} instead of {each.needed}" for each in odd)
            options.print_text(f"{arch.name}: not canonical: {', '.join(rows)}", style="yellow")
        else:
            options.print_text(f"{arch.name}: canonical", style="green")

    return code, show
