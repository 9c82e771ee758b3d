"""The residual blocks with preactivation, in Keras (He et al. 2016, figure 4e)."""

from __future__ import annotations

from keras import KerasTensor

from resnet_spec import Block, Identity

from resnet_keras.blocks import shortcut, squeeze_excite
from resnet_keras.layers import add, batch_norm, conv, placeholder, relu


def pre_act_basic_block(x: KerasTensor, block: Block) -> KerasTensor:
    """A basic block that norms first: (N, H, W, in) -> (N, H/stride, W/stride, out).

    A projection starts behind the first norm and its ReLU.
    """
    identity = x
    x = batch_norm(x, block.bn1)
    x = relu(x, f"{block.name}.relu1")
    if block.projects:
        identity = x
    x = conv(x, block.conv1)  # 3x3, in -> width, stride
    x = batch_norm(x, block.bn2)
    x = relu(x, f"{block.name}.relu2")
    x = conv(x, block.conv2)  # 3x3, width -> out
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.shortcut is not None:
        x = add(x, shortcut(identity, block), f"{block.name}.add")
    return placeholder(x, Identity(block.name))


def pre_act_bottleneck(x: KerasTensor, block: Block) -> KerasTensor:
    """A bottleneck that norms first: (N, H, W, in) -> (N, H/stride, W/stride, out).

    A projection starts behind the first norm and its ReLU.
    """
    identity = x
    x = batch_norm(x, block.bn1)
    x = relu(x, f"{block.name}.relu1")
    if block.projects:
        identity = x
    x = conv(x, block.conv1)  # 1x1, in -> width
    x = batch_norm(x, block.bn2)
    x = relu(x, f"{block.name}.relu2")
    x = conv(x, block.conv2)  # 3x3, width -> width, stride, groups
    x = batch_norm(x, block.bn3)
    x = relu(x, f"{block.name}.relu3")
    x = conv(x, block.conv3)  # 1x1, width -> out
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.shortcut is not None:
        x = add(x, shortcut(identity, block), f"{block.name}.add")
    return placeholder(x, Identity(block.name))
