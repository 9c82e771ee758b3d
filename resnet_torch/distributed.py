"""Several processes that train one network: `resnet_torch.fit.fit` runs in each of them.

The batches of training give each process its share of every batch, which may differ in size, and
those of validation some of the batches. Statistics that norms track are the means of all processes.
`torchrun` starts them and `torch.distributed.init_process_group()` connects them; without that,
each function leaves everything as it is.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn.parallel import DistributedDataParallel


def processes() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def total(*numbers: float) -> list[float]:
    """The sum of each number over all processes."""
    if processes() == 1:
        return [*numbers]
    sums = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(sums)
    return sums.tolist()


def parallel(model: nn.Module) -> nn.Module:
    """The model, of which each backward pass averages the gradients over all processes."""
    if processes() == 1:
        return model
    # The running statistics are averaged after each step, not those of one process sent to all.
    known = signature(DistributedDataParallel).parameters
    name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options: dict[str, Any] = {name: False}
    return DistributedDataParallel(model, **options)


def weighted(loss: Tensor, count: int) -> Tensor:
    """The mean loss over `count` images, with the weight of its process in that of all images."""
    return loss if processes() == 1 else loss * (processes() * count / total(count)[0])


@torch.no_grad()
def average_statistics(model: nn.Module) -> None:
    """Set the running statistics of norms, each of its own process, to the mean of all."""
    norms = [each for each in model.modules() if type(each) is nn.BatchNorm2d and each.training]
    own = [value for each in norms for value in (each.running_mean, each.running_var)]
    values = [value for value in own if value is not None]
    if processes() == 1 or not values:
        return
    mean = torch.cat(values)
    dist.all_reduce(mean)
    for value, part in zip(values, mean.split([len(value) for value in values]), strict=True):
        value.copy_(part / processes())


def synchronize(model: nn.Module) -> None:
    """Change the norms of a model: in training they take the statistics of the whole batch."""
    if next(model.parameters()).is_cuda:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _SyncBatchNorm2d


class _SyncBatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.SyncBatchNorm` for a CPU, where that raises "expected input tensor to be on GPU":
    https://github.com/pytorch/pytorch/blob/main/torch/nn/modules/batchnorm.py
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        if not self.training or processes() == 1:
            return super().forward(input)
        x = input.to(self.weight.dtype)
        (count,) = total(x[:, 0].numel())
        mean = _Sum.apply(x.sum((0, 2, 3))) / count
        deviation = x - _over_map(mean)
        variance = _Sum.apply(deviation.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            found = {"running_mean": mean, "running_var": variance * (count / max(count - 1, 1))}
            for name, statistic in found.items():
                self.get_buffer(name).lerp_(statistic, self.momentum or 0.0)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (deviation * _over_map(scale) + _over_map(self.bias)).to(input.dtype)


def _over_map(values: Tensor) -> Tensor:
    """(C,) -> (C, 1, 1), which goes with a map (N, C, H, W)."""
    return values[:, None, None]


class _Sum(Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        return tensor

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> Tensor:
        return _Sum.apply(gradients[0].contiguous())
