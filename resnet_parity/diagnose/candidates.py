"""Candidate faults of one layer: one for each setting or tensor in which two steps differ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_parity.diagnose.record import SAME, Array, Kind, Record, RecordedStep

TRAINING_SETTINGS = frozenset({"decay", "unbiased"})
"""Settings that only training reads."""

_PREPROCESSING = {Kind.INPUT, Kind.AFFINE, Kind.REVERSE, Kind.TRANSPOSE, Kind.PAD}

_NORM_TENSORS = ("gamma", "beta", "mean", "variance")

_FLAGS = {"ceil": "ceil_mode", "counted": "count_include_pad"}
"""The names that users know, which are PyTorch's."""


@dataclass(frozen=True)
class Candidate:
    """A fault that may explain some settings and tensors; `a` and `b` describe those of A and B."""

    fault: str
    keys: tuple[str, ...]
    a: str = ""
    b: str = ""


def differing(a: RecordedStep, b: RecordedStep) -> set[str]:
    """The names of the settings and tensors that differ."""
    keys = {key for key in {*a.settings, *b.settings} if a.settings.get(key) != b.settings.get(key)}
    for name in {*a.tensors, *b.tensors}:
        one, other = a.tensors.get(name), b.tensors.get(name)
        if one is None or other is None or not np.array_equal(one, other):
            keys.add(name)
    return keys


def candidates(a: RecordedStep, b: RecordedStep, record: Record) -> Iterator[Candidate]:
    """Yield a candidate for every setting and tensor that differs; `record` is all of A."""
    keys = differing(a, b) - TRAINING_SETTINGS
    if "axis" in keys:
        texts = (format_setting("axis", step.settings["axis"]) for step in (a, b))
        yield Candidate("layout", tuple(sorted(keys)), *texts)
        return
    if a.shape != b.shape:
        of_shape = keys & {"weight", "bias", "pad", "dilation", "groups", *_NORM_TENSORS}
        shapes = ("x".join(map(str, step.shape)) for step in (a, b))
        yield Candidate("layer-shape", tuple(sorted(of_shape)), *shapes)
        keys = keys - of_shape
    tensors = {key for key in keys if key in a.tensors or key in b.tensors}
    for key in sorted(keys - tensors):
        values = a.settings.get(key), b.settings.get(key)
        texts = (format_setting(key, value) for value in values)
        yield Candidate(_fault_of_setting(a, key, values), (key,), *texts)
    if tensors:
        yield from _tensor_candidates(a, b, tensors, record)


def _fault_of_setting(a: RecordedStep, key: str, values: tuple[Any, Any]) -> str:
    if a.kind == Kind.CONV and key == "pad":
        return "same-padding" if SAME in values and max(a.settings["stride"]) > 1 else "padding"
    if a.kind == Kind.MAX_POOL and key == "pad":
        return "same-pool" if SAME in values else "pool-padding"
    if key == "stride":
        return "extra-stride" if np.prod(values[1]) > np.prod(values[0]) else "missing-stride"
    if a.kind == Kind.AVERAGE_POOL and key in ("pad", "ceil", "counted"):
        return "pool-average"
    faults = {
        "eps": "eps",
        "training": "training-mode",
        "axis": "layout",
        "order": "layout",
        "axes": "layout",
        "border": "pool-border",
        "kernel": "pool-size",
        "dilation": "dilation",
        "slope": "activation",
        "most": "activation",
        "operation": "different-layer",
    }
    return faults.get(key, "setting")


