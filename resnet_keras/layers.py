"""The layers of a ResNet in Keras. Each takes its numbers from the plan and computes none."""

from __future__ import annotations

from keras import KerasTensor, initializers, layers

from resnet_spec import (
    Add,
    AveragePool,
    ChannelPad,
    Conv,
    GlobalAverage,
    Identity,
    Linear,
    MaxPool,
    Norm,
    Relu,
    StemPlan,
    ZeroPad,
    keras_layer_name,
)

LAYOUT = "channels_last"
"""Passed to every layer, because a user's keras.json may set another default."""


def conv(x: KerasTensor, spec: Conv) -> KerasTensor:
    """A convolution: (N, H, W, in) -> (N, H/stride, W/stride, out).

    Weights start Kaiming-normal over the fan-out (He et al. 2015, arXiv:1502.01852, equation 14),
    biases at zero.
    """
    # DIFFERS(conv-padding): torch pads inside the convolution, Keras with a layer before it.
    if spec.padding:
        x = zero_pad(x, spec.pad)
    # DIFFERS(conv-init): Normal by fan-out; Keras' HeNormal is truncated and goes by the fan-in.
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


def zero_pad(x: KerasTensor, spec: ZeroPad) -> KerasTensor:
    """Zeros around the map: (N, H, W, C) -> (N, H + zeros, W + zeros, C)."""
    name, zeros = keras_layer_name(spec.name), (spec.height, spec.width)
    return layers.ZeroPadding2D(zeros, data_format=LAYOUT, name=name)(x)


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


def relu(x: KerasTensor, spec: Relu) -> KerasTensor:
    """max(x, 0); any shape."""
    return layers.ReLU(name=keras_layer_name(spec.name))(x)


def stem_conv(x: KerasTensor, stem: StemPlan) -> KerasTensor:
    """The convolution of the stem; in a deep stem all of them, with norms and ReLUs between."""
    *hidden, last = stem.convs
    for spec, norm, activation in zip(hidden, stem.hidden_norms, stem.hidden_relus, strict=True):
        x = conv(x, spec)
        x = batch_norm(x, norm)
        x = relu(x, activation)
    return conv(x, last)


def max_pool(x: KerasTensor, spec: MaxPool) -> KerasTensor:
    """A max-pool: (N, H, W, C) -> (N, H/stride, W/stride, C)."""
    # DIFFERS(pool-padding): torch pads a max-pool with -inf; after a ReLU zeros in Keras are equal.
    kernel, name = spec.kernel, keras_layer_name(spec.name)
    if spec.border == "lowest":
        # Only at stride 1 does "same" pad both sides alike; a pool of one cell then strides.
        window = keras_layer_name(spec.name, "window")
        x = layers.MaxPooling2D(kernel, 1, "same", data_format=LAYOUT, name=window)(x)
        kernel = 1
    elif spec.padding:
        x = zero_pad(x, spec.pad)
    return layers.MaxPooling2D(kernel, spec.stride, "valid", data_format=LAYOUT, name=name)(x)


def average_pool(x: KerasTensor, spec: AveragePool) -> KerasTensor:
    """A mean of cells: (N, H, W, C) -> (N, H/stride, W/stride, C), rounded up."""
    # DIFFERS(average-edge): torch rounds up by ceil_mode, Keras by "same"; neither counts padding.
    if spec.zeros:
        x = zero_pad(x, spec.pad)
    edge, name = "valid" if spec.zeros else "same", keras_layer_name(spec.name)
    return layers.AveragePooling2D(spec.kernel, spec.stride, edge, data_format=LAYOUT, name=name)(x)


def channel_pad(x: KerasTensor, spec: ChannelPad) -> KerasTensor:
    """Channels of zeros: (N, H, W, C) -> (N, H, W, before + C + after)."""
    # DIFFERS(channel-padding): torch pads any axis, Keras two, so channels swap with the width.
    x = layers.Permute((1, 3, 2), name=keras_layer_name(spec.name, "hcw"))(x)
    x = zero_pad(x, spec.pad)
    return layers.Permute((1, 3, 2), name=keras_layer_name(spec.name))(x)


def placeholder(x: KerasTensor, spec: Identity) -> KerasTensor:
    """No operation; any shape."""
    return layers.Identity(name=keras_layer_name(spec.name))(x)


def residual_add(x: KerasTensor, shortcut: KerasTensor, spec: Add) -> KerasTensor:
    """The residual sum; any shape."""
    return layers.Add(name=keras_layer_name(spec.name))([x, shortcut])


def global_average_pool(x: KerasTensor, spec: GlobalAverage) -> KerasTensor:
    """The mean over the feature map: (N, H, W, C) -> (N, C), or (N, 1, 1, C) if not flat."""
    # DIFFERS(layout): torch keeps channels before height and width, Keras after them.
    return layers.GlobalAveragePooling2D(
        data_format=LAYOUT, keepdims=not spec.flat, name=keras_layer_name(spec.name)
    )(x)


def linear(x: KerasTensor, spec: Linear) -> KerasTensor:
    """The classifier: (N, in) -> (N, out) logits.

    Weights and biases start uniformly distributed in +-1/sqrt(in).
    """
    # DIFFERS(dense-kernel): torch keeps a dense kernel as (out, in), Keras as (in, out).
    return layers.Dense(
        spec.out_features,
        kernel_initializer=initializers.RandomUniform(-spec.init_bound, spec.init_bound),
        bias_initializer=initializers.RandomUniform(-spec.init_bound, spec.init_bound),
        name=keras_layer_name(spec.name),
    )(x)
