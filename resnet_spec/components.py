"""What an architecture is made of: pools, stems, stages, and the choices that a row can make."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

REFERENCE_WIDTH = 64
"""`width_per_group` is quoted at a stage of this width (Xie et al. 2017, table 1)."""

BlockKind = Literal["basic", "bottleneck"]

Shortcut = Literal["A", "B", "B-pooled", "C"]
"""The way around a block (He et al. 2015, sections 3.3 and 4.1):

* A: where the shape changes, every stride-th cell with zeros for the new channels; no weights;
* B: a 1x1 projection where the shape changes;
* B-pooled: a projection where channels change, every stride-th cell where only the map shrinks
  (Keras-Applications V2);
* C: a projection around every block.
"""

ZeroPadding = Literal["after", "around"]
"""Where option A puts its zeros: behind the old channels, or half before and half behind them."""

ConvBias = Literal["none", "unnormalised", "all"]
"""Which convolutions have a bias: none, those that no norm follows at once, or all."""

Border = Literal["lowest", "zero"]
"""What a max-pool sees beyond the edge: nothing (minus infinity), or zeros."""


@dataclass(frozen=True)
class Pool:
    """A max-pool; `padding` is symmetric."""

    kernel: int = 3
    stride: int = 2
    padding: int = 1
    border: Border = "lowest"


@dataclass(frozen=True)
class Stem:
    """The first convolution and the pool behind it (He et al. 2015, table 1: 7x7/2, 3x3/2).

    A deep stem has more convolutions of the same kernel before the last one, `hidden` are their
    channels; the first takes the stride.
    """

    channels: int = 64
    kernel: int = 7
    stride: int = 2
    pool: Pool | None = Pool()
    hidden: tuple[int, ...] = ()


CLASSIC_STEM = Stem()
"""What a row has unless it says otherwise."""

DEEP_STEM = Stem(kernel=3, hidden=(32, 32))
"""Three 3x3 convolutions for one 7x7 (He et al. 2019, arXiv:1812.01187, figure 2b)."""

SMALL_STEM = Stem(kernel=3, stride=1, pool=None)
"""For small images: one 3x3 convolution that keeps their size."""


@dataclass(frozen=True)
class Stage:
    """Blocks that share one feature-map size.

    `width` is the nominal channel count of the 3x3 convolution (64, 128, 256, 512 in the paper),
    before groups; `stride` belongs to one block of the stage alone.
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
class SqueezeRatio:
    """A gate per channel, computed from the channels' means (Hu et al. 2018, arXiv:1709.01507).

    The squeezed width is `ratio` times the channels, to the nearest multiple of `divisor`, and at
    least one `divisor`.
    """

    ratio: float = 1 / 16
    divisor: int = 8

    def squeezed(self, channels: int) -> int:
        """The width between the two layers of the gate."""
        nearest = int(channels * self.ratio + self.divisor / 2) // self.divisor * self.divisor
        return max(self.divisor, nearest)
