"""The images and labels of lockstep training, and the errors of the quantities it compares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from resnet_spec import Architecture, Recipe, momentum_name, parameters

from resnet_parity.adapters.protocol import Arrays, TrainingAdapter
from resnet_parity.compare import relative_error
from resnet_parity.probes.splitmix import Stream

BATCHES = 4
"""The number of batches that alternate; few, so that the loss falls."""

LOSS = "loss"
KINDS = (LOSS, "weights", "running statistics", "momentum buffers")
FORWARDS = (LOSS, "running statistics")
_SHARED = ("weights", "momentum buffers")


@dataclass(frozen=True)
class Workload:
    """The recipe, and the batches that alternate.

    `images` is (batches, N, C, H, W), `labels` is (batches, N).
    """

    architecture: Architecture
    recipe: Recipe
    images: np.ndarray
    labels: np.ndarray

    def batch(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The images (N, C, H, W) and labels (N,) of a step."""
        turn = index % len(self.images)
        return self.images[turn], self.labels[turn]

    def step(
        self, adapter: TrainingAdapter, training_state: Any, index: int, dtype: str
    ) -> dict[str, np.ndarray]:
        """Take one step; return the state after it and the loss before it."""
        images, labels = self.batch(index)
        rate = self.recipe.learning_rate_at(index)
        loss = adapter.step(training_state, images.astype(dtype), labels, rate)
        return {LOSS: np.array(loss)} | adapter.get_state(training_state)


def make_workload(
    arch: Architecture,
    recipe: Recipe,
    seed: int,
    size: tuple[int, int],
    batch: int,
    batches: int = BATCHES,
) -> Workload:
    """Images between -1 and 1, and labels; streams `lockstep/NAME/SEED/images` and `.../labels`."""
    stream = f"lockstep/{arch.name}/{seed}"
    shape = (batches, batch, arch.in_channels, *size)
    images = 2 * Stream(f"{stream}/images").uniform(math.prod(shape)) - 1
    labels = Stream(f"{stream}/labels").below(arch.num_classes, batches * batch)
    return Workload(arch, recipe, images.reshape(shape), labels.reshape(batches, batch))


def kinds_of(arch: Architecture) -> dict[str, str]:
    """The kind of each quantity in a state, in the order in which a step computes them.

    Statistics come with the forward pass, then the loss, then buffers and weights with the backward
    pass, from the last layer to the first.
    """
    _, weights, statistics, buffers = KINDS
    tensors = parameters(arch)
    trained = [p.name for p in reversed(tensors) if p.trainable]
    kinds = {p.name: statistics for p in tensors if not p.trainable} | {LOSS: LOSS}
    kinds |= {momentum_name(name): buffers for name in trained}
    return kinds | dict.fromkeys(trained, weights)


def errors_of(
    arch: Architecture, expected: Arrays, actual: Arrays, scales: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The relative error of every quantity, in the order of `kinds_of`.

    A gradient may vanish (that of a bias before a norm always does) and then consists of rounding
    alone. So the error of a trained tensor or its buffer is relative to the largest of three: its
    own size, the largest root mean square in its layer, and its entry in `scales`.
    """
    sizes: dict[tuple[str, str], float] = {}
    kinds = {name: kind for name, kind in kinds_of(arch).items() if name in expected}
    for name, kind in kinds.items():
        per_element = float(np.sqrt(np.mean(np.square(expected[name], dtype="float64"))))
        key = kind, _layer(name)
        sizes[key] = max(per_element, sizes.get(key, 0.0))
    errors = {}
    for name, kind in kinds.items():
        shared = sizes[kind, _layer(name)] if kind in _SHARED else 0.0
        scale = max(shared * math.sqrt(expected[name].size), (scales or {}).get(name, 0.0))
        errors[name] = relative_error(expected[name], actual[name], scale)
    return errors


def _layer(name: str) -> str:
    """The layer of a tensor or its momentum buffer."""
    return name.removesuffix(momentum_name("")).rpartition(".")[0]
