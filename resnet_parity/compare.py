"""The comparison, tap by tap. It returns data and never prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Status = Literal["ok", "mismatch", "shape", "missing"]

BITWISE = None
"""The limit that only equal bits keep."""


@dataclass(frozen=True)
class Row:
    """One tap of one engine against what it should be.

    `error` is the relative L2 error (infinite where the engine gave NaN or infinity), `max_abs` the
    largest absolute difference, `differing` the number of elements that differ in any bit (but for
    the sign of a zero). `limit` is the largest error allowed, None where the bits must be equal.
    """

    name: str
    shape: tuple[int, ...]
    elements: int
    differing: int
    max_abs: float
    error: float
    limit: float | None
    status: Status


def compare(
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    limits: Mapping[str, float] | float | None,
    scales: Mapping[str, float] | None = None,
) -> tuple[Row, ...]:
    """A row per expected tap, in the order expected; `limits` is one for all, or one per tap.

    Errors are relative to what was expected, or to its scale where that is larger.
    """

    def limit_of(name: str) -> float | None:
        return limits[name] if isinstance(limits, Mapping) else limits

    return tuple(
        _row(name, value, actual.get(name), limit_of(name), (scales or {}).get(name, 0.0))
        for name, value in expected.items()
    )


def first_divergence(rows: Iterable[Row]) -> Row | None:
    """The first tap that is not what it should be, or None."""
    return next((row for row in rows if row.status != "ok"), None)


def relative_error(expected: np.ndarray, actual: np.ndarray, scale: float = 0.0) -> float:
    """The L2 norm of the difference over that of what was expected; infinite for non-numbers.

    `scale` takes the place of the latter where it is larger.
    """
    if not (np.isfinite(actual).all() and np.isfinite(expected).all()):
        return float("inf")
    reference = expected.astype("float64").ravel()
    difference = float(np.linalg.norm(actual.astype("float64").ravel() - reference))
    return difference / (max(float(np.linalg.norm(reference)), scale) or 1.0)


def _row(
    name: str,
    expected: np.ndarray,
    actual: np.ndarray | None,
    limit: float | None,
    scale: float,
) -> Row:
    def row(status: Status, differing: int, max_abs: float, error: float) -> Row:
        return Row(name, expected.shape, expected.size, differing, max_abs, error, limit, status)

    if actual is None:
        return row("missing", expected.size, float("inf"), float("inf"))
    if actual.shape != expected.shape:
        return row("shape", expected.size, float("inf"), float("inf"))
    differing = _differing_bits(expected, actual)
    error = relative_error(expected, actual, scale)
    finite = error != float("inf")
    max_abs = float(np.abs(actual.astype("float64") - expected).max()) if finite else error
    within = differing == 0 if limit is None else error <= limit
    return row("ok" if within else "mismatch", differing, max_abs, error)


def _differing_bits(expected: np.ndarray, actual: np.ndarray) -> int:
    """Elements whose bits differ; another dtype is another value everywhere.

    Adding +0 turns -0 into +0: a sum that starts with its first term and one that starts with zero
    may differ in the sign of a zero, and the integers of an exact probe have no signed zero.
    """
    if expected.dtype != actual.dtype:
        return expected.size
    bits = f"u{expected.dtype.itemsize}"
    different = (expected + 0.0).view(bits) != (actual + 0.0).view(bits)
    return int(np.count_nonzero(different))
