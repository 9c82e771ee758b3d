"""Weights of other people's ResNets, by name: Keras Applications and timm's pre-activation nets.

Each of those libraries has names of its own. A table, made from the plan, gives for every canonical
tensor the name that it has there; the weights then come out under canonical names and in canonical
layout, ready for `set_weights` of either implementation. What the table does not name is refused.

torchvision's state dicts, and those of timm's `resnet.py`, need no table: their names are
the canonical ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from resnet_spec import (
    Architecture,
    Block,
    Norm,
    Parameter,
    WeightsError,
    get_architecture,
    layer_parameters,
    make_plan,
    shape_problems,
)

_KERAS_HINT = (
    "ResNet50 is keras_resnet50 here, ResNet50V2 is keras_resnet50v2, and without its top either "
    "has num_classes=0"
)
_TIMM_HINT = "take the row of timm's name, with the num_classes of the checkpoint"

Layers = Iterator[tuple[str, str]]
Read = Callable[[Any, Parameter], np.ndarray]


def from_keras_applications(model: Any, architecture: str | Architecture) -> dict[str, np.ndarray]:
    """The weights of a `keras.applications` ResNet (v1 or V2), such as `keras_resnet50` describes.

    The classifier may have any activation; `include_top=False` fits an architecture without
    classes.

    Raises `resnet_spec.WeightsError` when a variable is missing, left over or of another shape, and
    for a model or an architecture of another kind.
    """
    arch = get_architecture(architecture)
    layers = getattr(model, "layers", None)
    if not layers or not all(hasattr(layer, "weights") for layer in layers):
        raise WeightsError("this is no Keras model", [f"it is a {type(model).__name__}"])
    is_other = arch.block != "bottleneck" or arch.se or arch.stem.hidden or arch.avg_down
    if is_other or not arch.residual:
        raise WeightsError(
            f"Keras Applications builds nothing like {arch.name!r}",
            [_KERAS_HINT],
        )
    names = dict(_keras_applications_layers(arch))
    table = {f"{names[name]}/{p.keras_variable}": p for name, p in _tensors(arch)}
    found = {
        f"{layer.name}/{variable.path.rpartition('/')[2]}": variable
        for layer in layers
        for variable in layer.weights
    }
    return _collect(arch, table, found, _keras_variable, _KERAS_HINT)


def _keras_variable(variable: Any, parameter: Parameter) -> np.ndarray:
    array = np.asarray(variable.numpy())
    fits = array.ndim == len(parameter.keras_axes)
    return np.einsum(parameter.to_torch, array) if fits else array


def from_timm(state: Mapping[str, Any], architecture: str | Architecture) -> dict[str, np.ndarray]:
    """The weights in the state dict of a timm ResNet, also of its pre-activation `resnetv2_*`.

    Values are tensors or arrays. The step counters of the norms are the only keys that are ignored.

    Raises `resnet_spec.WeightsError` when a tensor is missing, left over or of another shape, and
    for what is no state dict.
    """
    arch = get_architecture(architecture)
    if not isinstance(state, Mapping):
        kind = type(state).__name__
        raise WeightsError("this is no state dict", [f"it is a {kind}; pass model.state_dict()"])
    names = dict(_timm_layers(arch))
    table = {f"{names[name]}.{p.name.rpartition('.')[2]}": p for name, p in _tensors(arch)}
    norms = (names[layer.name] for layer in make_plan(arch).layers if isinstance(layer, Norm))
    counters = {f"{norm}.num_batches_tracked" for norm in norms}
    found = {name: value for name, value in state.items() if name not in counters}
    return _collect(arch, table, found, _torch_tensor, _TIMM_HINT)


def _torch_tensor(value: Any, parameter: Parameter) -> np.ndarray:
    if "bfloat16" in str(getattr(value, "dtype", "")):
        raise WeightsError(
            "NumPy has no bfloat16, convert the model first: model.float()", [parameter.name]
        )
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    # timm's head is a 1x1 convolution where ours is a dense layer.
    is_conv = parameter.axes == "oi" and array.shape[2:] == (1, 1)
    return array[:, :, 0, 0] if is_conv else array


def _tensors(arch: Architecture) -> Iterator[tuple[str, Parameter]]:
    """Every tensor, with the name of its layer."""
    for layer in make_plan(arch).layers:
        yield from ((layer.name, parameter) for parameter in layer_parameters(layer))


def _collect(
    arch: Architecture,
    table: Mapping[str, Parameter],
    found: Mapping[str, Any],
    read: Read,
    hint: str,
) -> dict[str, np.ndarray]:
    """Every tensor of the architecture as its own copy; one error names all that does not fit."""
    arrays = {
        name: np.array(read(value, table[name]), order="C") if name in table else np.empty(0)
        for name, value in found.items()
    }
    expected = {name: parameter.shape for name, parameter in table.items()}
    problems = shape_problems(expected, {name: array.shape for name, array in arrays.items()})
    if problems:
        raise WeightsError(f"the weights are not those of a {arch.name!r}; {hint}", problems)
    return {parameter.name: arrays[name] for name, parameter in table.items()}


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
    names = ("preact", "1", "2") if block.preactivation else ("1", "2", "3")
    for norm, name in zip(block.norms, names, strict=True):
        yield norm.name, f"{prefix}_{name}_bn"
    for layer in block.layers:
        if ".downsample." in layer.name:
            yield layer.name, f"{prefix}_0_{'bn' if isinstance(layer, Norm) else 'conv'}"


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
