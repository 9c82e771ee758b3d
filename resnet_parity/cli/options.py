"""What the commands share: the options of an architecture, and how results are printed."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from typing import Any

from resnet_spec import Architecture, get_architecture

Result = tuple[int, Callable[[], None]]
"""An exit code, and how to print what was found."""


def add_command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """A parser for one command; `run` takes its arguments and returns a `Result`."""
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def add_architecture(parser: argparse.ArgumentParser, size: str) -> None:
    """A name, a size, and the fields that people override."""
    parser.add_argument("name", metavar="NAME", help="an architecture; see `resnet-parity list`")
    parser.add_argument("--size", type=size_type, metavar="HxW", help=size)
    parser.add_argument(
        "--num-classes",
        type=int,
        metavar="N",
        help="instead of the row's own; 0 ends with the pooled features",
    )
    parser.add_argument("--in-channels", type=int, metavar="N", help="instead of the row's own")
    parser.add_argument(
        "--output-stride",
        type=int,
        metavar="N",
        help="image pixels per cell of the last map; strides beyond it turn into dilation",
    )
    parser.add_argument(
        "--features",
        type=indices_type,
        metavar="I,I,...",
        help="a backbone that gives these feature maps: 0 the stem, 1 the first stage, ...",
    )


def size_type(text: str) -> tuple[int, int]:
    """HxW in pixels, for argparse."""
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if not match or 0 in (int(match[1]), int(match[2])):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; write HxW in pixels, as in 64x96, of at most six digits each"
        )
    return int(match[1]), int(match[2])


def seed_type(text: str) -> int:
    """The seed of a probe, for argparse."""
    if not re.fullmatch(r"\d{1,18}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no seed; write a whole number from 0 on, of at most 18 digits"
        )
    return int(text)


def indices_type(text: str) -> tuple[int, ...]:
    """Indices of feature maps, for argparse."""
    if not re.fullmatch(r"\d{1,3}(,\d{1,3})*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of indices; write them as in 1,2,3,4"
        )
    return tuple(int(index) for index in text.split(","))


def chosen_architecture(arguments: argparse.Namespace) -> Architecture:
    """The architecture that `add_architecture` asked for; raises `ArchitectureError`."""
    return get_architecture(
        arguments.name,
        num_classes=arguments.num_classes,
        in_channels=arguments.in_channels,
        features_only=arguments.features is not None,
        out_indices=arguments.features,
        output_stride=arguments.output_stride,
    )


def console() -> Any:
    """A console that wraps for a terminal and never for a file or a pipe."""
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would exit with 1, which says that parity failed

    return PipeConsole(width=None if is_terminal() else 240, highlight=False)


def is_terminal() -> bool:
    """Whether someone is looking."""
    return sys.stdout.isatty()


def print_json(data: Any) -> None:
    """Pure JSON on stdout."""
    print(json.dumps(data, indent=2, allow_nan=False))
