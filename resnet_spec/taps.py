"""Taps: the named tensors in which two models are compared, with shapes and costs.

The outputs of all convolutions, norms, pools, gates and blocks are taps, and those of the stem's
ReLU, the global average and the classifier. Shapes are canonical: (channels, height, width), or
(features,).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from resnet_spec import layers
from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.graph import IMAGE, make_graph
from resnet_spec.plan import make_plan
from resnet_spec.registry import get_architecture

Shape = tuple[int, ...]
Size = tuple[int, int]


@dataclass(frozen=True)
class Tap:
    """A named tensor; `macs` is the number of multiply-accumulates that it costs for one image."""

    name: str
    shape: Shape
    macs: int = 0


def output_size(layer: layers.Conv | layers.MaxPool, size: Size) -> Size:
    """Height and width of the output of a convolution or pool with symmetric padding."""
    dilation = layer.dilation if isinstance(layer, layers.Conv) else 1

    def along(extent: int) -> int:
        reach = dilation * (layer.kernel - 1) + 1
        return (extent + 2 * layer.padding - reach) // layer.stride + 1

    return along(size[0]), along(size[1])


@lru_cache(maxsize=256)
def taps(arch: str | Architecture, height: int, width: int) -> tuple[Tap, ...]:
    """All taps for one image of that size, in execution order.

    Raises `ArchitectureError` when the image has no pixels.
    """
    tapped = {node.name for node in make_graph(arch) if node.is_tap}
    return tuple(tap for tap in _walk(arch, height, width) if tap.name in tapped)


def shapes(arch: str | Architecture, height: int, width: int) -> dict[str, Shape]:
    """The output shape of every operation by its name, tapped or not, and that of `IMAGE`.

    Raises `ArchitectureError` when the image has no pixels.
    """
    walk = {tap.name: tap.shape for tap in _walk(arch, height, width)}
    return {IMAGE: (get_architecture(arch).in_channels, height, width), **walk}


def outputs(arch: str | Architecture) -> dict[str, str]:
    """The outputs of a model, in order, each with its tap.

    A classifier returns `logits`, without classes `features`, a backbone `features.0`, ...
    """
    plan = make_plan(arch)
    if plan.features:
        return {f"features.{i}": feature.name for i, feature in enumerate(plan.features)}
    return {"logits": plan.fc.name} if plan.fc else {"features": plan.avgpool.name}


def _walk(arch: str | Architecture, height: int, width: int) -> Iterator[Tap]:
    """Every operation as a tap, in execution order."""
    if height < 1 or width < 1:
        raise ArchitectureError(f"an image needs a positive height and width, not {height}x{width}")
    found: dict[str, Shape] = {IMAGE: (get_architecture(arch).in_channels, height, width)}
    for node in make_graph(arch):
        tap = _tap(node.operation, found[node.inputs[0]])
        found[node.name] = tap.shape
        yield tap


def _tap(operation: layers.Operation, shape: Shape) -> Tap:
    """The output of an operation whose first input has that shape."""
    name = operation.name
    if isinstance(operation, layers.Conv):
        size = output_size(operation, (shape[1], shape[2]))
        per_output = operation.in_channels // operation.groups * operation.kernel**2
        macs = operation.out_channels * size[0] * size[1] * per_output
        return Tap(name, (operation.out_channels, *size), macs)
    if isinstance(operation, layers.Linear):
        return Tap(name, (operation.out_features,), operation.in_features * operation.out_features)
    if isinstance(operation, layers.MaxPool):
        return Tap(name, (shape[0], *output_size(operation, (shape[1], shape[2]))))
    if isinstance(operation, layers.AveragePool):
        return Tap(name, (shape[0], *(-(-extent // operation.stride) for extent in shape[1:])))
    if isinstance(operation, layers.ChannelPad):
        return Tap(name, (operation.out_channels, *shape[1:]))
    if isinstance(operation, layers.GlobalAverage):
        return Tap(name, shape[:1] if operation.flat else (shape[0], 1, 1))
    return Tap(name, shape)


def mac_count(arch: str | Architecture, height: int | None = None, width: int | None = None) -> int:
    """Multiply-accumulates for one image (default size: `image_size`)."""
    arch = get_architecture(arch)
    size = (height or arch.image_size, width or arch.image_size)
    return sum(tap.macs for tap in taps(arch, *size))
