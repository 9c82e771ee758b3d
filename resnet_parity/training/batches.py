"""Batches of photographs, the same for both frameworks, in any process and in any order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from resnet_spec.text import printable

from resnet_parity.errors import ImageError, ParityError
from resnet_parity.files import writing
from resnet_parity.probes.splitmix import Stream
from resnet_parity.training.folders import Sample
from resnet_parity.training.images import Images

MOST_DAMAGED = 100
"""One photograph in this many may be damaged."""


class Batch(NamedTuple):
    """`images` float32 (N, H, W, 3) and `labels` int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Batches:
    """The batches of an epoch: the samples in an order that the seed and the epoch give.

    For validation the order is that of the samples. With `whole`, a last batch of fewer
    samples is left out, because the statistics of a norm would differ. A photograph that cannot be
    read is left out and written to the file `log`, which all worker processes share; without one,
    it is an error.

    Of several processes, each has a part of every batch in training, which may be one photograph
    smaller than that of another, and some of the whole batches in validation.
    """

    samples: tuple[Sample, ...]
    images: Images
    size: int
    whole: bool = False
    log: Path | None = None
    process: int = 0
    processes: int = 1

    def __len__(self) -> int:
        count = len(self.samples)
        if self.whole:
            return count // self.size
        return len(range(self.process, -(-count // self.size), self.processes))

    def order(self, epoch: int) -> np.ndarray:
        """The numbers of the samples in the order of an epoch, counted from 0."""
        if not self.images.is_training:
            return np.arange(len(self.samples))
        return _order(self.images.seed, epoch, len(self.samples))

    def load(self, epoch: int, index: int) -> Batch:
        """Batch `index` of an epoch.

        Raises `ImageError` that names a photograph, if there is no log or no other is left.
        """
        images, labels, problem = [], [], ""
        for number in self._numbers(epoch, index):
            sample = self.samples[number]
            try:
                images.append(self.images.load(sample.path, epoch, int(number)))
                labels.append(sample.label)
            except ImageError as error:
                problem = printable(str(error))
                if self.log is None:
                    raise
                with writing(self.log), self.log.open("a", encoding="utf-8") as log:
                    log.write(f"{problem}\n")
        if not images:
            raise ImageError(f"no photograph of a batch can be read; the last one is {problem}")
        return Batch(np.stack(images), np.array(labels, dtype="int64"))

    def _numbers(self, epoch: int, index: int) -> np.ndarray:
        """The numbers of the samples of a batch that this process loads."""
        index = index if self.whole else index * self.processes + self.process
        numbers = self.order(epoch)[index * self.size : (index + 1) * self.size]
        return np.array_split(numbers, self.processes)[self.process] if self.whole else numbers


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, count: int) -> np.ndarray:
    return Stream(f"order/{seed}/{epoch}").permutation(count)


class Damaged:
    """The photographs that a log of `Batches` names, each once."""

    def __init__(self, log: Path, total: int) -> None:
        self.problems: dict[str, None] = {}
        self._log, self._total, self._size = log, total, 0

    def news(self) -> list[str]:
        """The photographs that were not named before.

        Raises `ParityError` when more than one in a hundred is damaged.
        """
        size = self._log.stat().st_size if self._log.is_file() else 0
        if size == self._size:
            return []
        self._size = size
        lines = self._log.read_text(encoding="utf-8").splitlines()
        new = [line for line in dict.fromkeys(lines) if line not in self.problems]
        self.problems |= dict.fromkeys(new)
        if len(self.problems) * MOST_DAMAGED > self._total:
            raise ParityError(
                f"{len(self.problems)} of {self._total} photographs are damaged, more than one in "
                f"{MOST_DAMAGED}; {self._log} names them. Replace them and go on by --resume, or "
                f"delete them and begin another run. The first is {next(iter(self.problems))}"
            )
        return new
