"""The half check: what a model returns when it computes in bfloat16 or float16 (mixed precision).

Weights stay in float32. PyTorch casts by autocast and Keras by a dtype policy, each at different
places, so only what the whole model returns is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from resnet_spec import outputs

from resnet_parity.checks.base import Check, Measurement, PlannedProbe, ProbeRequest
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np

    from resnet_parity.checks.engine import Engine
    from resnet_parity.probes import Probe

DTYPES = ("bfloat16", "float16")
_LARGEST = {
    "float32": (2 - 2**-23) * 2.0**127,
    "bfloat16": (2 - 2**-7) * 2.0**127,
    "float16": 65504.0,
}


class Half(Check):
    name = "half"
    description = (
        "bfloat16 and float16; the error of what the model returns is at most "
        f"{limit('half', 'outputs'):g} times PyTorch's own"
    )
    by_default = False
    quantities = ("outputs",)

    def probes(self, request: ProbeRequest) -> Iterator[PlannedProbe]:
        from resnet_parity.probes import random_probe

        make = partial(random_probe, request.arch, request.seed, "float32", request.size)
        yield PlannedProbe("float32", "random probe in bfloat16 and float16", make)

    def run(self, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
        """A verdict per dtype and engine, in the order given."""
        for dtype in DTYPES:
            noise_floor = limit("half", f"least noise floor in {dtype}")
            for engine in engines:
                returned = self._returned(probe, engine, dtype)
                if isinstance(returned, str):
                    yield self.skipped(probe.kind, dtype, engine.name, returned)
                    continue
                verdict = self._compare(probe, engine, dtype, returned, noise_floor)
                if engine.sets_noise_floor:
                    noise_floor = max(noise_floor, min(verdict.value, verdict.limit))
                yield verdict

    def noise_floors(self, probe: Probe, engines: tuple[Engine, ...]) -> dict[str, float]:
        """The noise floor in each dtype, as these engines of PyTorch set it."""
        noise_floors = {dtype: limit("half", f"least noise floor in {dtype}") for dtype in DTYPES}
        for verdict in self.run(probe, engines):
            if verdict.status != "skipped":
                error = min(verdict.value, verdict.limit)
                noise_floors[verdict.dtype] = max(noise_floors[verdict.dtype], error)
        return noise_floors

    def _compare(
        self,
        probe: Probe,
        engine: Engine,
        dtype: str,
        returned: Mapping[str, np.ndarray],
        noise_floor: float,
    ) -> Verdict:
        """Compare PyTorch with an absolute limit, and other engines with PyTorch's error."""
        from resnet_parity.compare import compare

        most = limit("half", "outputs")
        allowed = most * noise_floor
        if engine.sets_noise_floor:
            most = allowed = limit("half", f"noise floor in {dtype}")
        expected = {name: probe.expected[name] for name in outputs(probe.architecture)}
        rows = compare(expected, returned, allowed, probe.scales)
        worst = max(row.error for row in rows)
        figure = f"{worst:.1e} (noise floor, <= {most:g})"
        if not engine.sets_noise_floor:
            worst /= noise_floor
            figure = f"{worst:.2f}x noise floor (<= {most:g})"
        measured = Measurement(worst, most, figure, rows)
        return self.verdict(probe, dtype, "outputs", engine, returned, measured)

    def _returned(self, probe: Probe, engine: Engine, dtype: str) -> dict[str, np.ndarray] | str:
        """The outputs of the model in that dtype, or the reason why there are none."""
        reason = self.unsupported_reason(engine, probe.dtype) or beyond_range(probe, dtype)
        return reason or outputs_in(engine.adapter.mixed_precision, probe, engine, dtype)

    def dtype_title(self, dtype: str) -> str:
        return dtype

    def probe_text(self, verdict: Verdict) -> str:
        return verdict.dtype


def outputs_in(
    run: Callable[..., dict[str, np.ndarray]], probe: Probe, engine: Engine, dtype: str
) -> dict[str, np.ndarray] | str:
    """The outputs that an adapter's function returns in that dtype, or its framework's refusal."""
    try:
        return run(probe.architecture, probe.weights, probe.images, engine.mode, dtype)
    except Exception as error:
        if not is_refusal(error):
            raise
        return " ".join(str(error).split())


def is_refusal(error: Exception) -> bool:
    """Whether a framework says that it has no such operation, each in its own words."""
    text = f"{type(error).__name__} {error}".lower()
    if "unsupported operand type" in text:
        return False  # Python's own message for a programming mistake
    return any(
        word in text
        for word in ("unimplemented", "not implemented", "notimplemented", "unsupported")
    )


def beyond_range(probe: Probe, dtype: str) -> str | None:
    """The reason why the dtype cannot hold the numbers of some tap; None if it can."""
    for name, value in probe.expected.items():
        largest = float(abs(value).max())
        if largest > _LARGEST[dtype]:
            return f"numbers reach {largest:,.0f} at {name}, {dtype} ends at {_LARGEST[dtype]:,.0f}"
    return None
