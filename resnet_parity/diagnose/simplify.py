"""Normalise a record, so that two frameworks' ways to write one function become the same steps.

Explicit zero padding moves into the layer after it, two rescalings become one, steps without effect
are removed, and the branches of a block get one order.
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
    """Return the same function in fewer steps and in a canonical order."""
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
    """After a global average, a 1x1 convolution is a dense layer, and a flatten has no effect."""
    if step.kind == FLATTEN:
        return replace(step, kind=IDENTITY)
    if step.kind != CONV or step.tensors["weight"].shape[2:] != (1, 1):
        return step
    if step.settings["groups"] > 1 or step.settings["pad"] not in (NONE, SAME):
        return step

    def assign(value: np.ndarray) -> None:
        step.assign["weight"](value[:, :, None, None])

    tensors = {**step.tensors, "weight": step.tensors["weight"][:, :, 0, 0]}
    return replace(
        step,
        kind=DENSE,
        settings={},
        tensors=tensors,
        assign={**step.assign, "weight": assign} if step.assign else {},
    )


def _drop(steps: Steps, index: int) -> None:
    """Remove a step without effect: its readers read its input instead."""
    step = steps[index]
    if step.kind != IDENTITY:
        return
    for other, reader in steps.items():
        inputs = tuple(step.inputs[0] if each == index else each for each in reader.inputs)
        steps[other] = replace(reader, inputs=inputs)


def _merge(steps: Steps, index: int, uses: Counter[int]) -> None:
    """Merge a step with the one before it, if no other step reads that one."""
    step = steps[index]
    before = steps[step.inputs[0]]
    if uses[step.inputs[0]] != 1:
        return
    for merge in (_padding_into_conv, _padding_into_pool, _stride_into_pool, _two_rescalings):
        merged = merge(before, step)
        if merged is not None:
            steps[index] = replace(merged, inputs=before.inputs)
            return


def _padding_into_conv(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    if before.kind != PAD or step.kind != CONV or step.settings["pad"] != NONE:
        return None
    around = before.settings["around"]
    if before.settings["value"] or around[:2] != NONE:
        return None
    return step.changed(pad=tuple(around[2:]))


def _padding_into_pool(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    if before.kind != PAD or step.kind != MAX_POOL or step.settings["pad"] != NONE:
        return None
    around = before.settings["around"]
    if around[:2] != NONE or step.settings["ceil"]:
        return None
    return step.changed(pad=tuple(around[2:]), border=float(before.settings["value"]))


def _stride_into_pool(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    """A pool at stride 1, and a 1x1 pool that takes every stride-th cell of it."""
    if before.kind != MAX_POOL or step.kind != MAX_POOL:
        return None
    if before.settings["stride"] != (1, 1) or step.settings["kernel"] != (1, 1):
        return None
    if step.settings["pad"] not in (NONE, SAME):
        return None
    pad = before.settings["pad"]
    if pad == SAME:  # at stride 1 it does not depend on the size of the input
        totals = [size - 1 for size in before.settings["kernel"]]
        pad = tuple((total // 2, total - total // 2) for total in totals)
    merged = before.changed(pad=pad, stride=step.settings["stride"])
    return replace(merged, place=step.place)


def _two_rescalings(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    if before.kind != AFFINE or step.kind != AFFINE:
        return None
    scale = before.tensors["scale"] * step.tensors["scale"]
    offset = before.tensors["offset"] * step.tensors["scale"] + step.tensors["offset"]
    return replace(step, tensors={"scale": scale, "offset": offset}, place=before.place)


def _ordered(steps: Steps, last: int) -> Iterator[int]:
    """Yield the steps that the output needs; of the branches of a sum, the longest comes first."""
    depth: dict[int, int] = {}
    for index, step in steps.items():  # in execution order
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
