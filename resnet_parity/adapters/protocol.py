"""The interface of an adapter, and which of its modes round on this machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from resnet_spec import Architecture, Batches, Recipe, ema_name

from resnet_parity.tolerances import limit

Arrays = Mapping[str, np.ndarray]
"""Tensors by canonical name, in canonical layout."""

NOISE_FLOOR_MODES = ("nchw", "channels_last")
"""PyTorch's memory layouts on a CPU: the larger error of the two is the noise floor."""

LOSS_SCALE = "loss_scale"
"""The name of an array in the state of a run: the scale of its loss, and the steps since it grew.
"""


EMA_STEPS = "ema_steps"
"""The name of an array in the state of a run: the steps of which averages of weights are taken."""


def split_state(state: Arrays) -> tuple[Arrays, Arrays, int]:
    """The tensors of a training state, the averages of weights by tensor, and their steps."""
    end = ema_name("")
    averages = {name.removesuffix(end): each for name, each in state.items() if name.endswith(end)}
    others = {LOSS_SCALE, EMA_STEPS, *map(ema_name, averages)}
    tensors = {name: each for name, each in state.items() if name not in others}
    return tensors, averages, int(state.get(EMA_STEPS, np.zeros(1)).item())


class Adapter(Protocol):
    """An implementation as the checker uses it.

    The modules `resnet_parity.adapters.torch.adapter` and `.keras.adapter` are adapters.
    """

    def modes(self) -> tuple[str, ...]:
        """The ways to run a model on this machine, the usual one first."""
        ...

    def unsupported_reason(self, mode: str, check: str) -> str | None:
        """Why a mode cannot run that check on this machine; None if it can."""
        ...

    def float64_unsupported_reason(self) -> str | None:
        """Why a float64 model does not compute in float64; None if it does."""
        ...

    def norm_of_ones(self, mode: str, dtype: str) -> np.ndarray:
        """The output of a norm with variance 4 for ones: halves, unless the mode rounds."""
        ...

    def versions(self) -> dict[str, str]:
        """The framework and its backend, by name."""
        ...

    def build(self, architecture: Architecture, weights: Arrays, dtype: str) -> Any:
        """A model with those weights, in evaluation mode."""
        ...

    def run(self, model: Any, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
        """Every tap, and what the model returns, for images (N, C, H, W)."""
        ...

    def gradients(
        self, model: Any, images: np.ndarray, cotangents: Arrays, mode: str, *, training: bool
    ) -> dict[str, np.ndarray]:
        """The gradients of the outputs, weighted by `cotangents`: of every parameter and image."""
        ...

    def mixed_precision(
        self,
        architecture: Architecture,
        weights: Arrays,
        images: np.ndarray,
        mode: str,
        dtype: str,
    ) -> dict[str, np.ndarray]:
        """The outputs of a model with float32 weights that computes in a narrower dtype."""
        ...

    def prepared(
        self,
        architecture: Architecture,
        weights: Arrays,
        images: np.ndarray,
        mode: str,
        dtype: str,
    ) -> dict[str, np.ndarray]:
        """The outputs of the copy that `prepare` makes, in float32 or narrower, of such a model."""
        ...


class TrainingAdapter(Protocol):
    """An implementation as `lockstep` trains it.

    The modules `resnet_parity.adapters.torch.training_state` and `.keras.training_state` are
    training adapters.
    """

    @property
    def start(self) -> Callable[..., Any]:
        """(architecture, weights, recipe, dtype) -> training state; PyTorch also takes `layout`."""
        ...

    def step(
        self, training_state: Any, images: np.ndarray, labels: np.ndarray, learning_rate: float
    ) -> float: ...
    def get_state(self, training_state: Any) -> dict[str, np.ndarray]: ...
    def set_state(self, training_state: Any, state: Arrays) -> None: ...


class RunAdapter(Protocol):
    """An implementation as `train` runs it.

    The modules `resnet_parity.adapters.torch.runs` and `.keras.runs` are run adapters.
    """

    def start(
        self,
        architecture: Architecture,
        weights: Arrays,
        recipe: Recipe,
        dtype: str,
        *,
        frozen: bool = False,
        synchronized: bool = False,
    ) -> Any: ...
    def devices(self, count: int) -> AbstractContextManager[None]: ...
    def processes(self) -> tuple[int, int]: ...
    def largest(self, number: float) -> float: ...
    def fit(self, run: Any, train: Batches, val: Batches, **options: Any) -> None: ...
    def get_state(self, run: Any) -> dict[str, np.ndarray]: ...
    def set_state(self, run: Any, state: Arrays) -> None: ...
    def classifier(
        self, architecture: Architecture, weights: Arrays
    ) -> Callable[[np.ndarray], np.ndarray]: ...
    def explainer(
        self, architecture: Architecture, weights: Arrays
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]: ...


def rounding_reason(adapter: Adapter, mode: str, dtype: str) -> str | None:
    """Why a mode cannot run exact probes of that dtype on this machine; None if it can.

    It cannot where a norm rounds a result that the dtype holds exactly. An error larger than a
    rough float32 `rsqrt` explains is a defect, not a reason, and a probe will show it.
    """
    if dtype == "float64":
        return adapter.float64_unsupported_reason()
    halves = adapter.norm_of_ones(mode, dtype).ravel()
    worst = float(halves[np.abs(halves - 0.5).argmax()])
    if not 0 < abs(worst - 0.5) / 0.5 <= limit("exact", "rounding of a norm"):
        return None
    return f"1 / sqrt(4) is {worst:.8g} in {mode} mode on this machine"


def fallback_mode(adapter: Adapter, preferred: str, dtype: str) -> tuple[str, str | None]:
    """The preferred mode and None; if it rounds, the first mode that does not, and a note."""
    reason = rounding_reason(adapter, preferred, dtype)
    others = [mode for mode in adapter.modes() if not adapter.unsupported_reason(mode, "exact")]
    for mode in others if reason else ():
        if rounding_reason(adapter, mode, dtype) is None:
            return mode, f"{mode} mode runs instead of {preferred}, because {reason}"
    return preferred, None
