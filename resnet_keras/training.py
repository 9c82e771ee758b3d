"""Training with a `resnet_spec.Recipe` in Keras."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import keras
import numpy as np
from keras import ops

from resnet_spec import Recipe, make_plan

from resnet_keras.contexts import deep_recursion, floatx
from resnet_keras.model import check_layout
from resnet_keras.network import returns_logits
from resnet_keras.optimizer import CoupledSGD
from resnet_keras.weights import architecture_of


def tensorflow() -> Any:
    """TensorFlow if Keras runs on it, else None. No other module of this package or of its
    adapter imports it.
    """
    name = "tensorflow"
    return import_module(name) if keras.backend.backend() == name else None


@keras.saving.register_keras_serializable("resnet_keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """The stock layer, except that it tracks the unbiased variance in training, of several devices
    the mean. With `synchronized`, which TensorFlow alone has, each takes the statistics of all.

    Raises `ValueError` unless it normalises maps (N, H, W, C), with gamma and beta.
    """

    def build(self, input_shape):
        is_whole = self.scale and self.center and self.axis in (-1, 3)
        if len(input_shape) != 4 or not is_whole:
            raise ValueError("this norm is for maps (N, H, W, C), with gamma and beta")
        super().build(input_shape)

    def call(self, inputs, training=None, mask=None):
        if not (training and self.trainable):
            return super().call(inputs, training=training, mask=mask)
        x = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        tf = tensorflow() if x.dtype == "float32" and not self.synchronized else None
        y, *found = _fused(tf, x, self) if tf else _unfused(x, self)
        for value, statistic in zip((self.moving_mean, self.moving_variance), found, strict=True):
            mean = _mean_over_replicas(statistic)
            value.assign(value * self.momentum + mean * (1 - self.momentum))
        return ops.cast(y, self.compute_dtype)


def _mean_over_replicas(value):
    """The mean of a tensor over the replicas of `tf.distribute`; elsewhere the tensor itself."""
    tf = tensorflow()
    replica = tf.distribute.get_replica_context() if tf else None
    if replica is None or replica.num_replicas_in_sync == 1:
        return value
    return replica.all_reduce("MEAN", value)


def _fused(tf: Any, x, layer: BatchNormalization) -> tuple:
    """Output, mean and unbiased variance, all from one operation of TensorFlow."""
    result = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=layer.gamma, offset=layer.beta, mean=[], variance=[], epsilon=layer.epsilon
    )
    return result.y, result.batch_mean, result.batch_variance


def _unfused(x, layer: BatchNormalization) -> tuple:
    """Output, mean and unbiased variance, which is zero for a single value per channel."""
    over, tf = (_mean_over_replicas, tensorflow()) if layer.synchronized else (ops.copy, None)
    mean = over(ops.mean(x, axis=(0, 1, 2)))
    deviation = x - mean
    variance = over(ops.mean(ops.square(deviation), axis=(0, 1, 2)))
    y = deviation * (ops.rsqrt(variance + layer.epsilon) * layer.gamma) + layer.beta
    replicas = tf.distribute.get_strategy().num_replicas_in_sync if tf else 1
    count = ops.cast(ops.size(x[..., 0]) * replicas, x.dtype)
    return y, mean, variance * (count / ops.maximum(count - 1, 1))


def for_training(model: keras.Model, *, synchronized: bool = False) -> keras.Model:
    """A copy of the model, weights included, that tracks the unbiased variance.

    Its layers have the same names, so the stock model takes its weights (`get_weights`,
    `set_weights`). Save the stock model for others: it loads without this package. With
    `synchronized`, its norms take the statistics of all devices, which on jax they always do.
    """
    whole = {"synchronized": True} if synchronized and tensorflow() else {}

    # DIFFERS(bn-variance): torch tracks the unbiased variance, Keras' stock layer the biased one.
    def own(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.BatchNormalization):
            return BatchNormalization.from_config(layer.get_config() | whole)
        return type(layer).from_config(layer.get_config())

    with deep_recursion():
        copy = keras.models.clone_model(model, clone_function=own, recursive=True)
    copy.set_weights(model.get_weights())
    copy.architecture = architecture_of(model)
    copy.feature_info = make_plan(copy.architecture).features
    return copy


def freeze_backbone(model: keras.Model) -> keras.Model:
    """The same model, of which only the classifier is trained."""
    # DIFFERS(freezing): torch's frozen norm still follows the batch, Keras' does not.
    for layer in model.layers:
        layer.trainable = False
    model.get_layer("fc").trainable = True
    return model


def cross_entropy(model: keras.Model, recipe: Recipe) -> keras.losses.Loss:
    """The loss from one-hot labels (N, classes) and logits (N, classes): a mean over the batch.

    It has the dtype of the model. Raises `ValueError` if the model returns probabilities.
    """
    if not returns_logits(model):
        raise ValueError(
            "this loss takes logits, and an activation follows the classifier of this model: build "
            "it without classifier_activation"
        )
    # DIFFERS(labels): torch smooths labels given as indices, Keras only one-hot labels.
    with floatx(model):
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing
        )


def train_step(
    model: keras.Model,
    optimizer: CoupledSGD,
    loss: keras.losses.Loss,
    images: np.ndarray,
    labels: np.ndarray,
    learning_rate: float,
) -> float:
    """Train one step on images (N, H, W, C) and labels (N,); return the loss before it."""
    check_layout(images, model.input_shape[-1])
    with floatx(model):
        current = getattr(model, "optimizer", None)
        current = getattr(current, "inner_optimizer", current)  # float16 wraps it to scale the loss
        if current is not optimizer or model.loss is not loss:
            model.compile(optimizer, loss)
        optimizer.learning_rate = learning_rate
        one_hot = keras.utils.to_categorical(labels, model.output_shape[-1])
        return float(model.train_on_batch(images, one_hot))
