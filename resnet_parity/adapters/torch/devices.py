"""Training on several devices in PyTorch: a process for each, which `torchrun` starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from resnet_parity import torchrun
from resnet_parity.errors import ParityError
from resnet_torch import distributed


@contextmanager
def devices(count: int) -> Iterator[None]:
    """Connect the processes that `torchrun` started, of which each has a device.

    Raises `ParityError` for a `count`, and where there are more processes than GPUs.
    """
    if count > 1:
        raise ParityError(
            "PyTorch has a process for each device: take --devices 1, and begin the command with "
            f"torchrun --nproc-per-node={count} -m resnet_parity"
        )
    if torchrun.processes() == 1:
        yield
        return
    if torch.cuda.is_available():
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise ParityError(
                f"each process needs a GPU, and this machine has {gpus}; lower --nproc-per-node"
            )
        torch.cuda.set_device(local)
    dist.init_process_group()
    yield
    dist.destroy_process_group()


def processes() -> tuple[int, int]:
    """The number of this process, from 0, and of all that train together."""
    return (dist.get_rank() if distributed.processes() > 1 else 0), distributed.processes()


def largest(number: float) -> float:
    """The largest number of all processes."""
    if distributed.processes() > 1:
        found = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(found, dist.ReduceOp.MAX)
        number = found.item()
    return number
