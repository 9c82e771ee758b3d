"""An engine: one implementation on one backend in one mode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resnet_parity.adapters.protocol import NOISE_FLOOR_MODES, Adapter, rounding_reason
from resnet_parity.verdict import Quantity

if TYPE_CHECKING:
    from resnet_parity.probes import Probe


@dataclass(frozen=True)
class Engine:
    """One way to run one implementation: an adapter, whose backend is fixed, and a mode of it."""

    name: str
    adapter: Adapter
    mode: str

    @property
    def sets_noise_floor(self) -> bool:
        """Whether this engine's error is part of the noise floor."""
        return self.mode in NOISE_FLOOR_MODES

    @property
    def tf32(self) -> bool:
        """Whether this engine rounds its float32 products to TF32 on purpose."""
        return self.mode.endswith("tf32")

    def rounding_reason(self, dtype: str) -> str | None:
        """Why this engine rounds a norm's result that `dtype` can hold; None if it does not."""
        return rounding_reason(self.adapter, self.mode, dtype)

    def run(self, model: Any, probe: Probe, quantity: Quantity) -> dict[str, np.ndarray]:
        """Every tap, or every gradient, by name."""
        if quantity == "taps":
            return self.adapter.run(model, probe.images, self.mode)
        return self.adapter.gradients(
            model, probe.images, probe.cotangents, self.mode, training=probe.training
        )
