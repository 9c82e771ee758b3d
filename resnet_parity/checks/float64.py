"""The float64 check: on random probes every engine errs by no more than float64 rounds."""

from __future__ import annotations

from collections.abc import Iterator

from resnet_parity.checks.base import Measurement, PlannedProbe, ProbeRequest, random_probes
from resnet_parity.checks.tap_check import Found, NoiseFloor, TapCheck
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Quantity


class Float64(TapCheck):
    name = "float64"
    description = f"random probes; every relative error is at most {limit('float64', 'taps'):g}"
    takes_photographs = True

    def probes(self, request: ProbeRequest) -> Iterator[PlannedProbe]:
        return random_probes(self.name, request)

    def measure(self, found: Found, noise_floor: NoiseFloor) -> Measurement:
        """Compare with the float64 oracle, with one limit for all arrays."""
        return found.measure_error(limit("float64", found.quantity))

    def waiver_limit(self, quantity: Quantity) -> float:
        return limit("float64", f"waived rounding of {quantity}")
