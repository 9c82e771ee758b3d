"""`verify`: prove that both implementations are the same function."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from resnet_parity.checks import DEFAULT_CHECKS
from resnet_parity.cli import options

if TYPE_CHECKING:
    from resnet_parity.verdict import Verdict

_SKIPPED = """If only one check runs, it must pass in at least one mode of each implementation.
If several run, one may be skipped where this machine or this size does not support it."""


def add(commands: Any) -> None:
    """Add the parser of `verify`."""
    text = "prove that both implementations are the same function"
    parser = options.add_command(commands, "verify", _verify, text)
    options.add_architecture(
        parser,
        "height and width of the probes in pixels (default: a good size for the network, such as "
        "64x128 for the exact check and 64x96 for others); an exact probe needs a last feature "
        "map with a power-of-two area, and in networks with gates every such map",
    )
    options.add_check(parser, DEFAULT_CHECKS)
    parser.add_argument("--layers", action="store_true", help="print every tap and gradient")
    options.add_seed(parser)
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE",
        help="a photograph of 8 or 16 bits per channel to run on as well, cropped to 224x224; may "
        "be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options.add_keras_backend(parser)
    parser.add_argument(
        "--every-mode",
        action="store_true",
        help="run Keras in every mode of its backend (TensorFlow: graph, eager and XLA), and "
        "PyTorch also compiled and, if there is one, on a GPU",
    )
    parser.epilog = f"{parser.epilog}\n\n{_SKIPPED}"


def _verify(arguments: argparse.Namespace) -> options.Result:
    arch = options.chosen_architecture(arguments)  # reports a wrong name before the heavy imports

    from resnet_parity.progress import progress_line
    from resnet_parity.reports import verify as report
    from resnet_parity.streams import show_result
    from resnet_parity.verify import verify

    lines = report.VerdictLines(arch, arguments.seed)
    with progress_line() as progress:

        def found(verdict: Verdict) -> None:
            if not arguments.json:
                with progress.paused():
                    show_result(lambda: lines.add(options.console(), verdict), is_last=False)

        result = verify(
            arch,
            checks=options.check_names(arguments.check, DEFAULT_CHECKS),
            seed=arguments.seed,
            size=arguments.size,
            images=arguments.image,
            keras_backend=arguments.keras_backend,
            every_mode=arguments.every_mode,
            progress=progress,
            found=found,
        )
    code = 0 if result.passed else 1
    if arguments.json:
        return code, lambda: options.print_json(report.as_json(result, layers=arguments.layers))
    return code, lambda: report.print_report(options.console(), result, layers=arguments.layers)
