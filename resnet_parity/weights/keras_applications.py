"""The weights of a Keras Applications ResNet, v1 or v2, under canonical names."""

from __future__ import annotations

from typing import Any

import numpy as np

from resnet_spec import (
    Architecture,
    Block,
    Norm,
    Parameter,
    WeightsError,
    get_architecture,
    make_plan,
)

from resnet_parity.weights.dialect import LayerNames, tensors, to_canonical

_HINT = "ResNet50 is keras_resnet50 here and ResNet50V2 is keras_resnet50v2"


def from_keras_applications(model: Any, architecture: str | Architecture) -> dict[str, np.ndarray]:
    """Return the weights of a `keras.applications` ResNet (v1 or V2), such as `keras_resnet50`.

    The classifier may have any activation. A model built with `include_top=False` fits an
    architecture without classes. A name means the row with the classes and the image channels of
    the model, an `Architecture` exactly that one.

    Raises `resnet_spec.WeightsError` when a variable is missing, left over or of another shape, and
    for a model or an architecture of another kind.
    """
    arch = get_architecture(architecture)
    layers = getattr(model, "layers", None)
    if not layers or not all(hasattr(layer, "weights") for layer in layers):
        raise WeightsError("this is not a Keras model", [f"it is a {type(model).__name__}"])
    is_other = arch.block != "bottleneck" or arch.se or arch.stem.hidden or arch.avg_down
    if is_other or not arch.residual:
        raise WeightsError(f"Keras Applications builds nothing like {arch.name!r}", [_HINT])
    found = {
        f"{layer.name}/{variable.path.rpartition('/')[2]}": variable
        for layer in layers
        for variable in layer.weights
    }
    return to_canonical(architecture, _dialect, found, _read, _HINT)


def _dialect(arch: Architecture) -> dict[str, Parameter]:
    names = dict(_layer_names(arch))
    return {f"{names[layer]}/{p.keras_variable}": p for layer, p in tensors(arch)}


def _read(variable: Any, parameter: Parameter) -> np.ndarray:
    array = np.asarray(variable.numpy())
    fits = array.ndim == len(parameter.keras_axes)
    return np.einsum(parameter.to_torch, array) if fits else array


def _layer_names(arch: Architecture) -> LayerNames:
    plan = make_plan(arch)
    for layer in plan.stem.layers:
        yield layer.name, "conv1_bn" if layer is plan.stem.norm else "conv1_conv"
    for index, stage in enumerate(plan.stages):
        for position, block in enumerate(stage.blocks):
            yield from _block_names(block, f"conv{index + 2}_block{position + 1}")
    if plan.norm:
        yield plan.norm.name, "post_bn"
    if plan.fc:
        yield plan.fc.name, "predictions"


def _block_names(block: Block, prefix: str) -> LayerNames:
    for number, conv in enumerate(block.convs, start=1):
        yield conv.name, f"{prefix}_{number}_conv"
    names = ("preact", "1", "2") if block.preactivation else ("1", "2", "3")
    for norm, name in zip(block.norms, names, strict=True):
        yield norm.name, f"{prefix}_{name}_bn"
    for layer in block.layers:
        if ".downsample." in layer.name:
            yield layer.name, f"{prefix}_0_{'bn' if isinstance(layer, Norm) else 'conv'}"
