"""Diagnose two models: find what differs between them, and why. Prints nothing."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from resnet_parity.diagnose.align import StepPairs, align
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.finding import SIZES, Finding, Size, grouped, merged
from resnet_parity.diagnose.initial_weights import merge_unrelated, prepare_weights
from resnet_parity.diagnose.layers import (
    are_equal,
    error_between,
    is_float32_only,
    layer_findings,
    run_record,
)
from resnet_parity.diagnose.loading import LoadedModel
from resnet_parity.diagnose.nonfinite import nonfinite_finding
from resnet_parity.diagnose.record import Array, Kind, Record
from resnet_parity.diagnose.recorder import SIZE_FREE, Trusted
from resnet_parity.diagnose.simplify import fold, simplify
from resnet_parity.diagnose.structure import structure_findings
from resnet_parity.diagnose.user_code import contained
from resnet_parity.errors import ParityError
from resnet_parity.probes.splitmix import Stream
from resnet_parity.progress import Progress
from resnet_parity.tolerances import limit

BATCH = 2

STEPS = 9
"""The most steps of which `progress` hears, with the two of loading the models."""

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
class Probe:
    """The result for images of one size.

    `error` is the relative difference of the models' own outputs (usually float32),
    `error_float64` that of their records in float64. Both are infinite if the shapes differ or a
    model does not run, and NaN if an output holds NaN or infinity.
    """

    size: Size
    findings: tuple[Finding, ...]
    absent: tuple[str, ...]
    """Which of "A" and "B" does not run at this size; then only single layers are compared."""
    divergence: Divergence | None
    error: float
    error_float64: float
    limit_float64: float

    @property
    def diverges(self) -> bool:
        """Whether the outputs differ by more than rounding."""
        is_near = self.error <= limit("diagnose", "outputs")
        return not (is_near and self.error_float64 <= self.limit_float64)

    @property
    def is_float32_only(self) -> bool:
        """Whether a part of either model is known in float32 only, and so is the verdict."""
        return self.limit_float64 > limit("float64", "taps")


@dataclass(frozen=True)
class Diagnosis:
    """The result of a diagnosis.

    `remarks` are known differences of the frameworks that do not count as faults.
    """

    names: tuple[str, str]
    frameworks: tuple[str, str]
    seed: int
    layers: tuple[int, int]
    aligned: int
    notes: tuple[str, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...]
    probes: tuple[Probe, ...]

    @property
    def same(self) -> bool:
        """Whether there is no fault and the outputs agree."""
        return not self.findings and not self.diverges

    @property
    def diverges(self) -> bool:
        """Whether the outputs differ by more than rounding at any size."""
        return self.worst.diverges

    @property
    def worst(self) -> Probe:
        """The first probe whose outputs differ, else the first."""
        return next((each for each in self.probes if each.diverges), self.probes[0])

    @property
    def training_only(self) -> bool:
        """Whether every fault acts in training only."""
        return all(FAULTS[each.fault].training_only for each in self.findings)


def diagnose(
    a: LoadedModel,
    b: LoadedModel,
    *,
    seed: int = 0,
    sizes: Sequence[Size] = (),
    training: bool = False,
    copy_weights: bool = False,
    progress: Progress = lambda step, total: None,
) -> Diagnosis:
    """Find every difference between two models that should be the same function.

    They are compared at each of the sizes; by default at those of `SIZES` that both take. With
    `training`, it is a fault that PyTorch tracks the unbiased variance of a batch and Keras the
    biased one. With `copy_weights`, B takes A's weights. May change the models' weights, see
    `prepare_weights`.

    Raises `ParityError` when a model cannot be run, or the models take different images.
    """
    channels, (size, *others), notes = _image_sizes(a, b, tuple(sizes))
    images = _images(seed, channels, size)
    is_given = a.from_registry, b.from_registry
    one, other = (
        _trace(each, images, progress, trusted=frozenset(Kind) if is_new else frozenset())
        for each, is_new in zip((a, b), is_given, strict=True)
    )
    made, changed = prepare_weights(one, other, align(one, other), is_given, seed, copy_weights)
    one = _trace(a, images, progress) if is_given[0] or changed[0] else one
    other = _trace(b, images, progress) if is_given[1] or changed[1] else other
    if all(is_given) and a.architecture != b.architecture:
        command = f"`resnet-parity compare {a.architecture} {b.architecture}`"
        made = (f"these are two architectures; {command} shows how they differ", *made)
    one, other, pairs = _aligned(one, other)
    progress("comparing the layers", STEPS)
    probes = [_probe(one, other, pairs, images)]
    for size in others:
        images = _images(seed, channels, size)
        traced, reasons = _traces_again((a, b), images, progress)
        notes += reasons
        if any(traced):
            kept = (replace(record, outputs={}) for record in (one, other))
            records = [new or old for new, old in zip(traced, kept, strict=True)]
            probe = _probe(*_aligned(*records), images)
            probes += [probe] if all(traced) or probe.findings else []
    found = {probe.size: probe.findings for probe in probes}
    partial = {probe.size for probe in probes if "A" in probe.absent}
    counted, remarks = _known_differences(merged(found, partial), (one, other), training)
    return Diagnosis(
        names=(a.name, b.name),
        frameworks=(one.framework, other.framework),
        seed=seed,
        layers=(len(one.steps) - 2, len(other.steps) - 2),
        aligned=len(pairs) - 2,
        notes=(*made, *notes),
        findings=grouped(counted),
        remarks=(*remarks, *_remarks_on_shape(one, other)),
        probes=tuple(probes),
    )


def _images(seed: int, channels: int, size: Size) -> Array:
    shape = (BATCH, channels, *size)
    drawn = Stream(f"diagnose/{seed}/image").uniform(int(np.prod(shape)))
    return (IMAGE_RANGE * (2 * drawn - 1)).reshape(shape)


def _probe(one: Record, other: Record, pairs: StepPairs, images: Array) -> Probe:
    """Compare two records on those images."""
    values = run_record(one, images)
    found = layer_findings(one, other, pairs, values)
    found += structure_findings(one, other, pairs, values)
    found = merge_unrelated(found, one, other, pairs)
    not_finite = nonfinite_finding(one, other, pairs)
    if not_finite:
        finding, end = not_finite
        found = [*(each for each in found if each.index < end), finding]
    last, other_last = len(one.steps) - 1, len(other.steps) - 1
    is_float32 = any(map(is_float32_only, (*one.steps, *other.steps)))
    error, error_float64 = float("nan"), float("nan")
    if not not_finite:
        error = error_between(one.outputs.get(last), other.outputs.get(other_last))
        theirs = values if are_equal(one, other, pairs) else run_record(other, images)
        error_float64 = error_between(values.get(last), theirs.get(other_last))
    return Probe(
        size=images.shape[2:],
        findings=tuple(found),
        absent=tuple(
            letter
            for letter, record in (("A", one), ("B", other))
            if len(record.steps) - 1 not in record.outputs
        ),
        divergence=_first_divergence(one, other, pairs),
        error=error,
        error_float64=error_float64,
        limit_float64=limit("diagnose", "outputs") if is_float32 else limit("float64", "taps"),
    )


def _trace(
    loaded: LoadedModel, images: Array, progress: Progress, trusted: Trusted = frozenset()
) -> Record:
    """Return the simplified record of a model; an exception of its code becomes a `ParityError`."""
    height, width = images.shape[2:]
    progress(f"tracing {loaded.name} on {height}x{width} images", STEPS)
    module = importlib.import_module(f"resnet_parity.diagnose.{loaded.framework}_trace")
    failure = f"cannot be run on images of {height}x{width} with {images.shape[1]} channels"
    with contained(loaded.name, failure):
        return simplify(module.trace(loaded.model, images, trusted=trusted))


def _traces_again(
    models: tuple[LoadedModel, LoadedModel], images: Array, progress: Progress
) -> tuple[list[Record | None], tuple[str, ...]]:
    """Trace both on images of another size; None, and a note, for one that does not take them."""
    records: list[Record | None] = []
    reasons = []
    for each in models:
        try:
            records.append(_trace(each, images, progress, trusted=SIZE_FREE))
        except ParityError as error:
            records.append(None)
            reasons.append(f"{error}; at this size, only single layers are compared")
    if not any(records):
        height, width = images.shape[2:]
        first = reasons[0].partition("; at this size")[0]
        reasons = [f"neither model runs on {height}x{width}, so no other size is compared: {first}"]
    return records, tuple(reasons)


def _image_sizes(
    a: LoadedModel, b: LoadedModel, sizes: tuple[Size, ...]
) -> tuple[int, tuple[Size, ...], tuple[str, ...]]:
    """The channels and the sizes that both models take, and notes on them."""
    channels = a.channels or b.channels or 3
    if any(each.channels not in (None, channels) for each in (a, b)):
        raise ParityError(
            f"{a.name} takes images of {a.channels} channels, {b.name} of {b.channels}"
        )
    notes = []
    fixed = next((each for each in (a, b) if each.size), None)
    if not sizes and fixed and fixed.size:
        sizes = (fixed.size,)
        height, width = fixed.size
        notes.append(f"{fixed.name} takes only {height}x{width} images: no other size is compared")
    sizes = sizes or SIZES
    for height, width in sizes:
        for each in (a, b):
            if each.size not in (None, (height, width)):
                only = f"{each.size[0]}x{each.size[1]}"
                raise ParityError(f"{each.name} takes only images of {only}, not {height}x{width}")
    if all(height == width for height, width in sizes):
        notes.append("the images are square, so swapped height and width may not be found")
    return channels, sizes, tuple(notes)


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


def _remarks_on_shape(a: Record, b: Record) -> tuple[str, ...]:
    """A remark on outputs that differ in axes of length one only."""
    is_vector = [len(record.output_shape) == 2 for record in (a, b)]
    values = [record.outputs[len(record.steps) - 1] for record in (a, b)]
    if is_vector[0] == is_vector[1] or values[0].shape != values[1].shape:
        return ()
    shapes = (f"(N, {', '.join(map(str, r.output_shape[1:]))})" for r in (a, b))
    return ("A returns {}, B returns {}: the same numbers in another shape".format(*shapes),)


def _first_divergence(a: Record, b: Record, pairs: StepPairs) -> Divergence | None:
    for index_b, index_a in sorted(pairs.items(), key=lambda pair: pair[1]):
        if index_a in a.outputs and index_b in b.outputs:
            error = error_between(a.outputs[index_a], b.outputs[index_b])
            if error > limit("diagnose", "outputs"):
                return Divergence(a.steps[index_a].place, b.steps[index_b].place, error)
    return None
