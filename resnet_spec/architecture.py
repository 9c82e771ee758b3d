"""One frozen row per architecture, and the checks that a row must pass.

A row states only what differs from the default. `plan` derives the rest from it once: widths,
strides per block, shortcuts, shapes and counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul

from resnet_spec.components import (
    CLASSIC_STEM,
    REFERENCE_WIDTH,
    BlockKind,
    ConvBias,
    Shortcut,
    SqueezeRatio,
    Stage,
    Stem,
    ZeroPadding,
)
from resnet_spec.validate import integers, type_mistakes, unwrap_scalars

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MAY_BE_ZERO = ("padding", "num_classes")


class ArchitectureError(ValueError):
    """An architecture that cannot be built; the message names every problem and its fix."""


@dataclass(frozen=True)
class Architecture:
    """A row of the registry, or an architecture of a user.

    * `preactivation`: norm and ReLU precede each convolution (He et al. 2016);
    * `residual`: False for a plain network, whose blocks have no shortcut;
    * `shortcut`, `zero_padding`: the kind of shortcut, see `components`;
    * `avg_down`: projections average 2x2 cells instead of striding (He et al. 2019, "ResNet-D");
    * `stride_in_1x1`: bottlenecks stride in their first 1x1 convolution (v1), not in their 3x3
      (v1.5);
    * `stride_in_last_block`: the last block of a stage strides, not the first;
    * `se`: a squeeze-and-excitation gate after the last layer of each block, before the sum;
    * `bn_decay`, `bn_eps`: the weight of the OLD running statistic in an update, and the number
      added to the variance;
    * `num_classes`: 0 for a network that returns the pooled features;
    * `output_stride`: image pixels per cell of the last map, along one side. Strides beyond it
      become dilation, so that the same weights fit;
    * `out_indices`: the feature maps that a backbone returns, 0 for that of the stem, 1 for that of
      the first stage, and so on; None for a classifier;
    * `zero_init_residual`: the last gamma of each block starts at zero (Goyal et al. 2017, section
      5.1), with preactivation the last kernel;
    * `image_size`: the side of the image, in pixels, that MACs are counted for.

    Raises `ArchitectureError` when the row cannot be built.
    """

    name: str
    block: BlockKind
    stages: tuple[Stage, ...]
    stem: Stem = CLASSIC_STEM
    groups: int = 1
    width_per_group: int = REFERENCE_WIDTH
    preactivation: bool = False
    residual: bool = True
    shortcut: Shortcut = "B"
    zero_padding: ZeroPadding = "after"
    avg_down: bool = False
    stride_in_1x1: bool = False
    stride_in_last_block: bool = False
    conv_bias: ConvBias = "none"
    se: SqueezeRatio | None = None
    bn_eps: float = 1e-5
    bn_decay: float = 0.9
    in_channels: int = 3
    num_classes: int = 1000
    output_stride: int | None = None
    out_indices: tuple[int, ...] | None = None
    zero_init_residual: bool = False
    image_size: int = 224
    source: str = ""

    def __post_init__(self) -> None:
        unwrap_scalars(self)
        problems = list(_mistakes(self))
        if problems:
            listed = "\n".join(f"  - {problem}" for problem in problems)
            raise ArchitectureError(f"architecture {self.name!r} cannot be built:\n{listed}")

    @property
    def expansion(self) -> int:
        """Output channels of a block per unit of `Stage.width` (He et al. 2015, section 4.1)."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels per cell, along one side, after the stem and after each stage.

        `output_stride` is not taken into account.
        """
        pool = self.stem.pool.stride if self.stem.pool else 1
        steps = (self.stem.stride * pool, *(stage.stride for stage in self.stages))
        return tuple(accumulate(steps, mul))

    @property
    def reduction(self) -> int:
        """Image pixels per cell of the last feature map, along one side."""
        return self.output_stride or self.strides[-1]

    def block_width(self, stage: Stage) -> int:
        """Channels of the 3x3 convolution: `width_per_group`, scaled to the stage, times groups."""
        return stage.width * self.width_per_group // REFERENCE_WIDTH * self.groups


def _mistakes(arch: Architecture) -> Iterator[str]:
    """One message per problem; each kind is checked only if those before it found nothing."""
    for check in (_type_mistakes, _number_mistakes, _combination_mistakes):
        found = list(check(arch))
        yield from found
        if found:
            return


def _type_mistakes(arch: Architecture) -> Iterator[str]:
    yield from type_mistakes(arch)
    if isinstance(arch.name, str) and not _NAME.fullmatch(arch.name):
        yield f"its name must be letters, digits, '_', '-' or '.', not {arch.name!r}"


def _number_mistakes(arch: Architecture) -> Iterator[str]:
    """Fields that are out of range."""
    for where, value in integers(arch):
        least = 0 if where.rpartition(".")[2] in _MAY_BE_ZERO else 1
        if value < least and not where.startswith("out_indices"):
            yield f"{where} must be at least {least}, not {value}"
    if not arch.stages:
        yield "it has no stages; give at least one Stage"
    if arch.stem.kernel % 2 == 0:
        yield f"stem.kernel must be odd (symmetric padding), not {arch.stem.kernel}"
    pool = arch.stem.pool
    if pool and (pool.kernel % 2 == 0 or pool.padding != pool.kernel // 2):
        yield "stem.pool needs an odd kernel and padding = kernel // 2"
    if not 0.0 < arch.bn_eps < 1.0:
        yield f"bn_eps must lie between 0 and 1, not {arch.bn_eps}"
    if not 0.0 <= arch.bn_decay < 1.0:
        yield f"bn_decay (weight of the old statistic) must lie in [0, 1), not {arch.bn_decay}"
    if arch.se and not 0.0 < arch.se.ratio <= 1.0:
        yield (
            f"se.ratio must be above 0 and at most 1 (1/16 is usual), not {arch.se.ratio}; "
            "a network without gates has se=None"
        )


def _combination_mistakes(arch: Architecture) -> Iterator[str]:
    """Fields that contradict each other."""
    yield from _shortcut_mistakes(arch)
    if arch.stride_in_1x1 and arch.block == "basic":
        yield "stride_in_1x1 is for bottlenecks; a basic block has no 1x1 convolution"
    for index, stage in enumerate(arch.stages):
        yield from _stage_mistakes(arch, index, stage)
    yield from _output_mistakes(arch)


def _shortcut_mistakes(arch: Architecture) -> Iterator[str]:
    if not arch.residual:
        if arch.shortcut != "B":
            yield (
                f"shortcut {arch.shortcut!r} on a plain network: it has no shortcuts; leave the "
                "field at 'B', or set residual=True"
            )
        for field in ("avg_down", "zero_init_residual"):
            if getattr(arch, field):
                yield f"{field} is about shortcuts and a plain network has none; set residual=True"
    if arch.shortcut == "A" and arch.avg_down:
        yield "avg_down is about projections and shortcut 'A' has none; take 'B' or 'C'"
    if arch.shortcut != "A" and arch.zero_padding != "after":
        yield f"zero_padding is about shortcut 'A'; with {arch.shortcut!r} leave it at 'after'"
    if arch.shortcut == "A":
        ends = [arch.stem.channels, *(stage.width * arch.expansion for stage in arch.stages)]
        for index, (before, after) in enumerate(pairwise(ends)):
            if before > after:
                yield (
                    f"stages[{index}] narrows from {before} to {after} channels, and shortcut 'A' "
                    "can only add channels; take 'B' or 'C'"
                )


def _stage_mistakes(arch: Architecture, index: int, stage: Stage) -> Iterator[str]:
    if stage.width * arch.width_per_group % REFERENCE_WIDTH:
        yield (
            f"stages[{index}].width {stage.width} times width_per_group {arch.width_per_group} "
            f"is not a multiple of {REFERENCE_WIDTH}, so a group would have a fractional width"
        )
    if stage.dilation > 1 and stage.stride > 1:
        yield f"stages[{index}] has both stride and dilation; a convolution takes only one"
    if arch.block == "basic" and arch.groups > 1:
        # Both 3x3 convolutions of a basic block are grouped, so its input must divide too.
        before = arch.stem.channels if index == 0 else arch.stages[index - 1].width
        for what, channels in (("input", before), ("width", stage.width)):
            if channels % arch.groups:
                yield f"stages[{index}] {what} {channels} is not divisible by groups {arch.groups}"


def _output_mistakes(arch: Architecture) -> Iterator[str]:
    reachable = sorted(set(arch.strides))
    if arch.output_stride is not None and arch.output_stride not in reachable:
        *others, last = map(str, reachable)
        valid = f"{', '.join(others)} or {last}" if others else last
        yield (
            f"output_stride {arch.output_stride} cannot be reached: the stem has stride "
            f"{reachable[0]}, the whole network {reachable[-1]}, so it may be {valid}"
        )
    if arch.out_indices is not None:
        levels = range(len(arch.stages) + 1)
        indices = arch.out_indices
        if not indices or list(indices) != sorted(set(indices) & set(levels)):
            yield (
                f"out_indices {indices} of a backbone's features must be some of {tuple(levels)}, "
                "each once and in order (0 is the stem, 1 the first stage)"
            )
