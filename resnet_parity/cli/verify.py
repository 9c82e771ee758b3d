"""`verify`: are both models the same function?"""

from __future__ import annotations

import argparse
from typing import Any

from resnet_parity.cli.options import (
    Result,
    add_architecture,
    add_command,
    chosen_architecture,
    console,
    print_json,
    seed_type,
)


def add(commands: Any) -> None:
    """The parser of `verify`."""
    parser = add_command(
        commands, "verify", _verify, "prove that both models are the same function"
    )
    add_architecture(
        parser,
        "height and width of the probes in pixels (default: what suits the net, 64x128 on the "
        "exact check, 64x96 on the others); on the exact check the last map, and with gates every "
        "map, needs a power-of-two area",
    )
    parser.add_argument(
        "--check",
        choices=("exact", "float64", "float32", "half", "all"),
        action="append",
        help="which proof, may be given again (default: all but half); a check named alone must "
        "hold in a mode of each implementation, one of several may say that it cannot here or at this size",
    )
    parser.add_argument("--layers", action="store_true", help="print every tap")
    parser.add_argument(
        "--seed", type=seed_type, default=0, metavar="N", help="seed of the probes (default: 0)"
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="FILE",
        help="a photograph to run as well, cropped to 224x224; may be given again",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--keras-backend",
        choices=("tensorflow", "jax", "torch"),
        help="what Keras runs on (default: KERAS_BACKEND, else tensorflow)",
    )
    parser.add_argument(
        "--every-mode",
        action="store_true",
        help="run Keras in every mode of its backend (TensorFlow: graph, eager and XLA), and "
        "PyTorch compiled too, and on a GPU where there is one",
    )


def _verify(arguments: argparse.Namespace) -> Result:
    arch = chosen_architecture(arguments)  # a wrong name is told before anything heavy is imported

    from resnet_parity.checks.run import ALL_CHECKS, DEFAULT_CHECKS
    from resnet_parity.progress import progress_line
    from resnet_parity.reports import verify as report
    from resnet_parity.verify import verify

    named = arguments.check or DEFAULT_CHECKS
    with progress_line() as progress:
        result = verify(
            arch,
            checks=tuple(check for check in ALL_CHECKS if check in named or "all" in named),
            seed=arguments.seed,
            size=arguments.size,
            images=arguments.image,
            keras_backend=arguments.keras_backend,
            every_mode=arguments.every_mode,
            progress=progress,
        )
    code = 0 if result.passed else 1
    if arguments.json:
        return code, lambda: print_json(report.as_json(result, layers=arguments.layers))
    return code, lambda: report.print_report(console(), result, layers=arguments.layers)
