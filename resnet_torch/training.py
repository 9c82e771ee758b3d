"""Training with a `resnet_spec.Recipe` in PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec import Recipe

from resnet_torch.distributed import synchronize
from resnet_torch.model import ResNet


def for_training(model: ResNet, *, synchronized: bool = False) -> ResNet:
    """The same model, in training mode, its kernels in the memory layout that is fastest.

    With `synchronized`, its norms take the statistics of the batches of all processes together.
    """
    # DIFFERS(bn-variance): torch tracks the unbiased variance, Keras' stock layer the biased one.
    if synchronized:
        synchronize(model)
    return model.to(memory_format=torch.channels_last).train()


def freeze_backbone(model: ResNet) -> ResNet:
    """The same model, of which only the classifier is trained."""
    # DIFFERS(freezing): torch's frozen norm still follows the batch, Keras' does not.
    for name, value in model.named_parameters():
        value.requires_grad_(name.startswith("fc."))
    return model


def cross_entropy(model: nn.Module, recipe: Recipe) -> nn.CrossEntropyLoss:
    """The loss from logits (N, classes) and labels (N,): a mean over the batch."""
    # DIFFERS(labels): torch smooths labels given as indices, Keras only one-hot labels.
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    loss: nn.CrossEntropyLoss,
    images: np.ndarray,
    labels: np.ndarray,
    learning_rate: float,
) -> float:
    """Train one step on images (N, C, H, W) and labels (N,); return the loss before it."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    device = next(model.parameters()).device
    image, label = (torch.from_numpy(array).to(device) for array in (images, labels))
    optimizer.zero_grad()
    value: Tensor = loss(model(image), label.long())
    value.backward()
    optimizer.step()
    return value.item()
