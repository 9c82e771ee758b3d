"""Free steps in float64: both implementations train from the same weights and must not diverge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resnet_parity.adapters.protocol import Arrays, TrainingAdapter
from resnet_parity.lockstep.workload import LOSS, Workload, errors_of, kinds_of
from resnet_parity.tolerances import limit


@dataclass(frozen=True)
class Worst:
    """The quantity with the largest relative error, and that error."""

    name: str
    error: float


@dataclass(frozen=True)
class TrainingStep:
    """One step of both implementations: the losses before it, the worst of each kind after it."""

    index: int
    learning_rate: float
    torch_loss: float
    keras_loss: float
    worst: dict[str, Worst]

    @property
    def distance(self) -> float:
        """The absolute difference of the losses."""
        return abs(self.torch_loss - self.keras_loss)

    @property
    def furthest(self) -> Worst:
        """The worst of all kinds."""
        return max(self.worst.values(), key=lambda worst: worst.error)

    @property
    def diverged(self) -> bool:
        """Whether the largest error is over the limit, or not a number."""
        return not self.furthest.error <= limit("lockstep", "float64")


def free_steps(
    workload: Workload,
    adapters: tuple[TrainingAdapter, TrainingAdapter],
    weights: Arrays,
    count: int,
) -> Iterator[TrainingStep]:
    """Compare PyTorch's step with Keras', again and again; each goes on from its own state."""
    arch, recipe = workload.architecture, workload.recipe
    kinds = kinds_of(arch)
    runs: list[tuple[TrainingAdapter, Any]] = [
        (adapter, adapter.start(arch, weights, recipe, "float64")) for adapter in adapters
    ]
    for index in range(count):
        ours, theirs = (workload.step(adapter, run, index, "float64") for adapter, run in runs)
        worst: dict[str, Worst] = {}
        for name, error in errors_of(arch, ours, theirs).items():
            kind = kinds[name]
            if kind not in worst or not error <= worst[kind].error:
                worst[kind] = Worst(name, error)
        rate = recipe.learning_rate_at(index)
        yield TrainingStep(index, rate, float(ours[LOSS]), float(theirs[LOSS]), worst)
