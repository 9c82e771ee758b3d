"""`onnx-compare`: compare frameworks, their exports and ONNX files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_spec import get_architecture

from resnet_parity.cli import options

_HELP = """Compare frameworks (torch, keras), their exports (torch.onnx, keras.onnx) and ONNX files.
On the exact check a file gets the probe's weights in place of its own; on the float32 check it
keeps its own, and all are compared with the weights of the first file."""


def add(commands: Any) -> None:
    """The parser of `onnx-compare`."""
    text = "compare frameworks, their exports and ONNX files"
    parser = options.add_command(commands, "onnx-compare", _compare, text)
    parser.description = f"{_HELP} {str(parser.description).partition('. ')[2]}"
    parser.add_argument(
        "participants",
        metavar="A",
        nargs="+",
        help="torch, keras, torch.onnx, keras.onnx, or a file",
    )
    parser.add_argument(
        "--architecture", metavar="NAME", help="the architecture; required unless a file is given"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="a safetensors file with the expected weights (default: those of the first file)",
    )
    parser.add_argument(
        "--runtimes",
        type=lambda text: tuple(text.split(",")),
        metavar="NAME,...",
        help="some of: ort disabled, ort basic, ort extended, ort all, reference, openvino "
        "(default: all that are installed)",
    )
    options.add_seed(parser)
    options.add_keras_backend(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print Markdown")


def _compare(arguments: argparse.Namespace) -> options.Result:
    name = arguments.architecture
    arch = get_architecture(name) if name else None

    from resnet_parity.adapters.loading import chosen_backend, require

    keras: tuple[str, ...] = ()
    if any(each.startswith("keras") for each in arguments.participants):
        keras = "keras", chosen_backend(arguments.keras_backend)  # an unknown one is reported first
    exporter = ("tf2onnx", "tensorflow") if "keras.onnx" in arguments.participants else ()
    # PyTorch in any case: the noise floor of the float32 check is its own error.
    require("onnx", "onnxruntime", "onnxscript", *exporter, "torch", *keras)

    from resnet_parity.onnx_io.reading import read_files

    protos = read_files(arguments.participants)  # before imports that take seconds

    from resnet_parity.onnx_io.compare import compare_models
    from resnet_parity.progress import progress_line
    from resnet_parity.reports.onnx import as_json, markdown, print_comparison

    with progress_line() as progress:
        result = compare_models(
            arguments.participants,
            protos,
            arch,
            weights=arguments.weights,
            runtimes=arguments.runtimes,
            seed=arguments.seed,
            keras_backend=arguments.keras_backend,
            progress=progress,
        )
    code, data = int(not result.passed), as_json(result)
    if arguments.json:
        return code, lambda: options.print_json(data)
    if arguments.markdown:
        return code, lambda: print(markdown(data))
    return code, lambda: print_comparison(options.console(), data)
