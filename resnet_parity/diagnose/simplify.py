"""Records in one spelling: what two frameworks say in other words becomes the same steps.

Zeros around a map become the padding of the layer behind them, a rescaling in two steps becomes
one, what does nothing goes, and the branches of a block stand in one order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from resnet_parity.diagnose.record import (
    AFFINE,
    CONV,
    DENSE,
    FLATTEN,
    GLOBAL_AVERAGE,
    IDENTITY,
    MAX_POOL,
    PAD,
    SAME,
    Record,
    RecordedStep,
)

Steps = dict[int, RecordedStep]
NONE = ((0, 0), (0, 0))


def simplify(record: Record) -> Record:
    """The same function in fewer steps, in an order that does not depend on who wrote it."""
    steps = dict(enumerate(record.steps))
    last = len(record.steps) - 1
    vectors: set[int] = set()
    for index, step in list(steps.items()):
        if step.inputs and vectors.issuperset(step.inputs):
            steps[index] = _on_a_vector(step)
            vectors.add(index)
        elif step.kind in (GLOBAL_AVERAGE, FLATTEN):
            vectors.add(index)
    for index in list(steps):
        _drop(steps, index)
    uses = Counter(each for index in _ordered(steps, last) for each in steps[index].inputs)
    for index in list(steps):
        if len(steps[index].inputs) == 1:
            _merge(steps, index, uses)
    order = list(_ordered(steps, last))
    number = {old: new for new, old in enumerate(order)}
    return Record(
        record.framework,
        tuple(_renumbered(steps[old], number) for old in order),
        {number[old]: value for old, value in record.outputs.items() if old in number},
    )


def _renumbered(step: RecordedStep, number: dict[int, int]) -> RecordedStep:
    return replace(step, inputs=tuple(number[index] for index in step.inputs))


def _on_a_vector(step: RecordedStep) -> RecordedStep:
    """Behind a mean over the map a 1x1 convolution is a dense layer, and a flattening nothing."""
    if step.kind == FLATTEN:
        return replace(step, kind=IDENTITY)
    if step.kind != CONV or step.tensors["weight"].shape[2:] != (1, 1):
        return step
    numbers = step.numbers
    if numbers["groups"] > 1 or numbers["pad"] not in (NONE, SAME):
        return step

    def assign(value: np.ndarray) -> None:
        step.assign["weight"](value[:, :, None, None])

    tensors = {**step.tensors, "weight": step.tensors["weight"][:, :, 0, 0]}
    return replace(
        step,
        kind=DENSE,
        numbers={},
        tensors=tensors,
        assign={**step.assign, "weight": assign} if step.assign else {},
    )


def _drop(steps: Steps, index: int) -> None:
    """Take out a step that does nothing: those behind it read what it read."""
    step = steps[index]
    if step.kind != IDENTITY:
        return
    for other, behind in steps.items():
        feeds = tuple(step.inputs[0] if each == index else each for each in behind.inputs)
        steps[other] = replace(behind, inputs=feeds)


def _merge(steps: Steps, index: int, uses: Counter[int]) -> None:
    """Merge a step with the one before it, where nothing else reads that."""
    step = steps[index]
    before = steps[step.inputs[0]]
    if uses[step.inputs[0]] != 1:
        return
    for rule in (_zeros_into_conv, _border_into_pool, _window_into_pool, _two_rescalings):
        merged = rule(before, step)
        if merged is not None:
            steps[index] = replace(merged, inputs=before.inputs)
            return


def _zeros_into_conv(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    if before.kind != PAD or step.kind != CONV or step.numbers["pad"] != NONE:
        return None
    around = before.numbers["around"]
    if before.numbers["value"] or around[:2] != NONE:
        return None
    return step.changed(pad=tuple(around[2:]))


def _border_into_pool(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    if before.kind != PAD or step.kind != MAX_POOL or step.numbers["pad"] != NONE:
        return None
    around = before.numbers["around"]
    if around[:2] != NONE or step.numbers["ceil"]:
        return None
    return step.changed(pad=tuple(around[2:]), border=float(before.numbers["value"]))


def _window_into_pool(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    """A pool at stride 1, of which every stride-th cell is taken."""
    if before.kind != MAX_POOL or step.kind != MAX_POOL:
        return None
    if before.numbers["stride"] != (1, 1) or step.numbers["kernel"] != (1, 1):
        return None
    if step.numbers["pad"] not in (NONE, SAME):
        return None
    pad = before.numbers["pad"]
    if pad == SAME:  # at stride 1 it depends on no size
        totals = [size - 1 for size in before.numbers["kernel"]]
        pad = tuple((total // 2, total - total // 2) for total in totals)
    merged = before.changed(pad=pad, stride=step.numbers["stride"])
    return replace(merged, place=step.place)


def _two_rescalings(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    if before.kind != AFFINE or step.kind != AFFINE:
        return None
    scale = before.tensors["scale"] * step.tensors["scale"]
    offset = before.tensors["offset"] * step.tensors["scale"] + step.tensors["offset"]
    return replace(step, tensors={"scale": scale, "offset": offset}, place=before.place)


def _ordered(steps: Steps, last: int) -> Iterator[int]:
    """The steps that the output needs; where branches meet, the longest is walked first."""
    depth: dict[int, int] = {}
    for index, step in steps.items():  # they were recorded in an order of computation
        depth[index] = 1 + max((depth[each] for each in step.inputs), default=0)
    done: set[int] = set()
    stack = [last]
    while stack:
        index = stack[-1]
        waiting = [each for each in steps[index].inputs if each not in done]
        if index in done or not waiting:
            stack.pop()
            if index not in done:
                done.add(index)
                yield index
        else:
            stack.append(max(waiting, key=lambda each: depth[each]))
