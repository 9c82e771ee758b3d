"""Convert a checkpoint: load it, write it for another library, read it back, prove it, keep it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_spec import Architecture, check_weights, get_architecture, make_graph, make_plan
from resnet_spec.state_dict import with_sizes_of
from resnet_spec.text import printable
from resnet_spec.weights import check_arrays

from resnet_parity.adapters.libraries.live import weights_of
from resnet_parity.errors import ParityError
from resnet_parity.files import (
    check_new_folder,
    check_not_source,
    check_writable,
    replacing,
    replacing_folder,
    write_atomically,
    writing,
)
from resnet_parity.progress import Progress
from resnet_parity.weights.cards import card
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats import open_checkpoint
from resnet_parity.weights.formats.arrays import as_stored
from resnet_parity.weights.loading import Loaded, Report, Source, choose
from resnet_parity.weights.opening import opening
from resnet_parity.weights.proof import Comparison, Proof, ProofError, prove, prove_reading
from resnet_parity.weights.target_table import DTYPES
from resnet_parity.weights.targets import TARGETS, Export, Notes, Target

_SHOWN = 4
"""How many tensors that are left over a report lists, and how many labels."""


@dataclass(frozen=True)
class Converted:
    """A checkpoint that was written; `proof` is None if none was asked for."""

    loaded: Loaded
    path: Path
    target: str
    dialect: str
    proof: Proof | None
    rounding: float | None = None
    """The relative error of all kernels that a smaller dtype costs, None for float32."""

    checks: tuple[str, ...] = ()
    """The verdicts of the checks that proved an ONNX file, in words."""

    reading: tuple[Comparison, ...] = ()
    """The proof of what was read, where the weights were changed before they were written."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        proof = None if self.proof is None else asdict(self.proof)
        return {
            "out": str(self.path),
            "format": self.target,
            "names": self.dialect,
            "open": self.opening,
            "rounding": self.rounding,
            "proof": proof,
            "checks": list(self.checks),
            "reading": [asdict(each) for each in self.reading],
            "source": asdict(self.loaded.report) | {"metadata": {}},
        }

    def lines(self) -> Iterator[str]:
        """The report in words, one fact a line."""
        report, arch = self.loaded.report, self.loaded.architecture
        sizes = f"{arch.num_classes} classes, {arch.in_channels} image channels"
        yield f"{report.file or report.format}: {arch.name}, {sizes}"
        yield f"  {report.loaded} tensors ({report.format}, names of {report.dialect})"
        where = ".".join(part for part in (report.group, report.prefix.rstrip("./")) if part)
        if where:
            yield f"  loaded: {where}{', averaged weights' if report.is_ema else ''}"
        if report.labels:
            more = ", ..." if len(report.labels) > _SHOWN else ""
            yield f"  labels: {printable(', '.join(report.labels[:_SHOWN]))}{more}"
        if report.left_over:
            more = ", ..." if len(report.left_over) > _SHOWN else ""
            shown = ", ".join(map(printable, report.left_over[:_SHOWN]))
            yield f"  left over, not converted: {shown}{more} ({len(report.left_over)} in all)"
        yield from (f"  also in the file: {printable(line)}" for line in report.contents)
        if not arch.num_classes:
            yield f"  no classifier: the outputs are {make_plan(arch).out_channels} pooled features"
        yield from (f"  made up: {line}" for line in report.made_up)
        yield from (f"  cast: {line}" for line in report.cast)
        yield from (f"  not converted: {line}" for line in report.aside)
        yield from (f"  stated by {line}" for line in report.stated)
        yield from (f"  assumed: {line}" for line in report.assumptions)
        yield from (f"  folded: {line}" for line in report.folded)
        if self.rounding is not None:
            yield f"  rounding: the kernels changed by {self.rounding:.1e} (relative L2)"
        yield from (f"  reading {each.text}" for each in self.reading)
        yield from (f"  folding {each.text}" for each in (self.proof.folding if self.proof else ()))
        yield from (f"  {each.text}" for each in (self.proof.comparisons if self.proof else ()))
        yield from (f"  proven by the {line}" for line in self.checks)
        if self.proof:
            yield f"  {self.proof.text}"
        elif not self.checks:
            yield "  not proven (--no-prove)"
        yield f"{self.path}: written"
        yield f"  open it: {self.opening}"

    @property
    def opening(self) -> str:
        """The line that opens what was written."""
        dialect = DIALECTS.get(self.dialect)
        is_rounded = self.rounding is not None
        return opening(self.target, self.loaded.architecture, dialect, self.path, is_rounded)


