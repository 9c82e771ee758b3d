"""PaddleClas networks written in dynamic mode."""

from resnet_parity.weights.naming import Dialect

_BLOCK = "blocks.{n}"

DIALECTS = (
    Dialect(
        "paddle",
        "PaddleClas",
        {
            "stem": "stem.0.conv",
            "stem.norm": "stem.0.bn",
            "deep.conv": "stem.{k-1}.conv",
            "deep.norm": "stem.{k-1}.bn",
            "deep.end": "stem.2.bn",
            "conv": f"{_BLOCK}.conv{{j-1}}.conv",
            "norm": f"{_BLOCK}.conv{{j-1}}.bn",
            "project": f"{_BLOCK}.short.conv",
            "project.norm": f"{_BLOCK}.short.bn",
            "pooled": f"{_BLOCK}.short.conv",
            "pooled.norm": f"{_BLOCK}.short.bn",
            "fc": "fc",
        },
        source="https://github.com/PaddlePaddle/PaddleClas/blob/develop/ppcls/arch/backbone/"
        "legendary_models/resnet.py",
        assumes="stride in the 3x3 convolution, epsilon 1e-5",
        norm={
            "weight": "{}.weight",
            "bias": "{}.bias",
            "running_mean": "{}._mean",
            "running_var": "{}._variance",
        },
        linear_axes="io",
        fields={"avg_down": True},  # its networks with a deep stem
    ),
)
