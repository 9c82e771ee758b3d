"""The layers of a ResNet in PyTorch. Each takes its numbers from the plan and computes none."""

from __future__ import annotations

from torch import Tensor, nn

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
)


def conv(spec: Conv) -> nn.Conv2d:
    """A convolution: (N, in, H, W) -> (N, out, H/stride, W/stride).

    Weights start Kaiming-normal over the fan-out (He et al. 2015, arXiv:1502.01852, equation 14),
    biases at zero.
    """
    # DIFFERS(conv-padding): torch pads inside the convolution, Keras with a layer before it.
    layer = nn.Conv2d(
        spec.in_channels,
        spec.out_channels,
        spec.kernel,
        stride=spec.stride,
        padding=spec.padding,
        dilation=spec.dilation,
        groups=spec.groups,
        bias=spec.bias,
    )
    # DIFFERS(conv-init): Normal by fan-out; Keras' HeNormal is truncated and goes by the fan-in.
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if spec.zero_init:
        nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def zero_pad(spec: ZeroPad) -> nn.ZeroPad2d:
    """Zeros around the map: (N, C, H, W) -> (N, C, H + zeros, W + zeros)."""
    return nn.ZeroPad2d((*spec.width, *spec.height))


def batch_norm(spec: Norm) -> nn.BatchNorm2d:
    """A batch normalisation over N, H and W: (N, C, H, W) -> (N, C, H, W)."""
    # DIFFERS(bn-momentum): torch's momentum weighs the new statistic, Keras' the old one.
    # DIFFERS(bn-variance): torch tracks the unbiased variance, Keras' stock layer the biased one.
    layer = nn.BatchNorm2d(spec.channels, eps=spec.eps, momentum=spec.update)
    nn.init.constant_(layer.weight, spec.gamma_init)
    return layer


def relu(spec: Relu) -> nn.ReLU:
    """max(x, 0); any shape. Not in place, so that hooks keep what a module returned."""
    return nn.ReLU()


def stem_conv(stem: StemPlan) -> nn.Module:
    """The convolution of the stem; in a deep stem all of them, with norms and ReLUs between."""
    *hidden, last = stem.convs
    if not hidden:
        return conv(last)
    layers: list[nn.Module] = []
    for spec, norm, activation in zip(hidden, stem.hidden_norms, stem.hidden_relus, strict=True):
        layers += [conv(spec), batch_norm(norm), relu(activation)]
    return nn.Sequential(*layers, conv(last))


def max_pool(spec: MaxPool) -> nn.Module:
    """A max-pool: (N, C, H, W) -> (N, C, H/stride, W/stride)."""
    # DIFFERS(pool-padding): torch pads a max-pool with -inf; after a ReLU zeros in Keras are equal.
    if spec.border == "zero":
        return nn.Sequential(zero_pad(spec.pad), nn.MaxPool2d(spec.kernel, stride=spec.stride))
    return nn.MaxPool2d(spec.kernel, stride=spec.stride, padding=spec.padding)


def average_pool(spec: AveragePool) -> nn.Module:
    """A mean of cells: (N, C, H, W) -> (N, C, H/stride, W/stride), rounded up."""
    # DIFFERS(average-edge): torch rounds up by ceil_mode, Keras by "same"; neither counts padding.
    if spec.zeros:
        return nn.Sequential(zero_pad(spec.pad), nn.AvgPool2d(spec.kernel, stride=spec.stride))
    return nn.AvgPool2d(spec.kernel, stride=spec.stride, ceil_mode=True, count_include_pad=False)


def channel_pad(spec: ChannelPad) -> nn.Module:
    """Channels of zeros: (N, C, H, W) -> (N, before + C + after, H, W)."""
    # DIFFERS(channel-padding): torch pads any axis, Keras two, so channels swap with the width.
    return nn.ZeroPad3d((0, 0, 0, 0, spec.before, spec.after))


def placeholder(spec: Identity) -> nn.Module:
    """No operation; any shape."""
    return nn.Identity()


class ResidualAdd(nn.Module):
    """The residual sum; any shape."""

    def __init__(self, spec: Add) -> None:
        super().__init__()

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        return x + shortcut


def global_average_pool(spec: GlobalAverage) -> nn.Module:
    """The mean over the feature map: (N, C, H, W) -> (N, C, 1, 1)."""
    # DIFFERS(layout): torch keeps channels before height and width, Keras after them.
    return nn.AdaptiveAvgPool2d(1)


def linear(spec: Linear) -> nn.Linear:
    """The classifier: (N, in) -> (N, out) logits.

    Weights and biases start uniformly distributed in +-1/sqrt(in).
    """
    # DIFFERS(dense-kernel): torch keeps a dense kernel as (out, in), Keras as (in, out).
    layer = nn.Linear(spec.in_features, spec.out_features)
    nn.init.uniform_(layer.weight, -spec.init_bound, spec.init_bound)
    nn.init.uniform_(layer.bias, -spec.init_bound, spec.init_bound)
    return layer
