"""Images for a graph: so many at a time, and together enough for a verdict.

A graph is run with several sizes of a batch, and one of five classes gives five numbers per image:
an error over so few is small or large by chance, and so is the noise floor that it is held against.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from resnet_spec import Architecture, outputs, taps

from resnet_parity.adapters.protocol import Taps
from resnet_parity.checks.engine import Engine
from resnet_parity.probes import Probe, make_probe
from resnet_parity.probes.random import random_images

NUMBERS = 32
"""As few as every output of a probe must have, over all of its images.

Fresh weights in nets of three and five classes erred by up to 2.6 times the noise floor over one image,
by up to 1.3 times over so many numbers (and held against their terms), with 12 draws of each.
"""


@dataclass(frozen=True)
class Batched(Engine):
    """An engine that is given one batch after another, and keeps what is compared."""

    batch: int = 1

    def run(self, model: Any, probe: Probe, compared: str) -> dict[str, np.ndarray]:
        """What it gives for all images of the probe; `compared` is "taps"."""
        starts = range(0, len(probe.images), self.batch)
        parts = [probe.images[start : start + self.batch] for start in starts]
        return _joined([self._run(model, images, probe.expected) for images in parts])

    def _run(self, model: Any, images: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
        # On its own, so that the taps of one batch are gone before the next one runs.
        found = self.adapter.run(model, images, self.mode)
        return {name: found[name] for name in names if name in found}


def batched(engines: Iterable[Engine], batch: int) -> tuple[Batched, ...]:
    """Those engines, given so many images at a time."""
    return tuple(Batched(each.name, each.adapter, each.mode, batch) for each in engines)


def batches_needed(arch: Architecture, batch: int, size: tuple[int, int]) -> int:
    """How many images make one verdict: whole batches, with `NUMBERS` in every output."""
    numbers = {tap.name: math.prod(tap.shape) for tap in taps(arch, *size)}
    fewest = min(numbers[name] for name in outputs(arch).values())
    return batch * math.ceil(NUMBERS / (fewest * batch))


def random_probes(
    arch: Architecture,
    seed: int,
    size: tuple[int, int],
    weights: dict[str, np.ndarray],
    count: int,
) -> list[Probe]:
    """A probe for each of so many random images, with what is returned for it.

    One by one, so that the oracle never holds the taps of all images.
    """
    images = random_images(arch, f"random/{arch.name}/{seed}/image", size, count).astype("float32")
    parts = np.split(images, count)
    return [returned(make_probe(arch, seed, weights, part, "random")) for part in parts]


def returned(probe: Probe) -> Probe:
    """The probe with nothing to compare but what the net returns."""
    names = outputs(probe.architecture)
    expected = {name: probe.expected[name] for name in names}
    scales = {name: probe.scales[name] for name in names if name in probe.scales}
    return replace(probe, expected=expected, scales=scales, cotangents={}, gradients={})


def concatenate(probes: Sequence[Probe], batch: int) -> Probe:
    """One probe of all those images, of one size and for the same weights, in such batches."""
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


def first(probe: Probe, batch: int) -> Probe:
    """The first images of an exact probe, a batch of that size."""
    expected = {name: array[:batch] for name, array in probe.expected.items()}
    images, kind = probe.images[:batch], _kind(probe, batch)
    return replace(probe, kind=kind, images=images, expected=expected)


def _joined(parts: Sequence[Taps]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _kind(probe: Probe, batch: int) -> str:
    """The name of a probe that is given so."""
    height, width = probe.images.shape[2:]
    return f"{probe.kind} {height}x{width}, batch {batch}"
