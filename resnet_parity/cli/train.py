"""`train`: train on a folder of photographs, in either framework."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from resnet_parity.cli import options
from resnet_parity.errors import ParityError
from resnet_parity.files import is_file
from resnet_parity.streams import console, say
from resnet_parity.torchrun import process
from resnet_parity.training.config import Config, make_config, read_config

if TYPE_CHECKING:
    from resnet_parity.training.run import Result

_HELP = {
    "framework": "the framework to train in",
    "architecture": "see `resnet-parity list`; default: that of --weights, or resnet18",
    "weights": "a checkpoint of any library to begin with; its head is adapted to the classes",
    "epochs": "passes over the photographs",
    "batch_size": "photographs in a batch",
    "image_size": "height and width of the images in pixels",
    "augmentation": "crop: a random part, mirrored half of the time; shift: moved by up to an "
    "eighth; shift-mirror: mirrored, too; none",
    "val_split": "part of each class that is kept for validation, where the folder has no val",
    "recipe": "learning rate, momentum, decay and smoothing; docs/training.md has the numbers",
    "learning_rate": "the highest one; 0: that of the recipe, for the size of the batch",
    "ema": "decay of the moving average of the weights, which is evaluated and saved; 0: none",
    "freeze_backbone": "epochs in which only the classifier is trained, before all is",
    "dtype": "float32, float64, or mixed precision with this narrower dtype",
    "compile": "torch.compile, which needs a C++ compiler, or XLA in Keras",
    "seed": "seed of the weights, the order of the photographs and their augmentation",
    "native_data": "prepare images by torchvision.transforms.v2 or keras.layers, which differ",
    "workers": "processes, in Keras threads, that load photographs; 0: the one that trains",
    "devices": "devices that share each batch in Keras; in PyTorch torchrun starts a process each",
    "sync_batchnorm": "norms take the statistics of the batch of all devices together",
}

_METAVARS = {"ema": "DECAY", "val_split": "PART", "freeze_backbone": "EPOCHS"}

_EXAMPLES = """examples:
  resnet-parity train pets --out run --framework keras --weights resnet50.pth --recipe fine-tune
  resnet-parity train --resume --out run"""


def add(commands: Any) -> None:
    """Add the parser of `train`."""
    text = "train on a folder of photographs, one folder a class, in either framework"
    parser = options.add_command(commands, "train", _train, text)
    parser.epilog, parser.formatter_class = _EXAMPLES, argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="the folder: train/ and val/, or the classes"
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="RUN", help="the folder of the run"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint of RUN"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE.toml", help="a file that sets the options below"
    )
    hints = get_type_hints(Config)
    for field in fields(Config)[1:]:
        name, kind, default = f"--{field.name.replace('_', '-')}", hints[field.name], field.default
        shown = f" (default: {default})" if default not in ("", False) else ""
        text = f"{_HELP[field.name]}{shown}"
        if kind is bool:
            parser.add_argument(name, action=argparse.BooleanOptionalAction, help=text)
            continue
        types: dict[Any, Any] = {int: options.integer_type, float: options.number_type, str: str}
        parser.add_argument(
            name,
            type=types.get(kind, str),
            choices=get_args(kind) or None,
            metavar=None
            if get_args(kind)
            else _METAVARS.get(field.name, field.name.rpartition("_")[2].upper()),
            help=text,
        )
    options.add_keras_backend(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _train(arguments: argparse.Namespace) -> options.Result:
    from resnet_parity.progress import progress_line
    from resnet_parity.training.run import train
    from resnet_parity.training.run_folder import CONFIG

    given = read_config(arguments.config) if arguments.config else {}
    named = {field.name: getattr(arguments, field.name) for field in fields(Config)}
    given |= {name: value for name, value in named.items() if value is not None}
    for name in ("folder", "weights"):
        if isinstance(path := given.get(name), str) and path:
            given[name] = str(Path(path).absolute())
    if arguments.resume and not is_file(arguments.out / CONFIG):
        raise ParityError(f"{arguments.out} holds no run to go on with; leave --resume out")
    begun = read_config(arguments.out / CONFIG) if arguments.resume else None
    config = make_config(given, begun)
    run = partial(
        *(train, config, arguments.out),
        resume=arguments.resume,
        keras_backend=arguments.keras_backend,
    )
    if process() or not console(stderr=True).is_terminal:
        result = run(say=say)
    else:
        with progress_line() as progress:
            begin, done = 0.0, 0
            progress("starting", 1)

            def on_step(total: int, means: Mapping[str, float]) -> None:
                nonlocal begin, done
                begin, done = begin or monotonic(), done + 1
                shown = f"loss {means['loss']:.4f}, accuracy {means['accuracy']:.4f}"
                if done > 1:  # the first step waits until all is built or compiled
                    seconds = (monotonic() - begin) / (done - 1)
                    left = timedelta(seconds=round(seconds * (total - done)))
                    shown += f", {config.batch_size / seconds:.0f} images/s, {left} left"
                progress(shown, total)

            def say_above(line: str) -> None:
                with progress.paused():
                    say(line)

            result = run(say=say_above, on_step=on_step)
    if process():
        return 0, lambda: None
    if arguments.json:
        return 0, lambda: options.print_json(_as_json(result))
    return 0, lambda: _print(result)


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "config": asdict(result.config),
        "out": str(result.out),
        "best": asdict(result.best),
        "epochs": [asdict(epoch) for epoch in result.epochs],
        "damaged": list(result.damaged),
    }


def _print(result: Result) -> None:
    best, last = result.best, result.epochs[-1]
    options.print_text(
        f"epochs: {last.epoch}; validation accuracy "
        f"{last.val_accuracy:.4f}, the best {best.val_accuracy:.4f} after epoch {best.epoch}"
    )
    if result.damaged:
        options.print_text(f"damaged photographs that were left out: {len(result.damaged)}")
    options.print_text(f"{result.out}: best.safetensors, last.safetensors, metrics.csv")
