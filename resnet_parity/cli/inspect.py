"""`inspect`: which network a file holds, who wrote it, and what the file cannot say."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_parity.cli import options


def add(commands: Any) -> None:
    """The parser of `inspect`."""
    text = (
        "say which network a checkpoint holds, who wrote it, what is in it besides, and what it "
        "cannot say; of an ONNX file, count the operators"
    )
    parser = options.add_command(commands, "inspect", _inspect, text)
    parser.add_argument("file", metavar="FILE", type=Path, help="a checkpoint: a file or a folder")
    options.add_source(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _inspect(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.weights.formats import is_onnx

    if is_onnx(arguments.file):
        from resnet_parity.cli.inspect_onnx import inspect_onnx

        return inspect_onnx(arguments)

    from resnet_parity.weights.description import describe

    found = describe(
        arguments.file,
        architecture=arguments.architecture,
        prefix=arguments.prefix,
        ema=arguments.ema,
    )

    def show() -> None:
        if arguments.json:
            options.print_json(found.as_json())
            return
        for line in found.lines():
            options.print_text(line)
        if found.problem:
            options.print_text(found.problem, style="yellow")

    return 2 if found.problem else 0, show
