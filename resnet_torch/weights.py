"""Get and set the weights of a PyTorch model, by canonical name and in canonical layout."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from resnet_spec import (
    Architecture,
    Parameter,
    WeightsError,
    check_model,
    check_weights,
    parameters,
)
from resnet_spec.weights import given_architecture


def get_weights(
    model: nn.Module, architecture: str | Architecture | None = None
) -> dict[str, np.ndarray]:
    """A copy of every tensor of the model: kernels (out, in, H, W), dense kernels (out, in).

    `architecture` is needed only for a model that this package did not build. A name means the row
    with the classes and the image channels that the model has. The model may be inside
    `DataParallel` or compiled, and its `fc` an `nn.Identity`, or a linear layer after dropouts.

    Raises `resnet_spec.WeightsError` if the model's tensors are not those of the architecture.
    """
    variables = variables_of(model, _architecture(model, architecture))
    wide = [p.name for p, value in variables.items() if value.dtype is torch.bfloat16]
    if wide:
        problem = f"{len(wide)} tensors are bfloat16, the first is {wide[0]}"
        raise WeightsError("NumPy has no bfloat16", [problem], "convert the model: model.float()")
    # DIFFERS(kernel-layout): torch keeps a kernel as (out, in, H, W), Keras as (H, W, in, out).
    return {p.name: value.detach().cpu().numpy().copy() for p, value in variables.items()}


def set_weights(
    model: nn.Module,
    weights: Mapping[str, np.ndarray],
    architecture: str | Architecture | None = None,
) -> None:
    """Set every tensor of the model, or none if an error is raised.

    The model and `architecture` are as in `get_weights`.

    Raises `resnet_spec.WeightsError` that names every missing, extra, mis-shaped, mis-typed or
    non-finite tensor, and every negative variance.
    """
    arch = _architecture(model, architecture)
    variables = variables_of(model, arch)
    dtypes = {p.name: str(value.dtype).removeprefix("torch.") for p, value in variables.items()}
    check_weights(arch, weights, dtypes)
    # DIFFERS(kernel-layout): torch keeps a kernel as (out, in, H, W), Keras as (H, W, in, out).
    with torch.no_grad():
        for p, value in variables.items():
            value.copy_(torch.from_numpy(np.require(weights[p.name], requirements=["C", "W"])))


def variables_of(model: nn.Module, arch: Architecture) -> dict[Parameter, Tensor]:
    """The tensor of the model for each parameter of the architecture, one to one."""
    found = tensors_of(model)
    expected = {p.name: p.shape for p in parameters(arch)}
    check_model(arch, expected, {name: tuple(value.shape) for name, value in found.items()})
    variables = {p: found[p.name] for p in parameters(arch)}
    if any(value.is_meta for value in variables.values()):
        fix = "give it memory first: model.to_empty(device='cpu')"
        raise WeightsError("the model holds no numbers", ["it is on the meta device"], fix)
    if len({value.data_ptr() for value in variables.values()}) < len(variables):
        raise WeightsError(f"the model is not a {arch.name!r}", ["two of its tensors are one"])
    return variables


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside (Distributed)DataParallel, `AveragedModel` and `torch.compile`.

    Raises `resnet_spec.WeightsError` if it is no PyTorch module.
    """
    if not isinstance(model, nn.Module):
        raise WeightsError("this is not a PyTorch module", [f"it is a {type(model).__name__}"])
    wrappers = nn.DataParallel | nn.parallel.DistributedDataParallel | AveragedModel
    compiler = sys.modules.get("torch._dynamo")  # torch.compile imports it, which takes seconds
    while True:
        if isinstance(model, wrappers):
            model = model.get_submodule("module")
        elif compiler and isinstance(model, compiler.OptimizedModule):
            model = model.get_submodule("_orig_mod")
        else:
            return model


def _architecture(model: nn.Module, architecture: str | Architecture | None) -> Architecture:
    """The architecture of the model, with the sizes of its first and last layer."""
    shapes = {name: tuple(value.shape) for name, value in tensors_of(model).items()}
    return given_architecture(unwrapped(model), architecture, shapes)


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """The state dict of the model, of live tensors; a linear layer among dropouts is named `fc`."""
    model = unwrapped(model)
    found = model.state_dict(keep_vars=True)
    others = [name for name, value in found.items() if not isinstance(value, Tensor)]
    if others:
        fix = "take the model that was quantised instead, which has float tensors"
        raise WeightsError("the model is quantised", [f"{others[0]} is no tensor"], fix)
    head = getattr(model, "fc", None)
    if isinstance(head, nn.Sequential):
        idle = nn.Dropout | nn.Identity  # in inference
        layers = {name: each for name, each in head.named_children() if not isinstance(each, idle)}
        if [type(each) for each in layers.values()] == [nn.Linear]:
            prefix = f"fc.{next(iter(layers))}."
            inner = {n: f"fc.{n.removeprefix(prefix)}" for n in found if n.startswith(prefix)}
            return {inner.get(name, name): value for name, value in found.items()}
    return found
