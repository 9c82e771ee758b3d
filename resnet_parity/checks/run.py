"""The list of checks: each check runs a probe through every engine and holds it to the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from resnet_parity.adapters.protocol import Adapter, Taps, rounding
from resnet_parity.compare import BITWISE, Row, compare, first_divergence
from resnet_parity.probes import Probe
from resnet_parity.tolerances import least_noise_floor, limit

CheckName = Literal["exact", "float64", "float32", "half"]
ALL_CHECKS: tuple[str, ...] = get_args(CheckName)
DEFAULT_CHECKS = ALL_CHECKS[:3]
"""Those that are climbed unless others are named."""

NOISE_FLOOR_MODES = ("nchw", "channels_last")
"""PyTorch's memory layouts on a CPU: the larger error of the two is the noise floor."""

Compared = Literal["taps", "gradients"]

_QUANTITY = {
    ("taps", "error"): "taps",
    ("taps", "noise floor"): "noise floor of taps",
    ("taps", "tf32"): "taps with TF32",
    ("taps", "inside float32"): "waived rounding of taps",
    ("gradients", "error"): "gradients",
    ("gradients", "noise floor"): "noise floor of gradients",
    ("gradients", "inside float32"): "waived rounding of gradients",
}
"""The rows of the table of tolerances."""

Status = Literal["pass", "fail", "skipped"]


@dataclass(frozen=True)
class Engine:
    """One way to run one implementation: a framework, a backend, a mode."""

    name: str
    adapter: Adapter
    mode: str

    @property
    def sets_noise_floor(self) -> bool:
        return self.mode in NOISE_FLOOR_MODES

    @property
    def tf32(self) -> bool:
        """Whether its float32 products are rounded to TF32, on purpose."""
        return self.mode.endswith("tf32")

    def unsupported_reason(self, check: str, dtype: str, compared: Compared = "taps") -> str | None:
        """Why this engine cannot stand there.

        One whose norms round exact probes in float32 is not tried: ReLUs at zero turn on or off by
        that, and gates multiply it by 2^20. (Of float64 only parts may be narrow, which may be too
        little to matter, so it is tried, and judged by what it gives; see `_excuse`.)
        """
        if self.tf32 and compared == "gradients":
            return "what TF32 does to gradients has no budget"
        unsupported_reason = self.adapter.unsupported_reason(self.mode, check)
        if unsupported_reason is None and (check, dtype) == ("exact", "float32"):
            return rounding(self.adapter, self.mode, dtype)
        return unsupported_reason

    def run(self, model: Any, probe: Probe, compared: Compared) -> dict[str, np.ndarray]:
        """What the engine gives for all that is compared of that subject."""
        if compared == "taps":
            return self.adapter.run(model, probe.images, self.mode)
        return self.adapter.gradients(
            model, probe.images, probe.cotangents, self.mode, training=probe.training
        )


@dataclass(frozen=True)
class Verdict:
    """What one engine showed on one probe.

    `subject` is what was compared: every tap, or every gradient. `value` is the quantity that the
    check judges (elements that differ, largest relative error, or largest ratio to the noise floor),
    `limit` what it may be. `reason` explains a "cannot".
    """

    check: str
    probe: str
    dtype: str
    engine: str
    status: Status
    value: float
    limit: float
    figure: str
    rows: tuple[Row, ...]
    logits: np.ndarray | None = None
    compared: Compared = "taps"
    reason: str = ""

    @property
    def divergence(self) -> Row | None:
        return first_divergence(self.rows)


