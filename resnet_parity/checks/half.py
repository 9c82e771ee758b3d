"""The half check: what a model returns when it computes in bfloat16 or float16 (mixed precision).

Weights stay in float32; PyTorch casts by autocast, Keras by a dtype policy, each at places of its
own choice, so that only what the whole model returns is judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from resnet_spec import outputs

from resnet_parity.checks.run import Engine, Verdict, skipped
from resnet_parity.compare import compare, first_divergence
from resnet_parity.probes import Probe
from resnet_parity.tolerances import limit

DTYPES = ("bfloat16", "float16")
_LARGEST = {"bfloat16": float(np.finfo("float32").max), "float16": float(np.finfo("float16").max)}


def run_half_check(probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    """A verdict per dtype and engine, in the order given; PyTorch first, for it makes the noise floor.

    `probe` is a random one in float32.
    """
    for dtype in DTYPES:
        noise_floor = limit("half", f"least noise floor in {dtype}")
        for engine in engines:
            returned = _returned(probe, engine, dtype)
            if isinstance(returned, str):
                yield skipped("half", probe.kind, dtype, engine.name, returned)
                continue
            verdict = _judge(probe, engine, dtype, returned, noise_floor)
            if engine.sets_noise_floor:
                noise_floor = max(noise_floor, min(verdict.value, verdict.limit))
            yield verdict


def _judge(
    probe: Probe, engine: Engine, dtype: str, returned: Mapping[str, np.ndarray], noise_floor: float
) -> Verdict:
    """PyTorch's own error against what half precision can do, that of others against PyTorch's."""
    most = (
        limit("half", f"noise floor in {dtype}")
        if engine.sets_noise_floor
        else limit("half", "outputs") * noise_floor
    )
    expected = {name: probe.expected[name] for name in outputs(probe.architecture)}
    rows = compare(expected, returned, most, probe.scales)
    worst = max(row.error for row in rows)
    if engine.sets_noise_floor:
        figure = f"{worst:.1e} (noise floor, <= {most:g})"
    else:
        worst, most = worst / noise_floor, limit("half", "outputs")
        figure = f"{worst:.2f}x noise floor (<= {most:g})"
    return Verdict(
        check="half",
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
    unsupported_reason = engine.unsupported_reason("half", probe.dtype) or _beyond_range(
        probe, dtype
    )
    if unsupported_reason:
        return unsupported_reason
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
