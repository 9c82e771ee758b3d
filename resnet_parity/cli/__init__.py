"""The command `resnet-parity`. The result goes to stdout, progress and errors to stderr."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from resnet_spec import ARCHITECTURES, ArchitectureError
from resnet_spec.hints import did_you_mean
from resnet_spec.text import printable

from resnet_parity.cli import (
    convert,
    diagnose,
    eject,
    evaluate,
    export,
    import_onnx,
    inspect,
    lockstep,
    matrix,
    onnx_compare,
    page,
    show,
    train,
    vectors,
    verify,
    version,
)
from resnet_parity.cli.exit_codes import help_text
from resnet_parity.errors import ParityError
from resnet_parity.files import brief
from resnet_parity.signals import ReaderGone, Stopped, signals_raised
from resnet_parity.streams import open_streams, say, show_result, stdout_reserved
from resnet_parity.torchrun import let_first_report, process

_COMMANDS = (
    *(show, verify, lockstep, train, evaluate, vectors, matrix, diagnose),
    *(convert, inspect, export, onnx_compare, import_onnx, eject, page),
)
"""The modules of the commands, in the order of the help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    open_streams()
    argv = sys.argv[1:] if argv is None else argv
    try:
        with signals_raised():
            arguments = _parse(argv)
            with stdout_reserved():
                if arguments.version:
                    code, show = version.run(verbose=arguments.verbose)
                else:
                    code, show = arguments.run(arguments)
            show_result(show)
            return code
    except ParityError as error:
        code, message = error.exit_code, str(error)
    except ArchitectureError as error:
        code, message = 2, str(error)
    except MemoryError:
        code, message = 2, "not enough memory; take a smaller size or a smaller net"
    except OSError as error:  # the machine's: no temporary folder, too many open files
        where = f"{error.filename}: " if error.filename else ""
        code, message = 2, f"{where}{error.strerror or error}"
    except ReaderGone as stop:
        return stop.exit_code
    except Stopped as stop:
        code, message = stop.exit_code, str(stop)
    except KeyboardInterrupt:  # from code that sets its own handler
        code, message = 130, "interrupted"
    except Exception as error:
        code, message = 70, _unforeseen(error, argv)
    for argument in argv:  # a file name may hold line breaks
        message = message.replace(argument, printable(argument))
    if process() and code > 128:  # a signal for all processes
        return code
    let_first_report()
    say(f"resnet-parity: error: {message}")
    return code


def _unforeseen(error: Exception, argv: Sequence[str]) -> str:
    """The message for an error that no part of the command expected."""
    if "--traceback" in argv:
        say("".join(traceback.format_exception(error)))
        advice = "report it with the traceback above"
    else:
        advice = "run the command again with --traceback, and report what that prints"
    return f"a fault of resnet-parity itself, {type(error).__name__}: {brief(error)}; {advice}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    try:
        arguments, unknown = _parser().parse_known_args(argv)
        if unknown:  # reported with the usage of the command, not of `resnet-parity`
            known = re.findall(r"--([\w-]+)", arguments.parser.format_usage())
            words = (each.strip("-").partition("=")[0] for each in unknown if each[0:1] == "-")
            near = (did_you_mean(word, known, prefix="--") for word in words)
            arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}{''.join(near)}")
        if arguments.version and arguments.command:
            _parser().error("--version takes no command")
        if arguments.command is None and not arguments.version:
            _parser().error("the following arguments are required: COMMAND")
        return arguments
    except SystemExit:  # after a mistake or `--help`
        show_result(lambda: None)
        raise


class _Parser(argparse.ArgumentParser):
    """A parser whose messages are escaped, and lost where stderr cannot be written.

    They suggest the nearest command, option or choice to one that is misspelt.
    """

    def error(self, message: str) -> NoReturn:
        let_first_report()
        say(f"{self.format_usage()}{self.prog}: error: {message}")
        raise SystemExit(2)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action.dest == "command" and value in ARCHITECTURES:
            near = f" (did you mean show {value}?)"
        else:
            near = did_you_mean(str(value), action.choices)
        choices = ", ".join(action.choices)
        message = f"invalid choice: {value!r}{near}; choose from {choices}"
        raise argparse.ArgumentError(action, message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="resnet-parity",
        description="Prove that a ResNet in PyTorch and the same ResNet in Keras are one function.",
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version")
    verbose = "with --version: the versions of the frameworks, the machine, and whether it rounds"
    parser.add_argument("--verbose", action="store_true", help=verbose)
    parser.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(parser=parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in _COMMANDS:
        command.add(commands)
    return parser
