"""The residual blocks, in Keras (He et al. 2015, figure 5)."""

from __future__ import annotations

from keras import KerasTensor

from resnet_spec import Block

from resnet_keras.layers import add, batch_norm, conv, relu


def shortcut(x: KerasTensor, block: Block) -> KerasTensor:
    """The way around a block: nothing, or a 1x1 projection where the shape changes."""
    if block.projection is None:
        return x
    projection, norm = block.projection
    return batch_norm(conv(x, projection), norm)


def basic_block(x: KerasTensor, block: Block) -> KerasTensor:
    """Two 3x3 convolutions: (N, H, W, in) -> (N, H/stride, W/stride, out)."""
    identity = x
    x = conv(x, block.conv1)  # 3x3, in -> width, stride
    x = batch_norm(x, block.bn1)
    x = relu(x, f"{block.name}.relu1")
    x = conv(x, block.conv2)  # 3x3, width -> out
    x = batch_norm(x, block.bn2)
    x = add(x, shortcut(identity, block), f"{block.name}.add")
    return relu(x, block.name)


def bottleneck(x: KerasTensor, block: Block) -> KerasTensor:
    """1x1 reduce, 3x3, 1x1 expand: (N, H, W, in) -> (N, H/stride, W/stride, out)."""
    identity = x
    x = conv(x, block.conv1)  # 1x1, in -> width
    x = batch_norm(x, block.bn1)
    x = relu(x, f"{block.name}.relu1")
    x = conv(x, block.conv2)  # 3x3, width -> width, stride, groups
    x = batch_norm(x, block.bn2)
    x = relu(x, f"{block.name}.relu2")
    x = conv(x, block.conv3)  # 1x1, width -> out
    x = batch_norm(x, block.bn3)
    x = add(x, shortcut(identity, block), f"{block.name}.add")
    return relu(x, block.name)


BLOCKS = {"basic": basic_block, "bottleneck": bottleneck}
