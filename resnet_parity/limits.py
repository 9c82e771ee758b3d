"""The memory limit: work that would not fit is refused before anything is allocated."""

from __future__ import annotations

import math

from resnet_spec import Architecture, parameters, taps

from resnet_parity.errors import ParityError

MAX_ELEMENTS = 2**29
"""Four gigabytes of float64 for one engine."""

MAX_TRAINED = 2**35
"""128 gigabytes of float32, which training keeps for the backward pass."""


def check_memory(
    arch: Architecture, batch: int, size: tuple[int, int], *, most: int = MAX_ELEMENTS
) -> None:
    """Raise `ParityError` if the tensors, or the taps of a batch of that size, are too large."""
    tensors = sum(parameter.size for parameter in parameters(arch))
    if tensors > MAX_ELEMENTS:
        raise ParityError(
            f"{arch.name!r} has {tensors:,} numbers in its tensors, more than {MAX_ELEMENTS:,}; "
            "take fewer classes or channels"
        )
    elements = batch * _elements(arch, size)
    if elements > most:
        raise ParityError(
            f"the taps of {batch} images of {size[0]}x{size[1]} through {arch.name!r} hold "
            f"{elements:,} numbers, more than {most:,}; "
            "take a smaller size or fewer images"
        )


def fitting_batch(arch: Architecture, batch: int, size: tuple[int, int]) -> int:
    """That many images, or as many as `check_memory` allows. Raises `ParityError` if none fits."""
    check_memory(arch, 1, size)
    return min(batch, MAX_ELEMENTS // _elements(arch, size))


def _elements(arch: Architecture, size: tuple[int, int]) -> int:
    """The numbers in the taps of one image."""
    return sum(math.prod(tap.shape) for tap in taps(arch, *size))