def save_weights(
    path: str | Path,
    source: Loaded | Mapping[str, np.ndarray] | Any,
    format: str,
    *,
    architecture: str | Architecture | None = None,
    names: str | None = None,
    dtype: str = "float32",
    proven: bool = True,
    progress: Progress = lambda step, total: None,
) -> Converted:
    """Write weights in a format of `TARGETS`, after a proof that the file computes the same.

    `source` is one of

    * what `load_weights` returned;
    * a model of `resnet_torch` or `resnet_keras`, in `DataParallel` or compiled too;
    * a module of PyTorch with the names of torchvision, with its `architecture`;
    * a mapping of canonical names to float32 arrays, with their `architecture`.

    The file is read back, its tensors must be bitwise those that went in, and it is run beside the
    source (see `proof`); nothing is written where that fails. `names` is the dialect of the
    tensors, for a format that has none of its own. An ONNX file is proven by the checks of `export`
    instead.

    Raises `ParityError`, and `resnet_spec.WeightsError` for a model or weights that do not fit.
    """
    path, target = Path(path), target_of(format)
    check_place(path, target, names, dtype, proven=proven)
    loaded = source if isinstance(source, Loaded) else _in_memory(source, architecture)
    arch = loaded.architecture
    dialect = target.names(arch, names)
    check_target(path, target, loaded)
    if target.export is not None:
        return _exported(path, target, target.export, loaded, progress)
    assert target.write is not None
    weights = in_dtype(loaded.weights, dtype)
    rounding = None if dtype == "float32" else _rounding(loaded.weights, weights)
    with (replacing if target.suffix else replacing_folder)(path) as temporary:
        progress(f"writing {path}", 3)
        notes = Notes(dtype, proven, loaded.report.labels)
        with writing(path):
            target.write(temporary, arch, weights, dialect, notes)
        progress("reading it back", 3)
        _check_read_back(path, temporary, loaded, weights)
        proof, reading = None, ()
        if proven:
            progress("running both", 3)
            written = loaded
            if dtype != "float32":
                original = loaded.original or loaded
                written = Loaded(arch, weights, loaded.report, original=original)
            reading = prove_reading(written.original) if written.original else ()
            proof = prove(written, target, temporary, dialect, dtype)
        if not target.suffix:
            text = card(loaded, target, proof, dtype, rounding)
            with writing(path):
                (temporary / "README.md").write_text(text, encoding="utf-8")
    return Converted(loaded, path, target.name, dialect.name, proof, rounding, reading=reading)


def _exported(
    path: Path, target: Target, export: Export, loaded: Loaded, progress: Progress
) -> Converted:
    """Write a file that has checks of its own, after a proof of what was read."""
    reading = prove_reading(loaded.original or loaded)
    content, checks = export(loaded.architecture, loaded.weights, progress)
    write_atomically(path, content)
    return Converted(loaded, path, target.name, target.name, None, checks=checks, reading=reading)


