"""The spec, unrolled: every layer of an architecture with all its numbers and its name.

Both implementations translate this plan from top to bottom. Neither computes a width, a stride, a
padding or a name. Names are canonical: those of the `state_dict` of torchvision and timm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import lru_cache
from itertools import zip_longest
from typing import Any

from resnet_spec.architecture import Architecture
from resnet_spec.components import BlockKind, Stage
from resnet_spec.layers import (
    Add,
    AveragePool,
    ChannelPad,
    Conv,
    Gate,
    GlobalAverage,
    Identity,
    Linear,
    MaxPool,
    Norm,
    Relu,
    ShortcutLayer,
    SqueezeExcitation,
    Weighted,
)
from resnet_spec.registry import get_architecture


@dataclass(frozen=True)
class StemPlan:
    """The layers before the first stage.

    A deep stem has several convolutions, all but the last followed by one of `hidden_norms` and of
    `hidden_relus`. `norm` follows the last one and then `Plan.relu`; it is None with preactivation,
    where the first block begins with a norm.
    """

    convs: tuple[Conv, ...]
    hidden_norms: tuple[Norm, ...]
    hidden_relus: tuple[Relu, ...]
    norm: Norm | None
    pool: MaxPool | None

    @property
    def layers(self) -> Iterator[Conv | Norm]:
        """Convolutions and norms in execution order."""
        return _interleaved(self.convs, (*self.hidden_norms, *([self.norm] if self.norm else [])))


@dataclass(frozen=True)
class Block:
    """One residual block.

    Norm and ReLU follow their convolution; with `preactivation` they precede it. The last ReLU of a
    block without preactivation follows the residual sum and is named after the block, because its
    output is that of the block. `shortcut` holds the layers of the shortcut in order, none for an
    identity. `add` is None in a plain network, which has neither shortcut nor sum.
    """

    name: str
    kind: BlockKind
    preactivation: bool
    out_channels: int
    convs: tuple[Conv, ...]
    norms: tuple[Norm, ...]
    relus: tuple[Relu, ...]
    se: SqueezeExcitation | None
    shortcut: tuple[ShortcutLayer, ...]
    add: Add | None

    @property
    def output(self) -> Identity:
        """The output of a block with preactivation, which no ReLU gives the block's name."""
        return Identity(self.name)

    @property
    def stride(self) -> int:
        """The stride of the block, which one of its convolutions has."""
        return max(conv.stride for conv in self.convs)

    @property
    def projects(self) -> bool:
        """Whether the shortcut has a convolution; with preactivation it starts after `relu1`."""
        return any(isinstance(layer, Conv) for layer in self.shortcut)

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
        yield from (layer for layer in self.shortcut if isinstance(layer, Weighted))

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

    @property
    def relu1(self) -> Relu:
        return self.relus[0]

    @property
    def relu2(self) -> Relu:
        return self.relus[1]

    @property
    def relu3(self) -> Relu:
        return self.relus[2]


@dataclass(frozen=True)
class StagePlan:
    """The blocks of one stage, in order."""

    name: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Feature:
    """A feature map that a backbone returns; `name` is its tap.

    `reduction` is the number of image pixels per cell, along one side.
    """

    name: str
    channels: int
    reduction: int


@dataclass(frozen=True)
class Plan:
    """The whole network, in execution order.

    `relu` follows the norm of the stem, or with preactivation `norm`, the last one of the network.
    `fc` is None without classes. A backbone has no head (neither `norm` nor `fc`, and `avgpool` is
    not used); its stages end with the last of its `features`. A classifier has no `features`.
    """

    stem: StemPlan
    relu: Relu
    stages: tuple[StagePlan, ...]
    norm: Norm | None
    avgpool: GlobalAverage
    fc: Linear | None
    features: tuple[Feature, ...]

    @property
    def blocks(self) -> Iterator[Block]:
        return (block for stage in self.stages for block in stage.blocks)

    @property
    def out_channels(self) -> int:
        """Channels of the last feature map."""
        return [self.stem.convs[-1], *self.blocks][-1].out_channels

    @property
    def layers(self) -> Iterator[Weighted]:
        """Every layer that holds weights, in the order of a torchvision or timm state dict."""
        yield from self.stem.layers
        for block in self.blocks:
            yield from block.layers
        yield from (layer for layer in (self.norm, self.fc) if layer)


def _interleaved(first: tuple, second: tuple) -> Iterator:
    """One item of each in turn, then the rest of the longer one."""
    for pair in zip_longest(first, second):
        yield from (each for each in pair if each)


_KERNELS: dict[BlockKind, tuple[int, ...]] = {"basic": (3, 3), "bottleneck": (1, 3, 1)}
"""The kernel size of each convolution of a block; the first 3x3 convolution takes the stride."""


