"""timm's pre-activation networks, `resnetv2_*`."""

from resnet_parity.weights.naming import Dialect

DIALECTS = (
    Dialect(
        "timm-v2",
        "timm resnetv2",
        {
            "stem": "stem.conv",
            "deep.conv": "stem.conv{k}",
            "deep.norm": "stem.norm{k}",
            "conv": "stages.{s-1}.blocks.{b}.conv{j}",
            "norm": "stages.{s-1}.blocks.{b}.norm{j}",
            "project": "stages.{s-1}.blocks.{b}.downsample.conv",
            "pooled": "stages.{s-1}.blocks.{b}.downsample.conv",
            "last.norm": "norm",
            "fc": "head.fc",
        },
        source="https://github.com/huggingface/pytorch-image-models/blob/main/timm/models/"
        "resnetv2.py",
        assumes="stride in the 3x3 convolution, epsilon 1e-5, max-pool padded by minus infinity",
        linear_axes="oihw",
    ),
)
