"""`eject`: write one architecture as one plain file for each framework."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from resnet_spec import Architecture, from_json

from resnet_parity.cli import options

_MOST_BLOCKS = 10_000

_EXAMPLES = """examples:
  resnet-parity eject resnet50 --framework torch -o resnet50.py
  resnet-parity eject resnet18 --num-classes 10 -o net.py    # net_torch.py, net_keras.py
  resnet-parity eject my_module:MY_ARCHITECTURE --framework keras"""


def add(commands: Any) -> None:
    """The parser of `eject`."""
    text = "write one architecture as one plain file, which needs this project no more"
    parser = options.add_command(commands, "eject", _eject, text)
    parser.epilog = _EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    size = "size of the images in comments, in pixels (default: the architecture's own, see `list`)"
    options.add_architecture(parser, size)
    for action in parser._actions:
        if action.dest == "name":
            action.help = "an architecture, MODULE:OBJECT, or a JSON file with all its fields"
    parser.add_argument(
        "--framework",
        choices=("torch", "keras", "both"),
        default="both",
        help="the framework of the file; both writes two files, mirrored (default: both)",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        metavar="FILE",
        help="the .py file to write; of both, _torch and _keras end the names (default: stdout)",
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the file beside this project's network, and keep it only if all bits are equal "
        "(default)",
    )
    parser.add_argument(
        "--with-loader",
        action="store_true",
        help="add the functions that copy a state dict of PyTorch into the Keras model and back",
    )
    parser.add_argument(
        "--with-tests",
        action="store_true",
        help="also write a pytest file, test_FILE, that needs no resnet-parity either and fails "
        "when an edit changes what the file computes",
    )
    parser.add_argument(
        "--side-by-side",
        action="store_true",
        help="print both files in two columns, for reading",
    )


def _eject(arguments: argparse.Namespace) -> options.Result:
    arguments.name = _named(arguments.name)
    arch = options.chosen_architecture(arguments)
    _refuse_contradictions(arguments)
    if arguments.side_by_side:
        return 0, lambda: _show_beside(arguments, arch)

    from resnet_parity.eject import FRAMEWORKS, eject
    from resnet_parity.files import write_all_atomically
    from resnet_parity.progress import progress_line

    chosen = [each for each in FRAMEWORKS if arguments.framework in (each, "both")]
    paths = [_path(arguments, framework) for framework in chosen] if arguments.out else []
    texts = []
    with progress_line() as progress:
        for framework in chosen:
            given = {"size": arguments.size, "loader": arguments.with_loader}
            text = eject(arch, framework, **given)
            if arguments.check:
                progress(f"running the file beside resnet_{framework}", len(chosen))
                text = eject(arch, framework, **given, checked=_proven(text, arch, framework))
            texts.append(text)
        if arguments.with_tests:
            from resnet_parity.eject.pytest_file import pytest_file

            for path, framework in zip(tuple(paths), chosen, strict=True):
                texts.append(pytest_file(arch, framework, path.stem))
                paths.append(path.with_name(f"test_{path.name}"))
    write_all_atomically({p: text.encode() for p, text in zip(paths, texts, strict=False)})

    def show() -> None:
        for path, text in zip(paths, texts, strict=False):
            options.print_text(f"{path} holds {arch.name}, {len(text.splitlines())} lines")
        if not paths:
            print("\n\n".join(texts), end="")

    return 0, show


def _proven(text: str, arch: Architecture, framework: str) -> str:
    """The sentence on the check that the file passed."""
    from resnet_parity.eject.proof import proven
    from resnet_parity.errors import MissingFrameworkError

    try:
        return proven(text, arch, framework)
    except MissingFrameworkError as error:
        raise MissingFrameworkError(f"{error}; or leave the check out: --no-check") from error


def _refuse_contradictions(arguments: argparse.Namespace) -> None:
    """Raise `ParityError` for options that do not go with each other."""
    from resnet_parity.errors import ParityError

    if arguments.side_by_side and (
        arguments.out or arguments.with_tests or arguments.framework != "both"
    ):
        raise ParityError(
            "--side-by-side prints both files; leave --framework, --out and --with-tests out"
        )
    if arguments.with_loader and arguments.framework == "torch":
        raise ParityError("--with-loader adds to the Keras file; take --framework keras or both")
    if arguments.with_tests and not arguments.out:
        raise ParityError("--with-tests writes a second file; name the first one with --out")


def _show_beside(arguments: argparse.Namespace, arch: Architecture) -> None:
    from resnet_parity.eject.two_columns import side_by_side
    from resnet_parity.site.terminal import code_width, print_pair

    console = options.console()
    width = code_width(console.width)
    given = {"size": arguments.size, "loader": arguments.with_loader}
    print_pair(console, side_by_side(arch, width, **given))


def _named(name: str) -> str | Architecture:
    """The architecture in a JSON file or a module of the user; else the name itself."""
    from resnet_parity.errors import ParityError

    if name.endswith(".json"):
        return _read(Path(name))
    module, separator, member = name.partition(":")
    if not separator:
        return name
    from resnet_parity.diagnose.user_code import contained, import_user

    found = import_user(module, member)
    if callable(found):
        with contained(name):
            found = found()
    if not isinstance(found, Architecture):
        kind = type(found).__name__
        raise ParityError(f"{name} is a {kind}, not a resnet_spec.Architecture")
    return found


def _read(path: Path) -> Architecture:
    """The architecture in a JSON file, which may be anyone's."""
    from resnet_parity.errors import ParityError
    from resnet_parity.files import check_readable

    check_readable(path)
    try:
        arch = from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ParityError(f"{path} is not UTF-8: {error.reason}") from error
    blocks = sum(stage.blocks for stage in arch.stages)
    if blocks > _MOST_BLOCKS:
        raise ParityError(f"{path} asks for {blocks:,} blocks, more than {_MOST_BLOCKS:,}")
    return arch


def _path(arguments: argparse.Namespace, framework: str) -> Path:
    """The file to write for a framework; neither it nor its tests exist yet."""
    from resnet_parity.eject.pytest_file import check_module
    from resnet_parity.errors import ParityError
    from resnet_parity.files import check_writable

    path: Path = arguments.out
    if arguments.framework == "both":
        path = path.with_name(f"{path.stem}_{framework}{path.suffix}")
    if path.suffix != ".py":
        raise ParityError(f"{path} is not the name of a Python file; end it with .py")
    check_module(path.stem)
    tests = [path.with_name(f"test_{path.name}")] if arguments.with_tests else []
    for each in (path, *tests):
        if each.exists():
            raise ParityError(f"{each} exists already; name another file with --out")
        check_writable(each)
    return path
