"""Flax: jax-resnet (linen) and bonsai (nnx)."""

from resnet_parity.weights.naming import Dialect

_BLOCK = "layers_{n+2}"

DIALECTS = (
    Dialect(
        "jax-resnet",
        "jax-resnet (Flax)",
        {
            "stem": "layers_0/ConvBlock_0/Conv_0",
            "stem.norm": "layers_0/ConvBlock_0/BatchNorm_0",
            "conv": f"{_BLOCK}/ConvBlock_{{j-1}}/Conv_0",
            "norm": f"{_BLOCK}/ConvBlock_{{j-1}}/BatchNorm_0",
            "project": f"{_BLOCK}/ResNetSkipConnection_0/ConvBlock_0/Conv_0",
            "project.norm": f"{_BLOCK}/ResNetSkipConnection_0/ConvBlock_0/BatchNorm_0",
            "fc": "layers_{n+3}",
        },
        source="https://github.com/n2cholas/jax-resnet/blob/main/jax_resnet/pretrained.py",
        assumes="stride in the 3x3 convolution, epsilon 1e-5",
        layer={"weight": "params/{}/kernel", "bias": "params/{}/bias"},
        norm={
            "weight": "params/{}/scale",
            "bias": "params/{}/bias",
            "running_mean": "batch_stats/{}/mean",
            "running_var": "batch_stats/{}/var",
        },
        conv_axes="hwio",
        linear_axes="io",
    ),
    Dialect(
        "bonsai",
        "bonsai (Flax nnx)",
        {
            "stem": "stem.conv",
            "stem.norm": "stem.bn",
            "conv": "layer{s-1}.blocks.{b}.conv{j-1}",
            "norm": "layer{s-1}.blocks.{b}.bn{j-1}",
            "project": "layer{s-1}.blocks.{b}.downsample.conv",
            "project.norm": "layer{s-1}.blocks.{b}.downsample.bn",
            "fc": "fc",
        },
        source="https://github.com/jax-ml/bonsai",
        assumes="stride in the 3x3 convolution, epsilon 1e-5",
        layer={"weight": "{}.kernel", "bias": "{}.bias"},
        norm={
            "weight": "{}.scale",
            "bias": "{}.bias",
            "running_mean": "{}.mean",
            "running_var": "{}.var",
        },
        conv_axes="hwio",
        linear_axes="io",
    ),
)
