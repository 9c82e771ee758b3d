"""Training for epochs in Keras: `model.fit` with a callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import numpy as np

from resnet_spec import Batches, Recipe
from resnet_spec.memory import keep_freed_memory

from resnet_keras.contexts import floatx

Report = Callable[[int, Mapping[str, float]], None]
"""Called with the number of a step or an epoch, from 0, and means over its images."""


class _BatchSequence(keras.utils.PyDataset):
    """The batches of `epoch` from `first` on, with one-hot labels.

    Its workers are threads: a process forked beside the threads of TensorFlow may never end.
    """

    def __init__(self, model: keras.Model, batches: Batches, first: int, workers: int) -> None:
        super().__init__(workers=workers, use_multiprocessing=False)
        self.batches, self.first, self.epoch = batches, first, 0
        self.classes, self.dtype = model.output_shape[-1], model.input.dtype

    def __len__(self) -> int:
        return len(self.batches) - self.first

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        images, labels = self.batches.load(self.epoch, self.first + index)
        # DIFFERS(layout): torch keeps channels before height and width, Keras after them.
        return images.astype(self.dtype), np.eye(self.classes, dtype=self.dtype)[labels]


class _Steps(keras.callbacks.Callback):
    """Chooses the batches of each epoch, sets the learning rate of each step, and reports."""

    def __init__(
        self, recipe: Recipe, train: _BatchSequence, on_step: Report, on_epoch: Report
    ) -> None:
        super().__init__()
        self.recipe, self.train = recipe, train
        self.on_step, self.on_epoch = on_step, on_epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.train.epoch = epoch
        self.first = epoch * len(self.train.batches) + self.train.first

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = self.recipe.learning_rate_at(self.first + batch)

    def on_train_batch_end(self, batch, logs=None):
        if not batch:
            keep_freed_memory()  # not before: the dataset that Keras makes sets the opposite
        _ = self.model  # asked for it, jax gives the variables their values
        self.on_step(self.first + batch, {name: float(mean) for name, mean in (logs or {}).items()})

    def on_epoch_end(self, epoch, logs=None):
        self.on_epoch(epoch, {name: float(mean) for name, mean in (logs or {}).items()})


class _Averages(keras.callbacks.Callback):
    """Evaluates the averages of the weights, if the optimiser has them.

    `keras.callbacks.SwapEMAWeights` adds and subtracts on TensorFlow, which rounds the weights.
    """

    def on_test_begin(self, logs=None):
        self._swap()

    def on_test_end(self, logs=None):
        self._swap()

    def _swap(self):
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        for value, average in zip(
            self.model.trainable_variables, getattr(optimizer, "averages", ()), strict=False
        ):
            kept = np.array(keras.ops.convert_to_numpy(value))
            value.assign(average)
            average.assign(kept)


def fit(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    loss: keras.losses.Loss,
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
) -> None:
    """Train for these epochs, numbered from 0, and evaluate after each one.

    `train` and `val` give images (N, H, W, C) and labels (N,), loaded by `workers` threads or,
    without any, by this one; the first `skip` batches were done before. The logs hold `loss` and
    `accuracy` over the images of the epoch so far; after an epoch `val_loss` and `val_accuracy`,
    too. The dtype is that of the model; with float16, give
    `keras.optimizers.LossScaleOptimizer(optimizer)`.

    The process keeps freed memory from then on. What `on_step` and `on_epoch` raise ends the
    training.
    """
    with floatx(model):
        jit = compiled or "auto"
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=jit)
        # DIFFERS(ema): torch averages weights in a second model, Keras in its optimiser.
        # DIFFERS(train-mode): torch's model is in a mode until it is changed, Keras' fit sets it.
        # DIFFERS(freezing): torch's frozen norm still follows the batch, Keras' does not.
        for part in (epochs[:1], epochs[1:]) if skip else (epochs,):
            batches = _BatchSequence(model, train, skip, workers)
            # DIFFERS(shuffle): torch's loader shuffles images, Keras' fit batches of a dataset.
            # DIFFERS(schedule): torch's loop sets the rate of a step, Keras' callback of an epoch.
            # DIFFERS(zero-grad): torch adds gradients to those of before, Keras' fit has new ones.
            # DIFFERS(loss-scale): torch scales a float16 loss beside the optimiser, Keras in it.
            # DIFFERS(metrics): torch's loop takes its means itself, Keras' fit from its metrics.
            model.fit(
                batches,
                validation_data=_BatchSequence(model, val, 0, workers),
                initial_epoch=part.start,
                epochs=part.stop,
                shuffle=False,
                verbose=0,
                callbacks=[_Steps(recipe, batches, on_step, on_epoch), _Averages()],
            )
            skip = 0
