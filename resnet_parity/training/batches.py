"""Batches of photographs, the same for both frameworks, in any process and in any order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from resnet_parity.errors import ImageError
from resnet_parity.probes.splitmix import Stream
from resnet_parity.training.folders import Sample
from resnet_parity.training.images import Images


@dataclass(frozen=True)
class Batch:
    """`images` float32 (N, H, W, 3) and `labels` int64 (N,); `damaged` names what is left out."""

    images: np.ndarray
    labels: np.ndarray
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch: the samples in an order that the seed and the epoch give.

    For validation the order is that of the samples. With `whole`, a last batch of fewer
    samples is left out, because the statistics of a norm would differ.
    """

    samples: tuple[Sample, ...]
    images: Images
    size: int
    whole: bool = False

    def __len__(self) -> int:
        count = len(self.samples)
        return count // self.size if self.whole else -(-count // self.size)

    def order(self, epoch: int) -> np.ndarray:
        """The numbers of the samples in the order of an epoch, counted from 0."""
        if not self.images.is_training:
            return np.arange(len(self.samples))
        return Stream(f"order/{self.images.seed}/{epoch}").permutation(len(self.samples))

    def load(self, epoch: int, index: int) -> Batch:
        """Batch `index` of an epoch; photographs that cannot be read are left out."""
        numbers = self.order(epoch)[index * self.size : (index + 1) * self.size]
        images, labels, damaged = [], [], []
        for number in numbers:
            sample = self.samples[number]
            try:
                images.append(self.images.load(sample.path, epoch, int(number)))
                labels.append(sample.label)
            except ImageError as error:
                damaged.append(str(error))
        shape = (len(images), self.images.size, self.images.size, 3)
        stacked = np.stack(images) if images else np.zeros(shape, "float32")
        return Batch(stacked, np.array(labels, dtype="int64"), tuple(damaged))
