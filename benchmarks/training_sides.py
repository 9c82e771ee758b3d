"""The sides of `benchmarks.training`, each in a process of its own: NAME and its work as JSON.

After each round a side prints its CPU seconds for an image, those of all threads, and waits for a
line from stdin. With photographs it prints the seconds of each epoch instead, and the share of them
in which the loop waited for a batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import numpy as np

from resnet_spec import Recipe

from resnet_parity.training.batches import Batches
from resnet_parity.training.folders import read_photographs
from resnet_parity.training.images import Images

STEPS = 4
"""The steps of a round; one more before them is not counted."""

CLASSES = 10
EPOCHS = range(10**6)
RECIPE = Recipe(0.01)


@dataclass(frozen=True)
class Work:
    """An architecture, and images of noise; or a folder of photographs, loaded by workers."""

    architecture: str
    size: int
    batch: int
    photographs: str = ""
    workers: int = 0


class Noise:
    """The same batch at every step."""

    def __init__(self, work: Work, steps: int) -> None:
        pixels = (work.batch, work.size, work.size, 3)
        self.images = np.random.default_rng(0).normal(size=pixels).astype("float32")
        self.labels, self.steps = np.arange(work.batch) % CLASSES, steps

    def __len__(self) -> int:
        return self.steps

    def load(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.images, self.labels


class Clock:
    """Called after each step and each epoch: begins and ends rounds, or sums up an epoch."""

    def __init__(self, work: Work) -> None:
        self.work, self.waited = work, 0.0
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def after_step(self, step: int, logs: Mapping[str, float] | None = None) -> None:
        if self.work.photographs:
            return
        if step % (STEPS + 1) == 0:
            self.cpu = time.process_time()
        elif step % (STEPS + 1) == STEPS:
            print((time.process_time() - self.cpu) / STEPS / self.work.batch, flush=True)
            if not sys.stdin.readline():
                sys.exit()

    def after_epoch(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        if self.work.photographs:
            seconds = time.perf_counter() - self.wall
            print(json.dumps([seconds, self.waited / seconds]), flush=True)
            self.wall, self.waited = time.perf_counter(), 0.0

    def waits(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yield batches, and add up the time that they take."""
        begin = time.perf_counter()
        for batch in batches:
            self.waited += time.perf_counter() - begin
            yield batch
            begin = time.perf_counter()
        self.waited += time.perf_counter() - begin


def data(work: Work) -> tuple[Any, Any]:
    """The batches to train on, and those to validate on."""
    if not work.photographs:
        return Noise(work, STEPS + 1), Noise(work, 1)
    found = read_photographs(Path(work.photographs))
    images, still = Images(work.size), Images(work.size, is_training=False)
    return (
        Batches(found.train, images, work.batch, whole=True),
        Batches(found.val, still, work.batch),
    )


def torch_fit(work: Work, clock: Clock) -> None:
    """Our loop."""
    framework, fit = import_module("resnet_torch"), cast("Any", import_module("resnet_torch.fit"))
    training = import_module("resnet_torch.training")
    model = framework.create_model(work.architecture, num_classes=CLASSES, dtype="float32")
    model = training.for_training(model)
    optimizer = import_module("resnet_torch.optimizer").sgd(model, RECIPE)
    load = fit._loader
    fit._loader = lambda *given: clock.waits(load(*given))
    fit.fit(
        *(model, optimizer, training.cross_entropy(model, RECIPE), RECIPE, *data(work)),
        epochs=EPOCHS,
        workers=work.workers,
        on_step=clock.after_step,
        on_epoch=clock.after_epoch,
    )


def torchvision_loop(work: Work, clock: Clock, *, channels_last: bool = False) -> None:
    """The shortest loop that trains torchvision's network and reports its mean loss."""
    torch, torchvision = import_module("torch"), import_module("torchvision")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = getattr(torchvision.models, work.architecture)(num_classes=CLASSES)
    model = model.to(memory_format=layout).train()
    criterion = torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(
        model.parameters(), RECIPE.learning_rate, RECIPE.momentum, weight_decay=RECIPE.weight_decay
    )
    noise = Noise(work, 1)
    images = torch.from_numpy(noise.images).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    labels, total = torch.from_numpy(noise.labels), 0.0
    for step in EPOCHS:
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item()
        clock.after_step(step)


def keras_fit(work: Work, clock: Clock) -> None:
    """Our `fit`."""
    framework, training = import_module("resnet_keras"), import_module("resnet_keras.training")
    model = framework.create_model(work.architecture, num_classes=CLASSES, dtype="float32")
    model = training.for_training(model)
    optimizer = import_module("resnet_keras.optimizer").sgd(model, RECIPE)
    if work.photographs:
        time_waits(model, clock)
    import_module("resnet_keras.fit").fit(
        *(model, optimizer, training.cross_entropy(model, RECIPE), RECIPE, *data(work)),
        epochs=EPOCHS,
        workers=work.workers,
        on_step=clock.after_step,
        on_epoch=clock.after_epoch,
    )


def time_waits(model: Any, clock: Clock) -> None:
    """Take each batch outside of the step, to time it; Keras takes it inside its function."""
    tf = import_module("tensorflow")

    def replace(kind: str) -> None:
        step = tf.function(getattr(model, f"{kind}_step"), reduce_retracing=True)

        def run(iterator: Any) -> Any:
            return step(next(clock.waits(iterator)))

        setattr(model, f"make_{kind}_function", lambda: setattr(model, f"{kind}_function", run))

    replace("train")
    replace("test")


def keras_applications(work: Work, clock: Clock) -> None:
    """Stock `fit` of the network in `keras.applications`, on arrays."""
    keras = import_module("keras")
    model = keras.applications.ResNet50(
        weights=None,
        input_shape=(work.size, work.size, 3),
        classes=CLASSES,
        classifier_activation=None,
    )
    optimizer = keras.optimizers.SGD(
        RECIPE.learning_rate, RECIPE.momentum, weight_decay=RECIPE.weight_decay
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    noise, steps = Noise(work, 1), STEPS + 1
    model.fit(
        np.concatenate([noise.images] * steps),
        np.concatenate([noise.labels] * steps),
        batch_size=work.batch,
        epochs=EPOCHS.stop,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=clock.after_step)],
    )


SIDES: dict[str, Callable[[Work, Clock], None]] = {
    "torch fit": torch_fit,
    "torchvision loop": torchvision_loop,
    "torchvision loop, channels_last": partial(torchvision_loop, channels_last=True),
    "keras fit": keras_fit,
    "keras.applications": keras_applications,
}

if __name__ == "__main__":
    work = Work(**json.loads(sys.argv[2]))
    SIDES[sys.argv[1]](work, Clock(work))
