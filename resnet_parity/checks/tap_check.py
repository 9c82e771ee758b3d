"""A check of taps and gradients: runs a probe through all engines, compares with the oracle."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resnet_parity.checks.base import Check, Measurement
from resnet_parity.verdict import Quantity, Row, Verdict, first_divergence

if TYPE_CHECKING:
    import numpy as np

    from resnet_parity.checks.engine import Engine
    from resnet_parity.probes import Probe

NoiseFloor = Mapping[str, float]
"""PyTorch's own error, by the name of a tap or a gradient; empty where a check has none."""


@dataclass(frozen=True)
class Found:
    """The output of one engine for a probe: every tap, or every gradient."""

    probe: Probe
    quantity: Quantity
    engine: Engine
    arrays: Mapping[str, np.ndarray]

    def compare(self, limits: Mapping[str, float] | float | None) -> tuple[Row, ...]:
        """A row per expected array; `limits` as in `resnet_parity.compare.compare`."""
        from resnet_parity.compare import compare

        expected = self.probe.expected if self.quantity == "taps" else self.probe.gradients
        return compare(expected, self.arrays, limits, self.probe.scales)

    def measure_error(self, most: float, label: str = "") -> Measurement:
        """The largest relative error, with one limit for all arrays; `label` names the limit."""
        rows = self.compare(most)
        worst = max(row.error for row in rows)
        return Measurement(worst, most, f"{worst:.1e} ({label}<= {most:g})", rows)


class TapCheck(Check):
    """A check of every tap, and of every gradient where the probe has gradients."""

    @abstractmethod
    def measure(self, found: Found, noise_floor: NoiseFloor) -> Measurement:
        """Compare what an engine gave; it passes if every row is ok."""

    def noise_floor(self, found: Sequence[Found]) -> NoiseFloor:
        """The noise floor, from what PyTorch gave in each of its memory layouts."""
        return {}

    def waiver_limit(self, quantity: Quantity) -> float | None:
        """The largest error waived for an engine whose float64 is partly float32; None: none is."""
        return None

    def unsupported_reason(
        self, engine: Engine, dtype: str, quantity: Quantity = "taps"
    ) -> str | None:
        if engine.tf32 and quantity == "gradients":
            return "there is no tolerance for what TF32 does to gradients"
        return super().unsupported_reason(engine, dtype, quantity)

    def run(self, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
        noise_floors: dict[Quantity, dict[str, float]] = {q: {} for q in quantities_of(probe)}
        for adapter in dict.fromkeys(engine.adapter for engine in engines):
            own = [engine for engine in engines if engine.adapter is adapter]
            is_supported = any(not self.unsupported_reason(e, probe.dtype) for e in own)
            built = probe.architecture, probe.weights, probe.dtype
            model = adapter.build(*built) if is_supported else None
            for quantity, noise_floor in noise_floors.items():
                yield from self._run_adapter(probe, quantity, own, model, noise_floor)

    def _run_adapter(
        self,
        probe: Probe,
        quantity: Quantity,
        engines: list[Engine],
        model: Any,
        noise_floor: dict[str, float],
    ) -> Iterator[Verdict]:
        """A verdict per engine of one adapter. Fills `noise_floor` while it is empty."""
        reasons = {e: self.unsupported_reason(e, probe.dtype, quantity) for e in engines}
        found = {
            engine: Found(probe, quantity, engine, engine.run(model, probe, quantity))
            for engine, reason in reasons.items()
            if reason is None
        }
        if not noise_floor:
            noise_floor |= self.noise_floor(
                [f for f in found.values() if f.engine.sets_noise_floor]
            )
        for engine, reason in reasons.items():
            if engine in found:
                yield self._verdict(found[engine], noise_floor)
            else:
                yield self.skipped(probe.kind, probe.dtype, engine.name, str(reason), quantity)

    def _verdict(self, found: Found, noise_floor: NoiseFloor) -> Verdict:
        measured = self.measure(found, noise_floor)
        waiver = self._waiver(found) if first_divergence(measured.rows) else ""
        compared = found.probe, found.probe.dtype, found.quantity, found.engine, found.arrays
        return self.verdict(*compared, measured, waiver)

    def _waiver(self, found: Found) -> str:
        """Why this engine cannot compute in float64; empty if it can, or errs beyond rounding."""
        most = self.waiver_limit(found.quantity)
        if found.probe.dtype != "float64" or most is None:
            return ""
        reason = found.engine.adapter.float64_unsupported_reason()
        return "" if reason is None or first_divergence(found.compare(most)) else reason


def quantities_of(probe: Probe) -> tuple[Quantity, ...]:
    """Taps, unless norms use the statistics of the batch; gradients, if the probe has any."""
    taps: tuple[Quantity, ...] = () if probe.training else ("taps",)
    return (*taps, "gradients") if probe.gradients else taps
