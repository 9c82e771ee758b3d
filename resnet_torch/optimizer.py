"""Stochastic gradient descent by the rule of `resnet_spec.recipe` in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

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
    own, values = _buffers(model, optimizer), tensors_of(model)
    _fill(own, buffers, "buffers")
    for name, buffer in own.items():
        optimizer.state[values[name]]["momentum_buffer"] = buffer


def averaged(model: nn.Module, optimizer: torch.optim.SGD, recipe: Recipe) -> AveragedModel | None:
    """A copy of the model whose weights each step of the optimiser averages; None without `ema`."""
    if not recipe.ema:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema))
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    return average


def get_ema(average: AveragedModel) -> dict[str, np.ndarray]:
    """The average of each trained tensor, by canonical name and in canonical layout."""
    return {name: value.cpu().numpy().copy() for name, value in _averages(average).items()}


def set_ema(average: AveragedModel, values: Mapping[str, np.ndarray], steps: int) -> None:
    """Set every average over `steps`, or none if an error is raised; `values` as from `get_ema`.

    Raises `resnet_spec.WeightsError` that names every missing, extra or mis-shaped average.
    """
    _fill(_averages(average), values, "averages")
    average.n_averaged.fill_(steps)


def _averages(average: AveragedModel) -> dict[str, Tensor]:
    """The average of each trained tensor."""
    values = tensors_of(average)
    return {name: value.detach() for name, value in values.items() if value.requires_grad}


def _fill(own: Mapping[str, Tensor], values: Mapping[str, np.ndarray], kind: str) -> None:
    """Set every tensor, or none if `WeightsError` is raised."""
    expected = {name: tuple(each.shape) for name, each in own.items()}
    problems = shape_problems(expected, {name: each.shape for name, each in values.items()})
    if problems:
        raise WeightsError(f"the {kind} do not fit the optimiser, nothing was set", problems)
    for name, each in own.items():
        each.copy_(torch.from_numpy(np.require(values[name], requirements=["C", "W"])))


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