def _in_memory(source: Any, architecture: str | Architecture | None) -> Loaded:
    """The weights of a model, or of a mapping."""
    model = None
    if isinstance(source, Mapping):
        if architecture is None:
            raise ParityError("weights do not say which architecture they are; pass architecture=")
        check_arrays(source)
        arch, weights = get_architecture(architecture), dict(source)
        if isinstance(architecture, str):
            arch = with_sizes_of(arch, {name: array.shape for name, array in weights.items()})
    elif not (hasattr(source, "named_parameters") or hasattr(source, "get_layer")):
        raise ParityError(
            "save_weights takes what load_weights(path) returns, a model of PyTorch or Keras, or a "
            f"mapping of arrays, not a {type(source).__name__}"
        )
    else:
        arch, weights = weights_of(source, architecture)
        model = source
    check_weights(arch, weights, dict.fromkeys(weights, "float32"))
    report = Report(
        "",
        "in memory",
        "torchvision",
        arch.name,
        arch.num_classes,
        arch.in_channels,
        "float32",
        len(weights),
    )
    return Loaded(arch, weights, report, model=model)


def target_of(to: str) -> Target:
    """The format of that name. Raises `ParityError`."""
    if to not in TARGETS:
        raise ParityError(f"unknown format {to!r}; it is one of: {', '.join(TARGETS)}")
    return TARGETS[to]


def check_place(path: Path, target: Target, names: str | None, dtype: str, *, proven: bool) -> None:
    """Raise `ParityError` for what cannot be written, before anything is read."""
    if dtype not in DTYPES:
        raise ParityError(f"{dtype!r} is not written; choose one of: {', '.join(DTYPES)}")
    if not proven and "prove" not in target.takes:
        raise ParityError(f"{target.name} is always proven; leave --no-prove out")
    if dtype != "float32" and "dtype" not in target.takes:
        raise ParityError(f"{target.name} is written in float32 alone, not in {dtype}")
    target.library_named(names)
    if target.suffix and not path.name.endswith(target.suffix):
        raise ParityError(f"{path} must end in {target.suffix}, for {target.text}")
    check_writable(path) if target.suffix else check_new_folder(path)


def check_target(path: Path, target: Target, loaded: Loaded) -> None:
    """Raise `ParityError` where the format cannot hold the network, or the path is what was read.

    No library is imported for a network that it does not have.
    """
    if target.suffix:
        check_not_source(path, loaded.report.file)
    if target.library is not None:
        if reason := target.library.missing_reason(loaded.architecture):
            raise ParityError(f"{reason}; choose another format with --to")
        target.library.load()


def in_dtype(weights: dict[str, np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """The weights rounded to a dtype, as float32 arrays. Raises `ParityError` on overflow."""
    if dtype == "float32":
        return weights
    return {
        name: as_stored(name, array, dtype).astype("float32") for name, array in weights.items()
    }


def _rounding(exact: dict[str, np.ndarray], rounded: dict[str, np.ndarray]) -> float:
    """The L2 norm of the rounding errors of all kernels, of dense layers too, over their own norm.

    Running variances, which may be far larger than all weights, would hide these errors.
    """
    norms = [
        (float(np.linalg.norm(rounded[name] - array)), float(np.linalg.norm(array)))
        for name, array in exact.items()
        if array.ndim > 1
    ]
    error, norm = np.linalg.norm(np.array(norms), axis=0)
    return float(error / norm) if norm else 0.0


def _check_read_back(
    path: Path, temporary: Path, loaded: Loaded, weights: dict[str, np.ndarray]
) -> None:
    """Raise `ProofError` unless our own reader finds the architecture and the tensors, bitwise."""
    choice = choose(open_checkpoint(temporary))
    found = choice.reading.architecture
    if make_graph(found) != make_graph(loaded.architecture):
        raise ProofError(
            f"{path} was not written: read back, it is a {found.name!r} of another function than "
            f"{loaded.architecture.name!r}"
        )
    left = {*weights}
    for name, array in Source(choice).unchanged():
        if name in left and _same_bits(array, weights[name]):
            left.remove(name)
    if left:
        raise ProofError(f"{path} was not written: read back, {min(left)} has other bits")


def _same_bits(array: np.ndarray, other: np.ndarray) -> bool:
    """Whether two float32 arrays have the same shape and bits."""
    return np.array_equal(array.view("uint32"), np.ascontiguousarray(other).view("uint32"))
