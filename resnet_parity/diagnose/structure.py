"""What stands between the layers: B's wiring and extra layers, computed with A's layers.

Every layer that has a partner is A's here, and gets A's tensors wherever B's wiring asks for the
output of such a layer. What then differs comes from the structure alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from resnet_parity.diagnose.align import Pairs
from resnet_parity.diagnose.arithmetic import evaluate
from resnet_parity.diagnose.candidates import at_the_image, rescaling
from resnet_parity.diagnose.finding import Finding
from resnet_parity.diagnose.layers import Values, allowed, apart, attempt
from resnet_parity.diagnose.record import (
    AFFINE,
    FLATTEN,
    OPAQUE,
    OUTPUT,
    REVERSE,
    TRANSPOSE,
    Array,
    Record,
    RecordedStep,
)

_NEAR = 12
"""Steps within which a layer that is gone here and new there has moved: about one block."""

_RELU_LIKE = ("relu", "sigmoid", "tanh", "silu", "gelu")


@dataclass(frozen=True)
class Gap:
    """A layer that both have, and what stands before it in one of them alone."""

    here: int
    there: int
    missing: tuple[int, ...]
    extra: tuple[int, ...]
    error: float


def structure_findings(a: Record, b: Record, pairs: Pairs, values: Values) -> list[Finding]:
    """A finding for each gap that is proven to matter, and one for a layer that moved."""
    gaps = _gaps(a, b, pairs, values)
    moved, rest = _moved(gaps, a, b)
    return [_order(pair, a, b) for pair in moved] + [_finding(gap, a, b, pairs) for gap in rest]


def _gaps(a: Record, b: Record, pairs: Pairs, values: Values) -> list[Gap]:
    partners = {here: there for there, here in pairs.items()}
    computed: dict[int, Array] = {}

    def source(there: int) -> Array:
        if there in pairs:
            return values[pairs[there]]
        if there not in computed:
            step = b.steps[there]
            computed[there] = evaluate(step, [source(each) for each in step.inputs])
        return computed[there]

    gaps = []
    for there, here in pairs.items():
        one, other = a.steps[here], b.steps[there]
        wired = tuple(partners.get(each, -1) for each in one.inputs)
        if sorted(wired) == sorted(other.inputs):
            continue
        missing = _behind(a, one.inputs, partners.__contains__)
        extra = _behind(b, other.inputs, pairs.__contains__)
        if (missing or extra) and any((g.missing, g.extra) == (missing, extra) for g in gaps):
            continue  # two layers read what comes from the same place
        error = _error(values[here], one, other, source)
        if error > allowed(*(b.steps[each] for each in extra)):
            gaps.append(Gap(here, there, missing, extra, error))
    return gaps


def _error(
    expected: Array, one: RecordedStep, other: RecordedStep, source: Callable[[int], Array]
) -> float:
    """What A's layer makes of the tensors that B's wiring brings, against what it should give."""
    try:
        inputs = [source(each) for each in other.inputs]
    except ValueError:
        return float("inf")
    if len(inputs) != len(one.inputs):
        return float("inf")
    return apart(expected, attempt(one, inputs))


def _behind(record: Record, starts: Sequence[int], known: Callable[[int], bool]) -> tuple[int, ...]:
    """The steps without a partner that lie between those inputs and the next ones with one."""
    found: set[int] = set()
    waiting = [each for each in starts if not known(each)]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            waiting += [each for each in record.steps[index].inputs if not known(each)]
    return tuple(sorted(found))


def _moved(gaps: list[Gap], a: Record, b: Record) -> tuple[list[tuple[Gap, Gap]], list[Gap]]:
    """Pairs of gaps, near each other, where what one lacks the other has too much."""
    moved: list[tuple[Gap, Gap]] = []
    rest = list(gaps)
    for gap in gaps:
        for other in rest:
            near = gap is not other and gap in rest and abs(gap.here - other.here) <= _NEAR
            lost = sorted(a.steps[each].kind for each in gap.missing)
            gained = sorted(b.steps[each].kind for each in other.extra)
            if near and lost and lost == gained and not gap.extra and not other.missing:
                moved.append((gap, other))
                rest = [each for each in rest if each is not gap and each is not other]
                break
    return moved, rest


def _order(pair: tuple[Gap, Gap], a: Record, b: Record) -> Finding:
    lost, gained = pair
    kinds = ", ".join(a.steps[each].kind for each in lost.missing)
    first = min(pair, key=lambda gap: gap.here)
    here, there = a.steps[lost.here], b.steps[gained.there]
    return Finding(
        "block-order",
        first.here,
        f"{kinds} stands before the {here.kind}",
        f"before the {there.kind}",
        max(gap.error for gap in pair),
        a.steps[lost.missing[0]].place,
        b.steps[gained.extra[0]].place,
    )


def _finding(gap: Gap, a: Record, b: Record, pairs: Pairs) -> Finding:
    lost = [a.steps[each] for each in gap.missing]
    gained = [b.steps[each] for each in gap.extra]
    fault = _cause(gap, a, lost, gained)
    words = _words(lost), _words(gained)
    if fault == "wiring":
        feeds = a.steps[gap.here].inputs, [pairs[each] for each in b.steps[gap.there].inputs]
        words = tuple(" and ".join(a.steps[i].place for i in sorted(each)) for each in feeds)
    if fault == "softmax":
        words = tuple("a softmax" if steps else "logits" for steps in (lost, gained))
    if fault == "extra-layer":
        words = "", words[1]
    if fault == "missing-layer":
        words = words[0], ""
    here = lost[0].place if lost else f"before {a.steps[gap.here].place}"
    there = gained[0].place if gained else f"before {b.steps[gap.there].place}"
    at = min((gap.here - 0.5, *gap.missing))  # what stands before a layer comes before its faults
    return replace(Finding(fault, at, "", "", gap.error, here, there), a=words[0], b=words[1])


def _cause(gap: Gap, a: Record, lost: list[RecordedStep], gained: list[RecordedStep]) -> str:
    steps = [*lost, *gained]
    kinds = {step.kind for step in steps}
    if not kinds:
        return "wiring"
    if kinds == {"softmax"} and a.steps[gap.here].kind == OUTPUT:
        return "softmax"
    if kinds == {REVERSE}:
        return "bgr"
    if kinds <= {AFFINE, REVERSE}:
        return "preprocessing" if at_the_image(a, a.steps[gap.here].inputs) else "rescaled"
    reshapes = {step.numbers.get("operation") for step in steps if step.kind == OPAQUE}
    if kinds <= {TRANSPOSE, FLATTEN, OPAQUE} and reshapes <= {
        "view",
        "reshape",
        "Reshape",
        FLATTEN,
    }:
        return "layout"
    if lost and gained:
        return "activation" if kinds <= set(_RELU_LIKE) else "other-layer"
    return "missing-layer" if lost else "extra-layer"


def _words(steps: list[RecordedStep]) -> str:
    """Steps as people list them: two alike are counted."""
    if not steps:
        return "nothing"
    if len(steps) == 1 and steps[0].kind == AFFINE:
        return rescaling(steps[0])
    kinds = [str(step.numbers.get("operation", step.kind)) for step in steps]
    counted = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return ", ".join(
        f"{count if count > 1 else _article(kind)} {kind}" for kind, count in counted.items()
    )


def _article(word: str) -> str:
    return "an" if word[0].lower() in "aeiou" else "a"
