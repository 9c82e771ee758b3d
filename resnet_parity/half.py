"""The half rung: what a model returns when it computes in bfloat16 or float16 (mixed precision).

Weights stay in float32; PyTorch casts by autocast, Keras by a dtype policy, each at places of its
own choice, so that only what the whole model returns is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from resnet_spec import outputs

from resnet_parity.engine import compare, first_divergence
from resnet_parity.probes import Probe
from resnet_parity.rungs import Engine, Verdict, cannot
from resnet_parity.tolerances import limit

DTYPES = ("bfloat16", "float16")
_LARGEST = {"bfloat16": float(np.finfo("float32").max), "float16": float(np.finfo("float16").max)}


def climb_half(probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    """A verdict per dtype and engine, in the order given; PyTorch first, for it makes the floor.

    `probe` is a random one in float32.
    """
    for dtype in DTYPES:
        floor = limit(dtype, "least floor")
        for engine in engines:
            returned = _returned(probe, engine, dtype)
            if isinstance(returned, str):
                yield cannot("half", probe.kind, dtype, engine.name, returned)
                continue
            verdict = _judge(probe, engine, dtype, returned, floor)
            if engine.makes_floor:
                floor = max(floor, min(verdict.value, verdict.limit))
            yield verdict


def _judge(
    probe: Probe, engine: Engine, dtype: str, returned: Mapping[str, np.ndarray], floor: float
) -> Verdict:
    """PyTorch's own error against what half precision can do, that of others against PyTorch's."""
    most = limit(dtype, "floor") if engine.makes_floor else limit("half", "tap") * floor
    expected = {name: probe.expected[name] for name in outputs(probe.architecture)}
    rows = compare(expected, returned, most, probe.scales)
    worst = max(row.error for row in rows)
    if engine.makes_floor:
        figure = f"{worst:.1e} (floor, <= {most:g})"
    else:
        worst, most = worst / floor, limit("half", "tap")
        figure = f"{worst:.2f}x floor (<= {most:g})"
    return Verdict(
        rung="half",
        probe=probe.kind,
        dtype=dtype,
        engine=engine.name,
        status="fail" if first_divergence(rows) else "pass",
        value=worst,
        limit=most,
        figure=figure,
        rows=rows,
        logits=returned.get("logits"),
    )


def _returned(probe: Probe, engine: Engine, dtype: str) -> dict[str, np.ndarray] | str:
    """What the model gives in that dtype, or why it cannot."""
    obstacle = engine.obstacle("half", probe.dtype) or _beyond_range(probe, dtype)
    if obstacle:
        return obstacle
    arguments = probe.architecture, probe.weights, probe.images, engine.mode, dtype
    try:
        return engine.adapter.mixed_precision(*arguments)
    except Exception as error:
        if not is_refusal(error):
            raise
        return " ".join(str(error).split())


def is_refusal(error: Exception) -> bool:
    """Whether a framework says that it has no such operation: each does so in words of its own."""
    words = f"{type(error).__name__} {error}".lower()
    if "unsupported operand type" in words:
        return False  # Python's own words for a mistake
    return any(
        word in words
        for word in ("unimplemented", "not implemented", "notimplemented", "unsupported")
    )


def _beyond_range(probe: Probe, dtype: str) -> str | None:
    """Which tap holds a number that the dtype cannot."""
    for name, value in probe.expected.items():
        largest = float(np.abs(value).max())
        if largest > _LARGEST[dtype]:
            return f"numbers reach {largest:,.0f} at {name}, {dtype} ends at {_LARGEST[dtype]:,.0f}"
    return None
