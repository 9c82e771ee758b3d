"""Generated from the registry; scripts/generate writes it."""

from collections.abc import Iterable
from typing import TypedDict, Unpack

import keras

from resnet_spec import Architecture
from resnet_spec import list_models as list_models
from resnet_spec.components import (
    BlockKind,
    ConvBias,
    Shortcut,
    SqueezeRatio,
    Stage,
    Stem,
    ZeroPadding,
)

from resnet_keras.inference import prepare as prepare
from resnet_keras.model import resnet as resnet
from resnet_keras.weights import architecture_of as architecture_of
from resnet_keras.weights import get_weights as get_weights
from resnet_keras.weights import set_weights as set_weights

class _Options(TypedDict, total=False):
    num_classes: int | None
    in_channels: int | None
    features_only: bool
    out_indices: Iterable[int] | None
    dtype: str | None
    name: str | None
    classifier_activation: str | None
    block: BlockKind
    stages: tuple[Stage, ...]
    stem: Stem
    groups: int
    width_per_group: int
    preactivation: bool
    residual: bool
    shortcut: Shortcut
    zero_padding: ZeroPadding
    avg_down: bool
    stride_in_1x1: bool
    stride_in_last_block: bool
    conv_bias: ConvBias
    se: SqueezeRatio | None
    bn_eps: float
    bn_decay: float
    output_stride: int | None
    zero_init_residual: bool
    image_size: int
    source: str

def create_model(architecture: str | Architecture, **options: Unpack[_Options]) -> keras.Model:
    """Build a ResNet with initial weights, as a functional model of stock layers.

    `num_classes` (0: pooled features), `in_channels` and `overrides` (such as `output_stride=8`)
    replace fields of the architecture. With `features_only` the model returns the feature maps of
    `out_indices` (0 is the stem, 1 the first stage, -1 the last one; default: all). `dtype` is a
    Keras dtype policy and defaults to the global one. `name` is that of the model and begins those
    of its layers, where a dot becomes an underscore; the architecture keeps its own. Images
    (N, H, W, in_channels) give logits (N, num_classes), or probabilities with
    `classifier_activation="softmax"`, which Keras' losses expect by default.

    Keras walks a model by recursion. Before you load, clone or cut a network of hundreds of blocks,
    raise Python's limit: `sys.setrecursionlimit(100_000)`.

    Raises `resnet_spec.ArchitectureError` for an unknown name or field, or a combination that
    cannot be built.
    """

def resnet18(**options: Unpack[_Options]) -> keras.Model:
    """resnet18: basic blocks 2-2-2-2."""

def resnet34(**options: Unpack[_Options]) -> keras.Model:
    """resnet34: basic blocks 3-4-6-3."""

def resnet50(**options: Unpack[_Options]) -> keras.Model:
    """resnet50: bottleneck blocks 3-4-6-3."""

def resnet101(**options: Unpack[_Options]) -> keras.Model:
    """resnet101: bottleneck blocks 3-4-23-3."""

def resnet152(**options: Unpack[_Options]) -> keras.Model:
    """resnet152: bottleneck blocks 3-8-36-3."""

def resnext50_32x4d(**options: Unpack[_Options]) -> keras.Model:
    """resnext50_32x4d: bottleneck blocks 3-4-6-3."""

def resnext101_32x8d(**options: Unpack[_Options]) -> keras.Model:
    """resnext101_32x8d: bottleneck blocks 3-4-23-3."""

def resnext101_64x4d(**options: Unpack[_Options]) -> keras.Model:
    """resnext101_64x4d: bottleneck blocks 3-4-23-3."""

def wide_resnet50_2(**options: Unpack[_Options]) -> keras.Model:
    """wide_resnet50_2: bottleneck blocks 3-4-6-3."""

def wide_resnet101_2(**options: Unpack[_Options]) -> keras.Model:
    """wide_resnet101_2: bottleneck blocks 3-4-23-3."""

def resnet50_v1(**options: Unpack[_Options]) -> keras.Model:
    """resnet50_v1: bottleneck blocks 3-4-6-3."""

def resnet101_v1(**options: Unpack[_Options]) -> keras.Model:
    """resnet101_v1: bottleneck blocks 3-4-23-3."""

def resnet152_v1(**options: Unpack[_Options]) -> keras.Model:
    """resnet152_v1: bottleneck blocks 3-8-36-3."""

def resnet34_a(**options: Unpack[_Options]) -> keras.Model:
    """resnet34_a: basic blocks 3-4-6-3."""

def resnet34_c(**options: Unpack[_Options]) -> keras.Model:
    """resnet34_c: basic blocks 3-4-6-3."""

def resnet50_a(**options: Unpack[_Options]) -> keras.Model:
    """resnet50_a: bottleneck blocks 3-4-6-3."""

def resnet50_c(**options: Unpack[_Options]) -> keras.Model:
    """resnet50_c: bottleneck blocks 3-4-6-3."""

def plain18(**options: Unpack[_Options]) -> keras.Model:
    """plain18: basic blocks 2-2-2-2."""

def plain34(**options: Unpack[_Options]) -> keras.Model:
    """plain34: basic blocks 3-4-6-3."""

def keras_resnet50(**options: Unpack[_Options]) -> keras.Model:
    """keras_resnet50: bottleneck blocks 3-4-6-3."""

