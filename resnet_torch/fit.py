"""Training for epochs in PyTorch: a loop over the batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset

from resnet_spec import Batches, Recipe
from resnet_spec.memory import keep_freed_memory

from resnet_torch.distributed import average_statistics, parallel, total, weighted

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the number of a step or an epoch, from 0, and means over its images."""


class _BatchDataset(Dataset):
    """The batches of one epoch from `first` on, for worker processes."""

    def __init__(self, batches: Batches, epoch: int, first: int) -> None:
        self.batches, self.epoch, self.first = batches, epoch, first

    def __len__(self) -> int:
        return len(self.batches) - self.first

    def __getitem__(self, index: int) -> tuple:
        return self.batches.load(self.epoch, self.first + index)


class _Means:
    """The mean loss and the accuracy over the images so far, those of other processes too."""

    def __init__(self) -> None:
        self.loss, self.right, self.count = 0.0, 0, 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> _Means:
        self.loss += loss.item() * len(labels)
        self.right += int((logits.argmax(dim=1) == labels).sum())
        self.count += len(labels)
        return self

    def logs(self, prefix: str = "") -> dict[str, float]:
        loss, right, count = total(self.loss, self.right, self.count)
        return {f"{prefix}loss": loss / count, f"{prefix}accuracy": right / count}


def fit(
    model: nn.Module,
    optimizer: torch.optim.SGD,
    loss: nn.CrossEntropyLoss,
    recipe: Recipe,
    train: Batches,
    val: Batches,
    *,
    epochs: range,
    skip: int = 0,
    workers: int = 0,
    compiled: bool = False,
    on_step: Report = lambda step, logs: None,
    on_epoch: Report = lambda epoch, logs: None,
    dtype: torch.dtype | None = None,
    scaler: torch.amp.GradScaler | None = None,
    average: AveragedModel | None = None,
) -> None:
    """Train for these epochs, numbered from 0, and evaluate after each one.

    `train` and `val` give images (N, H, W, C) and labels (N,), loaded by `workers` processes or,
    without any, by this one; the first `skip` batches were done before. The logs hold `loss` and
    `accuracy` over the images of the epoch so far; after an epoch `val_loss` and `val_accuracy`,
    too. The model may compute in a narrower `dtype`; `scaler` scales the loss of float16;
    `average`, from `resnet_torch.optimizer.averaged`, is evaluated in place of the model.

    The model is left in training mode, and the process keeps freed memory from then on. What
    `on_step` and `on_epoch` raise ends the training.
    """
    keep_freed_memory()
    scaler = scaler or torch.amp.GradScaler(enabled=False)
    # DIFFERS(ema): torch averages weights in a second model, Keras in its optimiser.
    networks = [parallel(model), average.module if average else model]
    network, tested = (torch.compile(each) if compiled else each for each in networks)
    forward = partial(_forward, loss, dtype)
    for epoch in epochs:
        # DIFFERS(train-mode): torch's model is in a mode until it is changed, Keras' fit sets it.
        # DIFFERS(freezing): torch's frozen norm still follows the batch, Keras' does not.
        _set_training(model)
        logs, means = {}, _Means()
        # DIFFERS(shuffle): torch's loader shuffles images, Keras' fit batches of a dataset.
        for index, batch in enumerate(_loader(train, epoch, skip, workers), start=skip):
            step = epoch * len(train) + index
            # DIFFERS(schedule): torch's loop sets the rate of a step, Keras' callback of an epoch.
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate_at(step)
            # DIFFERS(zero-grad): torch adds gradients to those of before, Keras' fit has new ones.
            optimizer.zero_grad()
            value, logits, labels = forward(network, *batch)
            # DIFFERS(loss-scale): torch scales a float16 loss beside the optimiser, Keras in it.
            scaler.scale(weighted(value, len(labels))).backward()
            scaler.step(optimizer)
            scaler.update()
            average_statistics(model)
            # DIFFERS(metrics): torch's loop takes its means itself, Keras' fit from its metrics.
            logs = means.add(value, logits, labels).logs()
            on_step(step, logs)
        skip = 0
        on_epoch(epoch, logs | _evaluated(network, tested, forward, _loader(val, 0, 0, workers)))


def _forward(
    loss: nn.CrossEntropyLoss, dtype: torch.dtype | None, network: Any, images: Any, labels: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """The mean loss, the logits (N, classes) and the labels (N,) on their device."""
    weight = next(network.parameters())
    # DIFFERS(layout): torch keeps channels before height and width, Keras after them.
    images = images.permute(0, 3, 1, 2).to(weight.device, weight.dtype)
    labels = labels.to(weight.device)
    with torch.autocast(weight.device.type, dtype, enabled=dtype is not None):
        logits = network(images)
        return loss(logits, labels), logits, labels


def _set_training(model: nn.Module) -> None:
    """Set the model to training, but frozen norms to evaluation."""
    for module in model.train().modules():
        if isinstance(module, nn.BatchNorm2d | nn.SyncBatchNorm):
            module.train(module.weight.requires_grad)


@torch.no_grad()
def _evaluated(model: Any, tested: Any, forward: Any, batches: DataLoader) -> dict[str, float]:
    """The means over the validation images of `tested`, which takes the statistics of the model."""
    for own, statistic in zip(tested.buffers(), model.buffers(), strict=True):
        own.copy_(statistic)
    means = _Means()
    tested.eval()
    for batch in batches:
        means.add(*forward(tested, *batch))
    tested.train()
    return means.logs("val_")


def _loader(batches: Batches, epoch: int, first: int, workers: int) -> DataLoader:
    """The batches of an epoch as tensors; they are whole, so the loader groups nothing."""
    return DataLoader(_BatchDataset(batches, epoch, first), batch_size=None, num_workers=workers)
