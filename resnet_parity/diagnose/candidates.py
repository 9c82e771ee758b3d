"""What may be wrong with one layer: a cause for each number or tensor in which two steps differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_parity.diagnose.record import (
    AFFINE,
    AVERAGE_POOL,
    CONV,
    DENSE,
    INPUT,
    MAX_POOL,
    NORM,
    PAD,
    REVERSE,
    SAME,
    TRANSPOSE,
    Array,
    Record,
    RecordedStep,
)

TRAINING = frozenset({"decay", "unbiased"})
"""Numbers that only training reads."""

_PREPARING = {INPUT, AFFINE, REVERSE, TRANSPOSE, PAD}

_NORM_TENSORS = ("gamma", "beta", "mean", "variance")


@dataclass(frozen=True)
class Candidate:
    """A cause that would explain some numbers and tensors, and how to say them of A and of B."""

    fault: str
    keys: tuple[str, ...]
    a: str = ""
    b: str = ""


def differing(a: RecordedStep, b: RecordedStep) -> set[str]:
    """The names of the numbers and tensors that are not the same in both."""
    keys = {key for key in {*a.numbers, *b.numbers} if a.numbers.get(key) != b.numbers.get(key)}
    for name in {*a.tensors, *b.tensors}:
        one, other = a.tensors.get(name), b.tensors.get(name)
        if one is None or other is None or not np.array_equal(one, other):
            keys.add(name)
    return keys


def candidates(a: RecordedStep, b: RecordedStep, record: Record) -> Iterator[Candidate]:
    """A suspect for every number and tensor that differs; `record` is A's, all of it."""
    keys = differing(a, b) - TRAINING
    if "axis" in keys:
        words = (text("axis", step.numbers["axis"]) for step in (a, b))
        yield Candidate("layout", tuple(sorted(keys)), *words)
        return
    if _shapes(a) != _shapes(b):
        of_size = keys & {"weight", "bias", "pad", "dilation", "groups", *_NORM_TENSORS}
        yield Candidate("kernel-size", tuple(sorted(of_size)), _shapes(a), _shapes(b))
        keys = keys - of_size
    tensors = {key for key in keys if key in a.tensors or key in b.tensors}
    for key in sorted(keys - tensors):
        here, there = a.numbers.get(key), b.numbers.get(key)
        fault = _cause_of_number(a, key, (here, there))
        yield Candidate(fault, (key,), text(key, here), text(key, there))
    if tensors:
        yield from _of_tensors(a, b, tensors, record)


def _cause_of_number(a: RecordedStep, key: str, values: tuple[Any, Any]) -> str:
    if a.kind == CONV and key == "pad":
        return "same-padding" if SAME in values and max(a.numbers["stride"]) > 1 else "padding"
    if a.kind == MAX_POOL and key == "pad":
        return "same-pool" if SAME in values else "pool-padding"
    if key == "stride":
        return "extra-stride" if np.prod(values[1]) > np.prod(values[0]) else "missing-stride"
    if a.kind == AVERAGE_POOL and key in ("pad", "ceil", "counted"):
        return "pool-average"
    names = {
        "eps": "eps",
        "training": "training-mode",
        "axis": "layout",
        "order": "layout",
        "axes": "layout",
        "border": "pool-border",
        "kernel": "pool-size",
        "dilation": "dilation",
        "groups": "kernel-size",
        "slope": "activation",
        "most": "activation",
        "operation": "other-layer",
    }
    return names.get(key, "number")


def text(key: str, value: Any) -> str:
    """A number as people say it."""
    if key == "training":
        return "the one that trains" if value else "the other"
    if key == "axis":
        return f"a norm over axis {str(value).upper()}"
    if key == "order":
        return f"a flattening of {str(value).upper()}"
    if key == "slope":
        return f"a slope of {value:g} below zero"
    if key == "most":
        return "no upper limit" if value is None else f"an upper limit of {value:g}"
    if value == SAME:
        return "SAME"
    if key == "pad" and value is not None:
        (top, bottom), (left, right) = value
        alike = top == bottom == left == right
        return f"{top} on every side" if alike else f"{top}+{bottom} rows, {left}+{right} columns"
    if isinstance(value, tuple) and len(set(value)) == 1:
        return str(value[0])
    if isinstance(value, bool):
        return f"{key}={value}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _of_tensors(
    a: RecordedStep, b: RecordedStep, keys: set[str], record: Record
) -> Iterator[Candidate]:
    if (
        a.kind in (CONV, DENSE)
        and "bias" in keys
        and ("bias" in a.tensors) != ("bias" in b.tensors)
    ):
        words = [f"{'a' if 'bias' in step.tensors else 'no'} bias" for step in (a, b)]
        if not a.numbers.get("folded") and not b.numbers.get("folded"):
            yield Candidate("conv-bias", ("bias",), *words)
            keys = keys - {"bias"}
    if a.kind == NORM and (lacking := _lacking(a, b)):
        yield Candidate("affine", tuple(sorted(lacking)), _affine(a), _affine(b))
        keys = keys - lacking
    if not keys:
        return
    names = tuple(sorted(keys))
    if a.kind == AFFINE:
        fault = "preprocessing" if at_the_image(record, a.inputs) else "rescaled"
        yield Candidate(fault, names, rescaling(a), rescaling(b))
    elif a.numbers.get("folded") or b.numbers.get("folded"):
        yield Candidate("folding", names)
    elif a.kind == NORM and _are_swapped(a, b):
        yield Candidate("gamma-beta", ("beta", "gamma"))
        rest = tuple(name for name in names if name not in ("beta", "gamma"))
        if rest:
            yield Candidate("weights", rest, "", ", ".join(rest))
    else:
        yield _of_same_shape(a, b, names, record)


