"""Taps: the named places at which two models are compared, with shapes and costs.

A tap is the output of every convolution, norm, pool, gate and block, the stem's ReLU, the global
average and the classifier. Shapes are canonical: (channels, height, width), or (features,).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.layers import (
    AveragePool,
    ChannelPad,
    Conv,
    Identity,
    MaxPool,
    ShortcutLayer,
    SqueezeExcitation,
)
from resnet_spec.plan import Block, StemPlan, make_plan

Shape = tuple[int, ...]
Size = tuple[int, int]


@dataclass(frozen=True)
class Tap:
    """One place in the net; `macs` are the multiply-accumulates of one image that it costs."""

    name: str
    shape: Shape
    macs: int = 0


def output_size(layer: Conv | MaxPool, size: Size) -> Size:
    """Height and width behind a convolution or pool with symmetric padding."""
    dilation = layer.dilation if isinstance(layer, Conv) else 1

    def along(extent: int) -> int:
        reach = dilation * (layer.kernel - 1) + 1
        return (extent + 2 * layer.padding - reach) // layer.stride + 1

    return along(size[0]), along(size[1])


@lru_cache(maxsize=256)
def taps(arch: Architecture, height: int, width: int) -> tuple[Tap, ...]:
    """All taps for one image of that size, each behind those that it depends on.

    Raises `ArchitectureError` when the image has no pixels.
    """
    if height < 1 or width < 1:
        raise ArchitectureError(f"an image needs a positive height and width, not {height}x{width}")
    return tuple(_walk(arch, (arch.in_channels, height, width)))


def outputs(arch: Architecture) -> dict[str, str]:
    """What a model returns, in order, and the tap where each is found.

    A classifier gives `logits`, without classes it gives `features`, a backbone `features.0` ...
    """
    plan = make_plan(arch)
    if plan.features:
        return {f"features.{i}": feature.name for i, feature in enumerate(plan.features)}
    return {"logits": plan.fc.name} if plan.fc else {"features": "avgpool"}


def _walk(arch: Architecture, shape: Shape) -> Iterator[Tap]:
    plan = make_plan(arch)
    for tap in _walk_stem(plan.stem, shape):
        yield tap
        shape = tap.shape
    for block in plan.blocks:
        *inside, output = _walk_block(block, shape)
        yield from inside
        yield output
        shape = output.shape
    if plan.features:
        return
    if plan.norm:
        yield Tap(plan.norm.name, shape)
    yield Tap("avgpool", shape[:1])
    if plan.fc:
        macs = plan.fc.in_features * plan.fc.out_features
        yield Tap(plan.fc.name, (plan.fc.out_features,), macs)


def _walk_stem(stem: StemPlan, shape: Shape) -> Iterator[Tap]:
    for layer in stem.layers:
        tap = _layer_tap(layer, shape)
        yield tap
        shape = tap.shape
    if stem.norm:
        yield Tap("relu", shape)
    if stem.pool:
        yield _layer_tap(stem.pool, shape)


def _walk_block(block: Block, shape: Shape) -> Iterator[Tap]:
    branch = way_around = shape
    for layer in block.branch:
        tap = _layer_tap(layer, branch)
        yield tap
        branch = tap.shape
    if block.se:
        yield from _walk_gate(block.se, branch)
    for layer in block.shortcut or ():
        tap = _layer_tap(layer, way_around)
        way_around = tap.shape
        if not isinstance(layer, Identity):
            yield tap
    yield Tap(block.name, branch)


def _walk_gate(se: SqueezeExcitation, shape: Shape) -> Iterator[Tap]:
    yield _layer_tap(se.fc1, (shape[0], 1, 1))
    yield _layer_tap(se.fc2, (se.fc1.out_channels, 1, 1))
    yield Tap(se.name, shape)


def _layer_tap(layer: ShortcutLayer, shape: Shape) -> Tap:
    """The output of one layer for an input of that shape."""
    channels, *extents = shape
    size = (extents[0], extents[1])
    if isinstance(layer, Conv):
        size = output_size(layer, size)
        per_output = layer.in_channels // layer.groups * layer.kernel**2
        macs = layer.out_channels * size[0] * size[1] * per_output
        return Tap(layer.name, (layer.out_channels, *size), macs)
    if isinstance(layer, MaxPool):
        return Tap(layer.name, (channels, *output_size(layer, size)))
    if isinstance(layer, AveragePool):
        rows, columns = (-(-extent // layer.stride) for extent in size)
        return Tap(layer.name, (channels, rows, columns))
    if isinstance(layer, ChannelPad):
        return Tap(layer.name, (layer.out_channels, *size))
    return Tap(layer.name, shape)


def mac_count(arch: Architecture, height: int | None = None, width: int | None = None) -> int:
    """Multiply-accumulates of one image (at `image_size` unless a size is given)."""
    size = (height or arch.image_size, width or arch.image_size)
    return sum(tap.macs for tap in taps(arch, *size))
