"""Probes for a graph, in batches of a given size, with enough images for a verdict.

A graph is run with several batch sizes. A graph of five classes returns five values per image, and
the error over so few is small or large by chance, like the noise floor that it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resnet_spec import Architecture, outputs, taps

from resnet_parity.adapters.protocol import Arrays
from resnet_parity.checks.engine import Engine
from resnet_parity.probes import Probe, make_probe
from resnet_parity.probes.random import random_images

MIN_VALUES = 32
"""The least number of values in every output of a probe, over all of its images.

With fresh weights, 12 draws each, models of three and five classes erred by up to 2.6 times the
noise floor over one image, and by up to 1.3 times over this number of values (relative to their
terms).
"""


@dataclass(frozen=True)
class BatchedEngine(Engine):
    """An engine that runs the images of a probe in batches, and returns what is compared."""

    batch: int = 1

    def run(self, model: Any, probe: Probe, quantity: str) -> dict[str, np.ndarray]:
        """Return the outputs for all images of the probe; `quantity` is "taps"."""
        starts = range(0, len(probe.images), self.batch)
        parts = [probe.images[start : start + self.batch] for start in starts]
        return _joined([self._run(model, images, probe.expected) for images in parts])

    def _run(self, model: Any, images: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
        # A method, so that the taps of one batch are freed before the next one runs.
        found = self.adapter.run(model, images, self.mode)
        return {name: found[name] for name in names if name in found}


def in_batches(engines: Iterable[Engine], batch: int) -> tuple[BatchedEngine, ...]:
    """The engines, each with images in batches of that size."""
    return tuple(BatchedEngine(each.name, each.adapter, each.mode, batch) for each in engines)


def images_needed(arch: Architecture, batch: int, size: tuple[int, int]) -> int:
    """The number of images for a verdict: whole batches, `MIN_VALUES` in every output."""
    sizes = {tap.name: math.prod(tap.shape) for tap in taps(arch, *size)}
    fewest = min(sizes[name] for name in outputs(arch).values())
    return batch * math.ceil(MIN_VALUES / (fewest * batch))


def random_probes(
    arch: Architecture,
    seed: int,
    size: tuple[int, int],
    weights: dict[str, np.ndarray],
    count: int,
) -> list[Probe]:
    """Return `count` probes of one random image each, with its outputs.

    One by one, so that the oracle never holds the taps of all images at once.
    """
    images = random_images(arch, f"random/{arch.name}/{seed}/image", size, count).astype("float32")
    parts = np.split(images, count)
    return [outputs_only(make_probe(arch, seed, weights, part, "random")) for part in parts]


def outputs_only(probe: Probe) -> Probe:
    """The probe with the outputs of the network alone to compare."""
    names = outputs(probe.architecture)
    expected = {name: probe.expected[name] for name in names}
    scales = {name: probe.scales[name] for name in names if name in probe.scales}
    return replace(probe, expected=expected, scales=scales, cotangents={}, gradients={})


def concatenate(probes: Sequence[Probe], batch: int) -> Probe:
    """One probe of the images of all probes, which share size and weights, in batches."""
    images = np.concatenate([probe.images for probe in probes])
    scales = {
        name: math.hypot(*(each.scales[name] for each in probes)) for name in probes[0].scales
    }
    return replace(
        probes[0],
        kind=_kind(probes[0], batch),
        images=images,
        expected=_joined([probe.expected for probe in probes]),
        scales=scales,
    )


def first_images(probe: Probe, batch: int) -> Probe:
    """An exact probe of the first `batch` images."""
    expected = {name: array[:batch] for name, array in probe.expected.items()}
    images, kind = probe.images[:batch], _kind(probe, batch)
    return replace(probe, kind=kind, images=images, expected=expected)


def _joined(parts: Sequence[Arrays]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _kind(probe: Probe, batch: int) -> str:
    """The kind of a probe with its size and batch."""
    height, width = probe.images.shape[2:]
    return f"{probe.kind} {height}x{width}, batch {batch}"
