"""Hugging Face `ResNetForImageClassification`, `ResNetModel` and `ResNetBackbone`."""

from resnet_parity.weights.naming import Dialect

_STAGES = "encoder.stages.{s-1}.layers.{b}"
_BODY = {
    "stem": "embedder.embedder.convolution",
    "stem.norm": "embedder.embedder.normalization",
    "conv": f"{_STAGES}.layer.{{j-1}}.convolution",
    "norm": f"{_STAGES}.layer.{{j-1}}.normalization",
    "project": f"{_STAGES}.shortcut.convolution",
    "project.norm": f"{_STAGES}.shortcut.normalization",
}
_SOURCE = (
    "https://github.com/huggingface/transformers/blob/main/src/transformers/models/resnet/"
    "modeling_resnet.py"
)
_ASSUMES = (
    "stride in the 3x3 convolution unless config.json says downsample_in_bottleneck, epsilon 1e-5, "
    "max-pool padded by minus infinity"
)

DIALECTS = (
    Dialect(
        "hf",
        "Hugging Face transformers",
        {role: f"resnet.{name}" for role, name in _BODY.items()} | {"fc": "classifier.1"},
        _SOURCE,
        _ASSUMES,
    ),
    Dialect("hf-body", "Hugging Face transformers, without a head", _BODY, _SOURCE, _ASSUMES),
)
