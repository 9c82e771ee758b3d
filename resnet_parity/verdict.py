"""The results of checks, as data. This module loads nothing heavy, so every part can use it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Status = Literal["pass", "fail", "skipped"]
"""The result of a check; "skipped" has a reason, and never counts as a pass."""

RowStatus = Literal["ok", "mismatch", "shape", "missing"]
"""The result of comparing one array; "shape" and "missing" are mismatches of their own kind."""

Quantity = Literal["taps", "gradients", "outputs"]
"""The arrays that a check compares: every tap, every gradient, or only what the model returns."""

BITWISE = None
"""The limit of a row whose bits must all be equal."""


@dataclass(frozen=True)
class Row:
    """One array of one engine, compared with the expected one.

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
    status: RowStatus


def first_divergence(rows: Iterable[Row]) -> Row | None:
    """The first row that is not ok, or None."""
    return next((row for row in rows if row.status != "ok"), None)


@dataclass(frozen=True)
class Verdict:
    """The result of one check, for one engine on one probe.

    `value` is the figure that the check limits (elements that differ, largest relative error, or
    largest ratio to the noise floor) and `limit` the largest value allowed; `figure` has both as
    text. `reason` says why the status is "skipped".
    """

    check: str
    probe: str
    dtype: str
    quantity: Quantity
    engine: str
    status: Status
    limit: float
    value: float = float("inf")
    figure: str = "not run"
    rows: tuple[Row, ...] = ()
    logits: np.ndarray | None = None
    reason: str = ""

    @property
    def divergence(self) -> Row | None:
        """The first array that is not what it should be, or None."""
        return first_divergence(self.rows)
