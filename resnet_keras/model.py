"""The ResNet in Keras: stem, stages of residual blocks, head (He et al. 2015, table 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import KerasTensor, layers

from resnet_spec import (
    Architecture,
    ArchitectureError,
    get_architecture,
    keras_layer_name,
    make_plan,
)
from resnet_spec.plan import prefixed

from resnet_keras.blocks import basic_block, bottleneck
from resnet_keras.contexts import dtype_policy, functional
from resnet_keras.layers import batch_norm, global_average_pool, linear, max_pool, relu, stem_conv
from resnet_keras.preact_blocks import pre_act_basic_block, pre_act_bottleneck

BLOCKS = {
    ("basic", False): basic_block,
    ("bottleneck", False): bottleneck,
    ("basic", True): pre_act_basic_block,
    ("bottleneck", True): pre_act_bottleneck,
}
"""By kind, and whether the block is preactivated."""


def resnet(
    image: KerasTensor, architecture: str | Architecture, *, name: str | None = None
) -> KerasTensor | list[KerasTensor]:
    """Images to logits: (N, H, W, in_channels) -> (N, num_classes), any H and W.

    Without classes it returns the pooled features (N, C); as a backbone a list of feature maps
    (N, H, W, C), whose names, channels and reductions are in `feature_info` of the model. The names
    of its layers begin with `name`, so that one graph can hold several networks.
    """
    architecture = get_architecture(architecture)
    check_layout(image, architecture.in_channels)
    plan = make_plan(architecture)
    if name:
        plan = prefixed(plan, name)
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
    name: str | None = None,
    classifier_activation: str | None = None,
    **overrides: Any,
) -> keras.Model:
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
    architecture = get_architecture(
        architecture,
        num_classes=num_classes,
        in_channels=in_channels,
        features_only=features_only,
        out_indices=out_indices,
        **overrides,
    )
    is_classifier = architecture.out_indices is None and architecture.num_classes
    if classifier_activation is not None and not is_classifier:
        raise ArchitectureError("classifier_activation needs classes, and this model has none")
    # DIFFERS(dtype): torch converts a finished model, Keras fixes the dtype of layers and Input.
    with dtype_policy(dtype) as policy:
        shape = (None, None, architecture.in_channels)
        start, kind = [keras_layer_name(name)] if name else [], policy.variable_dtype
        image = keras.Input(shape, dtype=kind, name="_".join([*start, "image"]))
        returned = resnet(image, architecture, name=name)
        if classifier_activation is not None:
            named = "_".join([*start, "probabilities"])
            returned = layers.Activation(classifier_activation, dtype=kind, name=named)(returned)
        model = functional(image, returned, name="_".join(start) or architecture.name)
    (spec,) = model.input_spec
    spec.shape = _ImageShape(spec.shape)
    model.input_spec = spec
    model.architecture = architecture
    model.feature_info = make_plan(architecture).features
    return model


def check_layout(image: KerasTensor | np.ndarray, channels: int) -> None:
    """Check that images are channels last: (N, H, W, C).

    Raises `ValueError` with the transpose that makes them so.
    """
    # DIFFERS(layout): torch keeps channels before height and width, Keras after them.
    shape = tuple(image.shape)
    if len(shape) != 4 or shape[-1] != channels:
        expected = _ImageShape((None, None, None, channels))
        raise ValueError(f"the images have shape {shape}, expected {expected}")


class _ImageShape(tuple):
    """The shape of images; in the message of Keras for other images it says how to make them."""

    def __str__(self) -> str:
        fix = "keras.ops.transpose(images, (0, 2, 3, 1))"
        return f"{tuple(self)}, channels last (if they are channels first: {fix})"
