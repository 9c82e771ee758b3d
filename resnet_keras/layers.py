"""The layers of a ResNet, in Keras: each takes its numbers from the plan and adds none."""

from __future__ import annotations

from keras import KerasTensor, initializers, layers

from resnet_spec import (
    AveragePool,
    ChannelPad,
    Conv,
    Identity,
    Linear,
    MaxPool,
    Norm,
    StemPlan,
    keras_layer_name,
)

LAYOUT = "channels_last"
"""Said at every layer, for a user's keras.json may say otherwise."""


def conv(x: KerasTensor, spec: Conv) -> KerasTensor:
    """A convolution: (N, H, W, in) -> (N, H/stride, W/stride, out).

    Kaiming-normal over the fan-out (He et al. 2015, arXiv:1502.01852, equation 14), bias zero.
    """
    # DIFFERS(conv-padding): torch pads inside the convolution, Keras with a layer before it.
    if spec.padding:
        x = pad(x, spec.padding, f"{spec.name}.pad")
    # DIFFERS(conv-init): Keras' HeNormal is truncated and over the fan-in; ours is neither.
    kaiming = initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal")
    return layers.Conv2D(
        spec.out_channels,
        spec.kernel,
        strides=spec.stride,
        padding="valid",
        dilation_rate=spec.dilation,
        data_format=LAYOUT,
        groups=spec.groups,
        use_bias=spec.bias,
        kernel_initializer="zeros" if spec.zero_init else kaiming,
        name=keras_layer_name(spec.name),
    )(x)


def batch_norm(x: KerasTensor, spec: Norm) -> KerasTensor:
    """A batch normalisation over N, H and W: (N, H, W, C) -> (N, H, W, C)."""
    # DIFFERS(bn-momentum): torch's momentum weighs the new statistic, Keras' the old one.
    # DIFFERS(bn-variance): torch tracks the unbiased variance, Keras' stock layer the biased one.
    return layers.BatchNormalization(
        axis=-1,
        epsilon=spec.eps,
        momentum=spec.decay,
        gamma_initializer=initializers.Constant(spec.gamma_init),
        name=keras_layer_name(spec.name),
    )(x)


def relu(x: KerasTensor, name: str) -> KerasTensor:
    """max(x, 0): the shape stays."""
    return layers.ReLU(name=keras_layer_name(name))(x)


def stem_conv(x: KerasTensor, stem: StemPlan) -> KerasTensor:
    """The stem's convolution; of a deep stem all of them, with the norms and ReLUs between."""
    *hidden, last = stem.convs
    for spec, norm in zip(hidden, stem.hidden_norms, strict=True):
        x = conv(x, spec)
        x = batch_norm(x, norm)
        x = relu(x, f"{norm.name}.relu")
    return conv(x, last)


def max_pool(x: KerasTensor, spec: MaxPool) -> KerasTensor:
    """A max-pool: (N, H, W, C) -> (N, H/stride, W/stride, C)."""
    # DIFFERS(pool-padding): torch pads a max-pool with -inf; Keras has no such layer.
    kernel = spec.kernel
    if spec.border == "lowest":
        # At stride 1 "same" pads with -inf, and alike on both sides; then take every stride-th.
        name = keras_layer_name(f"{spec.name}.window")
        x = layers.MaxPooling2D(kernel, 1, "same", data_format=LAYOUT, name=name)(x)
        kernel = 1
    elif spec.padding:
        x = pad(x, spec.padding, f"{spec.name}.pad")
    return layers.MaxPooling2D(
        kernel,
        strides=spec.stride,
        padding="valid",
        data_format=LAYOUT,
        name=keras_layer_name(spec.name),
    )(x)


def average_pool(x: KerasTensor, spec: AveragePool) -> KerasTensor:
    """A mean of cells: (N, H, W, C) -> (N, H/stride, W/stride, C), rounded up."""
    # DIFFERS(average-edge): torch rounds up by ceil_mode, Keras by "same"; both skip what is not.
    if spec.zeros:
        x = pad(x, ((0, spec.zeros), (0, spec.zeros)), f"{spec.name}.pad")
    return layers.AveragePooling2D(
        spec.kernel,
        strides=spec.stride,
        padding="valid" if spec.zeros else "same",
        data_format=LAYOUT,
        name=keras_layer_name(spec.name),
    )(x)


def channel_pad(x: KerasTensor, spec: ChannelPad) -> KerasTensor:
    """Channels of zeros: (N, H, W, C) -> (N, H, W, before + C + behind)."""
    # DIFFERS(channel-padding): torch pads any axis, Keras' layer two, so channels stand in as one.
    x = layers.Permute((1, 3, 2), name=keras_layer_name(f"{spec.name}.hcw"))(x)
    x = pad(x, ((0, 0), (spec.before, spec.after)), f"{spec.name}.pad")
    return layers.Permute((1, 3, 2), name=keras_layer_name(spec.name))(x)


def placeholder(x: KerasTensor, spec: Identity) -> KerasTensor:
    """Nothing: the shape stays."""
    return layers.Identity(name=keras_layer_name(spec.name))(x)


def add(x: KerasTensor, shortcut: KerasTensor, name: str) -> KerasTensor:
    """The residual sum: the shape stays."""
    return layers.Add(name=keras_layer_name(name))([x, shortcut])


def global_average_pool(x: KerasTensor, name: str) -> KerasTensor:
    """The mean over the feature map: (N, H, W, C) -> (N, C)."""
    # DIFFERS(layout): torch keeps channels before height and width, Keras behind them.
    return layers.GlobalAveragePooling2D(data_format=LAYOUT, name=keras_layer_name(name))(x)


def linear(x: KerasTensor, spec: Linear) -> KerasTensor:
    """The classifier: (N, in) -> (N, out) logits; weights and bias uniform in +-1/sqrt(in)."""
    # DIFFERS(dense-kernel): torch keeps a dense kernel as (out, in), Keras as (in, out).
    return layers.Dense(
        spec.out_features,
        kernel_initializer=initializers.RandomUniform(-spec.init_bound, spec.init_bound),
        bias_initializer=initializers.RandomUniform(-spec.init_bound, spec.init_bound),
        name=keras_layer_name(spec.name),
    )(x)


def pad(x: KerasTensor, padding: int | tuple, name: str) -> KerasTensor:
    """Zeros around the map: (N, H, W, C) -> (N, H + 2 padding, W + 2 padding, C)."""
    return layers.ZeroPadding2D(padding, data_format=LAYOUT, name=keras_layer_name(name))(x)
