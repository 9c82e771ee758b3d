"""The PyTorch adapter for training: start, take a step, read and set the state."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from resnet_spec import Architecture, Recipe, momentum_name

from resnet_parity.adapters.torch.modes import placed, threads
from resnet_torch.model import ResNet, create_model
from resnet_torch.optimizer import get_momentum, set_momentum, sgd
from resnet_torch.training import cross_entropy, for_training, train_step
from resnet_torch.weights import get_weights, set_weights

TrainingState = tuple[ResNet, torch.optim.SGD, nn.CrossEntropyLoss]
"""The model, its optimiser and its loss."""


def start(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    recipe: Recipe,
    dtype: str,
    layout: str = "nchw",
) -> TrainingState:
    """Build a model with these weights and its optimiser; `layout` is its memory layout."""
    model = create_model(architecture, dtype=getattr(torch, dtype))
    set_weights(model, weights)
    model = placed(for_training(model), layout)
    return model, sgd(model, recipe), cross_entropy(model, recipe)


def step(
    training_state: TrainingState, images: np.ndarray, labels: np.ndarray, learning_rate: float
) -> float:
    """Take one step on images (N, C, H, W) and labels (N,); return the loss before it."""
    with threads(1, "nchw", images.dtype):
        return train_step(*training_state, images, labels, learning_rate)


def get_state(training_state: TrainingState) -> dict[str, np.ndarray]:
    """Return every weight, statistic and momentum buffer, in canonical layout."""
    model, optimizer, _ = training_state
    buffers = get_momentum(model, optimizer)
    return get_weights(model) | {momentum_name(name): value for name, value in buffers.items()}


def set_state(training_state: TrainingState, state: Mapping[str, np.ndarray]) -> None:
    """Set everything that `get_state` returns."""
    model, optimizer, _ = training_state
    names = get_momentum(model, optimizer)
    set_momentum(model, optimizer, {name: state[momentum_name(name)] for name in names})
    buffers = {momentum_name(name) for name in names}
    set_weights(model, {name: value for name, value in state.items() if name not in buffers})
