"""The command `resnet-parity`. The result goes to stdout, progress and errors to stderr."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from resnet_spec import ArchitectureError

from resnet_parity.cli import (
    diagnose,
    export,
    import_onnx,
    inspect,
    lockstep,
    matrix,
    onnx_compare,
    page,
    show,
    vectors,
    verify,
)
from resnet_parity.errors import ParityError

_COMMANDS = (
    *(show, verify, lockstep, vectors, matrix, diagnose),
    *(export, inspect, onnx_compare, import_onnx, page),
)
"""The modules of the commands, in the order of the help."""

_EPILOG = """exit codes:
  0  ok
  1  a check failed, or the only requested check passed in no mode of one implementation;
     `inspect`: the graph is not canonical
  2  wrong usage or bad input
  3  an optional framework is not installed (the message has the install line)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments, unknown = _parser().parse_known_args(argv)
    if unknown:  # reported with the usage of the command, not of `resnet-parity`
        arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        code, show = arguments.run(arguments)
        _print(show)
        return code
    except ParityError as error:
        return _complain(str(error), error.exit_code)
    except ArchitectureError as error:
        return _complain(str(error), 2)
    except MemoryError:
        return _complain("not enough memory; take a smaller size or a smaller net", 2)
    except OSError as error:
        return _complain(f"the result cannot be written: {error}", 2)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)


def _print(show: Callable[[], None]) -> None:
    """Print a result. A reader that closes the pipe early, such as `head`, changes no exit code."""
    try:
        show()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, code: int) -> int:
    print(f"resnet-parity: error: {message}", file=sys.stderr)
    return code


class _Version(argparse.Action):
    """Look up the version only when it is asked for, because that is slow."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"resnet-parity {version('resnet-parity')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="resnet-parity",
        description="Prove that a ResNet in PyTorch and the same ResNet in Keras are one function.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
