"""The float64 check: on random probes every engine errs by no more than float64 rounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from resnet_parity.checks.base import PlannedProbe, Size, random_probes
from resnet_parity.checks.tap_check import (
    Found,
    Measurement,
    NoiseFloor,
    TapCheck,
    measure_error,
)
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Quantity

if TYPE_CHECKING:
    import numpy as np

    from resnet_spec import Architecture


class Float64(TapCheck):
    name = "float64"
    description = f"random probes; every relative error is at most {limit('float64', 'taps'):g}"
    takes_photographs = True

    def probes(
        self,
        arch: Architecture,
        seed: int,
        size: Size | None = None,
        photographs: np.ndarray | None = None,
    ) -> Iterator[PlannedProbe]:
        return random_probes("float64", arch, seed, size, photographs)

    def measure(self, found: Found, noise_floor: NoiseFloor) -> Measurement:
        """Compare with the float64 oracle, with one limit for all arrays."""
        return measure_error(found, limit("float64", found.quantity))

    def waiver_limit(self, quantity: Quantity) -> float:
        return limit("float64", f"waived rounding of {quantity}")
