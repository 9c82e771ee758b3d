"""Weights of other people's ResNets, by name: Keras Applications and timm's pre-activation nets.

Each of those libraries has names of its own. A table, made from the plan, gives for every canonical
tensor the name that it has there; the weights then come out under canonical names and in canonical
layout, ready for `set_weights` of either hand. torchvision's state dicts and timm's for the nets of
its `resnet.py` need no table, for their names are the canonical ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from resnet_spec import (
    Architecture,
    Block,
    Parameter,
    WeightsError,
    get_architecture,
    layer_parameters,
    make_plan,
)

Layers = Iterator[tuple[str, str]]


def from_keras_applications(model: Any, architecture: str | Architecture) -> dict[str, np.ndarray]:
    """The weights of a `keras.applications` ResNet (v1 or V2), such as `keras_resnet50` describes.

    The classifier may have any activation; `include_top=False` fits an architecture without
    classes.

    Raises `resnet_spec.WeightsError` when a layer is missing, left over or of another shape.
    """
    arch = get_architecture(architecture)
    names = dict(_keras_applications_layers(arch))
    found = {layer.name: layer for layer in model.layers if layer.weights}
    _check_names(arch, names, found)
    return _collect(arch, names, lambda name, p: _keras_variable(found[name], p))


def _keras_variable(layer: Any, parameter: Parameter) -> np.ndarray:
    for variable in layer.weights:
        if variable.path.rpartition("/")[2] == parameter.keras_variable:
            array = np.asarray(variable.numpy())
            return np.einsum(parameter.to_torch, array) if array.ndim > 1 else array
    raise WeightsError(
        "the model does not fit", [f"{layer.name} has no {parameter.keras_variable}"]
    )


def from_timm(state: Mapping[str, Any], architecture: str | Architecture) -> dict[str, np.ndarray]:
    """The weights in the state dict of a timm ResNet, also of its pre-activation `resnetv2_*`.

    Raises `resnet_spec.WeightsError` when a tensor is missing, left over or of another shape.
    """
    arch = get_architecture(architecture)
    names = dict(_timm_layers(arch))
    found = {key for key in state if not key.endswith(".num_batches_tracked")}
    _check_names(arch, names, {key.rpartition(".")[0] for key in found})
    return _collect(arch, names, lambda name, p: _torch_tensor(state, name, p))


def _torch_tensor(state: Mapping[str, Any], layer: str, parameter: Parameter) -> np.ndarray:
    name = f"{layer}.{parameter.name.rpartition('.')[2]}"
    if name not in state:
        raise WeightsError("the state dict does not fit", [f"{name} is missing"])
    array = np.asarray(state[name].detach().cpu())
    # timm's head is a 1x1 convolution where ours is a dense layer.
    return array[:, :, 0, 0] if parameter.axes == "oi" and array.ndim == 4 else array


def _collect(arch: Architecture, names: Mapping[str, str], read: Any) -> dict[str, np.ndarray]:
    """Every tensor of the architecture as its own copy, its shape checked."""
    weights, problems = {}, []
    for layer in make_plan(arch).layers:
        for parameter in layer_parameters(layer):
            array = np.array(read(names[layer.name], parameter), order="C")
            if array.shape != parameter.shape:
                problems.append(
                    f"{names[layer.name]} gives {parameter.name} the shape {array.shape}, "
                    f"expected {parameter.shape}"
                )
            weights[parameter.name] = array
    if problems:
        raise WeightsError(f"the weights do not fit {arch.name!r}", problems)
    return weights


def _check_names(arch: Architecture, names: Mapping[str, str], found: Any) -> None:
    expected = set(names.values())
    problems = [f"{name} is missing" for name in names.values() if name not in found]
    problems += [f"{name} is not a layer of it" for name in found if name not in expected]
    if problems:
        raise WeightsError(f"the weights are not those of a {arch.name!r}", problems)


def _keras_applications_layers(arch: Architecture) -> Layers:
    """(canonical, Keras Applications) name of every layer that holds weights."""
    plan = make_plan(arch)
    for layer in plan.stem.layers:
        yield layer.name, "conv1_bn" if layer is plan.stem.norm else "conv1_conv"
    for index, stage in enumerate(plan.stages):
        for position, block in enumerate(stage.blocks):
            prefix = f"conv{index + 2}_block{position + 1}"
            yield from _keras_applications_block(block, prefix)
    if plan.norm:
        yield plan.norm.name, "post_bn"
    if plan.fc:
        yield plan.fc.name, "predictions"


def _keras_applications_block(block: Block, prefix: str) -> Layers:
    for number, conv in enumerate(block.convs, start=1):
        yield conv.name, f"{prefix}_{number}_conv"
    norms = ["1_bn", "2_bn", "3_bn"]
    if block.preactivation:
        norms = ["preact_bn", "1_bn", "2_bn"]
    for norm, name in zip(block.norms, norms, strict=True):
        yield norm.name, f"{prefix}_{name}"
    kinds = ["0_conv", "0_bn"]
    weighted = [layer for layer in block.layers if ".downsample." in layer.name]
    yield from (
        (layer.name, f"{prefix}_{kind}") for layer, kind in zip(weighted, kinds, strict=False)
    )


def _timm_layers(arch: Architecture) -> Layers:
    """(canonical, timm) name of every layer that holds weights."""
    plan = make_plan(arch)
    if not arch.preactivation:
        yield from ((layer.name, layer.name) for layer in plan.layers)
        return
    for number, conv in enumerate(plan.stem.convs, start=1):
        yield conv.name, f"stem.conv{number if arch.stem.hidden else ''}"
    for number, norm in enumerate(plan.stem.hidden_norms, start=1):
        yield norm.name, f"stem.norm{number}"
    for index, stage in enumerate(plan.stages):
        for position, block in enumerate(stage.blocks):
            prefix = f"stages.{index}.blocks.{position}"
            for layer in block.layers:
                leaf = layer.name.removeprefix(f"{block.name}.")
                is_projection = leaf.startswith("downsample.")
                name = "downsample.conv" if is_projection else leaf.replace("bn", "norm")
                yield layer.name, f"{prefix}.{name}"
    if plan.norm:
        yield plan.norm.name, "norm"
    if plan.fc:
        yield plan.fc.name, "head.fc"
