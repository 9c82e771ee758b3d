"""Hints for a name or an option that does not exist: the nearest ones, or our own instead."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

_LOAD = (
    "no pretrained weights are shipped. Leave it out, then set_weights(model, "
    "resnet_torch.get_weights(theirs, NAME)) with a ResNet of torchvision or timm, set_weights("
    "model, from_timm(theirs.state_dict(), NAME)) with a pre-activation one of timm, or "
    "set_weights(model, from_keras_applications(theirs, NAME)) (resnet_parity.weights.libraries)"
)
_NORM = "every norm is a batch norm; write bn_eps=1e-3, or bn_decay=0.99 (torch's momentum=0.01)"
_RELU = "every activation is a ReLU; leave it out"
_STEM = "write stem=resnet_spec.DEEP_STEM, or another resnet_spec.Stem(...)"
_STAGES = "write stages=resnet_spec.stages(3, 4, 6, 3), the numbers of blocks"
_GATE = "write se=resnet_spec.SqueezeRatio()"
_POOLED = "num_classes=0 returns the averaged features, features_only=True the feature maps"
_SIZE = "images of any height and width are taken; write in_channels=1 for greyscale images"
_FIXED = "it is not variable here; leave it out"
_NOT_BUILT = "no dropout and no stochastic depth is built; put a dropout before the classifier"
_PLACE = "leave it out, and move the model: model.to(device) in PyTorch"

_INSTEAD = {
    **dict.fromkeys(("pretrained", "weights", "checkpoint_path", "pretrained_cfg"), _LOAD),
    **dict.fromkeys(("pretrained_cfg_overlay", "weights_backbone", "cache_dir"), _LOAD),
    **dict.fromkeys(("norm_layer", "bn_momentum", "momentum"), _NORM),
    **dict.fromkeys(("act_layer", "activation"), _RELU),
    **dict.fromkeys(("input_shape", "image_shape"), _SIZE),
    **dict.fromkeys(("pooling", "global_pool"), _POOLED),
    **dict.fromkeys(("layers", "depths", "stackwise_num_blocks"), _STAGES),
    **dict.fromkeys(("stem_type", "stem_width", "stem_chs", "replace_stem_pool"), _STEM),
    **dict.fromkeys(("block_args", "attn_layer", "use_se"), _GATE),
    **dict.fromkeys(("drop_rate", "drop_path_rate", "drop_block_rate", "dropout"), _NOT_BUILT),
    **dict.fromkeys(("aa_layer", "conv_layer", "block_reduce_first", "bottle_ratio"), _FIXED),
    **dict.fromkeys(("down_kernel_size", "channels", "width_factor"), _FIXED),
    **dict.fromkeys(("progress", "scriptable", "exportable", "no_jit"), "leave it out"),
    "preact": "write preactivation=True, or take a row such as resnetv2_50",
    "basic": 'write block="basic"',
    "device": _PLACE,
    "include_top": "for include_top=False write num_classes=0 (the averaged features), or "
    "features_only=True, out_indices=(4,) (the last feature map)",
    "input_tensor": "write resnet_keras.resnet(tensor, architecture)",
    "classifier_activation": "PyTorch's losses take the logits that models return; for "
    "probabilities write model(images).softmax(1)",
    "replace_stride_with_dilation": "write output_stride=8 for [False, True, True], "
    "output_stride=16 for [False, False, True]",
}
"""By option of torchvision, timm, Keras Applications or Hugging Face."""

_RENAMED = {
    **dict.fromkeys(("classes", "n_classes", "num_labels"), "num_classes"),
    **dict.fromkeys(("in_chans", "num_channels", "input_channels"), "in_channels"),
    **dict.fromkeys(("bn_epsilon", "epsilon"), "bn_eps"),
    "zero_init_last": "zero_init_residual",
    "cardinality": "groups",
    "base_width": "width_per_group",
}
"""Options of the same libraries that take the same value here, under another name."""

_LEAST_SIMILAR = 0.65
_OTHER_VERSION = 10.0
_MISSING_DIGIT = 0.2


def unknown_option(name: str, known: Iterable[str], value: object = None) -> str:
    """The message for an option that is no field of an architecture, with the one to write."""
    if name in _RENAMED:
        return f"an architecture has no field {name!r}: write {_RENAMED[name]}={value!r}"
    if name in _INSTEAD:
        return f"an architecture has no field {name!r}: {_INSTEAD[name]}"
    names = list(known)
    return (
        f"an architecture has no field {name!r}{did_you_mean(name, names)}; "
        f"its fields are: {', '.join(names)}"
    )


def did_you_mean(word: str, known: Iterable[str], prefix: str = "") -> str:
    """` (did you mean X or Y?)` with the nearest known words, each after `prefix`, or nothing."""
    return _question([prefix + each for each in get_close_matches(word.lower(), list(known), n=3)])


def nearest_architectures(name: str, known: Iterable[str]) -> str:
    """` (did you mean X or Y?)` with the architectures nearest to a name, or nothing.

    The name is written as here or in another library. Its version (v2 is pre-activation) counts
    most, then the family and the depth.
    """
    in_keras = re.match(r"ResNet|resnet\d+_?v2", name)
    wanted = [_traits(each) for each in (name, *([f"keras_{name}"] if in_keras else []))]
    distances = {each: min(_distance(one, _traits(each)) for one in wanted) for each in known}
    near = [each for each, distance in distances.items() if distance < math.inf]
    near.sort(key=lambda each: distances[each])
    return _question(near[:3])


def _question(words: list[str]) -> str:
    return f" (did you mean {' or '.join(words)}?)" if words else ""


def _traits(name: str) -> tuple[str, str, int]:
    """Version, family (its letters alone) and depth (0 if it has none) of an architecture's name.

    For example ("2", "kerasresnet", 50) of `keras_resnet50v2`.
    """
    text = re.split(r"[/:]", name.lower())[-1]
    text = re.sub(r"\.[a-z].*|imagenet|weights|cifar(10+)?|_\d+x\d+d", "", text)
    text = re.sub(r"wrn", "wide_resnet", re.sub(r"pre_?act", "v2", text))
    version = re.search(r"v([12])(?!\d)", text)
    rest = text.replace(version[0], "_", 1) if version else text
    depth = re.search(r"\d+", rest)
    return (
        version[1] if version else "1",
        re.sub(r"[^a-z]", "", rest),
        int(depth[0]) if depth else 0,
    )


def _distance(wanted: tuple[str, str, int], found: tuple[str, str, int]) -> float:
    similarity = SequenceMatcher(None, wanted[1], found[1]).ratio()
    if similarity < _LEAST_SIMILAR:
        return math.inf
    depth = abs(math.log(wanted[2] / found[2])) if wanted[2] and found[2] else 0.0
    if str(found[2])[:-1] == str(wanted[2]):
        depth = min(depth, _MISSING_DIGIT)
    return depth + 1 - similarity + (_OTHER_VERSION if wanted[0] != found[0] else 0)
