"""`convert`: write a checkpoint of one library for another one, proven."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_parity.cli import options

_SUFFIXES = {
    "torch": ".pth",
    "safetensors": ".safetensors",
    "npz": ".npz",
    "keras": ".keras",
    "weights-h5": ".weights.h5",
    "detectron2": ".pkl",
    "onnx": ".onnx",
    "torchvision": "-torchvision",
    "timm": "-timm",
    "hf": "-hf",
    "kerashub": "-kerashub",
    "keras-applications": "-keras-applications",
}
"""By format, what replaces the suffix of the file that is read."""


def add(commands: Any) -> None:
    """The parser of `convert`."""
    text = "read the weights of a ResNet from any checkpoint, and write them for another library"
    parser = options.add_command(commands, "convert", _convert, text)
    parser.add_argument("file", metavar="FILE", type=Path, help="a checkpoint: a file or a folder")
    parser.add_argument("--to", choices=[*_SUFFIXES], required=True, help="the format to write")
    parser.add_argument(
        "-o", "--out", type=Path, metavar="OUT", help="the file or the new folder to write"
    )
    options.add_source(parser)
    parser.add_argument(
        "--num-classes", type=options.integer_type, metavar="N", help="make a new head of N classes"
    )
    parser.add_argument(
        "--in-channels",
        type=options.integer_type,
        metavar="N",
        help="adapt the first convolution to N image channels",
    )
    parser.add_argument("--drop-head", action="store_true", help="leave the classifier out")
    parser.add_argument(
        "--names",
        metavar="DIALECT",
        help="the names of the tensors, for torch, safetensors and npz (default: torchvision)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="the dtype to write (default: float32)",
    )
    parser.add_argument(
        "--prove",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run source and target and compare them before anything is kept (default)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _convert(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.progress import progress_line
    from resnet_parity.weights.converting import save_weights

    path = arguments.out or _default_path(arguments.file, arguments.to)
    with progress_line() as progress:
        progress(f"reading {arguments.file}", 4)
        loaded = _load(arguments, progress)
        if arguments.to == "onnx":
            from resnet_parity.weights.onnx_files import save_onnx

            converted = save_onnx(path, loaded, progress)
        else:
            converted = save_weights(
                path,
                loaded,
                arguments.to,
                names=arguments.names,
                dtype=arguments.dtype,
                proven=arguments.prove,
                progress=progress,
            )

    def show() -> None:
        if arguments.json:
            options.print_json(converted.as_json())
            return
        for line in converted.lines():
            options.print_text(line)

    return 0, show


def _load(arguments: argparse.Namespace, progress: Any) -> Any:
    """The weights of a checkpoint, or of an ONNX file, which `import` reads."""
    from resnet_parity.weights.formats import is_onnx
    from resnet_parity.weights.loading import adapted, load_weights

    sizes = {
        "num_classes": arguments.num_classes,
        "in_channels": arguments.in_channels,
        "drop_head": arguments.drop_head,
    }
    if is_onnx(arguments.file):
        from resnet_parity.weights.onnx_files import load_onnx

        return adapted(load_onnx(arguments.file, progress), **sizes)
    return load_weights(
        arguments.file,
        architecture=arguments.architecture,
        prefix=arguments.prefix,
        ema=arguments.ema,
        **sizes,
    )


def _default_path(file: Path, to: str) -> Path:
    """Beside the file that is read, with the suffix of the format."""
    name = file.name
    for suffix in (".weights.h5", ".pth.tar", ".safetensors.index.json", Path(name).suffix):
        if suffix and name.endswith(suffix):
            name = name.removesuffix(suffix)
            break
    return file.with_name(f"{name}{_SUFFIXES[to]}")
