"""The class of every probe, its default size, and what a size would hide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from resnet_spec import IMAGE, Architecture, Conv, MaxPool, make_plan, outputs, parameters, taps

from resnet_parity.reference import derivatives, oracle
from resnet_parity.reference.values import Value

BATCH = 2


@dataclass(frozen=True)
class Probe:
    """Weights and images for one run, and the results that the oracle expects at every tap.

    Arrays are canonical: images (N, C, H, W), kernels (out, in, H, W), taps as in `oracle`.
    `expected` is in float64, or in `dtype` for an exact probe. An error is measured against the
    entry of `scales` where that is larger than the expected value. `averaged_cells` is the number
    of cells of a mean (see `values.Value` for both).

    `gradients` holds the gradient of every parameter and of the image, for the sum of the outputs
    weighted by `cotangents`; both are empty in a probe of the forward pass alone. In `training`,
    norms use the statistics of the batch. `density` belongs to an exact probe, see `exact.Density`.
    """

    architecture: Architecture
    kind: str
    seed: int
    dtype: str
    weights: dict[str, np.ndarray]
    images: np.ndarray
    expected: dict[str, np.ndarray]
    scales: dict[str, float] = field(default_factory=dict)
    averaged_cells: dict[str, int] = field(default_factory=dict)
    cotangents: dict[str, np.ndarray] = field(default_factory=dict)
    gradients: dict[str, np.ndarray] = field(default_factory=dict)
    training: bool = False
    density: tuple[int, int, int] | None = None


def trace(
    arch: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    cotangents: Mapping[str, np.ndarray],
    *,
    training: bool = False,
) -> Iterator[tuple[str, Value]]:
    """Every operation of the oracle's forward pass, then every gradient of its backward pass.

    Integer images make an exact pass, others a float64 pass (see `oracle.forward`). A gradient is
    named "d " and the name that `derivatives.backward` gives it.
    """
    is_exact = np.issubdtype(images.dtype, np.integer)
    values = {IMAGE: Value(images if is_exact else images.astype("float64"))}
    for node, value in oracle.walk(arch, weights, values[IMAGE].array, training=training):
        values[node.name] = value
        yield node.name, value
    if not cotangents:
        return
    start = {
        outputs(arch)[name]: Value(array.astype(values[IMAGE].array.dtype))
        for name, array in cotangents.items()
    }
    for name, value in derivatives.backward(arch, weights, values, start, training=training):
        yield f"d {name}", value


def gradients_of(arch: Architecture, traced: Mapping[str, Any]) -> dict[str, Any]:
    """The gradients of the image and the parameters in a trace, in the order of computation."""
    wanted = {f"d {name}": name for name in (IMAGE, *(p.name for p in parameters(arch)))}
    return {wanted[name]: value for name, value in traced.items() if name in wanted}


def default_size(arch: Architecture, kind: str) -> tuple[int, int]:
    """Return the height (at least 32) and the width of a probe.

    They are small, unequal, and even before every stride. The area of an exact probe's last map is
    a power of two, so that its mean is exact.
    """
    cells = 2
    while True:
        height = cells * arch.reduction
        size = (height, 2 * height) if kind == "exact" else (height, height * 3 // 2)
        if height >= 32 and not blind_spots(arch, size):
            return size
        cells *= 2


def blind_spots(arch: Architecture, size: tuple[int, int]) -> list[str]:
    """Say which defects a probe of this size may not show; empty for a good size.

    On an odd extent, a padding of one on both sides and "same" padding give the same values. Of a
    kernel that reaches beyond the whole map, only the middle row or column lies on it.
    """
    spots = []
    if size[0] == size[1]:
        spots.append("height equals width, so swapping them may go unseen")
    odd, beyond = [], []
    before = size
    shapes = {tap.name: tap.shape for tap in taps(arch, *size)}
    for layer in _spatial_layers(arch):
        if layer.stride > 1 and any(extent % 2 for extent in before):
            odd.append(layer.name)
        if layer.kernel > 1 and any(extent <= layer.padding for extent in before):
            beyond.append(layer.name)
        before = shapes[layer.name][1:]
    if odd:
        spots.append(f"odd extents before {', '.join(odd)}, so wrong padding may go unseen")
    if beyond:
        spots.append(
            f"{', '.join(beyond)} reach beyond the whole map, so a wrong kernel rim may go unseen"
        )
    return spots


def _spatial_layers(arch: Architecture) -> Iterator[Conv | MaxPool]:
    """Every convolution and max-pool of the stem and of the residual branches, in order."""
    plan = make_plan(arch)
    yield from plan.stem.convs
    if plan.stem.pool:
        yield plan.stem.pool
    for block in plan.blocks:
        yield from block.convs
