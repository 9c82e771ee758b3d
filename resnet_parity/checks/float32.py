"""The float32 check: on random probes every engine errs by at most twice the noise floor.

The noise floor is PyTorch's own float32 error against the float64 oracle, the larger of its two
memory layouts. PyTorch itself is compared with an absolute limit, and so is TF32 on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from resnet_parity.checks.base import Measurement, PlannedProbe, ProbeRequest, random_probes
from resnet_parity.checks.tap_check import Found, NoiseFloor, TapCheck
from resnet_parity.tolerances import least_noise_floor, limit


class Float32(TapCheck):
    name = "float32"
    description = (
        f"random probes; every error is at most {limit('float32', 'taps'):g} times PyTorch's own"
    )
    takes_photographs = True

    def probes(self, request: ProbeRequest) -> Iterator[PlannedProbe]:
        return random_probes(self.name, request)

    def noise_floor(self, found: Sequence[Found]) -> NoiseFloor:
        """PyTorch's error up to each tap, or its largest error in any gradient.

        The noise floor never falls from one tap to the next, because rounding travels on and the
        error over a handful of logits is small or large by chance. Every gradient has the rounding
        of the whole network in it. It also never rises above the limit for PyTorch itself: a
        PyTorch that errs more fails, and does not raise the limit for others.
        """
        noise_floor: dict[str, float] = {}
        error = least_noise_floor()
        measured = [measure_pytorch(each) for each in found]
        for rows in zip(*(each.rows for each in measured), strict=True):
            name = rows[0].name
            least = least_noise_floor(found[0].probe.averaged_cells.get(name, 1))
            error = min(measured[0].limit, max(error, least, *(row.error for row in rows)))
            noise_floor[name] = error
        is_one_for_all = bool(found) and found[0].quantity == "gradients"
        return dict.fromkeys(noise_floor, error) if is_one_for_all else noise_floor

    def measure(self, found: Found, noise_floor: NoiseFloor) -> Measurement:
        """Compare with the oracle; the limit of each array is a multiple of its noise floor."""
        if found.engine.sets_noise_floor:
            return measure_pytorch(found)
        if found.engine.tf32:
            return found.measure_error(limit("float32", f"{found.quantity} with TF32"))
        most = limit("float32", found.quantity)
        rows = found.compare({name: most * error for name, error in noise_floor.items()})
        worst = max(row.error / noise_floor[row.name] for row in rows)
        return Measurement(worst, most, f"{worst:.2f}x noise floor (<= {most:g})", rows)


def measure_pytorch(found: Found) -> Measurement:
    """Compare PyTorch, whose error is the noise floor, with its absolute limit."""
    most = limit("float32", f"noise floor of {found.quantity}")
    return found.measure_error(most, "noise floor, ")
