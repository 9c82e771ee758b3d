"""Layer against layer: A's tensor goes into B's layer too, and every difference is proven there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from resnet_parity.compare import relative_error
from resnet_parity.diagnose.align import Pairs
from resnet_parity.diagnose.arithmetic import evaluate
from resnet_parity.diagnose.candidates import Candidate, candidates, differing, text
from resnet_parity.diagnose.finding import Finding
from resnet_parity.diagnose.record import ADD, AFFINE, CONV, NORM, Array, Record, RecordedStep
from resnet_parity.tolerances import limit

Values = Mapping[int, Array]


def run(record: Record, image: Array) -> dict[int, Array]:
    """What every step of a record gives, in float64."""
    values = {0: image.astype("float64")}
    for index, step in enumerate(record.steps[1:], 1):
        values[index] = evaluate(step, [values[each] for each in step.inputs])
    return values


def attempt(step: RecordedStep, inputs: Sequence[Array]) -> Array | None:
    """What a step makes of those inputs, None where they do not fit it."""
    try:
        return evaluate(step, inputs)
    except ValueError:
        return None


def apart(expected: Array, actual: Array | None) -> float:
    """The relative error; infinite where the shapes differ or there is nothing."""
    if actual is None or actual.shape != expected.shape:
        return float("inf")
    return relative_error(expected, actual)


def allowed(*steps: RecordedStep) -> float:
    """The error that rounding alone may leave, of float32 where someone has rounded to it."""
    return (
        limit("float32", "noise floor of taps") if any(map(is_rounded, steps)) else limit("float64", "taps")
    )


def is_rounded(step: RecordedStep) -> bool:
    """Whether the step is only known in float32: run by its framework, folded, or constants."""
    return step.call is not None or bool(step.numbers.get("folded")) or step.kind == AFFINE


def layer_findings(a: Record, b: Record, pairs: Pairs, values: Values) -> list[Finding]:
    """A finding for each number or tensor of each pair of layers that is proven to matter."""
    found = []
    for there, here in pairs.items():
        one, other = a.steps[here], b.steps[there]
        if not differing(one, other) and one.call is None:
            continue
        inputs = [values[index] for index in one.inputs]
        for candidate, error in _proven(one, other, a, (inputs, values[here])):
            shared = _is_shared(other, b) and not _is_shared(one, a)
            if shared and candidate.fault in ("swapped-layers", "weights"):
                candidate = replace(candidate, fault="shared-layer", b=other.place)
            found.append(_finding(candidate, here, one, other, error))
        if one.kind == NORM and other.kind == NORM:
            found += _in_training(here, one, other, inputs[0])
    return _named_strides(found, a)


def _is_shared(step: RecordedStep, record: Record) -> bool:
    """Whether the model runs the same layer, with the same numbers, in another place as well."""
    return any(
        other is not step and other.place == step.place and not differing(step, other)
        for other in record.steps
        if other.kind == step.kind
    )


def _finding(
    candidate: Candidate, at: int, one: RecordedStep, other: RecordedStep, error: float
) -> Finding:
    return Finding(candidate.fault, at, candidate.a, candidate.b, error, one.place, other.place)


def _proven(
    a: RecordedStep, b: RecordedStep, record: Record, known: tuple[Sequence[Array], Array]
) -> Iterator[tuple[Candidate, float]]:
    """Each suspect that changes A's layer when it is brought in, and B's when it is taken away.

    `known` is what A's layer is fed with, and what it gives.
    """
    inputs, expected = known
    wrong, most = attempt(b, inputs), allowed(a, b)
    if apart(expected, wrong) <= most:
        return
    explained = False
    for candidate in candidates(a, b, record):
        error = apart(expected, attempt(_with(a, b, candidate.keys), inputs))
        if error <= most:
            continue
        if wrong is None or apart(wrong, attempt(_with(b, a, candidate.keys), inputs)) > most:
            explained = True
            yield candidate, error
    if not explained:
        names = (str(step.numbers.get("operation", step.kind)) for step in (a, b))
        yield Candidate("other-layer", (), *names), apart(expected, wrong)


def _with(step: RecordedStep, other: RecordedStep, keys: Sequence[str]) -> RecordedStep:
    """The step with those numbers and tensors of the other one."""
    parts = {key: other.numbers.get(key, other.tensors.get(key)) for key in keys}
    changed = step.changed(**parts)
    return replace(changed, call=other.call if "operation" in keys else step.call)


def _in_training(at: int, a: RecordedStep, b: RecordedStep, x: Array) -> Iterator[Finding]:
    """What one update of the running statistics, on A's tensor, would make different."""
    if not all("mean" in step.assign for step in (a, b)):
        return  # one keeps none
    if x.ndim != 4 or x.shape[1] != len(a.tensors["mean"]):
        return
    keys = differing(a, b)
    decays = a.numbers["decay"], b.numbers["decay"]
    if "decay" in keys:
        mean, old = x.mean(axis=(0, 2, 3)), a.tensors["mean"].astype("float64")
        updates = [old if d is None else d * old + (1 - d) * mean for d in decays]
        inverted = None not in decays and round(sum(decays), 9) == 1  # type: ignore
        fault = "momentum-inverted" if inverted else "momentum"
        words = Candidate(fault, ("decay",), *(_decay(decay) for decay in decays))
        yield _finding(words, at, a, b, relative_error(updates[0], updates[1]))
    if "unbiased" in keys:
        variance = x.var(axis=(0, 2, 3))
        count = x.size / x.shape[1]
        both = [
            variance * (count / (count - 1) if n["unbiased"] else 1) for n in (a.numbers, b.numbers)
        ]
        names = ["unbiased" if step.numbers["unbiased"] else "biased" for step in (a, b)]
        yield _finding(
            Candidate("biased-variance", (), *names), at, a, b, relative_error(both[0], both[1])
        )


def _decay(decay: float | None) -> str:
    return "a plain mean of all" if decay is None else text("decay", decay)


def _named_strides(found: list[Finding], a: Record) -> list[Finding]:
    """Two strides of one block that changed places are one fault: the stride on the 1x1."""
    ends = [index for index, step in enumerate(a.steps) if step.kind == ADD]
    blocks: dict[int, list[Finding]] = {}
    for each in found:
        if each.fault in ("extra-stride", "missing-stride") and a.steps[int(each.at)].kind == CONV:
            block = next((end for end in ends if end > each.at), -1)
            blocks.setdefault(block, []).append(each)
    for both in blocks.values():
        if len(both) != 2 or {each.fault for each in both} != {"extra-stride", "missing-stride"}:
            continue
        extra, missing = sorted(both, key=lambda each: each.fault)
        if (extra.a, extra.b) != (missing.b, missing.a):
            continue
        names = [_size(a.steps[int(each.at)]) for each in (missing, extra)]
        first = min(both, key=lambda each: each.at)
        named = replace(
            first, fault="stride-1x1", a=names[0], b=names[1], error=max(e.error for e in both)
        )
        found = [
            named if each is first else each for each in found if each is first or each not in both
        ]
    return found


def _size(step: RecordedStep) -> str:
    return "x".join(map(str, np.shape(step.tensors["weight"])[2:])) + " convolution"
