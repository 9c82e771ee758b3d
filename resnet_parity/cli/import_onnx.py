"""`import`: read the weights of an ONNX file, for either implementation."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

from resnet_parity.checks import GRAPH_CHECKS
from resnet_parity.cli import options


def add(commands: Any) -> None:
    """The parser of `import`."""
    text = "identify the ResNet in an ONNX file, and write its weights under canonical names"
    parser = options.add_command(commands, "import", _import, text)
    parser.add_argument("file", metavar="FILE", type=Path, help="an ONNX file")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="the safetensors file to write (default: FILE with the suffix .safetensors)",
    )
    options.add_check(parser, GRAPH_CHECKS, GRAPH_CHECKS)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _import(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.adapters.loading import require
    from resnet_parity.errors import ParityError
    from resnet_parity.files import check_readable, check_writable
    from resnet_parity.weights.formats import is_other_checkpoint

    file = arguments.file
    check_readable(file)
    if file.suffix == ".safetensors":
        raise ParityError(
            f"{file} is a safetensors file, which is what `import` writes; to write an ONNX file "
            f"from it: resnet-parity export NAME --weights {file}"
        )
    if is_other_checkpoint(file):
        raise ParityError(
            f"{file} is no ONNX file but a checkpoint; to write its weights under canonical names: "
            f"resnet-parity convert {shlex.quote(str(file))} --to safetensors"
        )
    path = arguments.out or file.with_suffix(".safetensors")
    if path.exists() and (path.samefile(file) or arguments.out is None):
        raise ParityError(f"{path} exists already; name another file with --out")
    if path.suffix != ".safetensors":  # nor can it be external data of the file
        raise ParityError(f"--out {path} must end in .safetensors, the format of the weights")
    check_writable(path)
    # PyTorch as well: the noise floor of the float32 check is its own error.
    require("onnx", "onnxruntime", "onnxscript", "torch")

    from resnet_parity.onnx_io.reading import read_model

    proto = read_model(file)  # before imports that take seconds

    from resnet_parity.onnx_io.imports import import_verified
    from resnet_parity.progress import progress_line
    from resnet_parity.weights.files import write_weights

    with progress_line() as progress:
        checks = options.check_names(arguments.check, GRAPH_CHECKS, GRAPH_CHECKS)
        taken = import_verified(proto, str(file), progress, checks=checks)
    write_weights(path, taken.architecture, taken.weights)

    def show() -> None:
        if arguments.json:
            options.print_json(
                {
                    "architecture": taken.architecture.name,
                    "equivalents": list(taken.equivalents),
                    "folded": list(taken.folded),
                    "reduced": list(taken.reduced),
                    "file": str(path),
                    "notes": list(taken.notes),
                }
            )
            return
        options.print_text(f"{file} is a {taken.architecture.name}")
        for note in taken.notes:
            options.print_text(note, style="yellow")
        options.print_text(f"{path} holds {len(taken.weights)} tensors")

    return 0, show
