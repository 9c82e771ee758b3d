"""The layers of a plan, with every number and name worked out. Both implementations translate them.

Names are canonical. A layer of the plan is named after the tensor, module or tap that it makes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal


@dataclass(frozen=True)
class ZeroPad:
    """Zeros around a feature map: (before, after) along its height and along its width."""

    name: str
    height: tuple[int, int]
    width: tuple[int, int]


@dataclass(frozen=True)
class Conv:
    """A 2-d convolution; `padding` is the number of zeros on each side of the map, in pixels.

    Biases start at zero. The kernel starts at zero too if `zero_init`.
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

    @property
    def pad(self) -> ZeroPad:
        """The same padding as a layer of its own, before a convolution without padding."""
        return _symmetric(self.name, self.padding)


@dataclass(frozen=True)
class Norm:
    """A batch normalisation.

    `decay` is the weight of the OLD running statistic in an update, `update` that of the new one.
    They sum to one in decimal, so that 0.9 pairs with the float 0.1 and not with 1 - 0.9.
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

    `border` is the value beyond the edge: "lowest" (minus infinity) never wins, "zero" wins against
    negative numbers. It is "any" after a ReLU, where nothing is negative and both give the same.
    """

    name: str
    kernel: int
    stride: int
    padding: int = 0
    border: Literal["any", "lowest", "zero"] = "any"

    @property
    def pad(self) -> ZeroPad:
        """The padding with zeros as a layer of its own, before a max-pool without padding."""
        return _symmetric(self.name, self.padding)


@dataclass(frozen=True)
class AveragePool:
    """The mean of 2x2 cells; at the far edge of an odd map, the mean of the cells inside it.

    Where `output_stride` has turned the stride into dilation, `zeros` rows and columns of zeros
    follow the map, so that it keeps its size; they count as cells.
    """

    name: str
    kernel: int
    stride: int
    zeros: int = 0

    @property
    def pad(self) -> ZeroPad:
        """The rows and columns of zeros as a layer of its own."""
        return ZeroPad(f"{self.name}.pad", (0, self.zeros), (0, self.zeros))


@dataclass(frozen=True)
class ChannelPad:
    """Channels of zeros before and after those of the input."""

    name: str
    in_channels: int
    before: int
    after: int

    @property
    def out_channels(self) -> int:
        return self.before + self.in_channels + self.after

    @property
    def pad(self) -> ZeroPad:
        """The same padding of a map whose channels and width are swapped."""
        return ZeroPad(f"{self.name}.pad", (0, 0), (self.before, self.after))


@dataclass(frozen=True)
class Identity:
    """No operation.

    In a shortcut it takes the index of timm's `nn.Identity`; after a block it names the output.
    """

    name: str


@dataclass(frozen=True)
class Relu:
    """max(x, 0)."""

    name: str


@dataclass(frozen=True)
class GlobalAverage:
    """The mean of each channel over the whole map: (C,) if `flat`, else (C, 1, 1)."""

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


@dataclass(frozen=True)
class SqueezeExcitation:
    """The planned gate of a block, in execution order; `fc1` and `fc2` are 1x1 convolutions.

    `components.SqueezeRatio` is the option of a row that asks for it. The implementations are
    `resnet_torch.blocks.SqueezeExcite` and `resnet_keras.blocks.squeeze_excite`.
    """

    mean: GlobalAverage
    fc1: Conv
    relu: Relu
    fc2: Conv
    gate: Gate


@dataclass(frozen=True)
class Linear:
    """The classifier."""

    name: str
    in_features: int
    out_features: int

    @property
    def init_bound(self) -> float:
        """Weights and bias start uniformly distributed between minus and plus this bound."""
        return 1 / math.sqrt(self.in_features)


Weighted = Conv | Norm | Linear
"""A layer that holds weights."""

ShortcutLayer = Conv | Norm | MaxPool | AveragePool | ChannelPad | Identity
"""A layer that a shortcut may contain."""

Operation = ShortcutLayer | Linear | Relu | GlobalAverage | Gate | Add
"""An operation of the graph, with or without weights."""


def _symmetric(name: str, padding: int) -> ZeroPad:
    return ZeroPad(f"{name}.pad", (padding, padding), (padding, padding))
