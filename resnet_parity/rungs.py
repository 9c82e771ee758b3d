"""The ladder: each rung runs a probe through every engine and holds it to the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from resnet_parity.engine import BITWISE, Row, compare, first_divergence
from resnet_parity.hands import Adapter, Taps, rounding
from resnet_parity.probes import Probe
from resnet_parity.tolerances import least_floor, limit

Rung = Literal["exact", "float64", "float32", "half"]
EVERY_RUNG: tuple[str, ...] = get_args(Rung)
RUNGS = EVERY_RUNG[:3]
"""Those that are climbed unless others are named."""

FLOOR_MODES = ("nchw", "channels_last")
"""PyTorch's memory layouts on a CPU: the larger error of the two is the floor."""

Subject = Literal["taps", "gradients"]

_QUANTITY = {
    ("taps", "error"): "tap",
    ("taps", "floor"): "floor",
    ("taps", "tf32"): "tf32",
    ("taps", "inside float32"): "inside float32",
    ("gradients", "error"): "gradient",
    ("gradients", "floor"): "gradient floor",
    ("gradients", "inside float32"): "gradient inside float32",
}
"""The rows of the table of tolerances."""

Status = Literal["pass", "fail", "cannot"]


@dataclass(frozen=True)
class Engine:
    """One way to run one hand: a framework, a backend, a mode."""

    name: str
    adapter: Adapter
    mode: str

    @property
    def makes_floor(self) -> bool:
        return self.mode in FLOOR_MODES

    @property
    def tf32(self) -> bool:
        """Whether its float32 products are rounded to TF32, on purpose."""
        return self.mode.endswith("tf32")

    def obstacle(self, rung: str, dtype: str, subject: Subject = "taps") -> str | None:
        """Why this engine cannot stand there.

        One whose norms round exact probes in float32 is not tried: ReLUs at zero turn on or off by
        that, and gates multiply it by 2^20. (Of float64 only parts may be narrow, which may be too
        little to matter, so it is tried, and judged by what it gives; see `_excuse`.)
        """
        if self.tf32 and subject == "gradients":
            return "what TF32 does to gradients has no budget"
        obstacle = self.adapter.obstacle(self.mode, rung)
        if obstacle is None and (rung, dtype) == ("exact", "float32"):
            return rounding(self.adapter, self.mode, dtype)
        return obstacle

    def run(self, model: Any, probe: Probe, subject: Subject) -> dict[str, np.ndarray]:
        """What the engine gives for all that is compared of that subject."""
        if subject == "taps":
            return self.adapter.run(model, probe.images, self.mode)
        return self.adapter.gradients(
            model, probe.images, probe.cotangents, self.mode, training=probe.training
        )


@dataclass(frozen=True)
class Verdict:
    """What one engine showed on one probe.

    `subject` is what was compared: every tap, or every gradient. `value` is the quantity that the
    rung judges (elements that differ, largest relative error, or largest ratio to the floor),
    `limit` what it may be. `reason` explains a "cannot".
    """

    rung: str
    probe: str
    dtype: str
    engine: str
    status: Status
    value: float
    limit: float
    figure: str
    rows: tuple[Row, ...]
    logits: np.ndarray | None = None
    subject: Subject = "taps"
    reason: str = ""

    @property
    def divergence(self) -> Row | None:
        return first_divergence(self.rows)


