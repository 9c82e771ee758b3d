"""Diagnose two models: find what differs between them, and why. Prints nothing."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np

from resnet_parity.diagnose.align import StepPairs, align
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.finding import Finding, grouped
from resnet_parity.diagnose.initial_weights import prepare_weights
from resnet_parity.diagnose.layers import (
    error_between,
    is_float32_only,
    layer_findings,
    run_record,
)
from resnet_parity.diagnose.loading import LoadedModel
from resnet_parity.diagnose.record import Array, Record
from resnet_parity.diagnose.simplify import fold, simplify
from resnet_parity.diagnose.structure import structure_findings
from resnet_parity.errors import ParityError
from resnet_parity.probes.splitmix import Stream
from resnet_parity.progress import Progress
from resnet_parity.tolerances import limit

BATCH = 2
SIZE = (64, 96)
"""Height and width differ, and both stay even at every stride: odd sizes hide wrong padding."""

IMAGE_RANGE = 3
"""Images are uniform in -3 ... 3, the range of normalised photographs. A fault that acts only
outside it, such as an upper limit, is not found."""


@dataclass(frozen=True)
class Divergence:
    """The first pair of layers whose outputs differ when both models run unchanged."""

    place_a: str
    place_b: str
    error: float


@dataclass(frozen=True)
class Diagnosis:
    """The result of a diagnosis.

    `error` is the relative difference of the models' own outputs (usually float32),
    `error_float64` that of their records in float64, which may be at most `limit_float64`.
    `remarks` are known differences of the frameworks that do not count as faults.
    """

    names: tuple[str, str]
    frameworks: tuple[str, str]
    size: tuple[int, int]
    seed: int
    layers: tuple[int, int]
    aligned: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    divergence: Divergence | None
    error: float
    error_float64: float
    limit_float64: float

    @property
    def same(self) -> bool:
        """Whether there is no fault and the outputs agree."""
        return not self.findings and not self.diverges

    @property
    def diverges(self) -> bool:
        """Whether the outputs differ by more than rounding."""
        return self.error_float64 > self.limit_float64 or self.error > limit("diagnose", "outputs")

    @property
    def is_float32_only(self) -> bool:
        """Whether a part of either model is known in float32 only, and so is the verdict."""
        return self.limit_float64 > limit("float64", "taps")

    @property
    def training_only(self) -> bool:
        """Whether every fault acts in training only."""
        return all(FAULTS[each.fault].training_only for each in self.findings)


def diagnose(
    a: LoadedModel,
    b: LoadedModel,
    *,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    training: bool = False,
    progress: Progress = lambda step, total: None,
) -> Diagnosis:
    """Find every difference between two models that should be the same function.

    With `training`, it is a fault that PyTorch tracks the unbiased variance of a batch and Keras
    the biased one. May change the models' weights, see `prepare_weights`.

    Raises `ParityError` when a model cannot be run, or the models take different images.
    """
    shape = _image_shape(a, b, size)
    drawn = Stream(f"diagnose/{seed}/image").uniform(BATCH * int(np.prod(shape)))
    images = (IMAGE_RANGE * (2 * drawn - 1)).reshape(BATCH, *shape)
    progress("tracing both models", 3)
    one, other = (_trace(each, images, prove=not each.from_registry) for each in (a, b))
    from_registry = a.from_registry, b.from_registry
    notes, changed = prepare_weights(one, other, align(one, other), from_registry, seed)
    progress("tracing both with the final weights", 3)
    one = _trace(a, images) if a.from_registry or changed[0] else one
    other = _trace(b, images) if b.from_registry or changed[1] else other
    one, other, pairs = _aligned(one, other)
    if all(from_registry) and a.architecture != b.architecture:
        command = f"`resnet-parity compare {a.architecture} {b.architecture}`"
        notes = (f"these are two architectures; {command} shows how they differ", *notes)
    if shape[1] == shape[2]:
        notes = (*notes, "the images are square, so swapped height and width may not be found")
    progress("comparing the layers", 3)
    values = run_record(one, images)
    found = layer_findings(one, other, pairs, values)
    found += structure_findings(one, other, pairs, values)
    counted, remarks = _known_differences(found, (one, other), training)
    last, other_last = len(one.steps) - 1, len(other.steps) - 1
    is_float32 = any(map(is_float32_only, (*one.steps, *other.steps)))
    return Diagnosis(
        names=(a.name, b.name),
        frameworks=(one.framework, other.framework),
        size=shape[1:],
        seed=seed,
        layers=(last - 1, other_last - 1),
        aligned=len(pairs) - 2,
        notes=notes,
        findings=grouped(counted),
        remarks=remarks,
        divergence=_first_divergence(one, other, pairs),
        error=error_between(one.outputs[last], other.outputs[other_last]),
        error_float64=error_between(values[last], run_record(other, images)[other_last]),
        limit_float64=limit("diagnose", "outputs") if is_float32 else limit("float64", "taps"),
    )


def _trace(loaded: LoadedModel, images: Array, *, prove: bool = True) -> Record:
    """Return the simplified record of a model; an exception of its code becomes a `ParityError`."""
    module = importlib.import_module(f"resnet_parity.diagnose.{loaded.framework}_trace")
    try:
        return simplify(module.trace(loaded.model, images, prove=prove))
    except ParityError:
        raise
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ParityError(
            f"{loaded.name} cannot be run on images of {images.shape[2]}x{images.shape[3]} with "
            f"{images.shape[1]} channels: {reason}"
        ) from error


def _image_shape(
    a: LoadedModel, b: LoadedModel, size: tuple[int, int] | None
) -> tuple[int, int, int]:
    """The channels, height and width that both models take."""
    if a.channels != b.channels:
        raise ParityError(
            f"{a.name} takes images of {a.channels} channels, {b.name} of {b.channels}"
        )
    height, width = size or a.size or b.size or SIZE
    for each in (a, b):
        if each.size not in (None, (height, width)):
            only = f"{each.size[0]}x{each.size[1]}"
            raise ParityError(f"{each.name} takes only images of {only}, not {height}x{width}")
    return a.channels, height, width


def _aligned(a: Record, b: Record) -> tuple[Record, Record, StepPairs]:
    """Fold the norms that the other model has folded; return both records and their pairs."""
    pairs = align(a, b)
    a_folded = fold(a, b, {index_a: index_b for index_b, index_a in pairs.items()})
    b_folded = fold(b, a, pairs)
    return a_folded, b_folded, align(a_folded, b_folded)


def _known_differences(
    found: list[Finding], records: tuple[Record, Record], training: bool
) -> tuple[list[Finding], tuple[str, ...]]:
    """Turn known differences of the frameworks into remarks, unless `training` counts them."""
    both = {record.framework for record in records}
    if training or len(both) == 1:
        return found, ()
    counted = [each for each in found if each.fault != "biased-variance"]
    known = [each for each in found if each.fault == "biased-variance"]
    remarks = tuple(
        f"not counted as a fault without --training: {each.what}" for each in grouped(known)
    )
    return counted, remarks


def _first_divergence(a: Record, b: Record, pairs: StepPairs) -> Divergence | None:
    for index_b, index_a in sorted(pairs.items(), key=lambda pair: pair[1]):
        if index_a in a.outputs and index_b in b.outputs:
            error = error_between(a.outputs[index_a], b.outputs[index_b])
            if error > limit("diagnose", "outputs"):
                return Divergence(a.steps[index_a].place, b.steps[index_b].place, error)
    return None
