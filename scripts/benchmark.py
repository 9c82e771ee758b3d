#!/usr/bin/env python
"""Compares the eager forward pass with torchvision's: `python scripts/benchmark.py [NAME ...]`.

Both models run in turn, in changing order, in one process, so that a busy machine slows both; what
counts is the ratio of the medians, with the quartiles of the ratios of neighbouring runs beside it.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import torchvision
from torch import nn

import resnet_torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["resnet18", "resnet50"], metavar="NAME")
    parser.add_argument("--rounds", type=int, default=30, metavar="N")
    parser.add_argument("--batch", type=int, default=4, metavar="N")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, eval mode")
    for name in arguments.names:
        print(compare(name, arguments.rounds, arguments.batch))


def compare(name: str, rounds: int, batch: int) -> str:
    """One line: how long ours takes per unit of theirs, on images of 224x224."""
    ours = getattr(resnet_torch, name)().eval()
    theirs = getattr(torchvision.models, name)().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(batch, 3, 224, 224)
    for model in (ours, theirs) * 3:  # warm up
        seconds(model, images)
    times: dict[nn.Module, list[float]] = {ours: [], theirs: []}
    for index in range(rounds):
        for model in (ours, theirs) if index % 2 else (theirs, ours):
            times[model].append(seconds(model, images))
    ratio = statistics.median(times[ours]) / statistics.median(times[theirs])
    low, _, high = statistics.quantiles(
        (a / b for a, b in zip(times[ours], times[theirs], strict=True)), n=4
    )
    return f"{name}: {ratio:.3f} of torchvision's time (quartiles {low:.3f} ... {high:.3f})"


@torch.inference_mode()
def seconds(model: nn.Module, images: torch.Tensor) -> float:
    start = time.perf_counter()
    model(images)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
