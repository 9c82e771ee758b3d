"""The residual blocks in PyTorch (He et al. 2015, figure 5)."""

from __future__ import annotations

from torch import Tensor, nn

from resnet_spec import (
    AveragePool,
    Block,
    ChannelPad,
    Conv,
    Identity,
    MaxPool,
    Norm,
    SqueezeExcitation,
)

from resnet_torch.layers import (
    ResidualAdd,
    average_pool,
    batch_norm,
    channel_pad,
    conv,
    max_pool,
    placeholder,
    relu,
)

SHORTCUT_LAYERS = {
    Conv: conv,
    Norm: batch_norm,
    MaxPool: max_pool,
    AveragePool: average_pool,
    ChannelPad: channel_pad,
    Identity: placeholder,
}


def shortcut(block: Block) -> nn.Sequential | None:
    """The layers of the shortcut, in order; None for an identity."""
    layers = [SHORTCUT_LAYERS[type(spec)](spec) for spec in block.shortcut]
    return nn.Sequential(*layers) if layers else None


class SqueezeExcite(nn.Module):
    """Each channel times a gate in (0, 1), computed from the means: (N, C, H, W), same shape."""

    def __init__(self, spec: SqueezeExcitation) -> None:
        super().__init__()
        self.fc1 = conv(spec.fc1)
        self.relu = relu(spec.relu)
        self.fc2 = conv(spec.fc2)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gate = x.mean((2, 3), keepdim=True)  # spec.mean; a pooling layer exports otherwise
        gate = self.fc1(gate)
        gate = self.relu(gate)
        gate = self.fc2(gate)
        gate = self.sigmoid(gate)
        return x * gate


class BasicBlock(nn.Module):
    """Two 3x3 convolutions: (N, in, H, W) -> (N, out, H/stride, W/stride)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.conv1 = conv(block.conv1)  # 3x3, in -> width, stride
        self.bn1 = batch_norm(block.bn1)
        self.relu = relu(block.relu1)  # for every ReLU of the block
        self.conv2 = conv(block.conv2)  # 3x3, width -> out
        self.bn2 = batch_norm(block.bn2)
        self.se = SqueezeExcite(block.se) if block.se else None
        self.downsample = shortcut(block)
        self.add = ResidualAdd(block.add) if block.add else None
        self.stride = block.stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.conv2(x)
        x = self.bn2(x)
        if self.se is not None:
            x = self.se(x)
        if self.downsample is not None:
            identity = self.downsample(identity)
        if self.add is not None:
            x = self.add(x, identity)
        return self.relu(x)


class Bottleneck(nn.Module):
    """1x1 reduce, 3x3, 1x1 expand: (N, in, H, W) -> (N, out, H/stride, W/stride)."""

    def __init__(self, block: Block) -> None:
        super().__init__()
        self.conv1 = conv(block.conv1)  # 1x1, in -> width, stride in v1
        self.bn1 = batch_norm(block.bn1)
        self.relu = relu(block.relu1)  # for every ReLU of the block
        self.conv2 = conv(block.conv2)  # 3x3, width -> width, groups, stride in v1.5
        self.bn2 = batch_norm(block.bn2)
        self.conv3 = conv(block.conv3)  # 1x1, width -> out
        self.bn3 = batch_norm(block.bn3)
        self.se = SqueezeExcite(block.se) if block.se else None
        self.downsample = shortcut(block)
        self.add = ResidualAdd(block.add) if block.add else None
        self.stride = block.stride

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.conv2(x)
        x = self.bn2(x)
        x = self.relu(x)
        x = self.conv3(x)
        x = self.bn3(x)
        if self.se is not None:
            x = self.se(x)
        if self.downsample is not None:
            identity = self.downsample(identity)
        if self.add is not None:
            x = self.add(x, identity)
        return self.relu(x)
