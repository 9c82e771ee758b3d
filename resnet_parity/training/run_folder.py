"""The folder of a run: its checkpoint, its weights and its curves; each file is written whole.

`last.state.safetensors` is the checkpoint, and complete in itself: weights, momentum buffers,
averages, the architecture, the steps that are done and the reports of all epochs. All other files
follow from it and are written after it; so a run that is killed at any moment goes on from its
checkpoint.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from resnet_spec import Architecture, ema_name, from_json, parameters, to_json

from resnet_parity.adapters.protocol import Arrays
from resnet_parity.files import (
    check_readable,
    reading,
    replacing,
    write_atomically,
    writing,
)
from resnet_parity.weights.files import write_weights

CONFIG, CLASSES, METRICS, CURVES = "config.toml", "classes.json", "metrics.csv", "curves.png"
STATE, LAST, BEST = "last.state.safetensors", "last.safetensors", "best.safetensors"
DAMAGED, EVENTS = "damaged.txt", "events.out.tfevents.run"

SCALARS = {
    "loss/training": "loss",
    "loss/validation": "val_loss",
    "accuracy/training": "accuracy",
    "accuracy/validation": "val_accuracy",
    "learning_rate": "learning_rate",
    "images_per_second": "images_per_second",
}
"""The curves in TensorBoard, and the fields of `Epoch` that they show."""


@dataclass(frozen=True)
class Epoch:
    """The report of an epoch, counted from 1; the loss and accuracy are those during training."""

    epoch: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    images_per_second: float
    seconds: float
    time: float = 0.0
    """When it ended, in seconds since 1970."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on: the steps that are done, and the reports.

    `partial` holds the means over the part of an epoch that is done; `photographs` are the numbers
    of those to train on and to validate.
    """

    step: int
    epochs: tuple[Epoch, ...] = ()
    partial: Mapping[str, float] = field(default_factory=dict)
    tensors: Arrays = field(default_factory=dict)
    photographs: tuple[int, int] = (0, 0)
    architecture: Architecture | None = None

    @property
    def best(self) -> Epoch | None:
        """The first epoch with the highest accuracy in validation."""
        return max(self.epochs, key=lambda epoch: epoch.val_accuracy, default=None)


def write_checkpoint(folder: Path, arch: Architecture, checkpoint: Checkpoint) -> None:
    """Write the checkpoint and all that follows from it.

    Raises `ParityError`, and leaves the last checkpoint whole, if that fails.
    """
    record = {
        "step": checkpoint.step,
        "photographs": checkpoint.photographs,
        "epochs": [asdict(epoch) for epoch in checkpoint.epochs],
        "partial": dict(checkpoint.partial),
    }
    arrays = {name: np.ascontiguousarray(array) for name, array in checkpoint.tensors.items()}
    metadata = {"run": json.dumps(record), "spec": to_json(arch)}
    write_atomically(folder / STATE, save(arrays, metadata))
    write_results(folder, arch, checkpoint)


def write_results(folder: Path, arch: Architecture, checkpoint: Checkpoint) -> None:
    """Write what follows from a checkpoint: weights, metrics, curves where their packages are."""
    _write_weights(folder / LAST, arch, checkpoint)
    if checkpoint.best and checkpoint.best is checkpoint.epochs[-1] and not checkpoint.partial:
        _write_weights(folder / BEST, arch, checkpoint)
    text = io.StringIO()
    table = csv.DictWriter(text, [each.name for each in fields(Epoch)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(epoch) for epoch in checkpoint.epochs)
    write_atomically(folder / METRICS, text.getvalue().encode())
    if checkpoint.epochs and find_spec("matplotlib"):
        with replacing(folder / CURVES) as path, writing(folder / CURVES):
            path.write_bytes(_curves(checkpoint.epochs, path.parent))
    if checkpoint.epochs and find_spec("tensorboard"):
        _write_events(folder / EVENTS, checkpoint.epochs)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint of a run, that of its beginning if no epoch was complete.

    Raises `ParityError` if it is damaged.
    """
    path = folder / STATE
    if not path.exists():
        return Checkpoint(0)
    check_readable(path)
    with (
        reading(path, "the checkpoint of a run", "begin another run"),
        safe_open(path, framework="np") as file,
    ):
        metadata = file.metadata() or {}
        record = json.loads(metadata["run"])
        return Checkpoint(
            int(record["step"]),
            tuple(Epoch(**epoch) for epoch in record["epochs"]),
            {str(name): float(value) for name, value in record["partial"].items()},
            {name: file.get_tensor(name) for name in file.keys()},  # noqa: SIM118
            (int(record["photographs"][0]), int(record["photographs"][1])),
            from_json(metadata["spec"]),
        )


def read_classes(folder: Path) -> tuple[str, ...]:
    """The names of the classes of a run. Raises `ParityError` if they cannot be read."""
    path = folder / CLASSES
    check_readable(path)
    with reading(path, "a list of classes", "write it again"):
        return tuple(map(str, json.loads(path.read_text(encoding="utf-8"))))


def _write_weights(path: Path, arch: Architecture, checkpoint: Checkpoint) -> None:
    """Write the averages of the weights, if there are any, or the weights."""
    found = checkpoint.tensors
    names = [p.name for p in parameters(arch)]
    values = {name: found.get(ema_name(name), found[name]).astype("float32") for name in names}
    write_weights(path, arch, values)


def _write_events(path: Path, epochs: Sequence[Epoch]) -> None:
    """Append what a file of events lacks, so that a TensorBoard that shows it goes on reading.

    A file with anything else in it is replaced.
    """
    events = _events(epochs)
    old = path.read_bytes() if path.is_file() else b""
    if not old or not events.startswith(old):
        write_atomically(path, events)
        return
    with writing(path), path.open("ab") as file:
        file.write(events[len(old) :])


def _events(epochs: Sequence[Epoch]) -> bytes:
    """The reports as events of TensorBoard, by the number of the epoch; the same at any time."""
    record = import_module("tensorboard.summary.writer.record_writer").RecordWriter
    event = import_module("tensorboard.compat.proto.event_pb2").Event
    scalar = import_module("tensorboard.plugins.scalar.summary_v2").scalar_pb
    file = io.BytesIO()
    write = record(file).write
    write(event(wall_time=epochs[0].time, file_version="brain.Event:2").SerializeToString())
    for epoch in epochs:
        for tag, name in SCALARS.items():
            summary = scalar(tag, getattr(epoch, name))
            each = event(wall_time=epoch.time, step=epoch.epoch, summary=summary)
            write(each.SerializeToString())
    return file.getvalue()


def _curves(epochs: Sequence[Epoch], caches: Path) -> bytes:
    """Loss and accuracy over the epochs, as PNG."""
    from resnet_parity.lockstep.plot import new_figure, png, temporary_caches

    at = [epoch.epoch for epoch in epochs]
    with temporary_caches(caches):
        figure = new_figure()
        axes = figure.subplots(2, sharex=True)
        for axis, name in zip(axes, ("loss", "accuracy"), strict=True):
            for kind, label in (("", "training"), ("val_", "validation")):
                axis.plot(at, [getattr(each, kind + name) for each in epochs], ".-", label=label)
            axis.set_ylabel(name)
            axis.legend()
        axes[-1].set_xlabel("epoch")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)
        return png(figure)
