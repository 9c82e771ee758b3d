"""`lockstep`: train both models and compare them after every step."""

from __future__ import annotations

import argparse
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from resnet_spec import SCHEDULES, Recipe, RecipeError

from resnet_parity.cli import options
from resnet_parity.errors import ParityError

_COUNTS = {
    "steps": (20, "free steps in float64; 0 for none"),
    "single-steps": (3, "float32 steps, each from a common state; 0 for none"),
    "batch": (4, "images in a batch"),
}
_NUMBERS = {
    "learning-rate": (options.number_type, 0.001, "of the first step"),
    "momentum": (options.number_type, 0.9, "share of the buffer that is kept"),
    "weight-decay": (
        options.number_type,
        1e-4,
        "L2, coupled: added to the gradient, before the buffer",
    ),
    "label-smoothing": (
        options.number_type,
        0.0,
        "share of each label that is spread over all classes",
    ),
    "period": (
        options.integer_type,
        100,
        "steps until the schedule divides by ten, or reaches zero",
    ),
    "warmup": (options.integer_type, 0, "steps before that, over which the rate rises linearly"),
}


def add(commands: Any) -> None:
    """Add the parser of `lockstep`."""
    text = "train both models and prove that they stay the same, step by step"
    parser = options.add_command(commands, "lockstep", _lockstep, text)
    size = "(default: 64x96, or what suits the architecture)"
    options.add_architecture(parser, f"height and width of the images in pixels {size}")
    for name, (default, text) in _COUNTS.items():
        text = f"{text} (default: {default})"
        parser.add_argument(f"--{name}", type=_count, default=default, metavar="N", help=text)
    options.add_seed(parser, "seed of weights and images")
    for name, (kind, default, text) in _NUMBERS.items():
        text = f"{text} (default: {default})"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="X", help=text)
    parser.add_argument("--nesterov", action="store_true", help="use Nesterov momentum")
    decay = parser.add_mutually_exclusive_group()
    decay.add_argument(
        "--decay-all", action="store_true", default=True, help="decay every tensor (the default)"
    )
    decay.add_argument(
        "--exempt",
        action="store_false",
        dest="decay_all",
        help="decay neither biases nor the gammas and betas of norms",
    )
    parser.add_argument(
        "--schedule",
        choices=SCHEDULES,
        default="constant",
        help="schedule of the learning rate (default: constant)",
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE.png", help="draw both losses and their distance"
    )
    parser.add_argument("--json", action="store_true", help="print JSON with every step")
    options.add_keras_backend(parser)


def _count(text: str) -> int:
    """A number of steps or images, for argparse."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no count; write a whole number from 0 on, with at most nine digits"
        )
    return int(text)


def _lockstep(arguments: argparse.Namespace) -> options.Result:
    arch = options.chosen_architecture(arguments)
    recipe = _recipe(arguments)

    from resnet_parity.lockstep import lockstep
    from resnet_parity.lockstep.plot import check_plot, draw
    from resnet_parity.progress import progress_line
    from resnet_parity.reports.lockstep import as_json, print_report

    if arguments.plot:
        if not arguments.steps:
            raise ParityError("--plot draws the free steps, but --steps 0 takes none")
        check_plot(arguments.plot)
    with progress_line() as progress:
        result = lockstep(
            arch,
            recipe,
            steps=arguments.steps,
            single_steps=arguments.single_steps,
            seed=arguments.seed,
            size=arguments.size,
            batch=arguments.batch,
            keras_backend=arguments.keras_backend,
            progress=progress,
        )
    if arguments.plot:
        draw(result, arguments.plot)
    code = 0 if result.passed else 1
    if arguments.json:
        return code, lambda: options.print_json(as_json(result))
    return code, lambda: print_report(options.console(), result)


def _recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe that the options describe; raises `ParityError` if it is invalid."""
    names = (field.name for field in fields(Recipe) if field.name in arguments)
    try:
        return Recipe(**{name: getattr(arguments, name) for name in names})
    except RecipeError as error:
        raise ParityError(str(error)) from None
