"""Pair the steps of two records by order, kind and shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnet_parity.diagnose.record import Record, RecordedStep

StepPairs = dict[int, int]
"""The index of a step of B -> the index of its partner in A."""


def align(a: Record, b: Record) -> StepPairs:
    """Pair the steps of `b` with steps of `a`, in order; extra and missing steps have no partner.

    The alignment of two sequences (Needleman and Wunsch 1970) that pairs the most steps. Only
    steps of one kind pair, and steps of one shape score higher.
    """
    first, second = a.steps, b.steps
    start = _common(first, second)
    end = _common(first[start:][::-1], second[start:][::-1])
    middle = _align(first[start : len(first) - end], second[start : len(second) - end])
    pairs = {index: index for index in range(start)}
    pairs |= {start + j: start + i for j, i in middle.items()}
    return pairs | {len(second) - k: len(first) - k for k in range(end, 0, -1)}


def _common(first: Sequence[RecordedStep], second: Sequence[RecordedStep]) -> int:
    """The length of the common prefix of both."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if (one.kind, one.shape) != (other.kind, other.shape):
            break
        count += 1
    return count


def _align(first: Sequence[RecordedStep], second: Sequence[RecordedStep]) -> StepPairs:
    score = np.zeros((len(first) + 1, len(second) + 1))
    for i, one in enumerate(first, 1):
        for j, other in enumerate(second, 1):
            both = score[i - 1, j - 1] + _similarity(one, other)
            score[i, j] = max(both, score[i - 1, j], score[i, j - 1])
    pairs: StepPairs = {}
    i, j = len(first), len(second)
    while i and j:
        similarity = _similarity(first[i - 1], second[j - 1])
        if similarity > 0 and score[i, j] == score[i - 1, j - 1] + similarity:
            i, j = i - 1, j - 1
            pairs[j] = i
        elif score[i, j] == score[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return dict(sorted(pairs.items()))


def _similarity(one: RecordedStep, other: RecordedStep) -> float:
    """The score for pairing these two; whole numbers, so that sums are exact."""
    if one.kind != other.kind:
        return -1000
    if one.shape == other.shape:
        return 8 if one.shape else 4
    if len(one.shape) == 4:
        return 3 if one.shape[:1] == other.shape[:1] and one.shape[2:] == other.shape[2:] else 1
    return 2
