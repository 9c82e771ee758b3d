"""Which step of one record stands for which of the other: by order, kind and shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from resnet_parity.diagnose.record import Record, RecordedStep

Pairs = dict[int, int]


def align(a: Record, b: Record) -> Pairs:
    """The steps of `b` with their partners in `a`, in order; extra and missing steps have none.

    It is the alignment of two sequences (Needleman and Wunsch 1970) that pairs the most, where
    only steps of one kind pair, and those of one shape count more.
    """
    first, second = a.steps, b.steps
    start = _common(first, second)
    end = _common(first[start:][::-1], second[start:][::-1])
    middle = _align(first[start : len(first) - end], second[start : len(second) - end])
    pairs = {index: index for index in range(start)}
    pairs |= {start + j: start + i for j, i in middle.items()}
    return pairs | {len(second) - k: len(first) - k for k in range(end, 0, -1)}


def _common(first: Sequence[RecordedStep], second: Sequence[RecordedStep]) -> int:
    """How many steps both begin with."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if _signature(one) != _signature(other):
            break
        count += 1
    return count


def _signature(step: RecordedStep) -> tuple[object, ...]:
    return step.kind, *_shape(step)


def _shape(step: RecordedStep) -> tuple[int, ...]:
    """What must agree for tensors to be moved: that of the kernel, or the number of channels."""
    main = step.tensors.get("weight", step.tensors.get("mean"))
    return () if main is None else main.shape


def _align(first: Sequence[RecordedStep], second: Sequence[RecordedStep]) -> Pairs:
    score = np.zeros((len(first) + 1, len(second) + 1))
    for i, one in enumerate(first, 1):
        for j, other in enumerate(second, 1):
            both = score[i - 1, j - 1] + _likeness(one, other)
            score[i, j] = max(both, score[i - 1, j], score[i, j - 1])
    pairs: Pairs = {}
    i, j = len(first), len(second)
    while i and j:
        likeness = _likeness(first[i - 1], second[j - 1])
        if likeness > 0 and score[i, j] == score[i - 1, j - 1] + likeness:
            i, j = i - 1, j - 1
            pairs[j] = i
        elif score[i, j] == score[i - 1, j]:
            i -= 1
        else:
            j -= 1
    return dict(sorted(pairs.items()))


def _likeness(one: RecordedStep, other: RecordedStep) -> float:
    """How much it is worth that these two pair; whole numbers, so that sums are exact."""
    if one.kind != other.kind:
        return -1000
    mine, theirs = _shape(one), _shape(other)
    if mine == theirs:
        return 8 if mine else 4
    if len(mine) == 4:
        return 3 if mine[:1] == theirs[:1] and mine[2:] == theirs[2:] else 1
    return 2
