"""Find structural faults: missing, extra and moved layers, and wrong connections.

B's connections are evaluated with A's layers and A's tensors wherever a layer has a partner, so
that any remaining difference comes from the structure alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from resnet_parity.diagnose.align import StepPairs
from resnet_parity.diagnose.arithmetic import evaluate
from resnet_parity.diagnose.candidates import format_affine, is_preprocessing
from resnet_parity.diagnose.finding import Finding
from resnet_parity.diagnose.layers import Values, error_between, error_limit, try_evaluate
from resnet_parity.diagnose.record import Array, Kind, Record, RecordedStep

_NEAR = 12
"""A layer that is missing and one that is extra within this many steps (about a block) are one."""

_IN_PLACE = "overwritten by"

_ACTIVATIONS = {"relu", "sigmoid", "tanh", "silu", "gelu"}
_RESHAPES = {"view", "reshape", "Reshape", Kind.FLATTEN}


@dataclass(frozen=True)
class Gap:
    """A paired layer, and the steps before it that only one model has."""

    index_a: int
    index_b: int
    missing: tuple[int, ...]
    extra: tuple[int, ...]
    error: float


def structure_findings(a: Record, b: Record, pairs: StepPairs, values: Values) -> list[Finding]:
    """Return a finding for each gap that is proven to matter and for each moved layer."""
    gaps = _gaps(a, b, pairs, values)
    moved, rest = _moved(gaps, a, b)
    return [_order_finding(pair, a, b) for pair in moved] + [
        _finding(gap, a, b, pairs) for gap in rest
    ]


def _gaps(a: Record, b: Record, pairs: StepPairs, values: Values) -> list[Gap]:
    partners = {index_a: index_b for index_b, index_a in pairs.items()}
    computed: dict[int, Array] = {}

    def source(index_b: int) -> Array:
        if index_b in pairs:
            if pairs[index_b] not in values:
                raise ValueError("A's own layer does not take its input")
            return values[pairs[index_b]]
        if index_b not in computed:
            step = b.steps[index_b]
            computed[index_b] = evaluate(step, [source(each) for each in step.inputs])
        return computed[index_b]

    gaps = []
    for index_b, index_a in pairs.items():
        one, other = a.steps[index_a], b.steps[index_b]
        expected = tuple(partners.get(each, -1) for each in one.inputs)
        if index_a not in values or sorted(expected) == sorted(other.inputs):
            continue
        missing = _unpaired_inputs(a, one.inputs, partners.__contains__)
        extra = _unpaired_inputs(b, other.inputs, pairs.__contains__)
        if (missing or extra) and any((g.missing, g.extra) == (missing, extra) for g in gaps):
            continue  # several layers read the same output
        error = _error(values[index_a], one, other, source)
        if error > error_limit(*(b.steps[each] for each in extra)):
            gaps.append(Gap(index_a, index_b, missing, extra, error))
    return gaps


def _error(
    expected: Array, one: RecordedStep, other: RecordedStep, source: Callable[[int], Array]
) -> float:
    """The error of A's layer on the inputs that B's connections give it."""
    try:
        inputs = [source(each) for each in other.inputs]
    except ValueError:
        return float("inf")
    if len(inputs) != len(one.inputs):
        return float("inf")
    return error_between(expected, try_evaluate(one, inputs))


def _unpaired_inputs(
    record: Record, starts: Sequence[int], known: Callable[[int], bool]
) -> tuple[int, ...]:
    """The steps without a partner between those inputs and the nearest paired steps before them."""
    found: set[int] = set()
    waiting = [each for each in starts if not known(each)]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting += [each for each in record.steps[index].inputs if not known(each)]
    return tuple(sorted(found))


def _moved(gaps: list[Gap], a: Record, b: Record) -> tuple[list[tuple[Gap, Gap]], list[Gap]]:
    """Split off the pairs of near gaps where one lacks the steps that are extra in the other."""
    moved: list[tuple[Gap, Gap]] = []
    rest = list(gaps)
    for gap in gaps:
        lost = sorted(a.steps[each].kind for each in gap.missing)
        for other in rest if lost and not gap.extra and gap in rest else ():
            gained = sorted(b.steps[each].kind for each in other.extra)
            is_near = abs(gap.index_a - other.index_a) <= _NEAR
            if is_near and lost == gained and gap is not other and not other.missing:
                moved.append((gap, other))
                rest = [each for each in rest if each is not gap and each is not other]
                break
    return moved, rest


def _order_finding(pair: tuple[Gap, Gap], a: Record, b: Record) -> Finding:
    lost, gained = pair
    kinds = ", ".join(a.steps[each].kind for each in lost.missing)
    first = min(pair, key=lambda gap: gap.index_a)
    before_a, before_b = a.steps[lost.index_a], b.steps[gained.index_b]
    return Finding(
        "block-order",
        first.index_a,
        f"{kinds} before {before_a.kind}",
        f"{kinds} before {before_b.kind}",
        max(gap.error for gap in pair),
        a.steps[lost.missing[0]].place,
        b.steps[gained.extra[0]].place,
    )


def _finding(gap: Gap, a: Record, b: Record, pairs: StepPairs) -> Finding:
    lost = [a.steps[each] for each in gap.missing]
    gained = [b.steps[each] for each in gap.extra]
    fault = _fault_of_gap(gap, a, lost, gained)
    texts = _format_steps(lost), _format_steps(gained)
    if fault == "wiring":
        partners = {index_a: index_b for index_b, index_a in pairs.items()}
        reads = a.steps[gap.index_a].inputs, b.steps[gap.index_b].inputs
        theirs = [partners[i] for i in reads[0]], [pairs[i] for i in reads[1]]
        texts = _format_reads(a, reads[0], theirs[1]), _format_reads(b, reads[1], theirs[0])
        fault = "in-place" if any(_IN_PLACE in text for text in texts) else fault
    if fault == "softmax":
        texts = tuple("probabilities" if steps else "logits" for steps in (lost, gained))
    if fault == "extra-layer":
        texts = "", texts[1]
    if fault == "missing-layer":
        texts = texts[0], ""
    place_a = lost[0].place if lost else f"before {a.steps[gap.index_a].place}"
    place_b = gained[0].place if gained else f"before {b.steps[gap.index_b].place}"
    index = min((gap.index_a - 0.5, *gap.missing))  # before the faults of the layer itself
    return Finding(fault, index, texts[0], texts[1], gap.error, place_a, place_b)


def _format_reads(record: Record, reads: Sequence[int], others: Sequence[int]) -> str:
    """The steps that a layer reads, but for those that the other model's layer reads too.

    Says of an output that the other model's layer reads if a step overwrites it in place.
    """
    texts = []
    for index in sorted(set(reads) - set(others)):
        text, source = f"the output of {record.steps[index].place}", index
        while record.steps[source].in_place and source not in others:
            source = record.steps[source].inputs[0]
        if source in others:
            place = record.steps[source].place
            text = f"the output of {place}, {_IN_PLACE} {record.steps[index].place}"
        texts.append(text)
    return " and ".join(texts)


def _fault_of_gap(gap: Gap, a: Record, lost: list[RecordedStep], gained: list[RecordedStep]) -> str:
    steps = [*lost, *gained]
    kinds = {step.kind for step in steps}
    if not kinds:
        return "wiring"
    if kinds == {"softmax"} and a.steps[gap.index_a].kind == Kind.OUTPUT:
        return "softmax"
    if kinds == {Kind.REVERSE}:
        return "bgr"
    if kinds <= {Kind.AFFINE, Kind.REVERSE}:
        return "preprocessing" if is_preprocessing(a, a.steps[gap.index_a].inputs) else "rescaled"
    reshapes = {step.settings.get("operation") for step in steps if step.kind == Kind.OPAQUE}
    if kinds <= {Kind.TRANSPOSE, Kind.FLATTEN, Kind.OPAQUE} and reshapes <= _RESHAPES:
        return "layout"
    if lost and gained:
        return "activation" if kinds <= _ACTIVATIONS else "different-layer"
    return "missing-layer" if lost else "extra-layer"


def _format_steps(steps: list[RecordedStep]) -> str:
    """List steps in words; equal ones are counted."""
    if not steps:
        return "nothing"
    if len(steps) == 1 and steps[0].kind == Kind.AFFINE:
        return format_affine(steps[0])
    kinds = Counter(str(step.settings.get("operation", step.kind)) for step in steps)
    articles = {kind: "an" if kind[0].lower() in "aeiou" else "a" for kind in kinds}
    return ", ".join(f"{n if n > 1 else articles[kind]} {kind}" for kind, n in kinds.items())
