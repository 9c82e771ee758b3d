"""The options that several commands share, and how results are printed."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from resnet_spec import Architecture, get_architecture

from resnet_parity.checks import CHECKS
from resnet_parity.cli.exit_codes import FAILURES
from resnet_parity.streams import console as console

Result = tuple[int, Callable[[], None]]
"""An exit code, and a function that prints the result."""


def add_command(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    """Add the parser of one command; `run` takes its arguments and returns a `Result`."""
    fails = f". Exit code 1: {FAILURES[name]}." if name in FAILURES else ""
    parser = commands.add_parser(name, help=text, description=text + fails, allow_abbrev=False)
    parser.set_defaults(run=run, parser=parser)
    parser.add_argument(
        "--traceback", action="store_true", help="print the traceback of an unexpected error"
    )
    return parser


def add_architecture(parser: argparse.ArgumentParser, size: str) -> None:
    """Add a name, a size, and the fields of an architecture that a user may override."""
    parser.add_argument("name", metavar="NAME", help="an architecture; see `resnet-parity list`")
    parser.add_argument("--size", type=size_type, metavar="HxW", help=size)
    parser.add_argument(
        "--num-classes",
        type=integer_type,
        metavar="N",
        help="override the number of classes; 0 returns the pooled features",
    )
    parser.add_argument(
        "--in-channels",
        type=integer_type,
        metavar="N",
        help="override the number of image channels",
    )
    parser.add_argument(
        "--output-stride",
        type=integer_type,
        metavar="N",
        help="image pixels per cell of the last feature map; later strides become dilation",
    )
    parser.add_argument(
        "--features",
        type=indices_type,
        metavar="I,I,...",
        help="make a backbone that returns these feature maps: 0 the stem, 1 the first stage, ...",
    )


def add_check(
    parser: argparse.ArgumentParser,
    default: Collection[str],
    checks: Mapping[str, str] | None = None,
) -> None:
    """Add `--check`, with the names of `checks`, and describe these after the options.

    The default are those of the registry.
    """
    if checks is None:
        checks = {name: check.description for name, check in CHECKS.items()}
    parser.add_argument(
        "--check",
        choices=(*checks, "all"),
        action="append",
        help=f"a check to run, see below; may be repeated (default: {', '.join(default)})",
    )
    lines = [f"  {name:<8} {description}" for name, description in checks.items()]
    parser.epilog = "\n".join(["checks:", *lines])
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def check_names(
    named: Sequence[str] | None, default: Collection[str], names: Iterable[str] = CHECKS
) -> tuple[str, ...]:
    """The names that `--check` chose among `names`, in that order."""
    wanted = named or default
    return tuple(name for name in names if name in wanted or "all" in wanted)


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose the network in a checkpoint."""
    parser.add_argument(
        "--architecture",
        metavar="NAME",
        help="the architecture, where the tensors fit several (default: what the library builds)",
    )
    parser.add_argument(
        "--prefix",
        metavar="NAME",
        help="where the network is, if the file holds several: the keys and the prefix of its "
        "names, such as state_dict.module.encoder_q",
    )
    parser.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="prefer averaged weights (EMA), where the file holds both (default)",
    )


def add_keras_backend(parser: argparse.ArgumentParser) -> None:
    """Add `--keras-backend`."""
    parser.add_argument(
        "--keras-backend",
        choices=("tensorflow", "jax", "torch"),
        help="the backend of Keras (default: KERAS_BACKEND, else tensorflow)",
    )


def add_seed(
    parser: argparse.ArgumentParser, text: str = "seed of the probes (default: 0)"
) -> None:
    """Add `--seed`."""
    parser.add_argument("--seed", type=seed_type, default=0, metavar="N", help=text)


def size_type(text: str) -> tuple[int, int]:
    """HxW in pixels, for argparse."""
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if not match or 0 in (int(match[1]), int(match[2])):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; write HxW in pixels, such as 64x96, with at most six digits each"
        )
    return int(match[1]), int(match[2])


def seed_type(text: str) -> int:
    """The seed of a probe, for argparse."""
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no seed; write a whole number from 0 on, with at most 18 digits"
        )
    return int(text)


def integer_type(text: str) -> int:
    """A whole number, for argparse; `int` alone takes any digits of Unicode, and any number."""
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no whole number of at most nine digits, such as 10"
        )
    return int(text)


def number_type(text: str) -> float:
    """A number, for argparse; `float` alone takes any digits of Unicode."""
    if not re.fullmatch(
        r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[-+]?[0-9]+)?|nan|inf", text, re.IGNORECASE
    ):
        raise argparse.ArgumentTypeError(f"{text!r} is no number, such as 0.1 or 1e-4")
    return float(text)


def indices_type(text: str) -> tuple[int, ...]:
    """Indices of feature maps, for argparse."""
    if not re.fullmatch(r"[0-9]{1,3}(,[0-9]{1,3})*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of indices; write indices such as 1,2,3,4"
        )
    return tuple(int(index) for index in text.split(","))


def chosen_architecture(arguments: argparse.Namespace) -> Architecture:
    """The architecture that the options name. Raises `ArchitectureError`."""
    return get_architecture(
        arguments.name,
        num_classes=arguments.num_classes,
        in_channels=arguments.in_channels,
        features_only=arguments.features is not None,
        out_indices=arguments.features,
        output_stride=arguments.output_stride,
    )


def print_text(text: str, style: str = "") -> None:
    """Print a line as it is, without markup."""
    console().print(text, style=style, soft_wrap=True)


def print_json(data: Any) -> None:
    """Print pure JSON on stdout."""
    print(json.dumps(data, indent=2, allow_nan=False))
