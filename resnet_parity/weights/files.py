"""Read and write weights as safetensors files."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    WeightsError,
    check_weights,
    get_architecture,
    make_graph,
    parameters,
    shape_problems,
    step_counters,
    to_json,
)
from resnet_spec.state_dict import prefix_and_line
from resnet_spec.weights import as_code, fitting_architecture

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, reading, write_atomically
from resnet_parity.weights.formats import is_other_checkpoint


def read_weights(path: str | Path, arch: str | Architecture) -> dict[str, np.ndarray]:
    """Return the tensors of an architecture, float32, by canonical name.

    Names, shapes and types are checked before a tensor is read. Raises `ParityError` that names the
    file and every tensor that does not fit.
    """
    path, arch = Path(path), get_architecture(arch)
    check_readable(path)
    if is_other_checkpoint(path):
        raise ParityError(f"{path} is no safetensors file; to make one of it: {_converted(path)}")
    counters = step_counters(arch)
    with (
        reading(path, "a safetensors file", "copy or write it again"),
        safe_open(path, framework="np") as file,
    ):
        _check_architecture(path, arch, (file.metadata() or {}).get("architecture"))
        names = [name for name in file.keys() if name not in counters]  # noqa: SIM118
        slices = {name: file.get_slice(name) for name in names}
        expected = {parameter.name: parameter.shape for parameter in parameters(arch)}
        found = {name: tuple(each.get_shape()) for name, each in slices.items()}
        dtypes = {name: each.get_dtype() for name, each in slices.items()}
        _check_tensors(path, arch, expected, found, dtypes)
        weights = {name: file.get_tensor(name) for name in expected}
    check_float32(str(path), arch, weights)
    return weights


def _check_tensors(
    path: Path,
    arch: Architecture,
    expected: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    dtypes: Mapping[str, str],
) -> None:
    """Raise `ParityError`, with the line that makes them fit, for names, shapes or types."""
    problems, fix = shape_problems(expected, found), ""
    wrong = [name for name, dtype in dtypes.items() if dtype != "F32"]
    if wrong:
        kinds = ", ".join(sorted({dtypes[name] for name in wrong}))
        many = f"{len(wrong)} of {len(found)} tensors are {kinds}, the first is {wrong[0]}"
        problems.append(many if len(wrong) > 1 else f"{wrong[0]} is {kinds}, not F32")
        fix = f"to convert them: {_converted(path)}"
    if prefix := prefix_and_line(found, expected, "weights"):
        problems, fix = [prefix[0]], f"to remove it: {_converted(path)}"
    elif 2 * len(named := expected.keys() & found.keys()) < len(found):
        problems = [f"{len(named)} of {len(found)} names are those of this architecture"]
        fix = f"to read the names of another library: {_converted(path)}"
    elif theirs := fitting_architecture(arch, found) if problems and not wrong else None:
        sizes = {name: getattr(theirs, name) for name in ("num_classes", "in_channels")}
        options = [
            f"--{name.replace('_', '-')} {size}"
            for name, size in sizes.items()
            if size != getattr(arch, name)
        ]
        fix = f"they are those of {as_code(theirs)}"
        fix += f"; for a command write {' '.join(options)}" if options else ""
    if problems:
        refusal = WeightsError(f"{path} does not hold a {arch.name!r}", problems, fix)
        raise ParityError(str(refusal))


def _converted(path: Path) -> str:
    """The command that writes the file with canonical names, as float32."""
    out = " --out new.safetensors" if path.suffix == ".safetensors" else ""
    return f"resnet-parity convert {shlex.quote(str(path))} --to safetensors{out}"


def _check_architecture(path: Path, arch: Architecture, named: str | None) -> None:
    """Raise `ParityError` where the file's metadata name an architecture with another graph.

    Its tensors may fit all the same: those of `resnet50` fit `resnet50_v1`, and make it another
    function.
    """
    theirs, ours = ARCHITECTURES.get(named or arch.name), ARCHITECTURES.get(arch.name)
    if theirs and ours and make_graph(theirs) != make_graph(ours):
        raise ParityError(
            f"{path} does not hold a {arch.name!r}: its metadata name {named!r}; choose that "
            "architecture or another file"
        )


def check_float32(name: str, arch: Architecture, weights: Mapping[str, np.ndarray]) -> None:
    """Raise `ParityError` unless these are the weights of the architecture, float32 and finite.

    `name` is that of the file, for the message.
    """
    try:
        check_weights(arch, weights, dict.fromkeys(weights, "float32"))
    except WeightsError as error:
        raise ParityError(f"{name}: {error}") from error


def write_weights(
    path: str | Path, arch: str | Architecture, weights: Mapping[str, np.ndarray]
) -> None:
    """Write a safetensors file whose metadata name the architecture.

    Raises `ParityError` for a path that cannot be written, and for weights that `read_weights`
    would refuse.
    """
    path, arch = Path(path), get_architecture(arch)
    check_float32(str(path), arch, weights)
    arrays = {p.name: np.ascontiguousarray(weights[p.name]) for p in parameters(arch)}
    metadata = {"format": "pt", "architecture": arch.name, "spec": to_json(arch)}
    write_atomically(path, save(arrays, metadata))
