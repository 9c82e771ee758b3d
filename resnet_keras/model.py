"""The ResNet, in Keras: stem, stages of residual blocks, head (He et al. 2015, table 1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import KerasTensor

from resnet_spec import Architecture, get_architecture, make_plan

from resnet_keras.blocks import BLOCKS
from resnet_keras.layers import batch_norm, conv, global_average_pool, linear, max_pool, relu


def resnet(image: KerasTensor, architecture: Architecture) -> KerasTensor:
    """Images to logits: (N, H, W, in_channels) -> (N, num_classes), any H and W."""
    plan = make_plan(architecture)
    x = conv(image, plan.conv1)
    x = batch_norm(x, plan.bn1)
    x = relu(x, "relu")
    x = max_pool(x, plan.maxpool)
    for stage in plan.stages:
        for block in stage.blocks:
            x = BLOCKS[block.kind](x, block)
    x = global_average_pool(x, "avgpool")
    return linear(x, plan.fc)


def create_model(
    architecture: str | Architecture,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dtype: str | None = None,
    **overrides: Any,
) -> keras.Model:
    """A ResNet as a functional model of stock layers, freshly initialised.

    `num_classes`, `in_channels` and `overrides` (such as `zero_init_residual=True`) replace fields
    of the architecture. `dtype` is a Keras dtype policy, the global one unless given. Images
    (N, H, W, in_channels) give logits (N, num_classes).

    Raises `resnet_spec.ArchitectureError` for an unknown name or field, or a combination that
    cannot be built.
    """
    given = {"num_classes": num_classes, "in_channels": in_channels, **overrides}
    architecture = get_architecture(architecture, **given)
    # DIFFERS(dtype): torch converts a finished model, Keras fixes the dtype of layers and Input.
    with _dtype_policy(dtype) as policy:
        shape = (None, None, architecture.in_channels)
        image = keras.Input(shape, dtype=policy.variable_dtype, name="image")
        model = keras.Model(image, resnet(image, architecture), name=architecture.name)
    model.architecture = architecture
    return model


@contextmanager
def _dtype_policy(dtype: str | None) -> Iterator[Any]:
    """The dtype policy that every layer built inside takes up; the old one comes back."""
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype or previous)
    try:
        yield keras.config.dtype_policy()
    finally:
        keras.config.set_dtype_policy(previous)
