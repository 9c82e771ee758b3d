"""Networks that share their names or their family with a ResNet and are none that a row describes.

Decisive names of tensors identify each; it is refused with what differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from resnet_parity.files import shown
from resnet_parity.weights.formats.stored import Tensors

_REGNET = "this is a RegNet: its blocks do not widen, its groups vary with the stage; no row does"

REFUSED: tuple[tuple[str, str], ...] = (
    (
        r"(weight|bias)\.momentum$",
        "this is the checkpoint of a run of train; take best.safetensors or last.safetensors, "
        "which are beside it",
    ),
    (
        r"attnpool\.positional_embedding$",
        "this is CLIP's ModifiedResNet: it pools by attention and strides by average pools after "
        "its second convolution; use open_clip or the clip package",
    ),
    (
        r"standardized_conv2d",
        "this is a BiT ResNet: its norms are GroupNorm and its kernels are standardised, which no "
        "row describes; use timm's resnetv2_50x1_bit",
    ),
    (
        r"(^|/)resnet_v1_\d+/block\d/unit_\d+/",
        "this is a resnet_v1 of TF-slim: its last unit of a stage strides, its max-pool pads on "
        "the right and below alone (SAME); no row has such a pool",
    ),
    (
        r"(^|/)resnet_v2_\d+/block\d/unit_\d+/",
        "this is a resnet_v2 of TF-slim: its max-pool pads on the right and below alone (SAME); no "
        "row has such a pool",
    ),
    (
        r"(^|/)base_model/conv2d(_\d+)?/kernel",
        "this is a network of SimCLR: its max-pool pads on the right and below alone (SAME); no "
        "row has such a pool",
    ),
    (
        r"(^|/)_?(norm0|conv1|shortcut)/.*\.ATTRIBUTES/VARIABLE_VALUE$",
        "this is a network of the TensorFlow Model Garden: its strided convolutions and its "
        "max-pool pad on the right and below alone (SAME); no row has such padding",
    ),
    (
        r"(^|[/.])scale2a_branch2a($|[/._])",
        "this is a Caffe ResNet of MSRA: its max-pool is not padded and rounds up, its bottlenecks "
        "stride in the first convolution; no row has such a pool",
    ),
    (
        r"(^|[/.])bnv?1_1_(offset|variance)$|(^|[/.])bn2a_branch2a_(offset|variance)$",
        "this is a PaddleClas network of static mode; save it in dynamic mode (paddle.save of "
        "model.state_dict()) first",
    ),
    (
        r"(^|[/.])layer\d\.\d+\.se\.conv\.weight$",
        "this is an ECA-ResNet: its gates are a 1-d convolution over the channels; no row has such "
        "a gate",
    ),
    (
        r"(^|[/.])layer\d\.\d+\.conv\d\.paths\.\d",
        "this is an SK-ResNet: its convolutions have several paths that are weighted; no row does",
    ),
    (
        r"(^|[/.])layer\d\.\d+\.convs\.\d+\.weight$",
        "this is a Res2Net: its 3x3 convolutions are a cascade of narrow ones; no row has such a "
        "block",
    ),
    (
        r"(^|[/.])layer\d\.\d+\.conv2\.(fc1|conv)\.weight$",
        "this is a ResNeSt: its 3x3 convolutions are split and weighted; no row has such a block",
    ),
    (
        r"(^|[/.])layer0\.conv1\.weight$",
        "this is an SENet of Cadene's pretrained-models (timm's legacy_*): its max-pool rounds up "
        "and is not padded; no row has such a pool",
    ),
    (
        r"(^|[/.])trunk_output\.block\d\.block\d-\d+\.|(^|[/.])regnet\.encoder\.stages\."
        r"|(^|[/.])encoder\.stages\.\d\.layers\.\d+\.layer\.\d\.attention\.",
        _REGNET,
    ),
    (
        r"(_packed_params|\.zero_point|\.weight_scale|\.qweight|/kernel_scale)(\.|$)",
        "this is a quantised network; convert the weights before they are quantised",
    ),
    (
        r"(^|[/.])lora_(kernel_)?[abAB](\.|$)",
        "this network has LoRA weights beside its kernels; merge them first",
    ),
)
"""A pattern of a tensor's name, and why such a network is refused; the site has them too."""

AMBIGUOUS = re.compile(r"(^|[/.])res2a_branch2a($|[/._])")

KERAS_2016 = (
    "the names res2a_branch2a occur in several networks: the Keras ResNet50 of 2016 (biases, "
    "epsilon 1e-3, its max-pool 112 to 55 is not padded), the ResNet50 v1.5 of TensorFlow's "
    "official models (no biases, SAME padding), Caffe's and Paddle's; none of them is a row. "
    "If yours pads as torchvision does, convert a copy with renamed layers"
)


def refusal(groups: Mapping[str, Tensors], metadata: Mapping[str, object]) -> str:
    """Why a file is refused by the names of its tensors or its config; empty if it is not."""
    config = metadata.get("config")
    if isinstance(config, Mapping) and config.get("model_type") == "regnet":
        return f"{_REGNET} (config.json says model_type 'regnet')"
    names = [name for tensors in groups.values() for name in tensors]
    return next(_reasons(names), "")


def _reasons(names: list[str]) -> Iterator[str]:
    for pattern, reason in REFUSED:
        found = next(filter(re.compile(pattern).search, names), None)
        if found:
            yield f"{reason} (it has {shown(found)})"
    if any(map(AMBIGUOUS.search, names)):
        yield KERAS_2016
