"""The layers that a plan is made of, with all their numbers: what both implementations translate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal


@dataclass(frozen=True)
class Conv:
    """A 2-d convolution; `padding` is symmetric, in pixels of zeros on each side.

    Biases start at zero, and so does the kernel where `zero_init` says so.
    """

    name: str
    in_channels: int
    out_channels: int
    kernel: int
    stride: int = 1
    dilation: int = 1
    groups: int = 1
    bias: bool = False
    zero_init: bool = False

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
    """A max-pool; with kernel 1 it takes every stride-th cell.

    `border` says what lies beyond the edge: "lowest" never wins, "zero" beats what is negative.
    It is "any" where nothing is negative, behind a ReLU, for there both are the same.
    """

    name: str
    kernel: int
    stride: int
    padding: int = 0
    border: Literal["any", "lowest", "zero"] = "any"


@dataclass(frozen=True)
class AveragePool:
    """The mean of 2x2 cells; at the far edge of an odd map, of the cells that there are.

    Where the stride has turned into dilation, `zeros` rows and columns of zeros stand behind the
    map, so that it keeps its size; those count as cells.
    """

    name: str
    kernel: int
    stride: int
    zeros: int = 0


@dataclass(frozen=True)
class ChannelPad:
    """Channels of zeros before and behind those of the input."""

    name: str
    in_channels: int
    before: int
    after: int

    @property
    def out_channels(self) -> int:
        return self.before + self.in_channels + self.after


@dataclass(frozen=True)
class Identity:
    """Nothing; it keeps a place in the numbering of a shortcut's layers."""

    name: str


@dataclass(frozen=True)
class SqueezeExcitation:
    """A gate per channel: means, `fc1`, ReLU, `fc2`, sigmoid; both are 1x1 convolutions."""

    name: str
    fc1: Conv
    fc2: Conv


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
class Relu:
    """max(x, 0)."""

    name: str


@dataclass(frozen=True)
class GlobalAverage:
    """The mean of each channel's whole map; `flat` is without the two extents of one."""

    name: str
    flat: bool = True


@dataclass(frozen=True)
class Gate:
    """The first input times the sigmoid of the second, which has one number per channel."""

    name: str


@dataclass(frozen=True)
class Add:
    """The residual sum of two inputs."""

    name: str


Weighted = Conv | Norm | Linear
"""A layer that holds weights."""

ShortcutLayer = Conv | Norm | MaxPool | AveragePool | ChannelPad | Identity
"""A layer that may stand on the way around a block."""

Operation = ShortcutLayer | Linear | Relu | GlobalAverage | Gate | Add
"""All that a net does, with or without weights."""
