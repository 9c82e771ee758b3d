"""Prove that a written file computes what the file that was read computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_spec import Architecture

from resnet_parity.adapters.libraries import LIBRARIES
from resnet_parity.adapters.libraries.base import Library
from resnet_parity.adapters.libraries.live import runner
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.adapters.protocol import NOISE_FLOOR_MODES
from resnet_parity.compare import relative_error
from resnet_parity.errors import MissingFrameworkError, ParityError
from resnet_parity.files import brief
from resnet_parity.probes.splitmix import Stream
from resnet_parity.reference.oracle import forward
from resnet_parity.tolerances import least_noise_floor, limit
from resnet_parity.weights.loading import Loaded, Source, load_weights
from resnet_parity.weights.naming import Dialect
from resnet_parity.weights.targets import Target

Run = Callable[[np.ndarray, str], np.ndarray]
"""Runs images (N, C, H, W) in a dtype and returns (N, numbers)."""


REFERENCE = "the NumPy reference"
"""Runs a network whose names no installed library has."""


class ProofError(ParityError):
    """The written file does not compute what was read; nothing is written."""

    exit_code = 1


@dataclass(frozen=True)
class Comparison:
    """The error of the outputs at one size in one dtype, and the limit that it kept."""

    size: tuple[int, int]
    dtype: str
    error: float
    limit: float

    @property
    def text(self) -> str:
        """The comparison in words."""
        height, width = self.size
        return (
            f"proven at {height}x{width} in {self.dtype}: error {self.error:.1e} "
            f"(<= {self.limit:.1e})"
        )


@dataclass(frozen=True)
class Proof:
    """`source` and `target` name the library that ran each file, or the reference.

    There are no comparisons where the reference would run the same weights twice. `folding` are
    those of the file with the weights into which biases or an epsilon were folded.
    """

    source: str
    target: str
    comparisons: tuple[Comparison, ...]
    folding: tuple[Comparison, ...] = ()

    @property
    def text(self) -> str:
        """The libraries that ran the files, in words."""
        if not self.comparisons:
            return "read back bitwise; no installed library opens this format with these names"
        return f"source run by {self.source}, target by {self.target}"


def sizes_of(arch: Architecture) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two sizes of images, (height, width), one even and one odd."""
    return ((64, 96), (97, 65)) if arch.reduction > 8 else ((32, 24), (25, 33))


def images_of(arch: Architecture, size: tuple[int, int]) -> np.ndarray:
    """Two images of about normally distributed numbers, (2, C, H, W), that float32 holds."""
    shape = (2, arch.in_channels, *size)
    uniform = Stream(f"proof/{arch.name}/{size}").uniform(int(np.prod(shape)) * 4)
    images = (uniform.reshape(-1, 4).sum(axis=1) - 2).reshape(shape) * np.sqrt(3.0)
    return images.astype("float32").astype("float64")


def prove(loaded: Loaded, target: Target, path: Path, names: Dialect, dtype: str) -> Proof:
    """Run the file that was read and the file that was written, at two sizes, in two dtypes.

    In float64 both must agree within the tolerance of the float64 check; in float32 the written
    file may be off by twice the noise floor, which is PyTorch's own float32 error. Where no library
    opens either file, that the tensors are bitwise equal is the proof. Keras on jax or PyTorch runs
    in float32 alone, because parts of its float64 models compute in float32.

    Raises `ProofError` where they do not agree.
    """
    arch = loaded.architecture
    source_name, source = _source(loaded)
    folding = _prove_folding(loaded, source)
    if loaded.source is not None and not loaded.source.is_whole:
        source = _reference(arch, lambda: loaded.weights)
    target_name, written, has_float64 = _target(loaded, target, path, names)
    if source_name == target_name == REFERENCE:
        return Proof(source_name, target_name, (), folding)
    comparisons = []
    for size in sizes_of(arch):
        images = images_of(arch, size)
        expected = source(images, "float64")
        if has_float64:
            error = relative_error(expected, written(images, "float64"))
            comparisons.append(Comparison(size, "float64", error, limit("float64", "taps")))
        is_run = target_name != REFERENCE and dtype == "float32"
        noise_floor = _noise_floor(loaded, images) if is_run else None
        if noise_floor is not None or not has_float64:
            error = relative_error(expected, written(images.astype("float32"), "float32"))
            most = limit("float32", "noise floor of taps")
            if noise_floor is not None:
                most = limit("float32", "taps") * noise_floor
            comparisons.append(Comparison(size, "float32", error, most))
    for each in comparisons:
        if not each.error <= each.limit:
            raise ProofError(
                f"{path.name} does not compute what {loaded.report.file} computes: at "
                f"{each.size[0]}x{each.size[1]} in {each.dtype} the error is {each.error:.1e}, the "
                f"limit {each.limit:.1e} ({target_name} against {source_name})"
            )
    return Proof(source_name, target_name, tuple(comparisons), folding)


