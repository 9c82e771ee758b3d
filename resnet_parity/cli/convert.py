"""`convert`: write a checkpoint of one library for another one, proven."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_parity.cli import options
from resnet_parity.weights.target_table import DTYPES, FORMATS, OPTIONS

_EXAMPLES = """examples:
  resnet-parity convert model_best.pth.tar --to keras
  resnet-parity convert weights.h5 --to hf --out my-resnet --dtype float16
  resnet-parity convert moco.pth --to torch --prefix module.encoder_q --drop-head --out body.pth"""


def add(commands: Any) -> None:
    """The parser of `convert`."""
    text = (
        "read the weights of a ResNet from any checkpoint, write them for another library, and "
        "prove that both compute the same"
    )
    parser = options.add_command(commands, "convert", _convert, text)
    lines = [f"  {name:<20}{each.text} ({_ending(name)})" for name, each in FORMATS.items()]
    parser.epilog = "\n".join(["formats:", *lines, "", _EXAMPLES])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", metavar="FILE", type=Path, help="a checkpoint: a file or a folder")
    parser.add_argument(
        "--to",
        choices=[*FORMATS],
        required=True,
        metavar="FORMAT",
        help="the format to write, see below",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="OUT",
        help="the file or the new folder to write (default: beside FILE, with the suffix or the "
        "ending of the format)",
    )
    options.add_source(parser)
    parser.add_argument(
        "--num-classes",
        type=options.integer_type,
        metavar="N",
        help="replace the classifier by a new one for N classes, initialised from a seed",
    )
    parser.add_argument(
        "--in-channels",
        type=options.integer_type,
        metavar="N",
        help="adapt the first convolution to N image channels, by the rule of timm",
    )
    parser.add_argument(
        "--drop-head", action="store_true", help="leave the classifier out: pooled features"
    )
    parser.add_argument(
        "--names",
        metavar="DIALECT",
        help="the library whose tensor names are written, for torch, safetensors and npz: "
        "torchvision (default), hf, gluoncv, burn, ... (docs/dialects.md lists them)",
    )
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="the dtype of the written weights, for torch, safetensors, torchvision, timm and hf; "
        "the report says what rounding costs (default: float32)",
    )
    parser.add_argument(
        "--prove",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run source and target, and keep the file only if they agree (default)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _convert(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.progress import progress_line
    from resnet_parity.weights.converting import check_place, save_weights, target_of
    from resnet_parity.weights.loading import load_weights

    path = arguments.out or _default_path(arguments.file, arguments.to)
    _refuse(arguments)
    target, names = target_of(arguments.to), arguments.names
    check_place(path, target, names, arguments.dtype, proven=arguments.prove)
    with progress_line() as progress:
        progress(f"reading {arguments.file}", 4)
        loaded = load_weights(
            arguments.file,
            architecture=arguments.architecture,
            num_classes=arguments.num_classes,
            in_channels=arguments.in_channels,
            prefix=arguments.prefix,
            ema=arguments.ema,
            drop_head=arguments.drop_head,
            progress=progress,
        )
        converted = save_weights(
            path,
            loaded,
            arguments.to,
            names=names,
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


def _refuse(arguments: argparse.Namespace) -> None:
    """Raise `ParityError` for options that the format does not take."""
    from resnet_parity.errors import ParityError

    takes = FORMATS[arguments.to].takes
    values = {name: getattr(arguments, name) for name in OPTIONS if name not in takes}
    changed = [n for n, value in values.items() if value != arguments.parser.get_default(n)]
    if changed:
        shown = ", ".join(f"--no-{n}" if values[n] is False else f"--{n}" for n in changed)
        raise ParityError(f"--to {arguments.to} does not take {shown}; leave that out")


def _ending(to: str) -> str:
    """Replaces the suffix of the file that is read."""
    return FORMATS[to].suffix or f"-{to}"


def _default_path(file: Path, to: str) -> Path:
    """Beside the file or folder that is read, with the suffix of the format."""
    from resnet_parity.errors import ParityError

    name = file.name
    if name in ("", ".."):
        raise ParityError(f"{file} has no name that OUT could have; name one with --out")
    shards = (".safetensors.index.json", ".bin.index.json", ".weights.json")
    suffixes = (".weights.h5", ".pth.tar", *shards, Path(name).suffix)
    suffix = next((each for each in suffixes if each and name.endswith(each)), "")
    stem = name if file.is_dir() else name.removesuffix(suffix)
    path = file.with_name(f"{stem}{_ending(to)}")
    if path.exists():
        raise ParityError(f"{path} exists already; name another one with --out")
    return path
