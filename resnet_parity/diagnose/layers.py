"""Compare the layers pair by pair: B's layer runs on the input of A's layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from resnet_parity.compare import relative_error
from resnet_parity.diagnose.align import StepPairs
from resnet_parity.diagnose.arithmetic import evaluate, relative_error_where_finite
from resnet_parity.diagnose.candidates import (
    TRAINING_SETTINGS,
    Candidate,
    candidates,
    differing,
    format_setting,
)
from resnet_parity.diagnose.finding import Finding
from resnet_parity.diagnose.record import Array, Kind, Record, RecordedStep
from resnet_parity.tolerances import limit

Values = Mapping[int, Array]


def run_record(record: Record, image: Array) -> dict[int, Array]:
    """Return the output of every step of a record that its inputs fit, in float64."""
    values = {0: image.astype("float64")}
    for index, step in enumerate(record.steps[1:], 1):
        if all(each in values for each in step.inputs):
            value = try_evaluate(step, [values[each] for each in step.inputs])
            if value is not None:
                values[index] = value
    return values


def try_evaluate(step: RecordedStep, inputs: Sequence[Array]) -> Array | None:
    """Return the output of a step for those inputs; None if they do not fit it."""
    try:
        return evaluate(step, inputs)
    except ValueError:
        return None


def error_between(expected: Array | None, actual: Array | None) -> float:
    """The relative error of the finite elements.

    Infinite if there is no array, or if the shapes, the NaN or the infinities differ.
    """
    if expected is None or actual is None or actual.shape != expected.shape:
        return float("inf")
    odd = ~(np.isfinite(expected) & np.isfinite(actual))
    if odd.any() and not np.array_equal(expected[odd], actual[odd], equal_nan=True):
        return float("inf")
    return relative_error_where_finite(expected, actual)


def error_limit(*steps: RecordedStep) -> float:
    """The error that rounding may cause in these steps."""
    if any(map(is_float32_only, steps)):
        return limit("float32", "noise floor of taps")
    return limit("float64", "taps")


def is_float32_only(step: RecordedStep) -> bool:
    """Whether the step is known in float32 only: opaque, folded, or made of constants."""
    return step.call is not None or bool(step.settings.get("folded")) or step.kind == Kind.AFFINE


def are_equal(a: Record, b: Record, pairs: StepPairs) -> bool:
    """Whether both records hold the same steps, so that they are one function at this size."""
    if not len(pairs) == len(a.steps) == len(b.steps):
        return False
    for index_b, index_a in pairs.items():
        one, other = a.steps[index_a], b.steps[index_b]
        if one.call or other.call or differing(one, other) - TRAINING_SETTINGS:
            return False
        if tuple(pairs[each] for each in other.inputs) != one.inputs:
            return False
    return True


def layer_findings(a: Record, b: Record, pairs: StepPairs, values: Values) -> list[Finding]:
    """Return a finding for each differing setting or tensor that is proven to matter."""
    found = []
    for index_b, index_a in pairs.items():
        one, other = a.steps[index_a], b.steps[index_b]
        if index_a not in values or (not differing(one, other) and one.call is None):
            continue
        inputs = [values[index] for index in one.inputs]
        for candidate, error in _proven_candidates(one, other, a, (inputs, values[index_a])):
            is_shared = _is_shared(other, b) and not _is_shared(one, a)
            if is_shared and candidate.fault in ("swapped-layers", "weights"):
                candidate = replace(candidate, fault="shared-layer", b=other.place)
            found.append(_finding(candidate, index_a, one, other, error))
        if one.kind == Kind.NORM and other.kind == Kind.NORM:
            found += _training_findings(index_a, one, other, inputs[0])
    return _merge_swapped_strides(found, a)


def _is_shared(step: RecordedStep, record: Record) -> bool:
    """Whether the model runs the same layer, with the same tensors, in another place as well."""
    return any(
        other is not step and other.place == step.place and not differing(step, other)
        for other in record.steps
        if other.kind == step.kind
    )


def _finding(
    candidate: Candidate, index: int, one: RecordedStep, other: RecordedStep, error: float
) -> Finding:
    return Finding(candidate.fault, index, candidate.a, candidate.b, error, one.place, other.place)


def _proven_candidates(
    a: RecordedStep, b: RecordedStep, record: Record, known: tuple[Sequence[Array], Array]
) -> Iterator[tuple[Candidate, float]]:
    """Yield each candidate that changes A's output with B's values, and B's with A's values.

    `known` holds the inputs and the output of A's layer.
    """
    inputs, expected = known
    wrong, largest = try_evaluate(b, inputs), error_limit(a, b)
    if error_between(expected, wrong) <= largest:
        return
    is_explained = False
    for candidate in candidates(a, b, record):
        error = error_between(expected, _try_with(a, b, candidate.keys, inputs))
        if error <= largest:
            continue
        without = None if wrong is None else _try_with(b, a, candidate.keys, inputs)
        if wrong is None or error_between(wrong, without) > largest:
            is_explained = True
            yield candidate, error
    if not is_explained:
        names = (str(step.settings.get("operation", step.kind)) for step in (a, b))
        yield Candidate("different-layer", (), *names), error_between(expected, wrong)


def _try_with(
    step: RecordedStep, other: RecordedStep, keys: Sequence[str], inputs: Sequence[Array]
) -> Array | None:
    """Evaluate the step with those settings and tensors of the other one; None if it fails."""
    parts = {key: other.settings.get(key, other.tensors.get(key)) for key in keys}
    call = other.call if "operation" in keys else step.call
    return try_evaluate(replace(step.changed(**parts), call=call), inputs)


def _training_findings(index: int, a: RecordedStep, b: RecordedStep, x: Array) -> Iterator[Finding]:
    """Yield the differences that one update of the running statistics, on A's input, makes."""
    if not all("mean" in step.assign for step in (a, b)):
        return  # one has no running statistics
    if x.ndim != 4 or x.shape[1] != len(a.tensors["mean"]):
        return
    keys = differing(a, b)
    decays = a.settings["decay"], b.settings["decay"]
    if "decay" in keys:
        mean, old = x.mean(axis=(0, 2, 3)), a.tensors["mean"].astype("float64")
        updates = [old if d is None else d * old + (1 - d) * mean for d in decays]
        is_inverted = None not in decays and round(sum(decays), 9) == 1  # type: ignore
        fault = "momentum-inverted" if is_inverted else "momentum"
        candidate = Candidate(fault, ("decay",), *map(_format_decay, decays))
        yield _finding(candidate, index, a, b, relative_error(updates[0], updates[1]))
    if "unbiased" in keys:
        variance = x.var(axis=(0, 2, 3))
        count = x.size / x.shape[1]
        are_unbiased = [step.settings["unbiased"] for step in (a, b)]
        updates = [variance * (count / (count - 1) if each else 1) for each in are_unbiased]
        texts = ["unbiased" if each else "biased" for each in are_unbiased]
        candidate = Candidate("biased-variance", ("unbiased",), *texts)
        yield _finding(candidate, index, a, b, relative_error(updates[0], updates[1]))