def _lacking(a: RecordedStep, b: RecordedStep) -> set[str]:
    """Which of gamma and beta only one of both norms has."""
    return {name for name in ("gamma", "beta") if (name in a.tensors) != (name in b.tensors)}


def _affine(norm: RecordedStep) -> str:
    names = [name for name in ("gamma", "beta") if name in norm.tensors]
    return " and ".join(names) or "neither gamma nor beta"


def at_the_image(record: Record, inputs: Sequence[int]) -> bool:
    """Whether what comes from there is the image, and nothing but prepared."""
    waiting = list(inputs)
    while waiting:
        step = record.steps[waiting.pop()]
        if step.kind not in _PREPARING:
            return False
        waiting += step.inputs
    return True


def _of_same_shape(
    a: RecordedStep, b: RecordedStep, names: tuple[str, ...], record: Record
) -> Candidate:
    if "weight" in names:
        change = _relayout(a.tensors["weight"], b.tensors["weight"])
        if change:
            fault = "dense-layout" if a.kind == DENSE else "kernel-layout"
            return Candidate("bgr" if change == BGR else fault, ("weight",), "", change)
    for other in record.steps:
        if other is not a and other.kind == a.kind and _holds(other, b, names):
            return Candidate("swapped-layers", names, "", other.place)
    return Candidate("weights", names, "", ", ".join(names))


def _shapes(step: RecordedStep) -> str:
    main = step.tensors.get("weight", step.tensors.get("mean", np.zeros(0)))
    return "x".join(map(str, main.shape))


def _holds(other: RecordedStep, b: RecordedStep, names: Sequence[str]) -> bool:
    return all(
        name in other.tensors and np.array_equal(other.tensors[name], b.tensors[name])
        for name in names
        if name in b.tensors
    )


def _are_swapped(a: RecordedStep, b: RecordedStep) -> bool:
    tensors = [step.tensors.get(name) for step in (a, b) for name in ("gamma", "beta")]
    if any(tensor is None for tensor in tensors):
        return False
    gamma, beta, other_gamma, other_beta = tensors
    return np.array_equal(gamma, other_beta) and np.array_equal(beta, other_gamma)  # type: ignore


BGR = "its first kernel has its input channels reversed"


def _relayout(a: Array, b: Array) -> str | None:
    """How B's kernel comes from A's, if only its axes are mistaken."""
    if a.ndim == 2:
        changes = {
            "in and out swapped": lambda: a.T,
            "its numbers read in the other layout's order, a reshape for a transpose": lambda: (
                a.reshape(a.shape[::-1]).T
            ),
            "its numbers read in the other layout's order: a reshape for a transpose": lambda: (
                a.T.reshape(a.shape)
            ),
        }
    else:
        out, into, height, width = a.shape
        changes = {
            BGR: lambda: a[:, ::-1] if into == 3 else a[:0],
            "height and width swapped": lambda: a.swapaxes(2, 3),
            "in and out swapped": lambda: a.swapaxes(0, 1),
            "in and out, height and width swapped": lambda: a.transpose(1, 0, 3, 2),
            "both axes turned round, a true convolution for a correlation": lambda: a[
                :, :, ::-1, ::-1
            ],
            "its numbers read in the other layout's order, a reshape for a transpose": lambda: (
                np.einsum("hwio->oihw", a.reshape(height, width, into, out))
            ),
            "its numbers read in the other layout's order: a reshape for a transpose": lambda: (
                np.einsum("oihw->hwio", a).reshape(a.shape)
            ),
        }
    return next((say for say, make in changes.items() if np.array_equal(make(), b)), None)


def rescaling(step: RecordedStep) -> str:
    """An affine map in words."""
    scale, offset = (
        ", ".join(f"{value:.7g}" for value in np.unique(step.tensors[name]))
        for name in ("scale", "offset")
    )
    return f"x * ({scale}) + ({offset})"
