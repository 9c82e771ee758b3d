"""The examination: two models in, what is different and why out. It prints nothing."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import numpy as np

from resnet_parity.compare import relative_error
from resnet_parity.diagnose.align import Pairs, align
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.finding import Finding, grouped
from resnet_parity.diagnose.fold import fold
from resnet_parity.diagnose.initial_weights import prepare
from resnet_parity.diagnose.layers import Values, is_rounded, layer_findings, run
from resnet_parity.diagnose.loading import LoadedModel
from resnet_parity.diagnose.record import Array, Record
from resnet_parity.diagnose.simplify import simplify
from resnet_parity.diagnose.structure import structure_findings
from resnet_parity.errors import ParityError
from resnet_parity.probes.splitmix import Stream
from resnet_parity.progress import Progress
from resnet_parity.tolerances import limit

BATCH = 2
SIZE = (64, 96)
"""Unequal, and even before every stride of a ResNet: an odd map hides wrong padding."""

REACH = 3
"""Images are uniform in -3 ... 3, as far as normalised photographs go: what acts further out alone,
a limit say, goes unseen."""


@dataclass(frozen=True)
class Divergence:
    """The first layer at which the two models, run as they are, give something else."""

    here: str
    there: str
    error: float


@dataclass(frozen=True)
class Diagnosis:
    """Everything that the diagnosis found, as data.

    `error` is the relative difference of what the models themselves return (float32, as a rule),
    `exact` that of their records in float64. `remarks` are differences that are known and no fault.
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
    exact: float
    limit: float

    @property
    def same(self) -> bool:
        """No fault, and the same numbers at the end."""
        return not self.findings and not self.diverges

    @property
    def diverges(self) -> bool:
        """Whether the outputs differ by more than rounding."""
        return self.exact > self.limit or self.error > limit("diagnose", "outputs")

    @property
    def rounded(self) -> bool:
        """Whether a part of either model is known in float32 alone, and so is the verdict."""
        return self.limit > limit("float64", "taps")

    @property
    def trains_alone(self) -> bool:
        """Whether every fault is one of training."""
        return all(FAULTS[each.fault].trains for each in self.findings)


def diagnose(
    a: LoadedModel,
    b: LoadedModel,
    *,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    training: bool = False,
    progress: Progress = lambda step, total: None,
) -> Diagnosis:
    """Find what is different between two models that should be the same function.

    `training` counts it as a fault, too, that PyTorch tracks the unbiased variance of a batch and
    Keras the biased one. The models' weights are changed, see `weights.prepare`.

    Raises `ParityError` when a model cannot be run or takes other images than the other.
    """
    shape = _image_shape(a, b, size)
    drawn = Stream(f"diagnose/{seed}/image").uniform(BATCH * int(np.prod(shape)))
    images = (REACH * (2 * drawn - 1)).reshape(BATCH, *shape)
    progress("tracing both models", 3)
    one, other = (_trace(each, images, prove=not each.ours) for each in (a, b))
    notes, changed = prepare(one, other, align(one, other), (a.ours, b.ours), seed)
    progress("tracing them with their weights", 3)
    one = _trace(a, images) if a.ours or changed[0] else one
    other = _trace(b, images) if b.ours or changed[1] else other
    one, other, pairs = _aligned(one, other)
    if a.ours and b.ours and a.row != b.row:
        told = (
            f"two rows of the table: `resnet-parity compare {a.row} {b.row}` says how they differ"
        )
        notes = (told, *notes)
    if shape[1] == shape[2]:
        notes = (*notes, "the images are square, so that height and width swapped may go unseen")
    progress("feeding the layers of both", 3)
    values = run(one, images)
    found = layer_findings(one, other, pairs, values)
    found += structure_findings(one, other, pairs, values)
    counted, remarks = _known_differences(found, (one, other), training)
    error, exact = _end_to_end(one, other, values, images)
    return Diagnosis(
        names=(a.name, b.name),
        frameworks=(one.framework, other.framework),
        size=shape[1:],
        seed=seed,
        layers=(len(one.steps) - 2, len(other.steps) - 2),
        aligned=len(pairs) - 2,
        notes=notes,
        findings=grouped(counted),
        remarks=remarks,
        divergence=_first_divergence(one, other, pairs),
        error=error,
        exact=exact,
        limit=_limit(one, other),
    )


def _trace(loaded: LoadedModel, images: Array, *, prove: bool = True) -> Record:
    """The simplified record of a model; what its code raises becomes one message."""
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
    """Channels, height and width that both models take."""
    if a.channels != b.channels:
        raise ParityError(
            f"{a.name} takes images of {a.channels} channels, {b.name} of {b.channels}"
        )
    fixed = {loaded.size for loaded in (a, b) if loaded.size is not None}
    if len(fixed) > 1:
        raise ParityError(f"{a.name} takes images of {a.size}, {b.name} of {b.size}")
    height, width = size or next(iter(fixed), SIZE)
    if fixed and (height, width) not in fixed:
        raise ParityError(f"one model takes only {next(iter(fixed))}, not {height}x{width}")
    return a.channels, height, width


def _aligned(a: Record, b: Record) -> tuple[Record, Record, Pairs]:
    """Both records, with the norms folded that the other has folded, and which steps pair."""
    pairs = align(a, b)
    a_folded = fold(a, b, {here: there for there, here in pairs.items()})
    b_folded = fold(b, a, pairs)
    return a_folded, b_folded, align(a_folded, b_folded)


def _known_differences(
    found: list[Finding], records: tuple[Record, Record], training: bool
) -> tuple[list[Finding], tuple[str, ...]]:
    """Take out what the frameworks themselves do otherwise, unless training is asked for."""
    both = {record.framework for record in records}
    if training or len(both) == 1:
        return found, ()
    counted = [each for each in found if each.fault != "biased-variance"]
    known = [each for each in found if each.fault == "biased-variance"]
    remarks = tuple(
        f"no fault of the models, but {each.what}; --training counts it" for each in grouped(known)
    )
    return counted, remarks


def _end_to_end(a: Record, b: Record, values: Values, images: Array) -> tuple[float, float]:
    """How far what the models return is apart, as they are and in float64."""
    last = [record.outputs[len(record.steps) - 1] for record in (a, b)]
    exact = list(run(b, images).values())[-1]
    return _apart(*last), _apart(values[len(a.steps) - 1], exact)


def _apart(expected: Array, actual: Array) -> float:
    return relative_error(expected, actual) if expected.shape == actual.shape else float("inf")


def _limit(a: Record, b: Record) -> float:
    """Of the outputs in float64; through many layers that are known in float32 alone they part."""
    is_float32 = any(map(is_rounded, (*a.steps, *b.steps)))
    return limit("diagnose", "outputs") if is_float32 else limit("float64", "taps")


def _first_divergence(a: Record, b: Record, pairs: Pairs) -> Divergence | None:
    for there, here in sorted(pairs.items(), key=lambda pair: pair[1]):
        if here in a.outputs and there in b.outputs:
            error = _apart(a.outputs[here], b.outputs[there])
            if error > limit("diagnose", "outputs"):
                return Divergence(a.steps[here].place, b.steps[there].place, error)
    return None
