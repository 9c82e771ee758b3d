"""Gradients of a Keras model, under canonical names and in canonical layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from resnet_spec import IMAGE, outputs

from resnet_keras.contexts import floatx
from resnet_keras.weights import variables_of
from resnet_parity.adapters.keras.modes import compile_options


class Differentiated(keras.Model):
    """The model after an added tensor of zeros, whose gradient is that of the images."""

    def __init__(self, model: keras.Model, shape: tuple[int, ...], by_batch: bool) -> None:
        super().__init__(dtype=model.dtype_policy)
        self.model, self.by_batch = model, by_batch
        self.offset = self.add_weight(shape=shape, initializer="zeros", name=IMAGE)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.model(x + self.offset, training=training and self.by_batch)


class Recorder(keras.optimizers.Optimizer):
    """An optimiser that stores the gradients and updates nothing."""

    def build(self, variables: list[keras.Variable]) -> None:
        super().build(variables)
        self.gradients = [self.add_variable_from_reference(v, "gradient") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.assign(self.gradients[self._get_variable_index(variable)], gradient)


class WeightedSum(keras.losses.Loss):
    """The sum of the model's outputs, weighted by the cotangents."""

    def call(self, y_true, y_pred):
        return ops.sum(y_true * y_pred)


def gradients(
    model: keras.Model,
    images: np.ndarray,
    cotangents: Mapping[str, np.ndarray],
    mode: str,
    *,
    training: bool,
) -> dict[str, np.ndarray]:
    """Return the gradient of every trained tensor and of the images (N, C, H, W).

    What is differentiated is the sum of the model's outputs, weighted by the cotangents. In
    `training` norms use batch statistics; otherwise they are frozen. The model stays unchanged.
    """
    image = np.einsum("nchw->nhwc", images)
    weights = [_channels_last(cotangents[name]) for name in outputs(model.architecture)]
    statistics = [(each, ops.convert_to_numpy(each)) for each in model.non_trainable_variables]
    of_image, found = recorded(model, image, weights, mode, by_batch=training)
    for variable, value in statistics:
        variable.assign(value)
    variables = variables_of(model, model.architecture)
    arrays = {
        p.name: np.einsum(p.to_torch, found[id(value)]).copy()
        for p, value in variables.items()
        if p.trainable
    }
    return arrays | {IMAGE: np.einsum("nhwc->nchw", of_image).copy()}


def recorded(
    model: keras.Model, x: np.ndarray, cotangents: list[np.ndarray], mode: str, *, by_batch: bool
) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The gradient of the model's input x, and of each trained variable by its id.

    With `by_batch` norms use the statistics of the batch, and update their own.
    """
    with floatx(model):
        differentiated = Differentiated(model, x.shape, by_batch)
        recorder = Recorder(learning_rate=0.0)
        differentiated.compile(recorder, WeightedSum(reduction=None), **compile_options(mode))
        differentiated.train_on_batch(x, cotangents if len(cotangents) > 1 else cotangents[0])
    pairs = zip(differentiated.trainable_variables, recorder.gradients, strict=True)
    found = {id(variable): ops.convert_to_numpy(gradient) for variable, gradient in pairs}
    return found[id(differentiated.offset)], found


def _channels_last(value: np.ndarray) -> np.ndarray:
    """A feature map (N, C, H, W) as (N, H, W, C); logits unchanged."""
    return np.einsum("nchw->nhwc", value) if value.ndim == 4 else value
