"""`vectors`: conformance vectors for implementations elsewhere, made or checked."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec import get_architecture

from resnet_parity.commands.options import Result, add_command, console, print_json

if TYPE_CHECKING:
    from resnet_parity.rungs import Engine


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
    from resnet_parity.vectors import FILE, SEEDS, check_vectors, read_vectors

    names = names or list(ARCHITECTURES)
    data = read_vectors(arguments.file or FILE, names)
    checks, note = [], ""
    with progress_line() as progress:
        for name in names:
            with _engines(arguments.keras_backend) as (engines, note):
                checks += check_vectors(
                    data,
                    [name],
                    engines,
                    progress=lambda step, _: progress(step, len(names) * len(SEEDS)),
                )
    wrong = [check for check in checks if not check.holds]

    def show() -> None:
        if arguments.json:
            print_json([vars(check) for check in checks])
            return
        if note:
            console().print(f"note: keras: {note}", markup=False, soft_wrap=True)
        for check in wrong:
            where = f"{check.name}, seed {check.seed}, {check.maker}"
            if check.reason:
                console().print(f"{where}: cannot hold. {check.reason}.", style="yellow")
                continue
            console().print(f"{where}: {', '.join(check.differing)} differ", style="red")
        console().print(f"{len(checks) - len(wrong)} of {len(checks)} makers gave the same bits")

    return (1 if wrong else 0), show


@contextmanager
def _engines(backend: str | None) -> Iterator[tuple[list[Engine], str | None]]:
    """Both hands, and what is to be told of them.

    Keras lives in a process that ends with the row: what it compiled for a net it never gives
    back, on TensorFlow three times the memory of the net's weights.
    """
    from resnet_parity.frameworks import eager_mode, torch_adapter
    from resnet_parity.hands import stand_in
    from resnet_parity.rungs import Engine
    from resnet_parity.vectors import DTYPE
    from resnet_parity.workers import remote_adapters

    hand = f"keras {backend or os.environ.get('KERAS_BACKEND') or 'tensorflow'}"
    with remote_adapters(hand) as remote:
        hands = {"torch": torch_adapter(), "keras": remote[hand]}
        # Each row is run but three times, which no compiling repays.
        modes = {name: eager_mode(each) for name, each in hands.items()}
        modes["keras"], note = stand_in(hands["keras"], modes["keras"], DTYPE)
        yield [Engine(f"{name} {mode}", hands[name], mode) for name, mode in modes.items()], note