def _format_decay(decay: float | None) -> str:
    return "that of a cumulative mean" if decay is None else format_setting("decay", decay)


def _merge_swapped_strides(found: list[Finding], a: Record) -> list[Finding]:
    """Merge two swapped strides of one block into one fault: the stride on another convolution."""
    ends = [index for index, step in enumerate(a.steps) if step.kind == Kind.ADD]
    blocks: dict[int, list[Finding]] = {}
    for each in found:
        is_stride = each.fault in ("extra-stride", "missing-stride")
        if is_stride and a.steps[int(each.index)].kind == Kind.CONV:
            block = next((end for end in ends if end > each.index), -1)
            blocks.setdefault(block, []).append(each)
    for both in blocks.values():
        if len(both) != 2 or {each.fault for each in both} != {"extra-stride", "missing-stride"}:
            continue
        extra, missing = sorted(both, key=lambda each: each.fault)
        if (extra.a, extra.b) != (missing.b, missing.a):
            continue
        shapes = (a.steps[int(each.index)].shape[2:] for each in (missing, extra))
        names = ["x".join(map(str, shape)) + " convolution" for shape in shapes]
        first = min(both, key=lambda each: each.index)
        merged = replace(
            first, fault="stride-1x1", a=names[0], b=names[1], error=max(e.error for e in both)
        )
        found = [
            merged if each is first else each for each in found if each is first or each not in both
        ]
    return found
