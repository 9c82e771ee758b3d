"""The spec, unrolled: every layer of an architecture with all its numbers worked out.

Both implementations walk this plan from top to bottom and translate; neither computes a width, a stride or
a padding. All names are canonical, that is the `state_dict` names of torchvision and timm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest

from resnet_spec.architecture import Architecture
from resnet_spec.components import BlockKind, Stage
from resnet_spec.layers import (
    AveragePool,
    ChannelPad,
    Conv,
    Identity,
    Linear,
    MaxPool,
    Norm,
    ShortcutLayer,
    SqueezeExcitation,
    Weighted,
)


@dataclass(frozen=True)
class StemPlan:
    """What comes before the first stage: convolutions, each but the last with its norm and ReLU.

    `norm` belongs to the last one; it is None with preactivation, where the first block norms.
    """

    convs: tuple[Conv, ...]
    hidden_norms: tuple[Norm, ...]
    norm: Norm | None
    pool: MaxPool | None

    @property
    def layers(self) -> Iterator[Conv | Norm]:
        """Convolutions and norms in execution order."""
        return _interleaved(self.convs, (*self.hidden_norms, *([self.norm] if self.norm else [])))


@dataclass(frozen=True)
class Block:
    """One residual block: its convolutions with their norms, its gate, its shortcut.

    The norms stand behind their convolutions, or with `preactivation` before them. `shortcut` are
    the layers on the way around, none for an identity; it is None for a block of a plain net.
    """

    name: str
    kind: BlockKind
    preactivation: bool
    out_channels: int
    convs: tuple[Conv, ...]
    norms: tuple[Norm, ...]
    se: SqueezeExcitation | None
    shortcut: tuple[ShortcutLayer, ...] | None

    @property
    def projects(self) -> bool:
        """Whether the shortcut has a convolution; with preactivation it then starts behind it."""
        return any(isinstance(layer, Conv) for layer in self.shortcut or ())

    @property
    def branch(self) -> Iterator[Conv | Norm]:
        """Convolutions and norms of the residual branch, in execution order."""
        pair = (self.norms, self.convs) if self.preactivation else (self.convs, self.norms)
        return _interleaved(*pair)

    @property
    def layers(self) -> Iterator[Weighted]:
        """Every layer that holds weights, in the order of a torchvision or timm state dict."""
        yield from self.branch
        if self.se:
            yield self.se.fc1
            yield self.se.fc2
        yield from (layer for layer in self.shortcut or () if isinstance(layer, Weighted))

    @property
    def conv1(self) -> Conv:
        return self.convs[0]

    @property
    def conv2(self) -> Conv:
        return self.convs[1]

    @property
    def conv3(self) -> Conv:
        return self.convs[2]

    @property
    def bn1(self) -> Norm:
        return self.norms[0]

    @property
    def bn2(self) -> Norm:
        return self.norms[1]

    @property
    def bn3(self) -> Norm:
        return self.norms[2]


@dataclass(frozen=True)
class StagePlan:
    """The blocks of one stage, in order."""

    name: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Feature:
    """A feature map that a backbone gives: where it comes from, and its shape.

    `reduction` is the number of image pixels per cell, along one side.
    """

    name: str
    channels: int
    reduction: int


@dataclass(frozen=True)
class Plan:
    """The whole net, in execution order.

    `norm` is the last one of a net with preactivation, `fc` is None without classes. A backbone
    has neither, and its stages end with the last of its `features`; a classifier has none of those.
    """

    stem: StemPlan
    stages: tuple[StagePlan, ...]
    norm: Norm | None
    fc: Linear | None
    features: tuple[Feature, ...]

    @property
    def blocks(self) -> Iterator[Block]:
        return (block for stage in self.stages for block in stage.blocks)

    @property
    def layers(self) -> Iterator[Weighted]:
        """Every layer that holds weights, in the order of a torchvision or timm state dict."""
        yield from self.stem.layers
        for block in self.blocks:
            yield from block.layers
        yield from (layer for layer in (self.norm, self.fc) if layer)


def _interleaved(first: tuple, second: tuple) -> Iterator:
    """One of each in turn, as long as there are any."""
    for pair in zip_longest(first, second):
        yield from (each for each in pair if each)


@dataclass(frozen=True)
class _BlockKernels:
    """What sets one kind of block apart: its kernels, and which convolution takes the stride."""

    sizes: tuple[int, ...]
    strided: int


_BLOCK_KERNELS: dict[BlockKind, _BlockKernels] = {
    "basic": _BlockKernels(sizes=(3, 3), strided=0),
    "bottleneck": _BlockKernels(sizes=(1, 3, 1), strided=1),
}


@dataclass(frozen=True)
class _BlockStride:
    """How one block moves over its map.

    `nominal` is the stride that the row gives it; where the map may shrink no more, `stride` is
    one instead and everything behind the place of the stride is dilated by `after`.
    """

    nominal: int
    stride: int
    before: int
    after: int


@lru_cache(maxsize=256)
def make_plan(arch: Architecture) -> Plan:
    """Unroll an architecture into its layers."""
    depth = len(arch.stages) if arch.out_indices is None else arch.out_indices[-1]
    channels = arch.stem.channels
    stage_plans = []
    for index, (stage, steps) in enumerate(zip(arch.stages, _block_strides(arch), strict=True)):
        blocks = []
        for position, step in enumerate(steps):
            name = f"layer{index + 1}.{position}"
            blocks.append(_make_block(arch, name, stage, channels, step))
            channels = blocks[-1].out_channels
        stage_plans.append(StagePlan(f"layer{index + 1}", tuple(blocks)))
    stem, kept = _stem(arch, pooled=depth > 0), tuple(stage_plans[:depth])
    is_backbone = arch.out_indices is not None
    return Plan(
        stem=stem,
        stages=kept,
        norm=_norm(arch, "norm", channels) if arch.preactivation and not is_backbone else None,
        fc=Linear("fc", channels, arch.num_classes)
        if arch.num_classes and not is_backbone
        else None,
        features=_features(arch, stem, kept),
    )


def _features(
    arch: Architecture, stem: StemPlan, kept: tuple[StagePlan, ...]
) -> tuple[Feature, ...]:
    """The feature maps that a backbone gives."""
    name = "relu" if stem.norm else stem.convs[-1].name
    levels = [Feature(name, arch.stem.channels, arch.stem.stride)]
    for stage, reduction in zip(kept, arch.strides[1:], strict=False):
        last = stage.blocks[-1]
        limit = arch.output_stride or reduction
        levels.append(Feature(last.name, last.out_channels, min(reduction, limit)))
    return tuple(levels[index] for index in arch.out_indices or ())


def _stem(arch: Architecture, *, pooled: bool) -> StemPlan:
    stem = arch.stem
    widths = (arch.in_channels, *stem.hidden, stem.channels)
    last = len(stem.hidden)
    convs, norms = [], []
    for index in range(last + 1):
        # A deep stem is a sequence of convolution, norm, ReLU, ...: so go timm's numbers.
        name = f"conv1.{3 * index}" if stem.hidden else "conv1"
        normed = index < last or not arch.preactivation
        convs.append(
            Conv(
                name,
                widths[index],
                widths[index + 1],
                stem.kernel,
                stride=stem.stride if index == 0 else 1,
                bias=_has_bias(arch, normed=normed),
            )
        )
        if index < last:
            norms.append(_norm(arch, f"conv1.{3 * index + 1}", widths[index + 1]))
    pool = stem.pool if pooled else None
    border = pool.border if pool and arch.preactivation else "any"
    return StemPlan(
        convs=tuple(convs),
        hidden_norms=tuple(norms),
        norm=None if arch.preactivation else _norm(arch, "bn1", stem.channels),
        pool=MaxPool("maxpool", pool.kernel, pool.stride, pool.padding, border) if pool else None,
    )


def _block_strides(arch: Architecture) -> Iterator[tuple[_BlockStride, ...]]:
    """The steps of each stage's blocks.

    Where `output_stride` forbids a stride, the convolution that had it keeps its dilation and all
    that follow are dilated by it (Yu and Koltun 2016, arXiv:1511.07122; torchvision's
    `replace_stride_with_dilation`): the cells that the stride would have kept hold the same values.
    Not so with gates, whose means take in all cells, nor with `avg_down`, whose second mean timm
    takes over neighbours too.
    """
    dilation = 1
    for stage, reduction in zip(arch.stages, arch.strides[1:], strict=True):
        forbidden = arch.output_stride is not None and reduction > arch.output_stride
        strided = stage.blocks - 1 if arch.stride_in_last_block else 0
        steps = []
        for position in range(stage.blocks):
            nominal = stage.stride if position == strided else 1
            before = dilation
            if forbidden:
                dilation *= nominal
            steps.append(_BlockStride(nominal, 1 if forbidden else nominal, before, dilation))
        yield tuple(steps)


def _make_block(
    arch: Architecture, name: str, stage: Stage, in_channels: int, step: _BlockStride
) -> Block:
    kernels = _BLOCK_KERNELS[arch.block]
    strided = 0 if arch.stride_in_1x1 else kernels.strided
    out_channels = stage.width * arch.expansion
    last = len(kernels.sizes) - 1
    ends = (in_channels, *[arch.block_width(stage)] * last, out_channels)
    convs, norms = [], []
    for index, kernel in enumerate(kernels.sizes):
        spatial = kernel > 1  # only the 3x3 are dilated and grouped
        dilation = stage.dilation * (step.before if index <= strided else step.after)
        is_last = index == last
        convs.append(
            Conv(
                f"{name}.conv{index + 1}",
                ends[index],
                ends[index + 1],
                kernel,
                stride=step.stride if index == strided else 1,
                dilation=dilation if spatial else 1,
                groups=arch.groups if spatial else 1,
                bias=_has_bias(arch, normed=not (arch.preactivation and is_last)),
                zero_init=arch.zero_init_residual and arch.preactivation and is_last,
            )
        )
        normed = ends[index] if arch.preactivation else ends[index + 1]
        silent = arch.zero_init_residual and is_last and not arch.preactivation
        gamma_init = 0.0 if silent else 1.0
        norms.append(_norm(arch, f"{name}.bn{index + 1}", normed, gamma_init))
    return Block(
        name=name,
        kind=arch.block,
        preactivation=arch.preactivation,
        out_channels=out_channels,
        convs=tuple(convs),
        norms=tuple(norms),
        se=_squeeze_excitation(arch, f"{name}.se", out_channels),
        shortcut=_shortcut(arch, f"{name}.downsample", in_channels, out_channels, step),
    )


def _squeeze_excitation(arch: Architecture, name: str, channels: int) -> SqueezeExcitation | None:
    if arch.se is None:
        return None
    squeezed = arch.se.squeezed(channels)
    return SqueezeExcitation(
        name,
        fc1=Conv(f"{name}.fc1", channels, squeezed, kernel=1, bias=True),
        fc2=Conv(f"{name}.fc2", squeezed, channels, kernel=1, bias=True),
    )


def _shortcut(
    arch: Architecture, name: str, in_channels: int, out_channels: int, step: _BlockStride
) -> tuple[ShortcutLayer, ...] | None:
    """The layers around a block; its nominal stride decides, so that dilated nets keep theirs."""
    if not arch.residual:
        return None
    widens, shrinks = in_channels != out_channels, step.nominal > 1
    projects = {"A": False, "B": widens or shrinks, "B-pooled": widens, "C": True}[arch.shortcut]
    if projects:
        return _projection(arch, name, in_channels, out_channels, step)
    layers = []
    if step.stride > 1:
        layers.append(MaxPool(f"{name}.{len(layers)}", kernel=1, stride=step.stride))
    if widens:
        zeros = out_channels - in_channels
        before = zeros // 2 if arch.zero_padding == "around" else 0
        layers.append(ChannelPad(f"{name}.{len(layers)}", in_channels, before, zeros - before))
    return tuple(layers)


def _projection(
    arch: Architecture, name: str, in_channels: int, out_channels: int, step: _BlockStride
) -> tuple[ShortcutLayer, ...]:
    """The 1x1 convolution around a block, its norm unless the next block norms, its average."""
    layers: list[ShortcutLayer] = []
    if arch.avg_down:  # timm's numbers: the average has a place even where there is none
        layers.append(_average(f"{name}.0", step))
    layers.append(
        Conv(
            f"{name}.{len(layers)}",
            in_channels,
            out_channels,
            kernel=1,
            stride=1 if arch.avg_down else step.stride,
            bias=_has_bias(arch, normed=not arch.preactivation),
        )
    )
    if not arch.preactivation:
        layers.append(_norm(arch, f"{name}.{len(layers)}", out_channels))
    return tuple(layers)


def _average(name: str, step: _BlockStride) -> AveragePool | Identity:
    if step.nominal == 1:
        return Identity(name)
    return AveragePool(name, kernel=2, stride=step.stride, zeros=1 if step.stride == 1 else 0)


def _has_bias(arch: Architecture, *, normed: bool) -> bool:
    return arch.conv_bias == "all" or (arch.conv_bias == "unnormalised" and not normed)


def _norm(arch: Architecture, name: str, channels: int, gamma_init: float = 1.0) -> Norm:
    return Norm(name, channels, arch.bn_eps, arch.bn_decay, gamma_init)
