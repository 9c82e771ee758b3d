"""`diagnose`: why two models that should be the same function are not."""

from __future__ import annotations

import argparse
import contextlib
import sys
from typing import Any

from resnet_parity.cli.options import (
    Result,
    add_command,
    console,
    print_json,
    seed_type,
    size_type,
)

_MODELS = """each model is one of:
  resnet50           an architecture of `resnet-parity list`; A in PyTorch, B in Keras
  torch:resnet50     ... in PyTorch
  keras:resnet50     ... in Keras
  module:callable    your own: what the callable returns, a torch.nn.Module or a keras.Model;
                     modules of the current folder are found
  FILE.keras         your own, saved; only Keras' own layers, no Lambda, no custom objects

A is the reference: faults are told of B, and mends make it what A is. A model of the table, or one
that was never trained, takes the weights of the other.
"""


def add(commands: Any) -> None:
    """The parser of `diagnose`."""
    parser = add_command(
        commands, "diagnose", _diagnose, "say why two models are not the same function"
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _MODELS
    for name in ("A", "B"):
        parser.add_argument(name.lower(), metavar=name, help="a model, see below")
    parser.add_argument(
        "--size",
        type=size_type,
        metavar="HxW",
        help="height and width of the images in pixels (default: what a model asks for, or 64x96)",
    )
    parser.add_argument(
        "--seed", type=seed_type, default=0, metavar="N", help="seed of the images (default: 0)"
    )
    parser.add_argument(
        "--training",
        action="store_true",
        help="count it as a fault that Keras tracks the biased variance of a batch",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _diagnose(arguments: argparse.Namespace) -> Result:
    from resnet_parity.diagnose import loading
    from resnet_parity.diagnose.diagnosis import diagnose
    from resnet_parity.progress import progress_line
    from resnet_parity.reports import diagnose as report

    for name in (arguments.a, arguments.b):
        loading.check_name(name)  # a wrong one is told before anything heavy is imported
    # What a user's module prints must not get into the result.
    with progress_line() as progress, contextlib.redirect_stdout(sys.stderr):
        progress("loading the models", 4)
        diagnosis = diagnose(
            loading.load(arguments.a, "torch", arguments.seed),
            loading.load(arguments.b, "keras", arguments.seed),
            seed=arguments.seed,
            size=arguments.size,
            training=arguments.training,
            progress=lambda step, _: progress(step, 4),
        )
    code = 0 if diagnosis.same else 1
    if arguments.json:
        return code, lambda: print_json(report.as_json(diagnosis))
    return code, lambda: report.print_diagnosis(console(), diagnosis)
