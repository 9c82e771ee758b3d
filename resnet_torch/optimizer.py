"""Stochastic gradient descent by the rule of `resnet_spec.recipe` in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec import Recipe, WeightsError, shape_problems

from resnet_torch.weights import tensors_of


def sgd(model: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    """The optimiser of a model by the rule of `resnet_spec.recipe`."""
    # DIFFERS(momentum-buffer): torch's buffer holds gradients, Keras' holds them times the rate.
    # DIFFERS(weight-decay): torch's decay is part of the gradient, Keras' is applied apart from it.
    values = [value for value in model.parameters() if value.requires_grad]
    decayed = [value for value in values if recipe.decays(value.shape)]
    exempt = [value for value in values if not recipe.decays(value.shape)]
    return torch.optim.SGD(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": exempt}],
        lr=recipe.learning_rate_at(0),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def get_momentum(model: nn.Module, optimizer: torch.optim.SGD) -> dict[str, np.ndarray]:
    """The momentum buffer of each trained tensor, by canonical name and in canonical layout.

    Buffers are zero before the first step. Without momentum there are none.
    """
    buffers = _buffers(model, optimizer)
    return {name: buffer.cpu().numpy().copy() for name, buffer in buffers.items()}


def set_momentum(
    model: nn.Module, optimizer: torch.optim.SGD, buffers: Mapping[str, np.ndarray]
) -> None:
    """Set every buffer, or none if an error is raised; `buffers` are as from `get_momentum`.

    Raises `resnet_spec.WeightsError` that names every missing, extra or mis-shaped buffer.
    """
    own = _buffers(model, optimizer)
    expected = {name: tuple(buffer.shape) for name, buffer in own.items()}
    problems = shape_problems(expected, {name: each.shape for name, each in buffers.items()})
    if problems:
        raise WeightsError("the buffers do not fit the optimiser, nothing was set", problems)
    values = tensors_of(model)
    for name, buffer in own.items():
        buffer.copy_(torch.from_numpy(np.require(buffers[name], requirements=["C", "W"])))
        optimizer.state[values[name]]["momentum_buffer"] = buffer


def _buffers(model: nn.Module, optimizer: torch.optim.SGD) -> dict[str, Tensor]:
    """The optimiser's buffer for each trained tensor; zeros before the first step."""
    if not optimizer.defaults["momentum"]:
        return {}
    buffers = {}
    found = tensors_of(model).items()
    for name, value in ((n, each) for n, each in found if each.requires_grad):
        buffer = optimizer.state.get(value, {}).get("momentum_buffer")
        buffers[name] = torch.zeros_like(value.detach()) if buffer is None else buffer
    return buffers