def keras_resnet101(**options: Unpack[_Options]) -> keras.Model:
    """keras_resnet101: bottleneck blocks 3-4-23-3."""

def keras_resnet152(**options: Unpack[_Options]) -> keras.Model:
    """keras_resnet152: bottleneck blocks 3-8-36-3."""

def resnetv2_18(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_18: basic blocks 2-2-2-2."""

def resnetv2_34(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_34: basic blocks 3-4-6-3."""

def resnetv2_50(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_50: bottleneck blocks 3-4-6-3."""

def resnetv2_101(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_101: bottleneck blocks 3-4-23-3."""

def resnetv2_152(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_152: bottleneck blocks 3-8-36-3."""

def keras_resnet50v2(**options: Unpack[_Options]) -> keras.Model:
    """keras_resnet50v2: bottleneck blocks 3-4-6-3."""

def keras_resnet101v2(**options: Unpack[_Options]) -> keras.Model:
    """keras_resnet101v2: bottleneck blocks 3-4-23-3."""

def keras_resnet152v2(**options: Unpack[_Options]) -> keras.Model:
    """keras_resnet152v2: bottleneck blocks 3-8-36-3."""

def resnet20(**options: Unpack[_Options]) -> keras.Model:
    """resnet20: basic blocks 3-3-3."""

def resnet32(**options: Unpack[_Options]) -> keras.Model:
    """resnet32: basic blocks 5-5-5."""

def resnet44(**options: Unpack[_Options]) -> keras.Model:
    """resnet44: basic blocks 7-7-7."""

def resnet56(**options: Unpack[_Options]) -> keras.Model:
    """resnet56: basic blocks 9-9-9."""

def resnet110(**options: Unpack[_Options]) -> keras.Model:
    """resnet110: basic blocks 18-18-18."""

def resnet1202(**options: Unpack[_Options]) -> keras.Model:
    """resnet1202: basic blocks 200-200-200."""

def plain20(**options: Unpack[_Options]) -> keras.Model:
    """plain20: basic blocks 3-3-3."""

def plain32(**options: Unpack[_Options]) -> keras.Model:
    """plain32: basic blocks 5-5-5."""

def plain44(**options: Unpack[_Options]) -> keras.Model:
    """plain44: basic blocks 7-7-7."""

def plain56(**options: Unpack[_Options]) -> keras.Model:
    """plain56: basic blocks 9-9-9."""

def resnetv2_110(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_110: basic blocks 18-18-18."""

def resnetv2_164(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_164: bottleneck blocks 18-18-18."""

def resnet18_small(**options: Unpack[_Options]) -> keras.Model:
    """resnet18_small: basic blocks 2-2-2-2."""

def resnet34_small(**options: Unpack[_Options]) -> keras.Model:
    """resnet34_small: basic blocks 3-4-6-3."""

def resnet50_small(**options: Unpack[_Options]) -> keras.Model:
    """resnet50_small: bottleneck blocks 3-4-6-3."""

def resnetv2_18_small(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_18_small: basic blocks 2-2-2-2."""

def resnet50c(**options: Unpack[_Options]) -> keras.Model:
    """resnet50c: bottleneck blocks 3-4-6-3."""

def resnet18d(**options: Unpack[_Options]) -> keras.Model:
    """resnet18d: basic blocks 2-2-2-2."""

def resnet34d(**options: Unpack[_Options]) -> keras.Model:
    """resnet34d: basic blocks 3-4-6-3."""

def resnet50d(**options: Unpack[_Options]) -> keras.Model:
    """resnet50d: bottleneck blocks 3-4-6-3."""

def resnet101d(**options: Unpack[_Options]) -> keras.Model:
    """resnet101d: bottleneck blocks 3-4-23-3."""

def resnet152d(**options: Unpack[_Options]) -> keras.Model:
    """resnet152d: bottleneck blocks 3-8-36-3."""

def resnetv2_50d(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_50d: bottleneck blocks 3-4-6-3."""

def resnetv2_101d(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_101d: bottleneck blocks 3-4-23-3."""

def resnetv2_152d(**options: Unpack[_Options]) -> keras.Model:
    """resnetv2_152d: bottleneck blocks 3-8-36-3."""

def seresnet18(**options: Unpack[_Options]) -> keras.Model:
    """seresnet18: basic blocks 2-2-2-2."""

def seresnet34(**options: Unpack[_Options]) -> keras.Model:
    """seresnet34: basic blocks 3-4-6-3."""

def seresnet50(**options: Unpack[_Options]) -> keras.Model:
    """seresnet50: bottleneck blocks 3-4-6-3."""

def seresnet101(**options: Unpack[_Options]) -> keras.Model:
    """seresnet101: bottleneck blocks 3-4-23-3."""

def seresnet152(**options: Unpack[_Options]) -> keras.Model:
    """seresnet152: bottleneck blocks 3-8-36-3."""

def seresnext50_32x4d(**options: Unpack[_Options]) -> keras.Model:
    """seresnext50_32x4d: bottleneck blocks 3-4-6-3."""

def seresnet152d(**options: Unpack[_Options]) -> keras.Model:
    """seresnet152d: bottleneck blocks 3-8-36-3."""
