"""The residual blocks with preactivation in Keras (He et al. 2016, figure 4e)."""

from __future__ import annotations

from keras import KerasTensor

from resnet_spec import Block

from resnet_keras.blocks import shortcut, squeeze_excite
from resnet_keras.layers import batch_norm, conv, placeholder, relu, residual_add


def pre_act_basic_block(x: KerasTensor, block: Block) -> KerasTensor:
    """A basic block that begins with a norm: (N, H, W, in) -> (N, H/stride, W/stride, out).

    A projection starts after the first norm and ReLU.
    """
    identity = x
    x = batch_norm(x, block.bn1)
    x = relu(x, block.relu1)
    if block.projects:
        identity = x
    x = conv(x, block.conv1)  # 3x3, in -> width, stride
    x = batch_norm(x, block.bn2)
    x = relu(x, block.relu2)
    x = conv(x, block.conv2)  # 3x3, width -> out
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.add is not None:
        x = residual_add(x, shortcut(identity, block), block.add)
    return placeholder(x, block.output)


def pre_act_bottleneck(x: KerasTensor, block: Block) -> KerasTensor:
    """A bottleneck that begins with a norm: (N, H, W, in) -> (N, H/stride, W/stride, out).

    A projection starts after the first norm and ReLU.
    """
    identity = x
    x = batch_norm(x, block.bn1)
    x = relu(x, block.relu1)
    if block.projects:
        identity = x
    x = conv(x, block.conv1)  # 1x1, in -> width
    x = batch_norm(x, block.bn2)
    x = relu(x, block.relu2)
    x = conv(x, block.conv2)  # 3x3, width -> width, stride, groups
    x = batch_norm(x, block.bn3)
    x = relu(x, block.relu3)
    x = conv(x, block.conv3)  # 1x1, width -> out
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.add is not None:
        x = residual_add(x, shortcut(identity, block), block.add)
    return placeholder(x, block.output)
