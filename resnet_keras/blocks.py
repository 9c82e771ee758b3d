"""The residual blocks, in Keras (He et al. 2015, figure 5)."""

from __future__ import annotations

from keras import KerasTensor, layers

from resnet_spec import (
    AveragePool,
    Block,
    ChannelPad,
    Conv,
    Identity,
    MaxPool,
    Norm,
    SqueezeExcitation,
    keras_layer_name,
)

from resnet_keras.layers import (
    LAYOUT,
    add,
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


def shortcut(x: KerasTensor, block: Block) -> KerasTensor | None:
    """The way around a block, in which a plain net has none: the layers of its plan, in order."""
    if block.shortcut is None:
        return None
    for spec in block.shortcut:
        x = SHORTCUT_LAYERS[type(spec)](x, spec)
    return x


def squeeze_excite(x: KerasTensor, spec: SqueezeExcitation) -> KerasTensor:
    """Each channel times a gate in (0, 1), from the channels' means: (N, H, W, C), which stays."""
    name = keras_layer_name(spec.name)
    gate = layers.GlobalAveragePooling2D(data_format=LAYOUT, keepdims=True, name=f"{name}_mean")(x)
    gate = conv(gate, spec.fc1)
    gate = relu(gate, f"{spec.name}.relu")
    gate = conv(gate, spec.fc2)
    gate = layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)
    return layers.Multiply(name=name)([x, gate])


def basic_block(x: KerasTensor, block: Block) -> KerasTensor:
    """Two 3x3 convolutions: (N, H, W, in) -> (N, H/stride, W/stride, out)."""
    identity = x
    x = conv(x, block.conv1)  # 3x3, in -> width, stride
    x = batch_norm(x, block.bn1)
    x = relu(x, f"{block.name}.relu1")
    x = conv(x, block.conv2)  # 3x3, width -> out
    x = batch_norm(x, block.bn2)
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.shortcut is not None:
        x = add(x, shortcut(identity, block), f"{block.name}.add")
    return relu(x, block.name)


def bottleneck(x: KerasTensor, block: Block) -> KerasTensor:
    """1x1 reduce, 3x3, 1x1 expand: (N, H, W, in) -> (N, H/stride, W/stride, out)."""
    identity = x
    x = conv(x, block.conv1)  # 1x1, in -> width, the stride of 2015
    x = batch_norm(x, block.bn1)
    x = relu(x, f"{block.name}.relu1")
    x = conv(x, block.conv2)  # 3x3, width -> width, groups, the stride since
    x = batch_norm(x, block.bn2)
    x = relu(x, f"{block.name}.relu2")
    x = conv(x, block.conv3)  # 1x1, width -> out
    x = batch_norm(x, block.bn3)
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.shortcut is not None:
        x = add(x, shortcut(identity, block), f"{block.name}.add")
    return relu(x, block.name)
