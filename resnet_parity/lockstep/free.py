"""Free steps in float64: both implementations go their own way from the same weights, and must not part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resnet_parity.lockstep.workload import (
    LOSS,
    State,
    TrainingAdapter,
    Workload,
    errors_of,
    kinds_of,
)
from resnet_parity.tolerances import limit


@dataclass(frozen=True)
class Worst:
    """What is furthest off, and by how much."""

    name: str
    error: float


@dataclass(frozen=True)
class TrainingStep:
    """One step of both implementations: the losses before it, and what is furthest off behind it, by kind."""

    index: int
    learning_rate: float
    torch_loss: float
    keras_loss: float
    worst: dict[str, Worst]

    @property
    def distance(self) -> float:
        """How far the losses are apart."""
        return abs(self.torch_loss - self.keras_loss)

    @property
    def furthest(self) -> Worst:
        return max(self.worst.values(), key=lambda worst: worst.error)

    @property
    def departed(self) -> bool:
        return not self.furthest.error <= limit("lockstep", "float64")


def free_steps(
    workload: Workload,
    frameworks: tuple[TrainingAdapter, TrainingAdapter],
    weights: State,
    count: int,
) -> Iterator[TrainingStep]:
    """PyTorch's step and Keras', compared, then the next ones from where each has come to."""
    arch, recipe = workload.architecture, workload.recipe
    kinds = kinds_of(arch)
    runs: list[tuple[TrainingAdapter, Any]] = [
        (framework, framework.start(arch, weights, recipe, "float64")) for framework in frameworks
    ]
    for index in range(count):
        ours, theirs = (workload.step(framework, run, index, "float64") for framework, run in runs)
        worst: dict[str, Worst] = {}
        for name, error in errors_of(arch, ours, theirs).items():
            kind = kinds[name]
            if kind not in worst or not error <= worst[kind].error:
                worst[kind] = Worst(name, error)
        rate = recipe.learning_rate_at(index)
        yield TrainingStep(index, rate, float(ours[LOSS]), float(theirs[LOSS]), worst)
