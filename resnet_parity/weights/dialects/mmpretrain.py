"""mmpretrain, mmcls and mmdet: the names of torchvision under `backbone.`, and a head beside it."""

from resnet_parity.weights.dialects import canonical
from resnet_parity.weights.naming import Dialect

_STEM = {
    "stem": "conv1",
    "stem.norm": "bn1",
    "deep.conv": "stem.{k-1}.conv",
    "deep.norm": "stem.{k-1}.bn",
    "deep.end": "stem.2.bn",
}
_POOLED = {
    # The list of layers begins with a pool only where the block strides.
    "pooled@1": "layer{s}.{b}.downsample.0",
    "pooled.norm@1": "layer{s}.{b}.downsample.1",
}
_GATE = {"gate": "layer{s}.{b}.se_layer.conv{j}.conv"}

DIALECTS = (
    Dialect(
        "mmpretrain",
        "mmpretrain",
        {
            role: f"backbone.{name}"
            for role, name in (_STEM | canonical.BLOCK | _POOLED | _GATE).items()
        }
        | {"fc": "head.fc"},
        source="https://github.com/open-mmlab/mmpretrain/blob/main/mmpretrain/models/backbones/"
        "resnet.py",
        assumes="style='pytorch', that is stride in the 3x3 convolution, epsilon 1e-5",
    ),
)
