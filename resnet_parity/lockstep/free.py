"""Free steps in float64: both hands go their own way from the same weights, and must not part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from resnet_parity.lockstep.course import LOSS, Course, State, Trainees, errors_of, kinds_of
from resnet_parity.tolerances import limit


@dataclass(frozen=True)
class Worst:
    """What is furthest off, and by how much."""

    name: str
    error: float


@dataclass(frozen=True)
class Step:
    """One step of both hands: the losses before it, and what is furthest off behind it, by kind."""

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
    course: Course, hands: tuple[Trainees, Trainees], weights: State, count: int
) -> Iterator[Step]:
    """PyTorch's step and Keras', compared, then the next ones from where each has come to."""
    arch, recipe = course.architecture, course.recipe
    kinds = kinds_of(arch)
    runs: list[tuple[Trainees, Any]] = [
        (hand, hand.start(arch, weights, recipe, "float64")) for hand in hands
    ]
    for index in range(count):
        ours, theirs = (course.step(hand, run, index, "float64") for hand, run in runs)
        worst: dict[str, Worst] = {}
        for name, error in errors_of(arch, ours, theirs).items():
            kind = kinds[name]
            if kind not in worst or not error <= worst[kind].error:
                worst[kind] = Worst(name, error)
        rate = recipe.learning_rate_at(index)
        yield Step(index, rate, float(ours[LOSS]), float(theirs[LOSS]), worst)
