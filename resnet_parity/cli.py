"""The command `resnet-parity`. The result goes to stdout, progress and errors to stderr."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from resnet_spec import Architecture, ArchitectureError, get_architecture

from resnet_parity.errors import ParityError

Result = tuple[int, Callable[[], None]]
"""An exit code, and how to print what was found."""

_EPILOG = """exit codes:
  0  ok
  1  parity failed, or a rung that was asked for alone is not proven
  2  usage or bad input
  3  an optional framework is missing (the message has the install line)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code, show = arguments.run(arguments)
        _print(show)
        return code
    except ParityError as error:
        return _complain(str(error), error.exit_code)
    except ArchitectureError as error:
        return _complain(str(error), 2)
    except MemoryError:
        return _complain("there is not enough memory; take a smaller size or net", 2)
    except OSError as error:
        return _complain(f"the result cannot be written: {error}", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _print(show: Callable[[], None]) -> None:
    """Print a result; that the reader of a pipe has gone, `head` say, changes no exit code."""
    try:
        show()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, code: int) -> int:
    print(f"resnet-parity: error: {message}", file=sys.stderr)
    return code


class _Version(argparse.Action):
    """Reads the version only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"resnet-parity {version('resnet-parity')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resnet-parity",
        description="One ResNet, in PyTorch and in Keras: are both the same function?",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_list(commands)
    _add_show(commands)
    _add_compare(commands)
    _add_verify(commands)
    return parser


def _add_list(commands: Any) -> None:
    parser = _add(commands, "list", _list, "the architectures, with parameters and MACs")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_show(commands: Any) -> None:
    parser = _add(commands, "show", _show, "one architecture: stages, shapes, parameters, MACs")
    _add_architecture(
        parser, "height and width of the image in pixels (default: the row's own, see `list`)"
    )
    parser.add_argument("--layers", action="store_true", help="print every layer in both layouts")
    parser.add_argument("--tensors", action="store_true", help="print every tensor in both layouts")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_compare(commands: Any) -> None:
    parser = _add(commands, "compare", _compare, "how two architectures differ")
    for name in ("A", "B"):
        parser.add_argument(name.lower(), metavar=name, help="an architecture")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_verify(commands: Any) -> None:
    parser = _add(commands, "verify", _verify, "prove that both models are the same function")
    _add_architecture(
        parser,
        "height and width of the probes in pixels (default: what suits the net, 64x128 on the "
        "exact rung, 64x96 on the others); on the exact rung the last map, and with gates every "
        "map, needs a power-of-two area",
    )
    parser.add_argument(
        "--rung",
        choices=("exact", "float64", "float32", "all"),
        action="append",
        help="which proof, may be given again (default: all); a rung named alone must hold, one of "
        "several may say that it cannot on this engine or at this size",
    )
    parser.add_argument("--layers", action="store_true", help="print every tap")
    parser.add_argument(
        "--seed", type=_seed, default=0, metavar="N", help="seed of the probes (default: 0)"
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
        help="run Keras in every mode of its backend (TensorFlow: graph, eager and XLA)",
    )


def _add(commands: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_architecture(parser: argparse.ArgumentParser, size: str) -> None:
    parser.add_argument("name", metavar="NAME", help="an architecture; see `resnet-parity list`")
    parser.add_argument("--size", type=_size, metavar="HxW", help=size)
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
        type=_indices,
        metavar="I,I,...",
        help="a backbone that gives these feature maps: 0 the stem, 1 the first stage, ...",
    )


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,6})x(\d{1,6})", text)
    if not match or 0 in (int(match[1]), int(match[2])):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no size; write HxW in pixels, as in 64x96, of at most six digits each"
        )
    return int(match[1]), int(match[2])


def _seed(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no seed; write a whole number from 0 on, of at most 18 digits"
        )
    return int(text)


def _indices(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d{1,3}(,\d{1,3})*", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of indices; write them as in 1,2,3,4"
        )
    return tuple(int(index) for index in text.split(","))


def _architecture(arguments: argparse.Namespace) -> Architecture:
    return get_architecture(
        arguments.name,
        num_classes=arguments.num_classes,
        in_channels=arguments.in_channels,
        features_only=arguments.features is not None,
        out_indices=arguments.features,
        output_stride=arguments.output_stride,
    )


def _list(arguments: argparse.Namespace) -> Result:
    from resnet_parity import listing

    if arguments.json:
        return 0, lambda: _print_json(listing.list_json())
    return 0, lambda: listing.print_list(_console())


def _show(arguments: argparse.Namespace) -> Result:
    from resnet_parity import listing

    arch = _architecture(arguments)
    size = arguments.size or (arch.image_size, arch.image_size)
    if arguments.json:
        return 0, lambda: _print_json(listing.show_json(arch, size))
    wanted = {"layers": arguments.layers, "tensors": arguments.tensors}
    return 0, lambda: listing.print_show(_console(), arch, size, **wanted)


def _compare(arguments: argparse.Namespace) -> Result:
    from resnet_parity import comparison

    pair = get_architecture(arguments.a), get_architecture(arguments.b)
    if arguments.json:
        return 0, lambda: _print_json(comparison.compare_json(*pair))
    return 0, lambda: comparison.print_compare(_console(), *pair)


def _verify(arguments: argparse.Namespace) -> Result:
    arch = _architecture(arguments)  # a wrong name is told before anything heavy is imported

    from resnet_parity import report
    from resnet_parity.progress import progress_line
    from resnet_parity.verification import RUNGS, verify

    named = arguments.rung or ["all"]
    with progress_line() as progress:
        result = verify(
            arch,
            rungs=tuple(rung for rung in RUNGS if rung in named or "all" in named),
            seed=arguments.seed,
            size=arguments.size,
            images=arguments.image,
            keras_backend=arguments.keras_backend,
            every_mode=arguments.every_mode,
            progress=progress,
        )
    code = 0 if result.passed else 1
    if arguments.json:
        return code, lambda: _print_json(report.as_json(result, layers=arguments.layers))
    return code, lambda: report.print_report(_console(), result, layers=arguments.layers)


def _console() -> Any:
    """A console that wraps for a terminal and never for a file or a pipe."""
    from rich.console import Console

    class PipeConsole(Console):
        def on_broken_pipe(self) -> None:
            raise  # rich would exit with 1, which says that parity failed

    return PipeConsole(width=None if _is_terminal() else 240, highlight=False)


def _is_terminal() -> bool:
    return sys.stdout.isatty()


def _print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, allow_nan=False))


if __name__ == "__main__":
    sys.exit(main())
