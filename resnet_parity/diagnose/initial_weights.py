"""Whose weights are meant: a fresh model's are free, a trained one's are the truth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from resnet_parity.diagnose.align import Pairs
from resnet_parity.diagnose.record import CONV, Array, Record, RecordedStep
from resnet_parity.probes.splitmix import Stream

_FRESH = {"gamma": (1.0, 0.0), "beta": (0.0,), "mean": (0.0,), "variance": (1.0,), "bias": (0.0,)}
"""What these tensors hold before any training; a block's last gamma may begin with zeros."""


def is_fresh(record: Record) -> bool:
    """Whether no norm has ever seen a batch: every mean is zero, every variance one."""
    tracking = [norm for norm in record.norms if "mean" in norm.assign]
    return bool(tracking) and all(
        _is_fresh(norm, leaf) for norm in tracking for leaf in ("mean", "variance")
    )


def _is_fresh(step: RecordedStep, leaf: str) -> bool:
    return any(bool((step.tensors[leaf] == value).all()) for value in _FRESH[leaf])


def prepare(
    a: Record, b: Record, pairs: Pairs, free: tuple[bool, bool], seed: int
) -> tuple[tuple[str, ...], tuple[bool, bool]]:
    """Give both models the weights with which they should be the same function.

    Returns what was done, in words, and which of both models was changed.

    A model of our own table, or one that was never trained, takes the other's weights. Where
    those were never trained either, statistics and biases are filled with random numbers, for zeros
    and ones hide faults, and gammas that are all positive hide that a maximum stands on the wrong
    side of its norm. The weights of two trained models stay what they are.
    """
    fresh = is_fresh(a), is_fresh(b)
    forward = [(a.steps[here], b.steps[there]) for there, here in pairs.items()]
    if all(fresh) and not any(free) and _same_kernels(forward):
        alone = [(step,) for step in (*_alone(a, pairs.values()), *_alone(b, pairs))]
        for steps in (*forward, *alone):
            _fill(steps, seed)
        note = "both have the same kernels but fresh norms: these and the biases are now random"
        return (note,), (True, True)
    notes = []
    loose = free[0] or fresh[0], free[1] or fresh[1]
    if loose[1]:
        notes += _enlivened(a, seed, fresh=fresh[0], ours=free[0])
        _move(forward)
        notes.append("B takes A's weights, layer by layer" + _why(free[1]))
        notes += _fill_rest(b, {there: a.steps[here] for there, here in pairs.items()}, seed, "B")
    elif loose[0]:
        _move([(target, source) for source, target in forward])
        notes.append("A takes B's weights, layer by layer" + _why(free[0]))
        notes += _fill_rest(a, {here: b.steps[there] for there, here in pairs.items()}, seed, "A")
    else:
        notes.append("both models keep their own weights, which are compared")
    return tuple(notes), loose


def _why(free: bool) -> str:
    return "" if free else ", for it was never trained"


def _same_kernels(pairs: Sequence[tuple[RecordedStep, RecordedStep]]) -> bool:
    """Whether someone has already copied the kernels."""
    kernels = [(a.tensors["weight"], b.tensors["weight"]) for a, b in pairs if a.kind == CONV]
    return sum(np.array_equal(*both) for both in kernels) > len(kernels) / 2


def _alone(record: Record, paired: Iterable[int]) -> list[RecordedStep]:
    """The steps without a partner."""
    known = set(paired)
    return [step for index, step in enumerate(record.steps) if index not in known]


def _enlivened(a: Record, seed: int, *, fresh: bool, ours: bool) -> Iterator[str]:
    """Change the weights that both models are to have where they would hide faults."""
    if fresh:
        for step in a.steps:
            _fill([step], seed)
        yield "A was never trained: its norms and biases are filled with random numbers"
    elif ours and a.norms:
        for norm in a.norms:
            if "gamma" in norm.assign:
                _set(norm, "gamma", _of_either_sign(norm.tensors["gamma"]))
        yield "every fourth gamma of A is turned negative: positive ones hide where a pool stands"


def _fill(steps: Sequence[RecordedStep], seed: int, leaves: Iterable[str] = _FRESH) -> bool:
    """Random numbers for what no training has touched, the same in all these steps; True if any."""
    is_filled = False
    for leaf in leaves:
        having = [step for step in steps if leaf in step.assign]
        if not having or not all(_is_fresh(step, leaf) for step in having):
            continue
        if all(np.array_equal(having[0].tensors[leaf], step.tensors[leaf]) for step in having):
            drawn = _drawn(having[0], leaf, seed)
            for step in having:
                _set(step, leaf, drawn)
            is_filled = True
    return is_filled


def _fill_rest(
    record: Record, partners: Mapping[int, RecordedStep], seed: int, name: str
) -> Iterator[str]:
    """Random numbers where a model that took weights has tensors that the other lacks."""
    is_filled = False
    for index, step in enumerate(record.steps):
        known = partners[index].tensors if index in partners else {}
        is_filled |= _fill([step], seed, [leaf for leaf in _FRESH if leaf not in known])
    if is_filled:
        yield f"norms and biases that {name} alone has are filled with random numbers"


def _drawn(step: RecordedStep, leaf: str, seed: int) -> Array:
    """Numbers as training leaves them, drawn under the name of the place."""
    count = step.tensors[leaf].size
    uniform = Stream(f"diagnose/{seed}/{step.place}/{leaf}").uniform(count)
    numbers = uniform + 0.5 if leaf in ("gamma", "variance") else (2 * uniform - 1) / 4
    numbers = _of_either_sign(numbers) if leaf == "gamma" else numbers
    return numbers.reshape(step.tensors[leaf].shape)


def _of_either_sign(gamma: Array) -> Array:
    """A gamma of every fourth channel turned round."""
    signs = np.where(np.arange(gamma.size) % 4 == 3, -1, 1).astype(gamma.dtype)
    return gamma * signs.reshape(gamma.shape)


def _move(pairs: Sequence[tuple[RecordedStep, RecordedStep]]) -> None:
    """Copy every tensor that has the same name and shape in both."""
    for source, target in pairs:
        for name in target.assign:
            tensor = source.tensors.get(name)
            if tensor is not None and tensor.shape == target.tensors[name].shape:
                _set(target, name, tensor)


def _set(step: RecordedStep, name: str, value: Array) -> None:
    """Change a tensor of the model, and in its record."""
    step.assign[name](value)
    step.tensors[name][...] = value
