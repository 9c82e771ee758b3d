"""`matrix`: every engine on every check."""

from __future__ import annotations

import argparse
from typing import Any

from resnet_spec import get_architecture

from resnet_parity.cli import options


def add(commands: Any) -> None:
    """Add the parser of `matrix`."""
    text = "run every engine on every check, each framework in its own process"
    parser = options.add_command(commands, "matrix", _matrix, text)
    parser.add_argument(
        "names", metavar="NAME", nargs="+", help="an architecture; see `resnet-parity list`"
    )
    parser.add_argument(
        "--engines",
        type=_names,
        default=(),
        metavar="NAME,...",
        help='the engines to run, by name or first words, such as "torch compile,keras jax" '
        "(default: all that this machine has; PyTorch's noise floor always runs)",
    )
    options.add_check(parser, ["all"])
    options.add_seed(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print Markdown")


def _names(text: str) -> tuple[str, ...]:
    """Names between commas, for argparse."""
    return tuple(" ".join(name.split()) for name in text.split(","))


def _matrix(arguments: argparse.Namespace) -> options.Result:
    nets = [get_architecture(name) for name in arguments.names]

    from resnet_parity.matrix import run_matrix
    from resnet_parity.progress import progress_line
    from resnet_parity.reports.matrix import as_json, markdown, print_matrix

    with progress_line() as progress:
        result = run_matrix(
            nets,
            engines=arguments.engines,
            checks=options.check_names(arguments.check, ["all"]),
            seed=arguments.seed,
            progress=progress,
        )
    code, data = int(result.failed), as_json(result)
    if arguments.json:
        return code, lambda: options.print_json(data)
    if arguments.markdown:
        return code, lambda: print(markdown(data))
    return code, lambda: print_matrix(options.console(), data)
