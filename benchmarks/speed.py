"""Compares the eager forward pass with torchvision's: `python -m benchmarks.speed [NAME ...]`.

`--norms` compares a training step in Keras on TensorFlow: this project's batch normalisation, a
single operation, with the stock layer.

Both models run in turns, in alternating order, in one process, so that a busy machine slows both.
The result is the ratio of the medians, with the quartiles of the ratios of neighbouring runs.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from importlib import import_module, metadata
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from resnet_spec import Recipe

import resnet_torch
from resnet_parity.adapters.loading import keras_adapter


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["resnet18", "resnet50"], metavar="NAME")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="default: 30")
    parser.add_argument(
        "--batch", type=int, default=4, metavar="N", help="images in a batch (default: 4)"
    )
    parser.add_argument("--norms", action="store_true", help="compare training steps in Keras")
    arguments = parser.parse_args()
    if arguments.norms:
        keras_adapter("tensorflow")
        print(f"keras {metadata.version('keras')}, tensorflow {metadata.version('tensorflow')}")
        for name in arguments.names:
            print(compare_norms(name, arguments.rounds, arguments.batch))
        return
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, eval mode")
    for name in arguments.names:
        print(compare(name, arguments.rounds, arguments.batch))


def compare(name: str, rounds: int, batch: int) -> str:
    """One line: this project's time over torchvision's, on images of 224x224."""
    ours = getattr(resnet_torch, name)().eval()
    theirs = getattr(torchvision.models, name)().eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(batch, 3, 224, 224)

    def forward(model: nn.Module) -> Callable[[], object]:
        return torch.inference_mode()(lambda: model(images))

    return f"{name}: {ratio(forward(ours), forward(theirs), rounds)} of torchvision's time"


def compare_norms(name: str, rounds: int, batch: int) -> str:
    """One line: the time of a training step over that with stock norms, on images of 224x224."""
    framework, training = import_module("resnet_keras"), import_module("resnet_keras.training")
    sgd = import_module("resnet_keras.optimizer").sgd
    stock = getattr(framework, name)()
    images = np.random.default_rng(0).normal(size=(batch, 224, 224, 3)).astype("float32")
    labels = np.arange(batch)

    def step(model: Any) -> Callable[[], object]:
        optimizer, loss = sgd(model, Recipe()), training.cross_entropy(model, Recipe())
        return lambda: training.train_step(model, optimizer, loss, images, labels, 0.01)

    ours = training.for_training(stock)
    return f"{name}: {ratio(step(ours), step(stock), rounds)} of the stock norm's time"


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> str:
    """The ratio of the median times, with the quartiles of the ratios of neighbouring runs."""
    for run in (ours, theirs) * 3:  # warm up
        seconds(run)
    times: dict[Callable[[], object], list[float]] = {ours: [], theirs: []}
    for index in range(rounds):
        for run in (ours, theirs) if index % 2 else (theirs, ours):
            times[run].append(seconds(run))
    middle = statistics.median(times[ours]) / statistics.median(times[theirs])
    low, _, high = statistics.quantiles(
        (a / b for a, b in zip(times[ours], times[theirs], strict=True)), n=4
    )
    return f"{middle:.3f} (quartiles {low:.3f} ... {high:.3f})"


def seconds(run: Callable[[], object]) -> float:
    """The time of one run."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
