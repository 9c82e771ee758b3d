"""The exact check: on integer probes no sum can round, so every engine must give the same bits."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from resnet_parity.checks.base import Measurement, PlannedProbe, ProbeRequest
from resnet_parity.checks.tap_check import Found, NoiseFloor, TapCheck
from resnet_parity.tolerances import limit
from resnet_parity.verdict import BITWISE, Quantity, Row, Verdict

if TYPE_CHECKING:
    from resnet_spec import Architecture

    from resnet_parity.checks.engine import Engine


class Exact(TapCheck):
    name = "exact"
    description = "integer probes; every tap and gradient has the same bits"
    layers_title = "elements that differ"
    one_dtype_proves = True

    def probes(self, request: ProbeRequest) -> Iterator[PlannedProbe]:
        from resnet_parity.probes import exact_probe

        for dtype in ("float32", "float64"):
            make = partial(exact_probe, request.arch, request.seed, dtype, request.size)
            yield PlannedProbe(dtype, f"exact probe in {dtype}", make)

    def check_size(self, arch: Architecture, size: tuple[int, int]) -> None:
        from resnet_parity.probes import check_exact_size

        check_exact_size(arch, size)

    def unsupported_reason(
        self, engine: Engine, dtype: str, quantity: Quantity = "taps"
    ) -> str | None:
        """As for every check. An engine whose norms round is not run in float32.

        A ReLU at zero turns on or off by that rounding, and gates multiply it by 2^20. An engine
        whose float64 is partly float32 is run, because the rounding may be too small to matter; a
        mismatch is waived, see `waiver_limit`.
        """
        reason = super().unsupported_reason(engine, dtype, quantity)
        return engine.rounding_reason(dtype) if reason is None and dtype == "float32" else reason

    def measure(self, found: Found, noise_floor: NoiseFloor) -> Measurement:
        """Count the elements that differ in any bit."""
        rows = found.compare(BITWISE)
        differing = sum(row.differing for row in rows)
        figure = f"{differing:,} of {sum(row.elements for row in rows):,} differ"
        zero = sum(not value.any() for value in found.probe.gradients.values())
        if found.quantity == "gradients" and zero:
            figure += f", {zero} of {len(rows)} tensors all zero"
        return Measurement(differing, limit("exact", found.quantity), figure, rows)

    def waiver_limit(self, quantity: Quantity) -> float:
        check = "exact" if quantity == "gradients" else "float64"
        return limit(check, f"waived rounding of {quantity}")

    def probe_text(self, verdict: Verdict) -> str:
        return verdict.dtype

    def layer_text(self, row: Row) -> str:
        return f"{row.differing:,}"
