"""Normalise a record, so that two frameworks' ways to write one function become the same steps.

Explicit zero padding moves into the layer after it, two rescalings become one, steps without effect
are removed, and the branches of a block get one order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from resnet_parity.diagnose.align import StepPairs
from resnet_parity.diagnose.record import SAME, Kind, Record, RecordedStep

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
        elif step.kind in (Kind.GLOBAL_AVERAGE, Kind.FLATTEN):
            vectors.add(index)
    for index in list(steps):
        _drop(steps, index)
    uses = Counter(each for index in _ordered(steps, last) for each in steps[index].inputs)
    for index in list(steps):
        if len(steps[index].inputs) == 1:
            _merge(steps, index, uses)
    order = list(_ordered(steps, last))
    number = {old: new for new, old in enumerate(order)}
    return replace(
        record,
        steps=tuple(
            replace(steps[old], inputs=tuple(number[index] for index in steps[old].inputs))
            for old in order
        ),
        outputs={number[old]: value for old, value in record.outputs.items() if old in number},
    )


def _on_a_vector(step: RecordedStep) -> RecordedStep:
    """After a global average, a 1x1 convolution is a dense layer, and a flatten has no effect."""
    if step.kind == Kind.FLATTEN:
        return replace(step, kind=Kind.IDENTITY)
    if step.kind != Kind.CONV or step.tensors["weight"].shape[2:] != (1, 1):
        return step
    if step.settings["groups"] > 1 or step.settings["pad"] not in (NONE, SAME):
        return step

    def assign(value: np.ndarray) -> None:
        step.assign["weight"](value[:, :, None, None])

    tensors = {**step.tensors, "weight": step.tensors["weight"][:, :, 0, 0]}
    return replace(
        step,
        kind=Kind.DENSE,
        settings={},
        tensors=tensors,
        assign={**step.assign, "weight": assign} if step.assign else {},
    )


def _drop(steps: Steps, index: int) -> None:
    """Remove a step without effect: its readers read its input instead."""
    step = steps[index]
    if step.kind != Kind.IDENTITY:
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
    for merge in (_padding_into_layer, _stride_into_pool, _two_rescalings):
        merged = merge(before, step)
        if merged is not None:
            steps[index] = replace(merged, inputs=before.inputs)
            return


def _padding_into_layer(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    if before.kind != Kind.PAD or step.kind not in (Kind.CONV, Kind.MAX_POOL):
        return None
    around, value = before.settings["around"], float(before.settings["value"])
    if around[:2] != NONE or step.settings["pad"] != NONE:
        return None
    if step.kind == Kind.CONV:
        return None if value else step.changed(pad=tuple(around[2:]))
    return None if step.settings["ceil"] else step.changed(pad=tuple(around[2:]), border=value)


def _stride_into_pool(before: RecordedStep, step: RecordedStep) -> RecordedStep | None:
    """A pool at stride 1, and a 1x1 pool that takes every stride-th cell of it."""
    if before.kind != Kind.MAX_POOL or step.kind != Kind.MAX_POOL:
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
    if before.kind != Kind.AFFINE or step.kind != Kind.AFFINE:
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


def fold(record: Record, other: Record, partners: StepPairs) -> Record:
    """Return the record with each norm folded that the other lacks and replaces by a bias.

    `partners` maps the steps of this record to those of the other.
    """
    steps = list(record.steps)
    for index, norm in enumerate(record.steps):
        before = norm.inputs[0] if norm.inputs else 0
        conv = record.steps[before]
        if norm.kind != Kind.NORM or conv.kind != Kind.CONV or norm.settings["training"]:
            continue
        if index in partners or before not in partners:
            continue
        if "bias" in other.steps[partners[before]].tensors and "bias" not in conv.tensors:
            steps[index] = _folded(conv, norm)
    return simplify(replace(record, steps=tuple(steps)))


def _folded(conv: RecordedStep, norm: RecordedStep) -> RecordedStep:
    """The one convolution that computes both."""
    tensors = {name: value.astype("float64") for name, value in norm.tensors.items()}
    scale = tensors.get("gamma", 1.0) / np.sqrt(tensors["variance"] + norm.settings["eps"])
    weight = conv.tensors["weight"] * np.reshape(scale, (-1, 1, 1, 1))
    bias = tensors.get("beta", 0.0) - tensors["mean"] * scale
    changed = conv.changed(weight=weight, bias=bias)
    return replace(changed, settings={**conv.settings, "folded": True}, assign={})
