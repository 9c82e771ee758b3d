"""The ResNet in Keras: stem, stages of residual blocks, head (He et al. 2015, table 1)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import KerasTensor

from resnet_spec import Architecture, get_architecture, make_plan

from resnet_keras.blocks import basic_block, bottleneck
from resnet_keras.layers import batch_norm, global_average_pool, linear, max_pool, relu, stem_conv
from resnet_keras.preact_blocks import pre_act_basic_block, pre_act_bottleneck

BLOCKS = {
    ("basic", False): basic_block,
    ("bottleneck", False): bottleneck,
    ("basic", True): pre_act_basic_block,
    ("bottleneck", True): pre_act_bottleneck,
}
"""By kind, and whether the block is preactivated."""

_DEEPEST = 100_000
"""The recursion limit while Keras walks a model; ResNet-1202 has 5,400 layers in a row."""


def resnet(image: KerasTensor, architecture: Architecture) -> KerasTensor | list[KerasTensor]:
    """Images to logits: (N, H, W, in_channels) -> (N, num_classes), any H and W.

    Without classes it returns the pooled features (N, C); as a backbone a list of feature maps
    (N, H, W, C), whose names, channels and reductions are in `feature_info` of the model.
    """
    plan = make_plan(architecture)
    x = stem_conv(image, plan.stem)
    if plan.stem.norm is not None:
        x = batch_norm(x, plan.stem.norm)
        x = relu(x, plan.relu)
    features = [x]
    if plan.stem.pool is not None:
        x = max_pool(x, plan.stem.pool)
    for stage in plan.stages:
        for block in stage.blocks:
            x = BLOCKS[block.kind, block.preactivation](x, block)
        features.append(x)
    if architecture.out_indices is not None:
        # DIFFERS(one-feature): torch returns one feature map in a list, Keras unpacks it.
        return [features[index] for index in architecture.out_indices]
    if plan.norm is not None:
        x = batch_norm(x, plan.norm)
        x = relu(x, plan.relu)
    x = global_average_pool(x, plan.avgpool)
    return x if plan.fc is None else linear(x, plan.fc)


def create_model(
    architecture: str | Architecture,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features_only: bool = False,
    out_indices: Iterable[int] | None = None,
    dtype: str | None = None,
    **overrides: Any,
) -> keras.Model:
    """Build a ResNet with initial weights, as a functional model of stock layers.

    `num_classes` (0: pooled features), `in_channels` and `overrides` (such as `output_stride=8`)
    replace fields of the architecture. With `features_only` the model returns the feature maps of
    `out_indices` (0 is the stem, 1 the first stage; default: all). `dtype` is a Keras dtype
    policy and defaults to the global one. Images (N, H, W, in_channels) give logits
    (N, num_classes).

    Keras walks a model by recursion. Before you load, clone or cut a network of hundreds of blocks,
    raise Python's limit: `sys.setrecursionlimit(100_000)`.

    Raises `resnet_spec.ArchitectureError` for an unknown name or field, or a combination that
    cannot be built.
    """
    architecture = get_architecture(
        architecture,
        num_classes=num_classes,
        in_channels=in_channels,
        features_only=features_only,
        out_indices=out_indices,
        **overrides,
    )
    # DIFFERS(dtype): torch converts a finished model, Keras fixes the dtype of layers and Input.
    with _dtype_policy(dtype) as policy:
        shape = (None, None, architecture.in_channels)
        image = keras.Input(shape, dtype=policy.variable_dtype, name="image")
        model = functional(image, resnet(image, architecture), name=architecture.name)
    model.architecture = architecture
    model.feature_info = make_plan(architecture).features
    return model


def functional(inputs: KerasTensor, outputs: Any, **options: Any) -> keras.Model:
    """A `keras.Model` of any depth: Keras finds its layers by recursion, one call for each."""
    with deep_recursion():
        return keras.Model(inputs, outputs, **options)


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Raise Python's recursion limit inside, for Keras to walk a deep model; restore it after."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, _DEEPEST))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@contextmanager
def _dtype_policy(dtype: str | None) -> Iterator[Any]:
    """Set the dtype policy of every layer built inside; restore the global one after."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or previous)
    try:
        yield keras.config.dtype_policy()
    finally:
        keras.config.set_dtype_policy(previous)


@contextmanager
def floatx(model: keras.Model) -> Iterator[None]:
    """Set Keras' default float to that of the model inside, for learning rates and losses."""
    previous = keras.config.floatx()
    keras.config.set_floatx(model.input.dtype)
    try:
        yield
    finally:
        keras.config.set_floatx(previous)