def climb(rung: str, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    """A verdict per engine and subject, adapter by adapter; PyTorch first, it makes the floor."""
    floors: dict[Subject, dict[str, float]] = {subject: {} for subject in subjects(probe)}
    for adapter in dict.fromkeys(engine.adapter for engine in engines):
        own = [engine for engine in engines if engine.adapter is adapter]
        is_able = any(not engine.obstacle(rung, probe.dtype) for engine in own)
        model = adapter.build(probe.architecture, probe.weights, probe.dtype) if is_able else None
        for subject, floor in floors.items():
            yield from _climb(rung, probe, subject, own, model, floor)


def _climb(
    rung: str,
    probe: Probe,
    subject: Subject,
    engines: list[Engine],
    model: Any,
    floor: dict[str, float],
) -> Iterator[Verdict]:
    """A verdict per engine of one adapter; fills the floor where it is still to be made."""
    able = [engine for engine in engines if not engine.obstacle(rung, probe.dtype, subject)]
    outputs = {engine: engine.run(model, probe, subject) for engine in able}
    if rung == "float32" and not floor:
        makers = [outputs[engine] for engine in able if engine.makes_floor]
        floor |= _floor(probe, subject, makers)
    for engine in engines:
        if engine in outputs:
            yield _judge(rung, probe, subject, engine, outputs[engine], floor)
        else:
            reason = str(engine.obstacle(rung, probe.dtype, subject))
            yield cannot(rung, probe.kind, probe.dtype, engine.name, reason, subject)


def subjects(probe: Probe) -> tuple[Subject, ...]:
    """What a probe can compare: taps unless norms go by the batch, gradients if it has any."""
    found: tuple[tuple[Subject, bool], ...] = (
        ("taps", not probe.training),
        ("gradients", bool(probe.gradients)),
    )
    return tuple(subject for subject, there in found if there)


def cannot(
    rung: str, probe: str, dtype: str, engine: str, reason: str, subject: Subject = "taps"
) -> Verdict:
    """The verdict where nothing could be run, so that nothing is judged."""
    return Verdict(
        rung=rung,
        probe=probe,
        dtype=dtype,
        engine=engine,
        status="cannot",
        value=float("inf"),
        limit=limit(rung, "tap"),
        figure="not run",
        rows=(),
        subject=subject,
        reason=reason,
    )


def no_probe(rung: str, reason: str) -> Verdict:
    """The verdict where a rung has no probe of that size."""
    return cannot(rung, "none", "", "every engine", reason)


def _floor(probe: Probe, subject: Subject, outputs: Iterable[Taps]) -> dict[str, float]:
    """PyTorch's own float32 error up to each tap or gradient, the larger of its memory layouts.

    It never falls from one tap to the next: rounding travels on, and an error over a handful of
    logits would be small or large by chance. A gradient has the rounding of the whole net in it,
    so for those the floor is the largest error of any. Nor does it rise above what rounding can
    be: a PyTorch that errs more is no floor, and fails by itself.
    """
    floor: dict[str, float] = {}
    error, most = least_floor(), limit("float32", _QUANTITY[subject, "floor"])
    judged = (_compare(probe, subject, taps, most) for taps in outputs)
    for rows in zip(*judged, strict=True):
        name = rows[0].name
        least = least_floor(probe.cells.get(name, 1))
        error = min(most, max(error, least, *(row.error for row in rows)))
        floor[name] = error
    return floor if subject == "taps" else dict.fromkeys(floor, error)


def _compare(
    probe: Probe, subject: Subject, found: Taps, limits: Mapping[str, float] | float | None
) -> tuple[Row, ...]:
    expected = probe.expected if subject == "taps" else probe.gradients
    return compare(expected, found, limits, probe.scales)


def _judge(
    rung: str,
    probe: Probe,
    subject: Subject,
    engine: Engine,
    found: Taps,
    floor: Mapping[str, float],
) -> Verdict:
    value, most, figure, rows = _measure(rung, probe, subject, engine, found, floor)
    failed = first_divergence(rows)
    excuse = _excuse(probe, subject, engine, found) if failed else ""
    return Verdict(
        rung=rung,
        probe=probe.kind,
        dtype=probe.dtype,
        engine=engine.name,
        status="pass" if not failed else "cannot" if excuse else "fail",
        value=value,
        limit=most,
        figure=figure,
        rows=rows,
        logits=found.get("logits"),
        subject=subject,
        reason=excuse,
    )


def _measure(
    rung: str,
    probe: Probe,
    subject: Subject,
    engine: Engine,
    found: Taps,
    floor: Mapping[str, float],
) -> tuple[float, float, str, tuple[Row, ...]]:
    """What the rung judges: a value, what it may be, both in words, and the rows behind it."""
    if rung == "exact":
        rows = _compare(probe, subject, found, BITWISE)
        differing = sum(row.differing for row in rows)
        total = sum(row.elements for row in rows)
        figure = f"{differing:,} of {total:,} differ"
        silent = sum(not value.any() for value in probe.gradients.values())
        if subject == "gradients" and silent:
            figure += f", {silent} of {len(rows)} tensors all zero"
        return differing, limit("exact", _QUANTITY[subject, "error"]), figure, rows
    if rung == "float64" or engine.makes_floor or engine.tf32:
        what = "error" if rung == "float64" else "floor" if engine.makes_floor else "tf32"
        most = limit(rung, _QUANTITY[subject, what])
        rows = _compare(probe, subject, found, most)
        worst = max(row.error for row in rows)
        words = "floor, <=" if what == "floor" else "<="
        return worst, most, f"{worst:.1e} ({words} {most:g})", rows
    most = limit("float32", _QUANTITY[subject, "error"])
    limits = {name: most * error for name, error in floor.items()}
    rows = _compare(probe, subject, found, limits)
    worst = max(row.error / floor[row.name] for row in rows)
    return worst, most, f"{worst:.2f}x floor (<= {most:g})", rows


def _excuse(probe: Probe, subject: Subject, engine: Engine, found: Taps) -> str:
    """Why this engine cannot hold float64; empty when it should, or errs beyond rounding."""
    why = engine.adapter.float64_obstacle() if probe.dtype == "float64" else None
    if why is None:
        return ""
    rung = "exact" if probe.kind == "exact" and subject == "gradients" else "float64"
    most = limit(rung, _QUANTITY[subject, "inside float32"])
    return "" if first_divergence(_compare(probe, subject, found, most)) else why
