"""The layers of a ResNet, in Keras: each takes its numbers from the plan and adds none."""

from __future__ import annotations

from keras import KerasTensor, initializers, layers

from resnet_spec import Conv, Linear, MaxPool, Norm, keras_layer_name

LAYOUT = "channels_last"
"""Said at every layer, for a user's keras.json may say otherwise."""


def conv(x: KerasTensor, spec: Conv) -> KerasTensor:
    """A convolution: (N, H, W, in) -> (N, H/stride, W/stride, out).

    Kaiming-normal over the fan-out (He et al. 2015, arXiv:1502.01852, equation 14).
    """
    # DIFFERS(conv-padding): torch pads inside the convolution, Keras with a layer before it.
    if spec.padding:
        x = pad(x, spec.padding, f"{spec.name}.pad")
    return layers.Conv2D(
        spec.out_channels,
        spec.kernel,
        strides=spec.stride,
        padding="valid",
        dilation_rate=spec.dilation,
        data_format=LAYOUT,
        groups=spec.groups,
        use_bias=spec.bias,
        # DIFFERS(conv-init): Keras' HeNormal is truncated and over the fan-in; ours is neither.
        kernel_initializer=initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=keras_layer_name(spec.name),
    )(x)


def batch_norm(x: KerasTensor, spec: Norm) -> KerasTensor:
    """A batch normalisation over N, H and W: (N, H, W, C) -> (N, H, W, C)."""
    # DIFFERS(bn-momentum): torch's momentum weighs the new statistic, Keras' the old one.
    # DIFFERS(bn-variance): in training torch tracks the unbiased variance, Keras the biased one.
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


def max_pool(x: KerasTensor, spec: MaxPool | None) -> KerasTensor:
    """A max-pool, or nothing: (N, H, W, C) -> (N, H/stride, W/stride, C)."""
    if spec is None:
        return x
    # DIFFERS(pool-padding): torch pads a max-pool with -inf, Keras with the zeros of a layer.
    if spec.padding:
        x = pad(x, spec.padding, f"{spec.name}.pad")
    return layers.MaxPooling2D(
        spec.kernel,
        strides=spec.stride,
        padding="valid",
        data_format=LAYOUT,
        name=keras_layer_name(spec.name),
    )(x)


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


def pad(x: KerasTensor, padding: int, name: str) -> KerasTensor:
    """Zeros around the map: (N, H, W, C) -> (N, H + 2 padding, W + 2 padding, C)."""
    return layers.ZeroPadding2D(padding, data_format=LAYOUT, name=keras_layer_name(name))(x)
