"""What a ResNet *is*: one frozen row per architecture, and the checks that a row must pass.

Only what differs from the default is written in a row; everything that follows from a row
(widths, strides per block, shortcuts, shapes, counts) is derived once, in `plan`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

BlockKind = Literal["basic", "bottleneck"]

REFERENCE_WIDTH = 64
"""`width_per_group` is quoted at a stage of this width (Xie et al. 2017, table 1)."""


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class ArchitectureError(ValueError):
    """An architecture that cannot be built; the message names every problem and its mend."""


@dataclass(frozen=True)
class Pool:
    """A max-pool; `padding` is symmetric and never wins against a value of the image."""

    kernel: int = 3
    stride: int = 2
    padding: int = 1


@dataclass(frozen=True)
class Stem:
    """The first convolution and the pool behind it (He et al. 2015, table 1: 7x7/2, 3x3/2)."""

    channels: int = 64
    kernel: int = 7
    stride: int = 2
    pool: Pool | None = Pool()


@dataclass(frozen=True)
class Stage:
    """Blocks that share one feature-map size.

    `width` is the nominal channel count of the 3x3 convolution (64, 128, 256, 512 in the paper),
    before groups; `stride` belongs to the first block of the stage alone.
    """

    blocks: int
    width: int
    stride: int = 1
    dilation: int = 1


def stages(*blocks: int, width: int = 64) -> tuple[Stage, ...]:
    """The paper's pyramid: each stage doubles the width and, from the second on, halves the map."""
    return tuple(
        Stage(count, width * 2**index, stride=1 if index == 0 else 2)
        for index, count in enumerate(blocks)
    )


@dataclass(frozen=True)
class Architecture:
    """One row of the table, or one of a user's own.

    `bn_decay` is the weight of the OLD running statistic in an update, `bn_eps` is added to the
    variance. With `zero_init_residual` the last gamma of each block starts at zero (Goyal et al.
    2017, section 5.1). `image_size` is the side in pixels that MACs are quoted at.

    Raises `ArchitectureError` when the row cannot be built.
    """

    name: str
    block: BlockKind
    stages: tuple[Stage, ...]
    stem: Stem = Stem()
    groups: int = 1
    width_per_group: int = REFERENCE_WIDTH
    bn_eps: float = 1e-5
    bn_decay: float = 0.9
    in_channels: int = 3
    num_classes: int = 1000
    zero_init_residual: bool = False
    image_size: int = 224
    source: str = ""

    def __post_init__(self) -> None:
        problems = [*_type_problems(self)] or [*_value_problems(self)]
        if problems:
            listed = "\n".join(f"  - {problem}" for problem in problems)
            raise ArchitectureError(f"architecture {self.name!r} cannot be built:\n{listed}")

    @property
    def expansion(self) -> int:
        """Output channels of a block per unit of `Stage.width` (He et al. 2015, section 4.1)."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def reduction(self) -> int:
        """How many image pixels, along one side, one cell of the last feature map stands for."""
        pool = self.stem.pool.stride if self.stem.pool else 1
        return self.stem.stride * pool * math.prod(stage.stride for stage in self.stages)

    def block_width(self, stage: Stage) -> int:
        """Channels of the 3x3 convolution: `width_per_group` scaled to the stage, times groups."""
        return stage.width * self.width_per_group // REFERENCE_WIDTH * self.groups


def _type_problems(arch: Architecture) -> Iterator[str]:
    """Values of the wrong type, which would make every later check stumble."""
    if not isinstance(arch.name, str) or not _NAME.fullmatch(arch.name):
        yield f"its name must be letters, digits, '_', '-' or '.', not {arch.name!r}"
    if not isinstance(arch.zero_init_residual, bool):
        yield f"zero_init_residual must be True or False, not {arch.zero_init_residual!r}"
    if arch.block not in get_args(BlockKind):
        known = ", ".join(get_args(BlockKind))
        yield f"unknown block {arch.block!r}; a block is one of: {known}"
    if not isinstance(arch.stem, Stem):
        yield f"stem must be a Stem, not {type(arch.stem).__name__}"
    elif not isinstance(arch.stem.pool, Pool | None):
        yield f"stem.pool must be a Pool or None, not {type(arch.stem.pool).__name__}"
    if not isinstance(arch.stages, tuple) or not all(isinstance(s, Stage) for s in arch.stages):
        yield "stages must be a tuple of Stage(blocks, width, stride)"
        return
    for where, value in _integers(arch):
        if not isinstance(value, int) or isinstance(value, bool):
            yield f"{where} must be an integer, not {value!r}"
    for where in ("bn_eps", "bn_decay"):
        if not isinstance(getattr(arch, where), float):
            yield f"{where} must be a float, not {getattr(arch, where)!r}"


def _integers(arch: Architecture) -> Iterator[tuple[str, int]]:
    """Every field that must be a positive integer, with the name that a message gives it."""
    for field in ("groups", "width_per_group", "in_channels", "num_classes", "image_size"):
        yield field, getattr(arch, field)
    if isinstance(arch.stem, Stem):
        for field in ("channels", "kernel", "stride"):
            yield f"stem.{field}", getattr(arch.stem, field)
        if isinstance(arch.stem.pool, Pool):
            for field in ("kernel", "stride", "padding"):
                yield f"stem.pool.{field}", getattr(arch.stem.pool, field)
    for index, stage in enumerate(arch.stages, start=1):
        for field in ("blocks", "width", "stride", "dilation"):
            yield f"stages[{index - 1}].{field}", getattr(stage, field)


def _value_problems(arch: Architecture) -> Iterator[str]:
    small = [
        f"{where} must be at least 1, not {value}"
        for where, value in _integers(arch)
        if value < 1 and not where.endswith("padding")
    ]
    yield from small
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
    if not small:  # what divides by a field needs it positive
        for index, stage in enumerate(arch.stages):
            yield from _stage_problems(arch, index, stage)


def _stage_problems(arch: Architecture, index: int, stage: Stage) -> Iterator[str]:
    if stage.width * arch.width_per_group % REFERENCE_WIDTH:
        yield (
            f"stages[{index}].width {stage.width} times width_per_group {arch.width_per_group} "
            f"is not a multiple of {REFERENCE_WIDTH}, so a group would have a broken width"
        )
    if stage.dilation > 1 and stage.stride > 1:
        yield f"stages[{index}] has both stride and dilation; a convolution takes one of them"
    if arch.block == "basic" and arch.groups > 1:
        # The two 3x3 of a basic block also read and write the block's ends, in groups.
        before = arch.stem.channels if index == 0 else arch.stages[index - 1].width
        for what, channels in (("input", before), ("width", stage.width)):
            if channels % arch.groups:
                yield f"stages[{index}] {what} {channels} is not divisible by groups {arch.groups}"
