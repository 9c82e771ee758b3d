"""The speed of training steps beside the obvious alternatives, and the share of its time in which
a loop waits for photographs.

Speeds are images in a CPU second, so that a busy machine counts little: both sides of a row train
in turns, each in a process of its own with one thread. A ratio is that of the medians, with the
quartiles of the ratios of neighbouring rounds. Where the networks differ, it is one of MACs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from resnet_spec import get_architecture, mac_count

from benchmarks.provenance import Measured, Results, versions
from benchmarks.training_sides import Work
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.errors import ParityError

ROUNDS = 9
EPOCHS = 3
"""The epochs of a row of waits, after a first one that is not counted."""

PHOTOGRAPHS = 120
"""In the folder that a loop waits for: JPEG files of 500x375 pixels."""

WORK = Work("resnet50", 96, 8)
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class Race:
    """Two sides, and the network of the second where it is another."""

    ours: str
    theirs: str
    network: str = WORK.architecture


@dataclass(frozen=True)
class Wait:
    """A side that loads photographs with a number of workers."""

    side: str
    workers: int


ROWS: dict[str, Race | Wait] = {
    "torch": Race("torch fit", "torchvision loop"),
    "torch, channels_last on both sides": Race("torch fit", "torchvision loop, channels_last"),
    "keras": Race("keras fit", "keras.applications", "keras_resnet50"),
    "torch, waiting, 0 workers": Wait("torch fit", 0),
    "torch, waiting, 2 workers": Wait("torch fit", 2),
    "keras, waiting, 0 workers": Wait("keras fit", 0),
    "keras, waiting, 2 workers": Wait("keras fit", 2),
}


def measure(name: str) -> Measured:
    """Measure a row."""
    row = ROWS[name]
    figures = race(row) if isinstance(row, Race) else wait(row)
    figures |= {"size": WORK.size, "batch": WORK.batch, "load": round(os.getloadavg()[0], 1)}
    return Measured(figures, versions(torch_adapter(), keras_adapter("tensorflow")))


def race(row: Race, rounds: int = ROUNDS) -> dict[str, Any]:
    """The CPU seconds for an image on each side, and the ratio of their speeds."""
    seconds: tuple[list[float], list[float]] = [], []
    with ExitStack() as stack:
        sides = [stack.enter_context(process(side, WORK)) for side in (row.ours, row.theirs)]
        for side in sides:
            _answer(side)  # of the first round, which is not counted
        for index in range(rounds):
            for number in (0, 1) if index % 2 else (1, 0):
                seconds[number].append(_train_round(sides[number]))
    names = WORK.architecture, row.network
    macs = [mac_count(get_architecture(name), WORK.size, WORK.size) for name in names]
    return {
        "ours": row.ours,
        "theirs": row.theirs,
        "seconds": [statistics.median(each) for each in seconds],
        "per_mac": macs[0] != macs[1],
        **ratio(*seconds, macs[0] / macs[1]),
        "rounds": rounds,
    }


def ratio(ours: list[float], theirs: list[float], factor: float) -> dict[str, Any]:
    """The ratio of speeds in work, of which ours does `factor` times as much an image."""
    pairs = [factor * b / a for a, b in zip(ours, theirs, strict=True)]
    middle = factor * statistics.median(theirs) / statistics.median(ours)
    return {"ratio": middle, "quartiles": statistics.quantiles(pairs, n=4)[::2]}


def _train_round(side: subprocess.Popen[str]) -> float:
    """Let a side train a round; the CPU seconds for an image."""
    assert side.stdin
    side.stdin.write("\n")
    side.stdin.flush()
    return _answer(side)


def _answer(side: subprocess.Popen[str]) -> Any:
    """The next line of a side, as JSON."""
    assert side.stdout
    if line := side.stdout.readline():
        return json.loads(line)
    raise ParityError(f"a side ended with {side.wait()}: {side.args}")


def wait(row: Wait, epochs: int = EPOCHS) -> dict[str, Any]:
    """The share of each epoch in which the loop waited, and the seconds of its median epoch."""
    with tempfile.TemporaryDirectory() as folder:
        write_photographs(Path(folder))
        work = replace(WORK, photographs=folder, workers=row.workers)
        with process(row.side, work) as side:
            lines = [_answer(side) for _ in range(epochs + 1)]
    seconds, shares = zip(*lines[1:], strict=True)
    return {
        "side": row.side,
        "workers": row.workers,
        "waited": statistics.median(shares),
        "range": [min(shares), max(shares)],
        "seconds": statistics.median(seconds),
        "photographs": PHOTOGRAPHS,
        "epochs": epochs,
    }


def write_photographs(folder: Path) -> None:
    """Write crops of scikit-learn's two photographs in ten classes: a fifth of them to validate."""
    whole = [Image.fromarray(each) for each in load_sample_images().images]
    corners = np.random.default_rng(0).integers(0, (140, 52), (PHOTOGRAPHS, 2))
    for index, (x, y) in enumerate(corners):
        part = "val" if index % 5 == 0 else "train"
        path = folder / part / str(index // 5 % 10) / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        whole[index % 2].crop((x, y, x + 500, y + 375)).save(path, quality=90)


@contextmanager
def process(side: str, work: Work) -> Iterator[subprocess.Popen[str]]:
    """A process that trains a side; it is ended at the end."""
    command = [sys.executable, "-m", "benchmarks.training_sides", side, json.dumps(asdict(work))]
    variables = {**dict.fromkeys(THREADS, "1"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, **variables}, **pipes) as child:
        try:
            yield child
        finally:
            child.kill()


RESULTS = Results("training", 1, dict.fromkeys(ROWS, get_architecture(WORK.architecture)), measure)
