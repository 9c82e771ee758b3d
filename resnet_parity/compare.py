"""Compares arrays with what they should be. Returns data and never prints."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from resnet_parity.verdict import Row, RowStatus


def compare(
    expected: Mapping[str, np.ndarray],
    actual: Mapping[str, np.ndarray],
    limits: Mapping[str, float] | float | None,
    scales: Mapping[str, float] | None = None,
) -> tuple[Row, ...]:
    """A row per expected array, in the order expected; `limits` is one for all, or one per array.

    Errors are relative to what was expected, or to its scale where that is larger.
    """

    def limit_of(name: str) -> float | None:
        return limits[name] if isinstance(limits, Mapping) else limits

    return tuple(
        _row(name, value, actual.get(name), limit_of(name), (scales or {}).get(name, 0.0))
        for name, value in expected.items()
    )


def relative_error(expected: np.ndarray, actual: np.ndarray, scale: float = 0.0) -> float:
    """The L2 norm of the difference over that of what was expected; infinite for NaN and infinity.

    The difference is divided by `scale` instead where that is larger.
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
    def row(status: RowStatus, differing: int, max_abs: float, error: float) -> Row:
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
    """The number of elements whose bits differ; arrays of different dtypes differ everywhere.

    Adding +0 turns -0 into +0: a sum that starts with its first term and one that starts with zero
    may differ in the sign of a zero, and the integers of an exact probe have no signed zero.
    """
    if expected.dtype != actual.dtype:
        return expected.size
    bits = f"u{expected.dtype.itemsize}"
    different = (expected + 0.0).view(bits) != (actual + 0.0).view(bits)
    return int(np.count_nonzero(different))