@dataclass(frozen=True)
class _BlockStride:
    """The stride of one block, and the dilation before and after the convolution that has it.

    `nominal` is the stride of the row; `actual` is 1 instead where `output_stride` forbids it.
    """

    nominal: int
    actual: int
    dilation_before: int
    dilation_after: int


@lru_cache(maxsize=256)
def make_plan(arch: str | Architecture) -> Plan:
    """Unroll an architecture, or the row of that name, into its layers."""
    arch = get_architecture(arch)
    depth = len(arch.stages) if arch.out_indices is None else arch.out_indices[-1]
    channels = arch.stem.channels
    stage_plans = []
    for index, (stage, strides) in enumerate(zip(arch.stages, _block_strides(arch), strict=True)):
        blocks = []
        for position, stride in enumerate(strides):
            name = f"layer{index + 1}.{position}"
            blocks.append(_make_block(arch, name, stage, channels, stride))
            channels = blocks[-1].out_channels
        stage_plans.append(StagePlan(f"layer{index + 1}", tuple(blocks)))
    stem, relu, used = _stem(arch, pooled=depth > 0), Relu("relu"), tuple(stage_plans[:depth])
    has_head = arch.out_indices is None
    has_classes = has_head and arch.num_classes > 0
    return Plan(
        stem=stem,
        relu=relu,
        stages=used,
        norm=_norm(arch, "norm", channels) if arch.preactivation and has_head else None,
        avgpool=GlobalAverage("avgpool"),
        fc=Linear("fc", channels, arch.num_classes) if has_classes else None,
        features=_features(arch, stem, relu, used),
    )


def prefixed(part: Any, prefix: str) -> Any:
    """A plan, or a part of it, whose layers have names that begin with the prefix and a dot."""
    if isinstance(part, tuple):
        return tuple(prefixed(each, prefix) for each in part)
    if not is_dataclass(part):
        return part
    parts = {field.name: prefixed(getattr(part, field.name), prefix) for field in fields(part)}
    if "name" in parts:
        parts["name"] = f"{prefix}.{parts['name']}"
    return replace(part, **parts)  # pyright: ignore[reportArgumentType]


def _features(
    arch: Architecture, stem: StemPlan, relu: Relu, used: tuple[StagePlan, ...]
) -> tuple[Feature, ...]:
    name = relu.name if stem.norm else stem.convs[-1].name
    levels = [Feature(name, arch.stem.channels, arch.stem.stride)]
    for stage, reduction in zip(used, arch.strides[1:], strict=False):
        last = stage.blocks[-1]
        limit = arch.output_stride or reduction
        levels.append(Feature(last.name, last.out_channels, min(reduction, limit)))
    return tuple(levels[index] for index in arch.out_indices or ())


def _stem(arch: Architecture, *, pooled: bool) -> StemPlan:
    stem = arch.stem
    widths = (arch.in_channels, *stem.hidden, stem.channels)
    last = len(stem.hidden)
    convs, norms, relus = [], [], []
    for index in range(last + 1):
        # timm numbers a deep stem as one sequence of convolution, norm, ReLU, convolution, ...
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
            norm = _norm(arch, f"conv1.{3 * index + 1}", widths[index + 1])
            norms.append(norm)
            relus.append(Relu(f"{norm.name}.relu"))
    pool = stem.pool if pooled else None
    border = pool.border if pool and arch.preactivation else "any"
    return StemPlan(
        convs=tuple(convs),
        hidden_norms=tuple(norms),
        hidden_relus=tuple(relus),
        norm=None if arch.preactivation else _norm(arch, "bn1", stem.channels),
        pool=MaxPool("maxpool", pool.kernel, pool.stride, pool.padding, border) if pool else None,
    )


def _block_strides(arch: Architecture) -> Iterator[tuple[_BlockStride, ...]]:
    """The strides of the blocks, for each stage.

    Where `output_stride` forbids a stride, the convolution that had it keeps its dilation, and all
    that follow are dilated by that stride (Yu and Koltun 2016, arXiv:1511.07122; torchvision's
    `replace_stride_with_dilation`). The cells that the stride would have kept then hold the same
    values. This does not hold with gates, because their means include all cells, nor with
    `avg_down`, because timm averages neighbouring cells there too.
    """
    dilation = 1
    for stage, reduction in zip(arch.stages, arch.strides[1:], strict=True):
        forbidden = arch.output_stride is not None and reduction > arch.output_stride
        strided = stage.blocks - 1 if arch.stride_in_last_block else 0
        strides = []
        for position in range(stage.blocks):
            nominal = stage.stride if position == strided else 1
            before = dilation
            if forbidden:
                dilation *= nominal
            strides.append(_BlockStride(nominal, 1 if forbidden else nominal, before, dilation))
        yield tuple(strides)


