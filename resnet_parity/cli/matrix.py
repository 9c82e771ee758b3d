"""`matrix`: every engine on every check."""

from __future__ import annotations

import argparse
from typing import Any

from resnet_spec import get_architecture

from resnet_parity.cli.options import Result, add_command, console, print_json, seed_type


def add(commands: Any) -> None:
    """The parser of `matrix`."""
    parser = add_command(
        commands,
        "matrix",
        _matrix,
        "every engine on every check, each framework in its own process",
    )
    parser.add_argument(
        "names", metavar="NAME", nargs="+", help="an architecture; see `resnet-parity list`"
    )
    parser.add_argument(
        "--engines",
        type=_names,
        default=(),
        metavar="NAME,...",
        help='which engines, or how their names begin, as in "torch compile,keras jax" (default: '
        "all that this machine has; PyTorch's noise floor always runs along)",
    )
    parser.add_argument(
        "--check",
        choices=("exact", "float64", "float32", "half", "all"),
        action="append",
        help="which proof, may be given again (default: all)",
    )
    parser.add_argument(
        "--seed", type=seed_type, default=0, metavar="N", help="seed of the probes (default: 0)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--markdown", action="store_true", help="print Markdown")


def _names(text: str) -> tuple[str, ...]:
    """Names between commas, for argparse."""
    return tuple(" ".join(name.split()) for name in text.split(","))


def _matrix(arguments: argparse.Namespace) -> Result:
    nets = [get_architecture(name) for name in arguments.names]

    from resnet_parity.checks.run import ALL_CHECKS
    from resnet_parity.matrix import run_matrix
    from resnet_parity.progress import progress_line
    from resnet_parity.reports.matrix import as_json, markdown, print_matrix

    named = arguments.check or ["all"]
    with progress_line() as progress:
        result = run_matrix(
            nets,
            engines=arguments.engines,
            checks=tuple(check for check in ALL_CHECKS if check in named or "all" in named),
            seed=arguments.seed,
            progress=progress,
        )
    code, data = int(result.failed), as_json(result)
    if arguments.json:
        return code, lambda: print_json(data)
    if arguments.markdown:
        return code, lambda: print(markdown(data))
    return code, lambda: print_matrix(console(), data)
