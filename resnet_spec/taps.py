"""Taps: the named places at which two models are compared, with shapes and costs.

A tap is the output of every convolution, every norm, the stem's pool, every block, the global
average and the classifier. Shapes are canonical: (channels, height, width), or (features,).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.plan import Block, Conv, make_plan

Size = tuple[int, int]


@dataclass(frozen=True)
class Tap:
    """One place in the net; `macs` are the multiply-accumulates of one image that it costs."""

    name: str
    shape: tuple[int, ...]
    macs: int = 0


def output_size(size: Size, kernel: int, stride: int, padding: int, dilation: int = 1) -> Size:
    """Height and width behind a convolution or pool with symmetric padding."""

    def along(extent: int) -> int:
        return (extent + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1

    return along(size[0]), along(size[1])


@lru_cache(maxsize=256)
def taps(arch: Architecture, height: int, width: int) -> tuple[Tap, ...]:
    """All taps for one image of that size, each behind those that it depends on.

    Raises `ArchitectureError` when the image has no pixels.
    """
    if height < 1 or width < 1:
        raise ArchitectureError(f"an image needs a positive height and width, not {height}x{width}")
    return tuple(_walk(arch, (height, width)))


def _walk(arch: Architecture, size: Size) -> Iterator[Tap]:
    plan = make_plan(arch)
    size = _conv_size(plan.conv1, size)
    yield _conv_tap(plan.conv1, size)
    yield Tap(plan.bn1.name, (plan.bn1.channels, *size))
    if plan.maxpool:
        pool = plan.maxpool
        size = output_size(size, pool.kernel, pool.stride, pool.padding)
        yield Tap(pool.name, (plan.bn1.channels, *size))
    for block in plan.blocks:
        block_taps = tuple(_walk_block(block, size))
        yield from block_taps
        size = (block_taps[-1].shape[1], block_taps[-1].shape[2])
    features = plan.fc.in_features
    yield Tap("avgpool", (features,))
    yield Tap(plan.fc.name, (plan.fc.out_features,), macs=features * plan.fc.out_features)


def _walk_block(block: Block, size: Size) -> Iterator[Tap]:
    if block.projection:
        conv, norm = block.projection
        yield _conv_tap(conv, _conv_size(conv, size))
        yield Tap(norm.name, (norm.channels, *_conv_size(conv, size)))
    for conv, norm in zip(block.convs, block.norms, strict=True):
        size = _conv_size(conv, size)
        yield _conv_tap(conv, size)
        yield Tap(norm.name, (norm.channels, *size))
    yield Tap(block.name, (block.out_channels, *size))


def _conv_size(conv: Conv, size: Size) -> Size:
    return output_size(size, conv.kernel, conv.stride, conv.padding, conv.dilation)


def _conv_tap(conv: Conv, size: Size) -> Tap:
    per_output = conv.in_channels // conv.groups * conv.kernel**2
    macs = conv.out_channels * size[0] * size[1] * per_output
    return Tap(conv.name, (conv.out_channels, *size), macs)


def mac_count(arch: Architecture, height: int | None = None, width: int | None = None) -> int:
    """Multiply-accumulates of one image (at `image_size` unless a size is given)."""
    size = (height or arch.image_size, width or arch.image_size)
    return sum(tap.macs for tap in taps(arch, *size))
