"""Choose the weights that the models are compared with, and give them to both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from resnet_parity.diagnose.align import StepPairs
from resnet_parity.diagnose.finding import Finding
from resnet_parity.diagnose.record import Array, Kind, Record, RecordedStep
from resnet_parity.probes.splitmix import Stream
from resnet_parity.tolerances import limit

_INITIAL = {"gamma": (1.0, 0.0), "beta": (0.0,), "mean": (0.0,), "variance": (1.0,), "bias": (0.0,)}
"""The initial values of these tensors; the last gamma of a block may start at zero."""


def is_untrained(record: Record) -> bool:
    """Whether no norm has seen a batch: every mean is zero, every variance one."""
    tracking = [norm for norm in record.norms if "mean" in norm.assign]
    return bool(tracking) and all(
        _is_initial(norm, name) for norm in tracking for name in ("mean", "variance")
    )


def _is_initial(step: RecordedStep, name: str) -> bool:
    return any(bool((step.tensors[name] == value).all()) for value in _INITIAL[name])


def prepare_weights(
    a: Record,
    b: Record,
    pairs: StepPairs,
    from_registry: tuple[bool, bool],
    seed: int,
    copy_weights: bool = False,
) -> tuple[tuple[str, ...], tuple[bool, bool]]:
    """Give both models the weights with which they should be the same function.

    Returns notes on what was done, and whether A and B were changed.

    A model from the registry, or an untrained one, takes the other's weights. If those are
    untrained too, statistics and biases get random values, because zeros and ones hide faults, and
    every fourth gamma gets negative, because positive gammas hide a max-pool on the wrong side of
    its norm. Two trained models keep their weights, unless `copy_weights` gives B those of A.
    """
    untrained = is_untrained(a), is_untrained(b)
    forward = [(a.steps[here], b.steps[there]) for there, here in pairs.items()]
    is_new = all(untrained) and not any(from_registry) and not copy_weights
    if is_new and _same_kernels(forward):
        alone = [(step,) for step in (*_alone(a, pairs.values()), *_alone(b, pairs))]
        for steps in (*forward, *alone):
            _fill(steps, seed)
        note = (
            "both have the same kernels and untrained norms: norms and biases are filled with "
            "random numbers"
        )
        return (note,), (True, True)
    notes = []
    replaceable = from_registry[0] or untrained[0], from_registry[1] or untrained[1]
    if copy_weights:
        replaceable = untrained[0], True
    if replaceable[1]:
        notes += _randomised(a, seed, untrained=untrained[0], from_registry=from_registry[0])
        _move(forward)
        reason = "" if copy_weights else _reason(from_registry[1])
        notes.append("B takes A's weights, layer by layer" + reason)
        notes += _fill_rest(b, {there: a.steps[here] for there, here in pairs.items()}, seed, "B")
    elif replaceable[0]:
        _move([(target, source) for source, target in forward])
        notes.append("A takes B's weights, layer by layer" + _reason(from_registry[0]))
        notes += _fill_rest(a, {here: b.steps[there] for there, here in pairs.items()}, seed, "A")
    else:
        notes.append("both models keep their own weights, which are compared too")
    return tuple(notes), replaceable


def _reason(from_registry: bool) -> str:
    return "" if from_registry else ", because it is untrained"


def _same_kernels(pairs: Sequence[tuple[RecordedStep, RecordedStep]]) -> bool:
    """Whether the kernels have been copied already."""
    kernels = [(a.tensors["weight"], b.tensors["weight"]) for a, b in pairs if a.kind == Kind.CONV]
    return sum(np.array_equal(*both) for both in kernels) > len(kernels) / 2


def _alone(record: Record, paired: Iterable[int]) -> list[RecordedStep]:
    """The steps without a partner."""
    known = set(paired)
    return [step for index, step in enumerate(record.steps) if index not in known]


def _randomised(a: Record, seed: int, *, untrained: bool, from_registry: bool) -> Iterator[str]:
    """Change the weights that would hide faults, before B takes them; yields a note."""
    if untrained:
        for step in a.steps:
            _fill([step], seed)
        yield "A is untrained: its norms and biases are filled with random numbers"
    elif from_registry and a.norms:
        for norm in a.norms:
            if "gamma" in norm.assign:
                _set(norm, "gamma", _with_negatives(norm.tensors["gamma"]))
        yield (
            "every fourth gamma of A is made negative, in this comparison alone: "
            "positive ones hide a misplaced max-pool"
        )


def _fill(steps: Sequence[RecordedStep], seed: int, names: Iterable[str] = _INITIAL) -> bool:
    """Fill initial tensors with random values, equal in all these steps; return whether any was."""
    is_filled = False
    for name in names:
        having = [step for step in steps if name in step.assign]
        if not having or not all(_is_initial(step, name) for step in having):
            continue
        if all(np.array_equal(having[0].tensors[name], step.tensors[name]) for step in having):
            drawn = _random_tensor(having[0], name, seed)
            for step in having:
                _set(step, name, drawn)
            is_filled = True
    return is_filled


def _fill_rest(
    record: Record, partners: Mapping[int, RecordedStep], seed: int, model: str
) -> Iterator[str]:
    """Fill the initial tensors that the other model lacks with random values; yields a note."""
    is_filled = False
    for index, step in enumerate(record.steps):
        known = partners[index].tensors if index in partners else {}
        is_filled |= _fill([step], seed, [name for name in _INITIAL if name not in known])
    if is_filled:
        yield f"norms and biases that {model} alone has are filled with random numbers"


def _random_tensor(step: RecordedStep, name: str, seed: int) -> Array:
    """Random values in the range of trained ones, seeded by the place and the tensor's name."""
    count = step.tensors[name].size
    uniform = Stream(f"diagnose/{seed}/{step.place}/{name}").uniform(count)
    values = uniform + 0.5 if name in ("gamma", "variance") else (2 * uniform - 1) / 4
    values = _with_negatives(values) if name == "gamma" else values
    return values.reshape(step.tensors[name].shape)


