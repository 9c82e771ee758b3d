"""`diagnose`: why two models that should be the same function are not."""

from __future__ import annotations

import argparse
from typing import Any

from resnet_parity.cli import options

_MODELS = """each model is one of:
  resnet50           an architecture of `resnet-parity list`: A in PyTorch, B in Keras
  torch:resnet50     the same in PyTorch
  keras:resnet50     the same in Keras
  module:callable    your own model: a callable that returns a torch.nn.Module or a keras.Model;
                     or your model itself; modules in the current folder are found, after
                     installed ones
  FILE.keras         your own saved model, of Keras' own layers only (no Lambda, no custom objects)

A is the reference: each fault is one of B, and its fix changes B. An architecture of the list, and
a model that was never trained, takes the weights of the other model.
"""


def add(commands: Any) -> None:
    """Add the parser of `diagnose`."""
    text = "find out why two models are not the same function"
    parser = options.add_command(commands, "diagnose", _diagnose, text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _MODELS
    for name in ("A", "B"):
        parser.add_argument(name.lower(), metavar=name, help="a model (see below)")
    parser.add_argument(
        "--size",
        type=options.size_type,
        metavar="HxW",
        action="append",
        default=[],
        help="height and width of the images in pixels; may be repeated (default: what a model "
        "fixes, or 64x96 and 65x97, because some faults show at odd sizes only)",
    )
    options.add_seed(parser, "seed of the images (default: 0)")
    parser.add_argument(
        "--training",
        action="store_true",
        help="also count as a fault that Keras tracks the biased variance of a batch",
    )
    parser.add_argument(
        "--copy-weights",
        action="store_true",
        help="give B the weights of A, although B has its own",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _diagnose(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.diagnose import loading
    from resnet_parity.diagnose.diagnosis import STEPS, diagnose
    from resnet_parity.progress import progress_line
    from resnet_parity.reports import diagnose as report

    for name, framework in ((arguments.a, "torch"), (arguments.b, "keras")):
        loading.check_name(name, framework)  # fails before a framework is imported
    with progress_line() as progress:
        models = []
        for text, default in ((arguments.a, "torch"), (arguments.b, "keras")):
            progress(loading.loading_text(text, default), STEPS)
            models.append(loading.load(text, default, arguments.seed))
        diagnosis = diagnose(
            *models,
            seed=arguments.seed,
            sizes=arguments.size,
            training=arguments.training,
            copy_weights=arguments.copy_weights,
            progress=progress,
        )
    code = 0 if diagnosis.same else 1
    if arguments.json:
        return code, lambda: options.print_json(report.as_json(diagnosis))
    return code, lambda: report.print_diagnosis(options.console(), diagnosis)
