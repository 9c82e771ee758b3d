"""The residual blocks with preactivation in PyTorch (He et al. 2016, figure 4e)."""

from __future__ import annotations

from torch import Tensor, nn

from resnet_spec import Block

from resnet_torch.blocks import SqueezeExcite, shortcut
from resnet_torch.layers import ResidualAdd, batch_norm, conv, relu


class PreActBasicBlock(nn.Module):
    """A basic block that begins with a norm: (N, in, H, W) -> (N, out, H/stride, W/stride).

    A projection starts after the first norm and ReLU.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.projects = block.projects
        self.bn1 = batch_norm(block.bn1)
        self.relu = relu(block.relu1)  # for every ReLU of the block
        self.conv1 = conv(block.conv1)  # 3x3, in -> width, stride
        self.bn2 = batch_norm(block.bn2)
        self.conv2 = conv(block.conv2)  # 3x3, width -> out
        self.se = SqueezeExcite(block.se) if block.se else None
        self.downsample = shortcut(block)
        self.add = ResidualAdd(block.add) if block.add else None
        self.stride = block.stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.bn1(x)
        x = self.relu(x)
        if self.projects:
            identity = x
        x = self.conv1(x)
        x = self.bn2(x)
        x = self.relu(x)
        x = self.conv2(x)
        if self.se is not None:
            x = self.se(x)
        if self.downsample is not None:
            identity = self.downsample(identity)
        if self.add is not None:
            x = self.add(x, identity)
        return x


class PreActBottleneck(nn.Module):
    """A bottleneck that begins with a norm: (N, in, H, W) -> (N, out, H/stride, W/stride).

    A projection starts after the first norm and ReLU.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.projects = block.projects
        self.bn1 = batch_norm(block.bn1)
        self.relu = relu(block.relu1)  # for every ReLU of the block
        self.conv1 = conv(block.conv1)  # 1x1, in -> width
        self.bn2 = batch_norm(block.bn2)
        self.conv2 = conv(block.conv2)  # 3x3, width -> width, stride, groups
        self.bn3 = batch_norm(block.bn3)
        self.conv3 = conv(block.conv3)  # 1x1, width -> out
        self.se = SqueezeExcite(block.se) if block.se else None
        self.downsample = shortcut(block)
        self.add = ResidualAdd(block.add) if block.add else None
        self.stride = block.stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.bn1(x)
        x = self.relu(x)
        if self.projects:
            identity = x
        x = self.conv1(x)
        x = self.bn2(x)
        x = self.relu(x)
        x = self.conv2(x)
        x = self.bn3(x)
        x = self.relu(x)
        x = self.conv3(x)
        if self.se is not None:
            x = self.se(x)
        if self.downsample is not None:
            identity = self.downsample(identity)
        if self.add is not None:
            x = self.add(x, identity)
        return x
