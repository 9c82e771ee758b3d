"""A norm that one model has and the other has folded into the convolution before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resnet_parity.diagnose.align import Pairs
from resnet_parity.diagnose.record import CONV, NORM, Record, RecordedStep


def fold(record: Record, other: Record, partners: Pairs) -> Record:
    """The record with each norm folded that the other lacks, whose convolution has a bias there.

    `partners` has the other's step for each step of this record.
    """
    steps = dict(enumerate(record.steps))
    for index, norm in enumerate(record.steps):
        before = norm.inputs[0] if norm.inputs else 0
        conv = record.steps[before]
        if norm.kind != NORM or conv.kind != CONV or index in partners or before not in partners:
            continue
        theirs = other.steps[partners[before]]
        if "bias" in theirs.tensors and "bias" not in conv.tensors and not norm.numbers["training"]:
            steps[before] = _folded(conv, norm)
            steps[index] = replace(norm, kind="identity")
    kept = [index for index, step in steps.items() if step.kind != "identity"]
    number = {old: new for new, old in enumerate(kept)}

    def at(index: int) -> int:
        return number[index] if index in number else at(steps[index].inputs[0])

    outputs = {
        number.get(i, number.get(steps[i].inputs[0], -1) if steps[i].inputs else -1): value
        for i, value in record.outputs.items()
    }
    folded = tuple(replace(steps[i], inputs=tuple(map(at, steps[i].inputs))) for i in kept)
    return Record(record.framework, folded, outputs)


def _folded(conv: RecordedStep, norm: RecordedStep) -> RecordedStep:
    """The convolution that does what both do."""
    tensors = {name: value.astype("float64") for name, value in norm.tensors.items()}
    scale = tensors.get("gamma", 1.0) / np.sqrt(tensors["variance"] + norm.numbers["eps"])
    weight = conv.tensors["weight"] * np.reshape(scale, (-1, 1, 1, 1))
    bias = tensors.get("beta", 0.0) - tensors["mean"] * scale
    changed = conv.changed(weight=weight, bias=bias)
    return replace(changed, numbers={**conv.numbers, "folded": True}, assign={})
