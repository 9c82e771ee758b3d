"""`export`: write a model as an ONNX file, after the checks passed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_parity.checks import GRAPH_CHECKS
from resnet_parity.cli import options

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def add(commands: Any) -> None:
    """The parser of `export`."""
    text = "write a model as an ONNX file, verified by the checks"
    parser = options.add_command(commands, "export", _export, text)
    size = "height and width of the image in pixels (default: the architecture's own, see `list`)"
    options.add_architecture(parser, size)
    parser.add_argument(
        "--framework",
        choices=("torch", "keras"),
        default="torch",
        help="the framework whose exporter is used (default: torch)",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="a safetensors file with canonical names (default: random weights, for a trial)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the file to write (default: NAME.FRAMEWORK.onnx)"
    )
    parser.add_argument(
        "--opset", type=options.integer_type, default=18, metavar="N", help="18 (default) to 23"
    )
    parser.add_argument(
        "--dynamic",
        type=_dynamic,
        default=("batch",),
        metavar="batch,size",
        help="the dynamic axes: batch (default), size, batch,size or none",
    )
    parser.add_argument(
        "--input-layout",
        choices=("nchw", "nhwc"),
        help="layout of the image and of feature maps (default: the framework's own)",
    )
    parser.add_argument(
        "--fold",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="fold norms into the convolutions before them (default; Keras always does)",
    )
    options.add_check(parser, GRAPH_CHECKS, GRAPH_CHECKS)
    options.add_keras_backend(parser)


def _dynamic(text: str) -> tuple[str, ...]:
    """Parse the names of dynamic axes between commas."""
    words = tuple(text.split(","))
    if words == ("none",):
        return ()
    if not set(words) <= {"batch", "size"}:
        raise argparse.ArgumentTypeError(f"{text!r} is not batch, size, batch,size or none")
    return words


def _checked_path(arguments: argparse.Namespace, name: str) -> Path:
    """The file to write; the weights can be read, and are not in that file."""
    from resnet_parity.errors import ParityError
    from resnet_parity.files import check_readable, check_writable

    given = arguments.weights
    if given:
        check_readable(given)
    path = arguments.out or Path(f"{name}.{arguments.framework}.onnx")
    if path.exists() and arguments.out is None:
        raise ParityError(f"{path} exists already; name another file with --out")
    if given and path.exists() and path.samefile(given):
        raise ParityError(f"{path} holds the weights to export; name another file with --out")
    check_writable(path)
    return path


def _export(arguments: argparse.Namespace) -> options.Result:
    arch = options.chosen_architecture(arguments)

    from resnet_parity.adapters.loading import chosen_backend, require
    from resnet_parity.files import write_atomically
    from resnet_parity.limits import check_memory
    from resnet_parity.probes import random_weights
    from resnet_parity.progress import progress_line
    from resnet_parity.weights.files import read_weights

    size = arguments.size or (arch.image_size, arch.image_size)
    keras = ("tf2onnx", "keras", "tensorflow") if arguments.framework == "keras" else ()
    if keras:
        chosen_backend(arguments.keras_backend)  # reports an unknown one before the heavy imports
    given = arguments.weights
    path = _checked_path(arguments, arch.name)
    # PyTorch in any case: the noise floor of the float32 check is its own error.
    require(*_PACKAGES, "torch", *keras)

    from resnet_parity.onnx_io.export import export_verified
    from resnet_parity.onnx_io.exporters import ExportOptions, check_backend
    from resnet_parity.onnx_io.participants import FILE_BATCHES

    graph_options = ExportOptions(
        framework=arguments.framework,
        size=size,
        dynamic=arguments.dynamic,
        layout=arguments.input_layout,
        opset=arguments.opset,
        fold=arguments.fold,
    )
    if arguments.framework == "keras":
        check_backend(chosen_backend(arguments.keras_backend))
    if "size" not in graph_options.dynamic:  # else it is verified at the default size of probes
        check_memory(arch, max(FILE_BATCHES) if "batch" in graph_options.dynamic else 1, size)
    weights = read_weights(given, arch) if given else random_weights(arch, 0, "float32")
    with progress_line() as progress:
        content, verdicts = export_verified(
            arch,
            weights,
            graph_options,
            keras_backend=arguments.keras_backend,
            checks=options.check_names(arguments.check, GRAPH_CHECKS, GRAPH_CHECKS),
            progress=progress,
        )
    write_atomically(path, content)

    def show() -> None:
        for verdict in verdicts:
            line = f"{verdict.check}: {verdict.engine}, {verdict.probe}: {verdict.figure}"
            options.print_text(line + f" ({verdict.reason})" * bool(verdict.reason))
        numbers = f"the weights of {given}" if given else "random weights"
        keep = " (--no-fold keeps them)" if arguments.framework == "torch" else ""
        norms = f", batch norms folded{keep}" if graph_options.fold else ""
        holds = f"{arch.name} with {numbers}{norms}, {len(content):,} bytes"
        options.print_text(f"{path} holds {holds}")

    return 0, show
