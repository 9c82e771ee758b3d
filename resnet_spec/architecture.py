"""What a ResNet *is*: one frozen row per architecture.

Only what differs from the default is written in a row; everything that follows from a row
(widths, strides per block, shortcuts, shapes, counts) is derived once, in `plan`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
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
from resnet_spec.validate import mistakes


class ArchitectureError(ValueError):
    """An architecture that cannot be built; the message names every problem and its mend."""


@dataclass(frozen=True)
class Architecture:
    """One row of the table, or one of a user's own; every field can be combined with every other.

    * `preactivation`: norm and ReLU stand before each convolution (He et al. 2016);
    * `residual`: False for a plain net, whose blocks have no way around them;
    * `shortcut`, `zero_padding`: what that way is, see `parts`;
    * `avg_down`: projections average 2x2 cells and then do not stride (He et al. 2019, "D");
    * `stride_in_1x1`: bottlenecks stride in their first 1x1, as in 2015, not in their 3x3;
    * `stride_in_last_block`: the last block of a stage strides, not the first;
    * `se`: a squeeze-and-excitation gate behind the last layer of each block, before the sum;
    * `bn_decay` is the weight of the OLD running statistic in an update, `bn_eps` is added to the
      variance;
    * `num_classes`: 0 for a net that ends with the pooled features;
    * `output_stride`: image pixels per cell of the last map, along one side. Strides beyond it
      turn into dilation, so that the same weights fit;
    * `out_indices`: for a backbone, which feature maps come out, 0 for the stem's, 1 for that of
      the first stage, and so on; None for a classifier;
    * `zero_init_residual`: the last gamma of each block starts at zero (Goyal et al. 2017, section
      5.1), with preactivation the last kernel;
    * `image_size`: the side in pixels that MACs are quoted at.

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
        problems = list(mistakes(self))
        if problems:
            listed = "\n".join(f"  - {problem}" for problem in problems)
            raise ArchitectureError(f"architecture {self.name!r} cannot be built:\n{listed}")

    @property
    def expansion(self) -> int:
        """Output channels of a block per unit of `Stage.width` (He et al. 2015, section 4.1)."""
        return 4 if self.block == "bottleneck" else 1

    @property
    def strides(self) -> tuple[int, ...]:
        """Image pixels per cell, along one side, behind the stem and behind each stage.

        As the strides say; `output_stride` is not counted in.
        """
        pool = self.stem.pool.stride if self.stem.pool else 1
        steps = (self.stem.stride * pool, *(stage.stride for stage in self.stages))
        return tuple(accumulate(steps, mul))

    @property
    def reduction(self) -> int:
        """How many image pixels, along one side, one cell of the last feature map stands for."""
        return self.output_stride or self.strides[-1]

    def block_width(self, stage: Stage) -> int:
        """Channels of the 3x3 convolution: `width_per_group` scaled to the stage, times groups."""
        return stage.width * self.width_per_group // REFERENCE_WIDTH * self.groups
