"""The prepared check: what the fast copies of `prepare` return, in float32 and in half precision.

They have fewer taps than the model, so only what the whole model returns is compared, with the
noise floor of the model without preparation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from resnet_spec import outputs

from resnet_parity.checks.base import Check, Measurement, PlannedProbe, ProbeRequest
from resnet_parity.checks.float32 import Float32
from resnet_parity.checks.half import Half, beyond_range, outputs_in
from resnet_parity.checks.tap_check import Found
from resnet_parity.tolerances import least_noise_floor, limit
from resnet_parity.verdict import Verdict

if TYPE_CHECKING:
    import numpy as np

    from resnet_parity.checks.engine import Engine
    from resnet_parity.probes import Probe


class Prepared(Check):
    name = "prepared"
    description = (
        "copies made by `prepare`; what they return errs by at most "
        f"{limit('prepared', 'outputs'):g} times PyTorch's own error, "
        f"{limit('prepared', 'outputs in half precision'):g} in bfloat16 and float16"
    )
    by_default = False
    quantities = ("outputs",)

    def probes(self, request: ProbeRequest) -> Iterator[PlannedProbe]:
        from resnet_parity.probes import random_probe

        make = partial(random_probe, request.arch, request.seed, "float32", request.size)
        yield PlannedProbe("float32", "random probe for prepared models", make)

    def run(self, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
        """A verdict per dtype and engine, in the order given."""
        unprepared = tuple(engine for engine in engines if engine.sets_noise_floor)
        noise_floors = {"float32": _float32(probe, unprepared), **_half(probe, unprepared)}
        for dtype, noise_floor in noise_floors.items():
            for engine in engines:
                returned = self._returned(probe, engine, dtype)
                if isinstance(returned, str):
                    yield self.skipped(probe.kind, dtype, engine.name, returned)
                else:
                    yield self._compare(probe, engine, dtype, returned, noise_floor)

    def _compare(
        self,
        probe: Probe,
        engine: Engine,
        dtype: str,
        returned: Mapping[str, np.ndarray],
        noise_floor: Mapping[str, float],
    ) -> Verdict:
        """Compare with the oracle; the limit of each output is a multiple of its noise floor."""
        from resnet_parity.compare import compare

        kind = "outputs" if dtype == "float32" else "outputs in half precision"
        most = limit("prepared", kind)
        expected = {name: probe.expected[name] for name in noise_floor}
        allowed = {name: most * error for name, error in noise_floor.items()}
        rows = compare(expected, returned, allowed, probe.scales)
        worst = max(row.error / noise_floor[row.name] for row in rows)
        measured = Measurement(worst, most, f"{worst:.2f}x noise floor (<= {most:g})", rows)
        return self.verdict(probe, dtype, "outputs", engine, returned, measured)

    def _returned(self, probe: Probe, engine: Engine, dtype: str) -> dict[str, np.ndarray] | str:
        """The outputs of the prepared model in that dtype, or the reason why there are none."""
        reason = self.unsupported_reason(engine, probe.dtype) or beyond_range(probe, dtype)
        if reason or engine.tf32:
            return reason or "TF32 rounds what it multiplies to 11 bits"
        return outputs_in(engine.adapter.prepared, probe, engine, dtype)

    def probe_text(self, verdict: Verdict) -> str:
        return verdict.dtype


def _float32(probe: Probe, engines: tuple[Engine, ...]) -> dict[str, float]:
    """The noise floor of each output in float32, as in the float32 check."""
    found = []
    for engine in engines:
        model = engine.adapter.build(probe.architecture, probe.weights, "float32")
        found.append(Found(probe, "taps", engine, engine.run(model, probe, "taps")))
    noise_floor = Float32().noise_floor(found)
    least = least_noise_floor()
    return {name: noise_floor.get(name, least) for name in outputs(probe.architecture)}


def _half(probe: Probe, engines: tuple[Engine, ...]) -> dict[str, dict[str, float]]:
    """By dtype, the noise floor of each output, as in the half check."""
    names = outputs(probe.architecture)
    return {
        dtype: dict.fromkeys(names, error)
        for dtype, error in Half().noise_floors(probe, engines).items()
    }