def format_setting(key: str, value: Any) -> str:
    """Return a setting as text for a message."""
    if key == "training":
        return "the statistics of the batch" if value else "its running statistics"
    if key == "axis":
        return f"a norm over axis {str(value).upper()}"
    if key == "order":
        return f"a flatten in {str(value).upper()} order"
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
        return f"{_FLAGS.get(key, key)}={value}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tensor_candidates(
    a: RecordedStep, b: RecordedStep, keys: set[str], record: Record
) -> Iterator[Candidate]:
    is_folded = bool(a.settings.get("folded") or b.settings.get("folded"))
    has_bias = ["bias" in step.tensors for step in (a, b)]
    if "bias" in keys and has_bias[0] != has_bias[1] and not is_folded:
        texts = (f"{'a' if has else 'no'} bias" for has in has_bias)
        yield Candidate("conv-bias", ("bias",), *texts)
        keys = keys - {"bias"}
    lacking = {name for name in ("gamma", "beta") if (name in a.tensors) != (name in b.tensors)}
    if a.kind == Kind.NORM and lacking:
        yield Candidate("affine", tuple(sorted(lacking)), _format_norm(a), _format_norm(b))
        keys = keys - lacking
    if not keys:
        return
    names = tuple(sorted(keys))
    if a.kind == Kind.AFFINE:
        fault = "preprocessing" if is_preprocessing(record, a.inputs) else "rescaled"
        yield Candidate(fault, names, format_affine(a), format_affine(b))
    elif is_folded:
        yield Candidate("folding", names)
    elif a.kind == Kind.NORM and _are_swapped(a, b):
        yield Candidate("gamma-beta", ("beta", "gamma"))
        rest = tuple(name for name in names if name not in ("beta", "gamma"))
        if rest:
            yield Candidate("weights", rest, "", ", ".join(rest))
    else:
        yield _weights_candidate(a, b, names, record)


def _format_norm(norm: RecordedStep) -> str:
    names = [name for name in ("gamma", "beta") if name in norm.tensors]
    return " and ".join(names) or "neither gamma nor beta"


def is_preprocessing(record: Record, inputs: Sequence[int]) -> bool:
    """Whether these steps, and all before them, only preprocess the image."""
    waiting = list(inputs)
    while waiting:
        step = record.steps[waiting.pop()]
        if step.kind not in _PREPROCESSING:
            return False
        waiting += step.inputs
    return True


def _weights_candidate(
    a: RecordedStep, b: RecordedStep, names: tuple[str, ...], record: Record
) -> Candidate:
    if "weight" in names:
        change = _relayout(a.tensors["weight"], b.tensors["weight"])
        if change:
            fault = "dense-layout" if a.kind == Kind.DENSE else "kernel-layout"
            if change == _REVERSED:
                return Candidate("bgr", ("weight",), "a first kernel for one order", change)
            return Candidate(fault, ("weight",), "", change)
    for other in record.steps:
        if other is not a and other.kind == a.kind and _holds(other, b, names):
            return Candidate("swapped-layers", names, "", other.place)
    return Candidate("weights", names, "", ", ".join(names))


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


_REVERSED = "that kernel with its input channels reversed"
_RESHAPED = "its values in the other layout's order (a reshape instead of a transpose)"


def _relayout(a: Array, b: Array) -> str | None:
    """Return how B's kernel is made from A's by a mistaken axis order; None if it is not."""
    if a.ndim == 2:
        changes = [
            ("its input and output axes swapped", lambda: a.T),
            (_RESHAPED, lambda: a.reshape(a.shape[::-1]).T),
            (_RESHAPED, lambda: a.T.reshape(a.shape)),
        ]
    else:
        out, into, height, width = a.shape
        hwio = (height, width, into, out)
        changes = [
            (_REVERSED, lambda: a[:, ::-1] if into == 3 else a[:0]),
            ("height and width swapped", lambda: a.swapaxes(2, 3)),
            ("its input and output axes swapped", lambda: a.swapaxes(0, 1)),
            (
                "its input and output axes swapped, and height and width too",
                lambda: a.transpose(1, 0, 3, 2),
            ),
            (
                "height and width flipped (a convolution instead of a cross-correlation)",
                lambda: a[:, :, ::-1, ::-1],
            ),
            (_RESHAPED, lambda: np.einsum("hwio->oihw", a.reshape(hwio))),
            (_RESHAPED, lambda: np.einsum("oihw->hwio", a).reshape(a.shape)),
        ]
    return next((text for text, change in changes if np.array_equal(change(), b)), None)


def format_affine(step: RecordedStep) -> str:
    """Return a rescaling as a formula."""
    scale, offset = (
        ", ".join(f"{value:.7g}" for value in np.unique(step.tensors[name]))
        for name in ("scale", "offset")
    )
    return f"x * ({scale}) + ({offset})"
