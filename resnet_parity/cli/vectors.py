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

from resnet_parity.cli.options import Result, add_command, console, print_json

if TYPE_CHECKING:
    from resnet_parity.checks.run import Engine
    from resnet_parity.progress import Progress
    from resnet_parity.vectors import VectorResult


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
        "--verify",
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
    return _verify(arguments, names) if arguments.verify else _make(arguments, names)


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


def _verify(arguments: argparse.Namespace, names: list[str]) -> Result:
    from resnet_spec import ARCHITECTURES

    from resnet_parity.progress import progress_line
    from resnet_parity.vectors import FILE, read_vectors

    names = names or list(ARCHITECTURES)
    data = read_vectors(arguments.file or FILE, names)
    with progress_line() as progress:
        results, notes = _verify_rows(data, names, arguments.keras_backend, progress)
    if arguments.json:
        show = partial(print_json, [vars(result) for result in results])
    else:
        show = partial(_show, results, notes)
    return (0 if all(result.holds for result in results) else 1), show


def _verify_rows(
    data: dict[str, Any], names: list[str], backend: str | None, progress: Progress
) -> tuple[list[VectorResult], list[str]]:
    """Every maker's, row by row, and what is to be told of the modes that they ran in."""
    from resnet_parity.errors import ParityError
    from resnet_parity.vectors import SEEDS, verify_vectors

    results: list[VectorResult] = []
    notes: list[str] = []

    def begin(step: str) -> None:
        progress(step, len(names) * (1 + len(SEEDS)))

    for name in names:
        begin(f"{name}, starting Keras")
        with _engines(backend) as (engines, note):
            try:
                results += verify_vectors(data, name, engines, begin=begin)
            except ParityError as error:
                raise ParityError(f"{name}: {error}") from error
        notes += [note] if note and note not in notes else []
    return results, notes


@contextmanager
def _engines(backend: str | None) -> Iterator[tuple[list[Engine], str | None]]:
    """Both implementations, and what is to be told of them.

    Each row is run but three times, which no compiling repays. Where eager mode rounds Keras does
    compile, in a mode that stands in, and never gives back what it compiled: with gradients on
    TensorFlow three times the memory of the net's weights. So it ends with the row.
    """
    from resnet_parity.adapters.loading import KERAS_BACKENDS, eager_mode, torch_adapter
    from resnet_parity.adapters.protocol import fallback_mode
    from resnet_parity.adapters.remote import remote_adapters
    from resnet_parity.checks.run import NOISE_FLOOR_MODES, Engine
    from resnet_parity.errors import ParityError
    from resnet_parity.vectors import DTYPE

    chosen = backend or os.environ.get("KERAS_BACKEND") or "tensorflow"
    if chosen not in KERAS_BACKENDS:  # a worker's name is made of words, this may be several
        raise ParityError(
            f"unknown Keras backend {chosen!r}; it is one of: {', '.join(KERAS_BACKENDS)}"
        )
    framework = f"keras {chosen}"
    with remote_adapters(framework) as adapters:
        torch, keras = torch_adapter(), adapters[framework]
        mode, note = fallback_mode(keras, eager_mode(keras), DTYPE)
        engines = [Engine(f"torch {each}", torch, each) for each in NOISE_FLOOR_MODES]
        yield [*engines, Engine(f"keras {mode}", keras, mode)], note


def _show(results: list[VectorResult], notes: list[str]) -> None:
    for note in notes:
        console().print(f"note: keras: {note}", markup=False, soft_wrap=True)
    wrong = [result for result in results if not result.holds]
    for result in wrong:
        where = f"{result.name}, seed {result.seed}, {result.maker}"
        if result.reason:
            console().print(f"{where}: cannot hold. {result.reason}.", style="yellow")
            continue
        console().print(f"{where}: {', '.join(result.differing)} differ", style="red")
    console().print(f"{len(results) - len(wrong)} of {len(results)} makers gave the same bits")
