"""`vectors`: make or verify the conformance vectors, which are for implementations elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resnet_spec import get_architecture

from resnet_parity.cli import options

if TYPE_CHECKING:
    from resnet_parity.checks.engine import Engine
    from resnet_parity.progress import Progress
    from resnet_parity.vectors import VectorResult


def add(commands: Any) -> None:
    """Add the parser of `vectors`."""
    text = "make or verify the conformance vectors"
    parser = options.add_command(commands, "vectors", _vectors, text)
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="the architectures to make or verify (default: all); others in the file are kept",
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="compare the oracle, PyTorch and Keras with the file instead of making it",
    )
    parser.add_argument(
        "--file", type=Path, metavar="FILE", help="the file (default: the project's own)"
    )
    options.add_keras_backend(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _vectors(arguments: argparse.Namespace) -> options.Result:
    names = [get_architecture(name).name for name in arguments.names]
    return _verify(arguments, names) if arguments.verify else _make(arguments, names)


def _make(arguments: argparse.Namespace, names: list[str]) -> options.Result:
    from resnet_spec import ARCHITECTURES

    from resnet_parity.files import check_writable, write_atomically
    from resnet_parity.progress import progress_line
    from resnet_parity.vectors import FILE, as_text, make_vectors, read_vectors

    path = arguments.file or FILE
    if not arguments.json:
        check_writable(path)
    others = read_vectors(path, [])["architectures"] if names and path.exists() else {}
    with progress_line() as progress:
        data = make_vectors(names or list(ARCHITECTURES), progress)
    if arguments.json:
        return 0, lambda: options.print_json(data)
    made = {**others, **data["architectures"]}
    data["architectures"] = {name: made[name] for name in ARCHITECTURES if name in made}
    write_atomically(path, as_text(data).encode())
    count = sum(map(len, made.values()))
    return 0, lambda: options.print_text(f"{path} holds {count} vectors")


def _verify(arguments: argparse.Namespace, names: list[str]) -> options.Result:
    from resnet_spec import ARCHITECTURES

    from resnet_parity.adapters.loading import chosen_backend
    from resnet_parity.progress import progress_line
    from resnet_parity.vectors import FILE, read_vectors

    chosen_backend(arguments.keras_backend)  # reports an unknown one before the work begins

    names = names or list(ARCHITECTURES)
    data = read_vectors(arguments.file or FILE, names)
    with progress_line() as progress:
        results, notes = _verify_rows(data, names, arguments.keras_backend, progress)
    code = int(not all(result.matches for result in results))
    if arguments.json:
        return code, lambda: options.print_json([vars(result) for result in results])
    return code, lambda: _show(results, notes)


def _verify_rows(
    data: dict[str, Any], names: list[str], backend: str | None, progress: Progress
) -> tuple[list[VectorResult], list[str]]:
    """The results of every architecture in turn, and notes on fallback modes."""
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
    """Both implementations, and a note if Keras runs in a fallback mode.

    Keras runs eagerly, because three runs per architecture do not repay compiling. Where eager mode
    rounds, the fallback mode does compile, and Keras never frees what it compiled: with gradients
    on TensorFlow three times the memory of the net's weights. So the worker ends with the
    architecture.
    """
    from resnet_parity.adapters.loading import chosen_backend, eager_mode, torch_adapter
    from resnet_parity.adapters.protocol import fallback_mode
    from resnet_parity.adapters.remote import remote_adapters
    from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
    from resnet_parity.vectors import DTYPE

    framework = f"keras {chosen_backend(backend)}"
    with remote_adapters(framework) as adapters:
        torch, keras = torch_adapter(), adapters[framework]
        mode, note = fallback_mode(keras, eager_mode(keras), DTYPE)
        engines = [Engine(f"torch {each}", torch, each) for each in NOISE_FLOOR_MODES]
        yield [*engines, Engine(f"keras {mode}", keras, mode)], note


def _show(results: list[VectorResult], notes: list[str]) -> None:
    for note in notes:
        options.print_text(f"note: keras: {note}")
    wrong = [result for result in results if not result.matches]
    for result in wrong:
        where = f"{result.name}, seed {result.seed}, {result.source}"
        if result.reason:
            options.print_text(f"{where}: skipped: {result.reason}", style="yellow")
        else:
            options.print_text(f"{where}: {', '.join(result.differing)} differ", style="red")
    options.print_text(f"{len(results) - len(wrong)} of {len(results)} vectors have the same bits")
