"""The spec, unrolled: every layer of an architecture with all its numbers worked out.

Both hands walk this plan from top to bottom and translate; neither computes a width, a stride or
a padding. All names are canonical, that is the `state_dict` names of torchvision and timm.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from resnet_spec.architecture import Architecture, BlockKind, Stage


@dataclass(frozen=True)
class Conv:
    """A 2-d convolution; `padding` is symmetric, in pixels of zeros on each side."""

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = False

    @property
    def padding(self) -> int:
        return self.dilation * (self.kernel - 1) // 2


@dataclass(frozen=True)
class Norm:
    """A batch normalisation.

    `decay` is the weight of the OLD running statistic in an update and `update` that of the new
    one; they sum to one in decimal, so that 0.9 pairs with the float 0.1 and not with 1 - 0.9.
    """

    name: str
    channels: int
    eps: float
    decay: float
    gamma_init: float = 1.0

    @property
    def update(self) -> float:
        return float(1 - Decimal(str(self.decay)))


@dataclass(frozen=True)
class MaxPool:
    """The max-pool of the stem."""

    name: str
    kernel: int
    stride: int
    padding: int


@dataclass(frozen=True)
class Linear:
    """The classifier."""

    name: str
    in_features: int
    out_features: int

    @property
    def init_bound(self) -> float:
        """Weights and bias start uniform between minus and plus this."""
        return 1 / math.sqrt(self.in_features)


@dataclass(frozen=True)
class Block:
    """One residual block: its convolutions, each followed by its norm, and its shortcut.

    `projection` is the convolution and norm of the shortcut, None where it is the identity.
    """

    name: str
    kind: BlockKind
    in_channels: int
    width: int
    out_channels: int
    stride: int
    dilation: int
    groups: int
    shortcut: Literal["identity", "projection"]
    convs: tuple[Conv, ...]
    norms: tuple[Norm, ...]
    projection: tuple[Conv, Norm] | None

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
class Plan:
    """The whole net, in execution order."""

    conv1: Conv
    bn1: Norm
    maxpool: MaxPool | None
    stages: tuple[StagePlan, ...]
    fc: Linear

    @property
    def blocks(self) -> Iterator[Block]:
        return (block for stage in self.stages for block in stage.blocks)

    @property
    def layers(self) -> Iterator[Conv | Norm | Linear]:
        """Every layer that holds weights, in the order of a torchvision state dict."""
        yield self.conv1
        yield self.bn1
        for block in self.blocks:
            for conv, norm in zip(block.convs, block.norms, strict=True):
                yield conv
                yield norm
            if block.projection:
                yield from block.projection
        yield self.fc


@dataclass(frozen=True)
class _Recipe:
    """What sets one kind of block apart: its kernels, and which convolution takes the stride."""

    kernels: tuple[int, ...]
    strided: int


_RECIPES: dict[BlockKind, _Recipe] = {
    "basic": _Recipe(kernels=(3, 3), strided=0),
    "bottleneck": _Recipe(kernels=(1, 3, 1), strided=1),
}


@lru_cache(maxsize=256)
def make_plan(arch: Architecture) -> Plan:
    """Unroll an architecture into its layers."""
    stem = arch.stem
    channels = stem.channels
    stage_plans = []
    for index, stage in enumerate(arch.stages, start=1):
        name = f"layer{index}"
        blocks = []
        for position in range(stage.blocks):
            stride = stage.stride if position == 0 else 1
            blocks.append(_make_block(arch, f"{name}.{position}", stage, channels, stride))
            channels = blocks[-1].out_channels
        stage_plans.append(StagePlan(name, tuple(blocks)))
    pool = stem.pool
    return Plan(
        conv1=Conv("conv1", arch.in_channels, stem.channels, stem.kernel, stem.stride),
        bn1=_norm(arch, "bn1", stem.channels),
        maxpool=MaxPool("maxpool", pool.kernel, pool.stride, pool.padding) if pool else None,
        stages=tuple(stage_plans),
        fc=Linear("fc", channels, arch.num_classes),
    )


def _make_block(arch: Architecture, name: str, stage: Stage, in_channels: int, stride: int):
    recipe = _RECIPES[arch.block]
    width = arch.block_width(stage)
    out_channels = stage.width * arch.expansion
    last = len(recipe.kernels) - 1
    ends = (in_channels, *[width] * last, out_channels)
    convs, norms = [], []
    for index, kernel in enumerate(recipe.kernels):
        spatial = kernel > 1  # only the 3x3 are dilated and grouped
        convs.append(
            Conv(
                f"{name}.conv{index + 1}",
                ends[index],
                ends[index + 1],
                kernel,
                stride=stride if index == recipe.strided else 1,
                dilation=stage.dilation if spatial else 1,
                groups=arch.groups if spatial else 1,
            )
        )
        norms.append(_norm(arch, f"{name}.bn{index + 1}", ends[index + 1], last=index == last))
    projects = stride != 1 or in_channels != out_channels  # He et al. 2015, option B
    return Block(
        name=name,
        kind=arch.block,
        in_channels=in_channels,
        width=width,
        out_channels=out_channels,
        stride=stride,
        dilation=stage.dilation,
        groups=arch.groups,
        shortcut="projection" if projects else "identity",
        convs=tuple(convs),
        norms=tuple(norms),
        projection=_projection(arch, name, in_channels, out_channels, stride) if projects else None,
    )


def _projection(arch: Architecture, name: str, in_channels: int, out_channels: int, stride: int):
    conv = Conv(f"{name}.downsample.0", in_channels, out_channels, kernel=1, stride=stride)
    return conv, _norm(arch, f"{name}.downsample.1", out_channels)


def _norm(arch: Architecture, name: str, channels: int, *, last: bool = False) -> Norm:
    gamma_init = 0.0 if last and arch.zero_init_residual else 1.0
    return Norm(name, channels, arch.bn_eps, arch.bn_decay, gamma_init)
