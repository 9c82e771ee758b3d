"""The canonical names: those of torchvision, timm's `resnet.py`, and of this project in PyTorch."""

from resnet_parity.weights.naming import Dialect

BLOCK = {
    "conv": "layer{s}.{b}.conv{j}",
    "norm": "layer{s}.{b}.bn{j}",
    "gate": "layer{s}.{b}.se.fc{j}",
    "project": "layer{s}.{b}.downsample.0",
    "project.norm": "layer{s}.{b}.downsample.1",
    "pooled": "layer{s}.{b}.downsample.1",
    "pooled.norm": "layer{s}.{b}.downsample.2",
}
STEM = {
    "stem": "conv1",
    "stem.norm": "bn1",
    "deep.conv": "conv1.{3k-3}",
    "deep.norm": "conv1.{3k-2}",
}

DIALECTS = (
    Dialect(
        "torchvision",
        "torchvision and timm",
        STEM | BLOCK | {"last.norm": "norm", "fc": "fc"},
        source="https://github.com/pytorch/vision/blob/main/torchvision/models/resnet.py",
        assumes="stride in the 3x3 convolution (v1.5), epsilon 1e-5, max-pool padded by minus "
        "infinity, no blur or average before strides (timm's resnetaa and resnetblur have these, "
        "and equal tensors)",
    ),
)
