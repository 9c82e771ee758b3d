"""Find the layer where NaN or infinity begins; nothing after it can be compared."""

from __future__ import annotations

import numpy as np

from resnet_parity.diagnose.align import StepPairs
from resnet_parity.diagnose.finding import Finding
from resnet_parity.diagnose.record import Array, Kind, Record, RecordedStep


def nonfinite_finding(a: Record, b: Record, pairs: StepPairs) -> tuple[Finding, int] | None:
    """Return a finding for the first layer with NaN, and the step of A from which nothing counts.

    Infinities count if they end in NaN, or if the models' outputs differ in them. None if neither
    model has any.
    """
    starts = _first(a, b), _first(b, a)
    partners = {index_a: index_b for index_b, index_a in pairs.items()}
    reached = [index_a for index_b, index_a in pairs.items() if index_b >= (starts[1] or np.inf)]
    ends = [end for end in (starts[0], min(reached, default=None)) if end is not None]
    if not ends:
        return None
    end = min(ends)
    index_b = partners.get(end) if end == starts[0] else starts[1]
    is_in_a = end == starts[0] or index_b in pairs
    one = a.steps[end] if is_in_a else None
    other = None if index_b is None else b.steps[index_b]
    outputs = (
        a.outputs.get(end) if is_in_a else None,
        None if index_b is None else b.outputs.get(index_b),
    )
    fault, text_a, text_b = _format(one, other, outputs)
    after = b.steps[partners[min(each for each in partners if each >= end)]].place
    place_a = one.place if one else f"before {a.steps[end].place}"
    place_b = other.place if other else f"before {after}"
    return Finding(fault, end, text_a, text_b, float("nan"), place_a, place_b), end


def _first(record: Record, other: Record) -> int | None:
    """The step with finite inputs where the first NaN of the record comes from."""
    outputs = record.outputs
    start = next((index for index in sorted(outputs) if np.isnan(outputs[index]).any()), None)
    if start is None and _infinities(record) != _infinities(other):
        start = len(record.steps) - 1 if _infinities(record) else None
    while start is not None:
        before = [each for each in record.steps[start].inputs if not _is_finite(record, each)]
        if not before:
            break
        start = min(before)
    return start


def _infinities(record: Record) -> bytes:
    """Where the model's output is infinite; nothing if it is finite or there is none."""
    odd = np.isinf(record.outputs.get(len(record.steps) - 1, np.zeros(0)))
    return odd.tobytes() if odd.any() else b""


def _is_finite(record: Record, index: int) -> bool:
    if index in record.outputs:
        return bool(np.isfinite(record.outputs[index]).all())
    return all(_is_finite(record, each) for each in record.steps[index].inputs)


def _format(
    a: RecordedStep | None, b: RecordedStep | None, outputs: tuple[Array | None, Array | None]
) -> tuple[str, str, str]:
    """The fault, and texts of both layers."""
    channels = sorted({*_negative(a), *_negative(b)})
    if not channels:
        return "not-finite", _format_output(outputs[0]), _format_output(outputs[1])
    text_a, text_b = (_format_variance(step, channels) for step in (a, b))
    if a and b and np.array_equal(a.tensors.get("mean", 0), b.tensors.get("variance", 1)):
        text_b += ", which is A's running mean"
    return "negative-variance", text_a, text_b


def _negative(step: RecordedStep | None) -> list[int]:
    """The channels whose variance is negative and not outweighed by eps."""
    if step is None or step.kind != Kind.NORM or step.settings["training"]:
        return []
    variance = step.tensors["variance"]
    return np.flatnonzero((variance < 0) & (variance + step.settings["eps"] <= 0)).tolist()


def _format_variance(step: RecordedStep | None, channels: list[int]) -> str:
    if step is None or "variance" not in step.tensors or step.shape[0] <= channels[-1]:
        return "no such norm"
    more = f" (and other values in {len(channels) - 1} more)" if len(channels) > 1 else ""
    return f"{step.tensors['variance'][channels[0]]:.6g} in channel {channels[0]}{more}"


def _format_output(output: Array | None) -> str:
    if output is None:
        return "no such output"
    odd = ~np.isfinite(output)
    if not odd.any():
        return "finite values"
    channels = np.unique(np.nonzero(odd)[1]) if output.ndim > 1 else []
    place = f" in channel {channels[0]} alone" if len(channels) == 1 else ""
    return f"NaN or infinity{place}"
