"""Bodies made by `nn.Sequential(*children)`: numbers in the place of the names of torchvision."""

from resnet_parity.weights.naming import Dialect

DIALECTS = (
    Dialect(
        "sequential",
        "nn.Sequential of torchvision's children",
        {
            "stem": "0",
            "stem.norm": "1",
            "deep.conv": "0.{3k-3}",
            "deep.norm": "0.{3k-2}",
            "conv": "{s+3}.{b}.conv{j}",
            "norm": "{s+3}.{b}.bn{j}",
            "gate": "{s+3}.{b}.se.fc{j}",
            "project": "{s+3}.{b}.downsample.0",
            "project.norm": "{s+3}.{b}.downsample.1",
            "pooled": "{s+3}.{b}.downsample.1",
            "pooled.norm": "{s+3}.{b}.downsample.2",
        },
        source="https://github.com/pytorch/vision/blob/main/torchvision/models/resnet.py",
        assumes="those of torchvision; the head is not part of such a body",
    ),
)