def _with_negatives(gamma: Array) -> Array:
    """Flip the sign of every fourth channel of a gamma."""
    signs = np.where(np.arange(gamma.size) % 4 == 3, -1, 1).astype(gamma.dtype)
    return gamma * signs.reshape(gamma.shape)


def _move(pairs: Sequence[tuple[RecordedStep, RecordedStep]]) -> None:
    """Copy every tensor whose name and shape are the same in both steps."""
    for source, target in pairs:
        for name in target.assign:
            tensor = source.tensors.get(name)
            if tensor is not None and tensor.shape == target.tensors[name].shape:
                _set(target, name, tensor)


def _set(step: RecordedStep, name: str, value: Array) -> None:
    """Change a tensor in the model and in its record."""
    step.assign[name](value)
    step.tensors[name][...] = value


def merge_unrelated(found: list[Finding], a: Record, b: Record, pairs: StepPairs) -> list[Finding]:
    """Merge the findings of weights into one if no kernel of B resembles A's.

    Two models that were created with other random numbers, or trained apart, differ so.
    """
    weights = [each for each in found if each.fault == "weights"]
    kernels = [
        (a.steps[here].tensors["weight"], b.steps[there].tensors["weight"])
        for there, here in pairs.items()
        if "weight" in a.steps[here].tensors and "weight" in b.steps[there].tensors
    ]
    kernels = [both for both in kernels if both[0].shape == both[1].shape and both[0].size > 1]
    if not weights or not kernels:
        return found
    likeness = float(np.mean([_correlation(*both) for both in kernels]))
    if abs(likeness) > limit("diagnose", "unrelated kernels"):
        return found
    trained = all(record.norms and not is_untrained(record) for record in (a, b))
    reason = "the models were created" if trained else "both models were created"
    reason += " with different random numbers" + (", or trained apart" if trained else "")
    first = min(weights, key=lambda each: each.index)
    largest = max(each.error for each in weights)
    rest = [each for each in found if each.fault != "weights"]
    return [*rest, replace(first, fault="unrelated-weights", a="", b=reason, error=largest)]


def _correlation(a: Array, b: Array) -> float:
    """Pearson's correlation of two kernels; zero if one is constant."""
    centred = [np.float64(each) - each.mean() for each in (a, b)]
    norms = [float(np.linalg.norm(each)) for each in centred]
    return float(np.vdot(*centred)) / (norms[0] * norms[1]) if all(norms) else 0.0
