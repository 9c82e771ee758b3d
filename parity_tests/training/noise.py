"""Batches of noise, with which a loop is compared with `fit`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Noise:
    """Images of noise and random labels; the last batch of an epoch may be smaller."""

    count: int
    size: int = 4
    last: int = 4
    classes: int = 10
    pixels: tuple[int, int] = (32, 48)

    def __len__(self) -> int:
        return self.count

    def load(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        stream = np.random.default_rng([epoch, index])
        size = self.last if index == self.count - 1 else self.size
        images = stream.normal(size=(size, *self.pixels, 3)).astype("float32")
        return images, stream.integers(0, self.classes, size)
