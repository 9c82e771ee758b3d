"""The residual blocks, in PyTorch (He et al. 2015, figure 5)."""

from __future__ import annotations

from torch import Tensor, nn

from resnet_spec import Block

from resnet_torch.layers import add, batch_norm, conv, relu


def shortcut(block: Block) -> nn.Module:
    """The way around a block: nothing, or a 1x1 projection where the shape changes."""
    if block.projection is None:
        return nn.Identity()
    projection, norm = block.projection
    return nn.Sequential(conv(projection), batch_norm(norm))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: (N, in, H, W) -> (N, out, H/stride, W/stride)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.conv1 = conv(block.conv1)  # 3x3, in -> width, stride
        self.bn1 = batch_norm(block.bn1)
        self.relu1 = relu()
        self.conv2 = conv(block.conv2)  # 3x3, width -> out
        self.bn2 = batch_norm(block.bn2)
        self.relu2 = relu()
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu1(x)
        x = self.conv2(x)
        x = self.bn2(x)
        x = add(x, self.downsample(identity))
        return self.relu2(x)


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand: (N, in, H, W) -> (N, out, H/stride, W/stride)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.conv1 = conv(block.conv1)  # 1x1, in -> width
        self.bn1 = batch_norm(block.bn1)
        self.relu1 = relu()
        self.conv2 = conv(block.conv2)  # 3x3, width -> width, stride, groups
        self.bn2 = batch_norm(block.bn2)
        self.relu2 = relu()
        self.conv3 = conv(block.conv3)  # 1x1, width -> out
        self.bn3 = batch_norm(block.bn3)
        self.relu3 = relu()
        self.downsample = shortcut(block)

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu1(x)
        x = self.conv2(x)
        x = self.bn2(x)
        x = self.relu2(x)
        x = self.conv3(x)
        x = self.bn3(x)
        x = add(x, self.downsample(identity))
        return self.relu3(x)


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