def prove_reading(loaded: Loaded) -> tuple[Comparison, ...]:
    """Run the file that was read beside the reference with the weights that were read from it.

    Empty where no library runs the file and nothing was folded: both would be the reference.
    Raises `ProofError`.
    """
    arch, comparisons = loaded.architecture, []
    name, source = _source(loaded)
    folding = _prove_folding(loaded, source)
    if name == REFERENCE:
        return folding
    reference = _reference(arch, lambda: loaded.weights)
    for size in sizes_of(arch):
        images = images_of(arch, size)
        error = relative_error(source(images, "float64"), reference(images, "float64"))
        comparisons.append(Comparison(size, "float64", error, limit("float64", "taps")))
        if not error <= comparisons[-1].limit:
            raise ProofError(
                f"{loaded.report.file} was not read right: {name} and the reference differ at "
                f"{size[0]}x{size[1]} by {error:.1e}"
            )
    return tuple(comparisons)


def _source(loaded: Loaded) -> tuple[str, Run]:
    """The network that was read, run by its own library; by the reference where none builds it."""
    source = loaded.source
    run = None if loaded.model is None else runner(loaded.model)
    if run is not None:
        return "the model in memory", run
    if source is not None and source.is_whole and source.is_named:
        for library in LIBRARIES.get(source.dialect, ()):
            if library.usable(source.architecture, source.dialect) and library.has_float64():
                return library.version, _library_run(library, source)
    if source is not None:
        return REFERENCE, _reference(source.architecture, source.canonical)
    return REFERENCE, _reference(loaded.architecture, lambda: loaded.weights)


def _prove_folding(loaded: Loaded, source: Run) -> tuple[Comparison, ...]:
    """Prove that folding alone, before rounding, changed nothing. Raises `ProofError`."""
    if loaded.source is None or loaded.source.is_whole:
        return ()
    arch, exact = loaded.architecture, loaded.source.folded()
    for name, array in exact.items():
        if array.astype("float32").tobytes() != loaded.weights[name].tobytes():
            raise ProofError(f"{name} is not what was read from {loaded.report.file}")
    if not loaded.source.is_folded:
        return ()
    folded = _reference(arch, lambda: exact)
    comparisons: list[Comparison] = []
    for size in sizes_of(arch):
        images = images_of(arch, size)
        error = relative_error(source(images, "float64"), folded(images, "float64"))
        comparisons.append(Comparison(size, "float64", error, limit("float64", "taps")))
        if not error <= comparisons[-1].limit:
            raise ProofError(
                f"folding changed the function of {loaded.report.file}: at {size[0]}x{size[1]} the "
                f"error is {error:.1e}, the limit {comparisons[-1].limit:.1e}"
            )
    return tuple(comparisons)


def _library_run(library: Library, source: Source) -> Run:
    """Runs the tensors of the file, by their names in the file."""
    models: dict[str, object] = {}

    def run(images: np.ndarray, dtype: str) -> np.ndarray:
        if dtype not in models:
            models[dtype] = library.build(source.architecture, dtype)
            try:
                library.set_weights(models[dtype], source.tensors())
            except ValueError as error:
                raise ProofError(f"{library.version} does not take the tensors: {error}") from error
        return library.run(models[dtype], images)

    return run


def _reference(arch: Architecture, weights: Callable[[], dict[str, np.ndarray]]) -> Run:
    """Runs the NumPy reference, in float64 whatever the dtype."""
    found: dict[str, np.ndarray] = {}

    def run(images: np.ndarray, dtype: str) -> np.ndarray:
        if not found:
            found.update({name: array.astype("float64") for name, array in weights().items()})
        *_, last = forward(arch, found, images.astype("float64")).values()
        return last.array.reshape(len(images), -1)

    return run


def _target(loaded: Loaded, target: Target, path: Path, names: Dialect) -> tuple[str, Run, bool]:
    """The written file, opened and run by the library that it is for; whether it has float64."""
    arch = loaded.architecture
    library = target.opened_by(names, arch)
    if library is None:
        read = _reference(arch, lambda: load_weights(path, architecture=arch).weights)
        return REFERENCE, read, True
    models: dict[str, object] = {}

    def run(images: np.ndarray, dtype: str) -> np.ndarray:
        if dtype not in models:
            try:
                models[dtype] = library.open(path, arch, dtype)
            except (OSError, ValueError) as error:
                message = f"{library.version} does not open {path.name}: {brief(error)}"
                raise ProofError(message) from error
        return library.run(models[dtype], images)

    library.load()
    return library.version, run, library.has_float64()


def _noise_floor(loaded: Loaded, images: np.ndarray) -> float | None:
    """PyTorch's largest float32 error over all taps, in either memory layout.

    None where PyTorch is not installed, and where float32 cannot hold the activations.
    """
    try:
        adapter = torch_adapter()
    except MissingFrameworkError:
        return None
    arch = loaded.architecture
    weights = {name: array.astype("float64") for name, array in loaded.weights.items()}
    expected = forward(arch, weights, images.astype("float64"))
    if max(abs(each.array).max() for each in expected.values()) > np.finfo("float32").max:
        return None
    model = adapter.build(arch, loaded.weights, "float32")
    errors = [
        relative_error(expected[name].array, tap)
        for mode in NOISE_FLOOR_MODES
        for name, tap in adapter.run(model, images.astype("float32"), mode).items()
    ]
    return min(limit("float32", "noise floor of taps"), max(least_noise_floor(), *errors))