def _make_block(
    arch: Architecture, name: str, stage: Stage, in_channels: int, stride: _BlockStride
) -> Block:
    kernels = _KERNELS[arch.block]
    strided = 0 if arch.stride_in_1x1 else kernels.index(3)
    out_channels = stage.width * arch.expansion
    last = len(kernels) - 1
    ends = (in_channels, *[arch.block_width(stage)] * last, out_channels)
    convs, norms, relus = [], [], []
    for index, kernel in enumerate(kernels):
        spatial = kernel > 1  # only 3x3 convolutions are dilated and grouped
        dilation = stage.dilation * (
            stride.dilation_before if index <= strided else stride.dilation_after
        )
        is_last = index == last
        convs.append(
            Conv(
                f"{name}.conv{index + 1}",
                ends[index],
                ends[index + 1],
                kernel,
                stride=stride.actual if index == strided else 1,
                dilation=dilation if spatial else 1,
                groups=arch.groups if spatial else 1,
                bias=_has_bias(arch, normed=not (arch.preactivation and is_last)),
                zero_init=arch.zero_init_residual and arch.preactivation and is_last,
            )
        )
        normed = ends[index] if arch.preactivation else ends[index + 1]
        zero_gamma = arch.zero_init_residual and is_last and not arch.preactivation
        gamma_init = 0.0 if zero_gamma else 1.0
        norms.append(_norm(arch, f"{name}.bn{index + 1}", normed, gamma_init))
        is_output = is_last and not arch.preactivation
        relus.append(Relu(name if is_output else f"{name}.relu{index + 1}"))
    return Block(
        name=name,
        kind=arch.block,
        preactivation=arch.preactivation,
        out_channels=out_channels,
        convs=tuple(convs),
        norms=tuple(norms),
        relus=tuple(relus),
        se=_squeeze_excitation(arch, f"{name}.se", out_channels),
        shortcut=_shortcut(arch, f"{name}.downsample", in_channels, out_channels, stride),
        add=Add(f"{name}.add") if arch.residual else None,
    )


def _squeeze_excitation(arch: Architecture, name: str, channels: int) -> SqueezeExcitation | None:
    if arch.se is None:
        return None
    squeezed = arch.se.squeezed(channels)
    return SqueezeExcitation(
        mean=GlobalAverage(f"{name}.mean", flat=False),
        fc1=Conv(f"{name}.fc1", channels, squeezed, kernel=1, bias=True),
        relu=Relu(f"{name}.relu"),
        fc2=Conv(f"{name}.fc2", squeezed, channels, kernel=1, bias=True),
        gate=Gate(name),
    )


def _shortcut(
    arch: Architecture, name: str, in_channels: int, out_channels: int, stride: _BlockStride
) -> tuple[ShortcutLayer, ...]:
    """The layers of a shortcut. The nominal stride decides, so that dilation changes no weights."""
    if not arch.residual:
        return ()
    widens, shrinks = in_channels != out_channels, stride.nominal > 1
    projects = {"A": False, "B": widens or shrinks, "B-pooled": widens, "C": True}[arch.shortcut]
    if projects:
        return _projection(arch, name, in_channels, out_channels, stride)
    layers = []
    if stride.actual > 1:
        layers.append(MaxPool(f"{name}.{len(layers)}", kernel=1, stride=stride.actual))
    if widens:
        zeros = out_channels - in_channels
        before = zeros // 2 if arch.zero_padding == "around" else 0
        layers.append(ChannelPad(f"{name}.{len(layers)}", in_channels, before, zeros - before))
    return tuple(layers)


def _projection(
    arch: Architecture, name: str, in_channels: int, out_channels: int, stride: _BlockStride
) -> tuple[ShortcutLayer, ...]:
    """A 1x1 convolution, after a mean with `avg_down`, before a norm without preactivation."""
    layers: list[ShortcutLayer] = []
    if arch.avg_down:  # timm counts the average even where there is none
        layers.append(_average(f"{name}.0", stride))
    layers.append(
        Conv(
            f"{name}.{len(layers)}",
            in_channels,
            out_channels,
            kernel=1,
            stride=1 if arch.avg_down else stride.actual,
            bias=_has_bias(arch, normed=not arch.preactivation),
        )
    )
    if not arch.preactivation:
        layers.append(_norm(arch, f"{name}.{len(layers)}", out_channels))
    return tuple(layers)


def _average(name: str, stride: _BlockStride) -> AveragePool | Identity:
    if stride.nominal == 1:
        return Identity(name)
    return AveragePool(name, kernel=2, stride=stride.actual, zeros=1 if stride.actual == 1 else 0)


def _has_bias(arch: Architecture, *, normed: bool) -> bool:
    return arch.conv_bias == "all" or (arch.conv_bias == "unnormalised" and not normed)


def _norm(arch: Architecture, name: str, channels: int, gamma_init: float = 1.0) -> Norm:
    return Norm(name, channels, arch.bn_eps, arch.bn_decay, gamma_init)
