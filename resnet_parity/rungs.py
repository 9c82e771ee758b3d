"""The ladder: each rung runs a probe through every engine and holds it to the oracle."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from resnet_spec import Architecture

from resnet_parity.engine import BITWISE, Row, compare, first_divergence
from resnet_parity.probes import Probe
from resnet_parity.tolerances import least_floor, limit

Rung = Literal["exact", "float64", "float32", "half"]
EVERY_RUNG: tuple[str, ...] = get_args(Rung)
RUNGS = EVERY_RUNG[:3]
"""Those that are climbed unless others are named."""

FLOOR_MODES = ("nchw", "channels_last")
"""PyTorch's memory layouts on a CPU: the larger error of the two is the floor."""

Status = Literal["pass", "fail", "cannot"]
Taps = Mapping[str, np.ndarray]


class Adapter(Protocol):
    """What the judge asks of a hand; `resnet_torch.adapter` and `resnet_keras.adapter` give it."""

    def modes(self) -> tuple[str, ...]: ...
    def obstacle(self, mode: str, rung: str) -> str | None: ...
    def versions(self) -> dict[str, str]: ...
    def float64_obstacle(self) -> str | None: ...
    def build(self, architecture: Architecture, weights: Taps, dtype: str) -> Any: ...
    def run(self, model: Any, images: np.ndarray, mode: str) -> dict[str, np.ndarray]: ...
    def mixed_precision(
        self,
        architecture: Architecture,
        weights: Taps,
        images: np.ndarray,
        mode: str,
        dtype: str,
    ) -> dict[str, np.ndarray]: ...


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

    def obstacle(self, rung: str) -> str | None:
        return self.adapter.obstacle(self.mode, rung)

    def run(self, model: Any, images: np.ndarray) -> dict[str, np.ndarray]:
        return self.adapter.run(model, images, self.mode)


@dataclass(frozen=True)
class Verdict:
    """What one engine showed on one probe.

    `value` is the quantity that the rung judges (elements that differ, largest relative error, or
    largest ratio to the floor), `limit` what it may be. `reason` explains a "cannot".
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
    logits: np.ndarray | None
    reason: str = ""

    @property
    def divergence(self) -> Row | None:
        return first_divergence(self.rows)


def climb(rung: str, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    """One verdict per engine, adapter by adapter; PyTorch first, for it makes the floor."""
    floor: dict[str, float] = {}
    for adapter in dict.fromkeys(engine.adapter for engine in engines):
        own = [engine for engine in engines if engine.adapter is adapter]
        able = [engine for engine in own if not engine.obstacle(rung)]
        model = adapter.build(probe.architecture, probe.weights, probe.dtype) if able else None
        outputs = {engine: engine.run(model, probe.images) for engine in able}
        if rung == "float32" and not floor:
            floor = _floor(probe, [outputs[engine] for engine in able if engine.makes_floor])
        for engine in own:
            if engine in outputs:
                yield _judge(rung, probe, engine, outputs[engine], floor)
            else:
                reason = str(engine.obstacle(rung))
                yield cannot(rung, probe.kind, probe.dtype, engine.name, reason)


def cannot(rung: str, probe: str, dtype: str, engine: str, reason: str) -> Verdict:
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
        logits=None,
        reason=reason,
    )


def no_probe(rung: str, reason: str) -> Verdict:
    """The verdict where a rung has no probe of that size."""
    return cannot(rung, "none", "", "every engine", reason)


def _floor(probe: Probe, outputs: Iterable[Taps]) -> dict[str, float]:
    """PyTorch's own float32 error up to each tap, the larger of its memory layouts.

    It never falls from one tap to the next: rounding travels on, and an error over a handful of
    logits would be small or large by chance. Nor does it rise above what rounding can be: a
    PyTorch that errs more is no floor, and fails by itself.
    """
    floor: dict[str, float] = {}
    error, most = least_floor(), limit("float32", "floor")
    judged = (compare(probe.expected, taps, most, probe.scales) for taps in outputs)
    for rows in zip(*judged, strict=True):
        name = rows[0].name
        least = least_floor(probe.cells.get(name, 1))
        error = min(most, max(error, least, *(row.error for row in rows)))
        floor[name] = error
    return floor


def _judge(
    rung: str,
    probe: Probe,
    engine: Engine,
    taps: Taps,
    floor: Mapping[str, float],
) -> Verdict:
    def verdict(value: float, most: float, figure: str, rows: tuple[Row, ...]) -> Verdict:
        failed = first_divergence(rows)
        obstacle = _obstacle(probe, engine, taps) if failed else ""
        status = "pass" if not failed else "cannot" if obstacle else "fail"
        return Verdict(
            rung=rung,
            probe=probe.kind,
            dtype=probe.dtype,
            engine=engine.name,
            status=status,
            value=value,
            limit=most,
            figure=figure,
            rows=rows,
            logits=taps.get("logits"),
            reason=obstacle,
        )

    if rung == "exact":
        rows = compare(probe.expected, taps, BITWISE)
        differing = sum(row.differing for row in rows)
        total = sum(row.elements for row in rows)
        return verdict(differing, limit("exact", "tap"), f"{differing:,} of {total:,} differ", rows)
    if rung == "float64" or engine.makes_floor or engine.tf32:
        quantity = "tap" if rung == "float64" else "floor" if engine.makes_floor else "tf32"
        most = limit(rung, quantity)
        rows = compare(probe.expected, taps, most, probe.scales)
        worst = max(row.error for row in rows)
        what = "floor, <=" if quantity == "floor" else "<="
        return verdict(worst, most, f"{worst:.1e} ({what} {most:g})", rows)
    most = limit("float32", "tap")
    limits = {name: most * error for name, error in floor.items()}
    rows = compare(probe.expected, taps, limits, probe.scales)
    worst = max(row.error / floor[row.name] for row in rows)
    return verdict(worst, most, f"{worst:.2f}x floor (<= {most:g})", rows)


def _obstacle(probe: Probe, engine: Engine, taps: Taps) -> str:
    """Why this engine cannot hold a float64 rung; empty when it should, or errs beyond rounding."""
    why = engine.adapter.float64_obstacle() if probe.dtype == "float64" else None
    if why is None:
        return ""
    most = limit("float64", "inside float32")
    rows = compare(probe.expected, taps, most, probe.scales)
    return "" if first_divergence(rows) else why
