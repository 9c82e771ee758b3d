"""What the judge asks of a hand, and where it does not ask because the machine rounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from resnet_spec import Architecture

from resnet_parity.engine import relative_error
from resnet_parity.tolerances import limit

Taps = Mapping[str, np.ndarray]


class Adapter(Protocol):
    """A hand as the judge sees it; `resnet_torch.adapter` and `resnet_keras.adapter` are two."""

    def modes(self) -> tuple[str, ...]: ...
    def obstacle(self, mode: str, rung: str) -> str | None: ...
    def float64_obstacle(self) -> str | None: ...
    def norm_of_ones(self, mode: str, dtype: str) -> np.ndarray: ...
    def versions(self) -> dict[str, str]: ...
    def build(self, architecture: Architecture, weights: Taps, dtype: str) -> Any: ...
    def run(self, model: Any, images: np.ndarray, mode: str) -> dict[str, np.ndarray]: ...
    def gradients(
        self, model: Any, images: np.ndarray, cotangents: Taps, mode: str, *, training: bool
    ) -> dict[str, np.ndarray]: ...
    def mixed_precision(
        self,
        architecture: Architecture,
        weights: Taps,
        images: np.ndarray,
        mode: str,
        dtype: str,
    ) -> dict[str, np.ndarray]: ...


def rounding(adapter: Adapter, mode: str, dtype: str) -> str | None:
    """Why that mode rounds, here, where the dtype holds a norm's result exactly; None if not.

    A norm that is off by more than a rough `rsqrt` explains is a defect: that is no reason, and a
    probe will show it.
    """
    if dtype == "float64" and (reason := adapter.float64_obstacle()):
        return reason
    halves = adapter.norm_of_ones(mode, dtype)
    exact = np.full_like(halves, 0.5)
    worst = halves.ravel()[np.abs(halves - exact).argmax()]
    if not 0 < relative_error(exact[:1], worst[None]) <= limit("exact", "norm"):
        return None
    return f"1 / sqrt(4) is {worst:.8g} in {mode} mode on this machine"


def mode_without_rounding(adapter: Adapter, preferred: str, dtype: str) -> str:
    """That mode, or the first that holds exact probes where that one rounds them on this machine.

    It stays the preferred one where all of them round.
    """
    modes = preferred, *adapter.modes()
    return next((mode for mode in modes if rounding(adapter, mode, dtype) is None), preferred)


def stand_in(adapter: Adapter, preferred: str, dtype: str) -> tuple[str, str | None]:
    """The mode of `mode_without_rounding`, and a note where it is not the preferred one."""
    mode = mode_without_rounding(adapter, preferred, dtype)
    if mode == preferred:
        return mode, None
    reason = rounding(adapter, preferred, dtype)
    return mode, f"{dtype} runs in {mode} mode instead, because {reason}"
