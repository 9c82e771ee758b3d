"""Fold a norm into the convolution before it where the other model has folded it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from resnet_parity.diagnose.align import StepPairs
from resnet_parity.diagnose.record import CONV, NORM, Record, RecordedStep
from resnet_parity.diagnose.simplify import simplify


def fold(record: Record, other: Record, partners: StepPairs) -> Record:
    """Return the record with each norm folded that the other lacks and replaces by a bias.

    `partners` maps the steps of this record to those of the other.
    """
    steps = list(record.steps)
    for index, norm in enumerate(record.steps):
        before = norm.inputs[0] if norm.inputs else 0
        conv = record.steps[before]
        if norm.kind != NORM or conv.kind != CONV or norm.settings["training"]:
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
