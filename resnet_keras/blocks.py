"""The residual blocks in Keras (He et al. 2015, figure 5)."""

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
    average_pool,
    batch_norm,
    channel_pad,
    conv,
    global_average_pool,
    max_pool,
    placeholder,
    relu,
    residual_add,
)

SHORTCUT_LAYERS = {
    Conv: conv,
    Norm: batch_norm,
    MaxPool: max_pool,
    AveragePool: average_pool,
    ChannelPad: channel_pad,
    Identity: placeholder,
}


def shortcut(x: KerasTensor, block: Block) -> KerasTensor:
    """The layers of the shortcut, in order; none for an identity."""
    for spec in block.shortcut:
        x = SHORTCUT_LAYERS[type(spec)](x, spec)
    return x


def squeeze_excite(x: KerasTensor, spec: SqueezeExcitation) -> KerasTensor:
    """Each channel times a gate in (0, 1), computed from the means: (N, H, W, C), same shape."""
    name, sigmoid = keras_layer_name(spec.gate.name), keras_layer_name(spec.gate.name, "sigmoid")
    gate = global_average_pool(x, spec.mean)
    gate = conv(gate, spec.fc1)
    gate = relu(gate, spec.relu)
    gate = conv(gate, spec.fc2)
    gate = layers.Activation("sigmoid", name=sigmoid)(gate)
    return layers.Multiply(name=name)([x, gate])


def basic_block(x: KerasTensor, block: Block) -> KerasTensor:
    """Two 3x3 convolutions: (N, H, W, in) -> (N, H/stride, W/stride, out)."""
    identity = x
    x = conv(x, block.conv1)  # 3x3, in -> width, stride
    x = batch_norm(x, block.bn1)
    x = relu(x, block.relu1)
    x = conv(x, block.conv2)  # 3x3, width -> out
    x = batch_norm(x, block.bn2)
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.add is not None:
        x = residual_add(x, shortcut(identity, block), block.add)
    return relu(x, block.relu2)


def bottleneck(x: KerasTensor, block: Block) -> KerasTensor:
    """1x1 reduce, 3x3, 1x1 expand: (N, H, W, in) -> (N, H/stride, W/stride, out)."""
    identity = x
    x = conv(x, block.conv1)  # 1x1, in -> width, stride in v1
    x = batch_norm(x, block.bn1)
    x = relu(x, block.relu1)
    x = conv(x, block.conv2)  # 3x3, width -> width, groups, stride in v1.5
    x = batch_norm(x, block.bn2)
    x = relu(x, block.relu2)
    x = conv(x, block.conv3)  # 1x1, width -> out
    x = batch_norm(x, block.bn3)
    if block.se is not None:
        x = squeeze_excite(x, block.se)
    if block.add is not None:
        x = residual_add(x, shortcut(identity, block), block.add)
    return relu(x, block.relu3)
