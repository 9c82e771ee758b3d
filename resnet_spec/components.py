"""The components of an architecture: pools, stems, stages, and the options of a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

REFERENCE_WIDTH = 64
"""`width_per_group` refers to a stage of this width (Xie et al. 2017, table 1)."""

BlockKind = Literal["basic", "bottleneck"]

Shortcut = Literal["A", "B", "B-pooled", "C"]
"""The shortcut of a block (He et al. 2015, sections 3.3 and 4.1):

* A: where the shape changes, every stride-th cell, and zeros for the new channels; no weights;
* B: a 1x1 projection where the shape changes;
* B-pooled: a projection where the channels change, every stride-th cell where only the map shrinks
  (Keras Applications v2);
* C: a projection for every block.
"""

ZeroPadding = Literal["after", "around"]
"""Where shortcut A puts its zeros: after the old channels, or half before and half after them."""

ConvBias = Literal["none", "unnormalised", "all"]
"""Which convolutions have a bias: none, all, or those not directly followed by a norm."""

Border = Literal["lowest", "zero"]
"""The values of a max-pool beyond the edge: minus infinity, or zero."""


@dataclass(frozen=True)
class Pool:
    """A max-pool; `padding` is symmetric."""

    kernel: int = 3
    stride: int = 2
    padding: int = 1
    border: Border = "lowest"


@dataclass(frozen=True)
class Stem:
    """The first convolution and its max-pool (He et al. 2015, table 1: 7x7/2, 3x3/2).

    A deep stem has further convolutions of the same kernel before the last one; `hidden` holds
    their numbers of channels. The first convolution has the stride.
    """

    channels: int = 64
    kernel: int = 7
    stride: int = 2
    pool: Pool | None = Pool()
    hidden: tuple[int, ...] = ()


CLASSIC_STEM = Stem()
"""The default of a row."""

DEEP_STEM = Stem(kernel=3, hidden=(32, 32))
"""Three 3x3 convolutions instead of one 7x7 (He et al. 2019, arXiv:1812.01187, figure 2b)."""

SMALL_STEM = Stem(kernel=3, stride=1, pool=None)
"""For small images: one 3x3 convolution that keeps the size, no pool."""


@dataclass(frozen=True)
class Stage:
    """Blocks that share one feature-map size.

    `width` is the nominal number of channels of the 3x3 convolution, before groups (64, 128, 256,
    512 in the paper). Only one block of the stage has the `stride`.
    """

    blocks: int
    width: int
    stride: int = 1
    dilation: int = 1


def stages(*blocks: int, width: int = 64) -> tuple[Stage, ...]:
    """The stages of the paper: each after the first doubles the width and halves the map."""
    return tuple(
        Stage(count, width * 2**index, stride=1 if index == 0 else 2)
        for index, count in enumerate(blocks)
    )


@dataclass(frozen=True)
class SqueezeRatio:
    """The option of a row for squeeze-and-excitation gates (Hu et al. 2018, arXiv:1709.01507).

    The squeezed width is `ratio` times the channels, rounded to a multiple of `divisor`, and at
    least `divisor`. `layers.SqueezeExcitation` is the gate in a plan.
    """

    ratio: float = 1 / 16
    divisor: int = 8

    def squeezed(self, channels: int) -> int:
        """The number of channels between the two layers of the gate."""
        nearest = int(channels * self.ratio + self.divisor / 2) // self.divisor * self.divisor
        return max(self.divisor, nearest)
