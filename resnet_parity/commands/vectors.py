"""`vectors`: conformance vectors for implementations elsewhere, made or checked."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec import get_architecture

from resnet_parity.commands.options import Result, add_command, console, print_json

if TYPE_CHECKING:
    from resnet_parity.progress import Progress
    from resnet_parity.rungs import Engine
    from resnet_parity.vectors import Check


def add(commands: Any) -> None:
    """The parser of `vectors`."""
    parser = add_command(
        commands, "vectors", _vectors, "conformance vectors: make the file, or check it"
    )
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="rows to make or check (default: the whole table); others stay as they are",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="hold the oracle, PyTorch and Keras to the file instead of making it",
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="instead of the project's own")
    parser.add_argument(
        "--keras-backend",
        choices=("tensorflow", "jax", "torch"),
        help="what Keras runs on (default: KERAS_BACKEND, else tensorflow)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _vectors(arguments: argparse.Namespace) -> Result:
    names = [get_architecture(name).name for name in arguments.names]
    return _check(arguments, names) if arguments.check else _make(arguments, names)


def _make(arguments: argparse.Namespace, names: list[str]) -> Result:
    from resnet_spec import ARCHITECTURES

    from resnet_parity.files import check_writable, write_atomically
    from resnet_parity.progress import progress_line
    from resnet_parity.vectors import FILE, as_text, make_vectors, read_vectors

    path = arguments.file or FILE
    if not arguments.json:
        check_writable(path)
    kept = read_vectors(path, [])["architectures"] if names and path.exists() else {}
    with progress_line() as progress:
        data = make_vectors(names or list(ARCHITECTURES), progress)
    if arguments.json:
        return 0, lambda: print_json(data)
    made = {**kept, **data["architectures"]}
    data["architectures"] = {name: made[name] for name in ARCHITECTURES if name in made}
    write_atomically(path, as_text(data).encode())
    count = sum(map(len, made.values()))
    return 0, lambda: console().print(f"{path} holds {count} vectors", soft_wrap=True)


def _check(arguments: argparse.Namespace, names: list[str]) -> Result:
    from resnet_spec import ARCHITECTURES

    from resnet_parity.progress import progress_line
    from resnet_parity.vectors import FILE, read_vectors

    names = names or list(ARCHITECTURES)
    data = read_vectors(arguments.file or FILE, names)
    with progress_line() as progress:
        checks, notes = _checks(data, names, arguments.keras_backend, progress)
    if arguments.json:
        show = partial(print_json, [vars(check) for check in checks])
    else:
        show = partial(_show, checks, notes)
    return (0 if all(check.holds for check in checks) else 1), show


def _checks(
    data: dict[str, Any], names: list[str], backend: str | None, progress: Progress
) -> tuple[list[Check], list[str]]:
    """Every maker's, row by row, and what is to be told of the modes that they ran in."""
    from resnet_parity.errors import ParityError
    from resnet_parity.vectors import SEEDS, check_vectors

    checks: list[Check] = []
    notes: list[str] = []

    def begin(step: str) -> None:
        progress(step, len(names) * (1 + len(SEEDS)))

    for name in names:
        begin(f"{name}, starting Keras")
        with _engines(backend) as (engines, note):
            try:
                checks += check_vectors(data, name, engines, begin=begin)
            except ParityError as error:
                raise ParityError(f"{name}: {error}") from error
        notes += [note] if note and note not in notes else []
    return checks, notes


@contextmanager
def _engines(backend: str | None) -> Iterator[tuple[list[Engine], str | None]]:
    """Both hands, and what is to be told of them.

    Each row is run but three times, which no compiling repays. Where eager mode rounds Keras does
    compile, in a mode that stands in, and never gives back what it compiled: with gradients on
    TensorFlow three times the memory of the net's weights. So it ends with the row.
    """
    from resnet_parity.errors import ParityError
    from resnet_parity.frameworks import KERAS_BACKENDS, eager_mode, torch_adapter
    from resnet_parity.hands import stand_in
    from resnet_parity.rungs import FLOOR_MODES, Engine
    from resnet_parity.vectors import DTYPE
    from resnet_parity.workers import remote_adapters

    chosen = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if chosen not in KERAS_BACKENDS:  # a worker's name is made of words, this may be several
        raise ParityError(
            f"unknown Keras backend {chosen!r}; it is one of: {', '.join(KERAS_BACKENDS)}"
        )
    hand = f"keras {chosen}"
    with remote_adapters(hand) as adapters:
        torch, keras = torch_adapter(), adapters[hand]
        mode, note = stand_in(keras, eager_mode(keras), DTYPE)
        engines = [Engine(f"torch {each}", torch, each) for each in FLOOR_MODES]
        yield [*engines, Engine(f"keras {mode}", keras, mode)], note


def _show(checks: list[Check], notes: list[str]) -> None:
    for note in notes:
        console().print(f"note: keras: {note}", markup=False, soft_wrap=True)
    wrong = [check for check in checks if not check.holds]
    for check in wrong:
        where = f"{check.name}, seed {check.seed}, {check.maker}"
        if check.reason:
            console().print(f"{where}: cannot hold. {check.reason}.", style="yellow")
            continue
        console().print(f"{where}: {', '.join(check.differing)} differ", style="red")
    console().print(f"{len(checks) - len(wrong)} of {len(checks)} makers gave the same bits")