def run_check(check: str, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    """A verdict per engine and subject, adapter by adapter; PyTorch first, it makes the noise floor."""
    noise_floors: dict[Compared, dict[str, float]] = {
        compared: {} for compared in compared_by(probe)
    }
    for adapter in dict.fromkeys(engine.adapter for engine in engines):
        own = [engine for engine in engines if engine.adapter is adapter]
        is_able = any(not engine.unsupported_reason(check, probe.dtype) for engine in own)
        model = adapter.build(probe.architecture, probe.weights, probe.dtype) if is_able else None
        for compared, noise_floor in noise_floors.items():
            yield from _run_check(check, probe, compared, own, model, noise_floor)


def _run_check(
    check: str,
    probe: Probe,
    compared: Compared,
    engines: list[Engine],
    model: Any,
    noise_floor: dict[str, float],
) -> Iterator[Verdict]:
    """A verdict per engine of one adapter; fills the noise floor where it is still to be made."""
    able = [
        engine for engine in engines if not engine.unsupported_reason(check, probe.dtype, compared)
    ]
    outputs = {engine: engine.run(model, probe, compared) for engine in able}
    if check == "float32" and not noise_floor:
        makers = [outputs[engine] for engine in able if engine.sets_noise_floor]
        noise_floor |= _noise_floor(probe, compared, makers)
    for engine in engines:
        if engine in outputs:
            yield _judge(check, probe, compared, engine, outputs[engine], noise_floor)
        else:
            reason = str(engine.unsupported_reason(check, probe.dtype, compared))
            yield skipped(check, probe.kind, probe.dtype, engine.name, reason, compared)


def compared_by(probe: Probe) -> tuple[Compared, ...]:
    """What a probe can compare: taps unless norms go by the batch, gradients if it has any."""
    found: tuple[tuple[Compared, bool], ...] = (
        ("taps", not probe.training),
        ("gradients", bool(probe.gradients)),
    )
    return tuple(compared for compared, there in found if there)


def skipped(
    check: str, probe: str, dtype: str, engine: str, reason: str, compared: Compared = "taps"
) -> Verdict:
    """The verdict where nothing could be run, so that nothing is judged."""
    return Verdict(
        check=check,
        probe=probe,
        dtype=dtype,
        engine=engine,
        status="skipped",
        value=float("inf"),
        limit=limit(check, "outputs" if check == "half" else "taps"),
        figure="not run",
        rows=(),
        compared=compared,
        reason=reason,
    )


def no_probe(check: str, reason: str) -> Verdict:
    """The verdict where a check has no probe of that size."""
    return skipped(check, "none", "", "every engine", reason)


def _noise_floor(probe: Probe, compared: Compared, outputs: Iterable[Taps]) -> dict[str, float]:
    """PyTorch's own float32 error up to each tap or gradient, the larger of its memory layouts.

    It never falls from one tap to the next: rounding travels on, and an error over a handful of
    logits would be small or large by chance. A gradient has the rounding of the whole net in it,
    so for those the noise floor is the largest error of any. Nor does it rise above what rounding can
    be: a PyTorch that errs more is no noise floor, and fails by itself.
    """
    noise_floor: dict[str, float] = {}
    error, most = least_noise_floor(), limit("float32", _QUANTITY[compared, "noise floor"])
    judged = (_compare(probe, compared, taps, most) for taps in outputs)
    for rows in zip(*judged, strict=True):
        name = rows[0].name
        least = least_noise_floor(probe.averaged_cells.get(name, 1))
        error = min(most, max(error, least, *(row.error for row in rows)))
        noise_floor[name] = error
    return noise_floor if compared == "taps" else dict.fromkeys(noise_floor, error)


def _compare(
    probe: Probe, compared: Compared, found: Taps, limits: Mapping[str, float] | float | None
) -> tuple[Row, ...]:
    expected = probe.expected if compared == "taps" else probe.gradients
    return compare(expected, found, limits, probe.scales)


def _judge(
    check: str,
    probe: Probe,
    compared: Compared,
    engine: Engine,
    found: Taps,
    noise_floor: Mapping[str, float],
) -> Verdict:
    value, most, figure, rows = _measure(check, probe, compared, engine, found, noise_floor)
    failed = first_divergence(rows)
    waiver = _waiver(probe, compared, engine, found) if failed else ""
    return Verdict(
        check=check,
        probe=probe.kind,
        dtype=probe.dtype,
        engine=engine.name,
        status="pass" if not failed else "skipped" if waiver else "fail",
        value=value,
        limit=most,
        figure=figure,
        rows=rows,
        logits=found.get("logits"),
        compared=compared,
        reason=waiver,
    )


def _measure(
    check: str,
    probe: Probe,
    compared: Compared,
    engine: Engine,
    found: Taps,
    noise_floor: Mapping[str, float],
) -> tuple[float, float, str, tuple[Row, ...]]:
    """What the check judges: a value, what it may be, both in words, and the rows behind it."""
    if check == "exact":
        rows = _compare(probe, compared, found, BITWISE)
        differing = sum(row.differing for row in rows)
        total = sum(row.elements for row in rows)
        figure = f"{differing:,} of {total:,} differ"
        silent = sum(not value.any() for value in probe.gradients.values())
        if compared == "gradients" and silent:
            figure += f", {silent} of {len(rows)} tensors all zero"
        return differing, limit("exact", _QUANTITY[compared, "error"]), figure, rows
    if check == "float64" or engine.sets_noise_floor or engine.tf32:
        what = (
            "error" if check == "float64" else "noise floor" if engine.sets_noise_floor else "tf32"
        )
        most = limit(check, _QUANTITY[compared, what])
        rows = _compare(probe, compared, found, most)
        worst = max(row.error for row in rows)
        words = "noise floor, <=" if what == "noise floor" else "<="
        return worst, most, f"{worst:.1e} ({words} {most:g})", rows
    most = limit("float32", _QUANTITY[compared, "error"])
    limits = {name: most * error for name, error in noise_floor.items()}
    rows = _compare(probe, compared, found, limits)
    worst = max(row.error / noise_floor[row.name] for row in rows)
    return worst, most, f"{worst:.2f}x noise floor (<= {most:g})", rows


def _waiver(probe: Probe, compared: Compared, engine: Engine, found: Taps) -> str:
    """Why this engine cannot hold float64; empty when it should, or errs beyond rounding."""
    why = engine.adapter.float64_unsupported_reason() if probe.dtype == "float64" else None
    if why is None:
        return ""
    check = "exact" if probe.kind == "exact" and compared == "gradients" else "float64"
    most = limit(check, _QUANTITY[compared, "inside float32"])
    return "" if first_divergence(_compare(probe, compared, found, most)) else why
