"""Inference in Keras: a fast copy of a model, for evaluation alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
from keras import activations, layers

from resnet_keras.contexts import deep_recursion, functional
from resnet_keras.training import tensorflow


def prepare(
    model: keras.Model,
    *,
    dtype: str | None = None,
    compiled: bool = False,
    device: str | None = None,
) -> keras.Model:
    """A fast copy of a ResNet for inference, called like it; the model itself stays as it is.

    A batch normalisation that alone follows a convolution is folded into it, in float64, rounded
    once (Jacob et al. 2017, arXiv:1712.05877, section 3.2). Others stay: those at the start of
    pre-activation blocks, and a last one. The copy computes in `dtype` (float32, bfloat16, float16;
    default: that of the images) and returns the dtype of the images. With `compiled` a call runs
    as one `tf.function`, as `predict` does anyway. `device` ("gpu:0") defaults to that of Keras.
    The copy is a functional model of stock layers: `model.save` writes a file that opens without
    this package.

    Raises `ValueError` if the model is not a functional one, or if it should be compiled on another
    backend than TensorFlow.
    """
    with keras.device(device) if device else nullcontext(), deep_recursion():
        prepared = _folded(model, dtype or model.inputs[0].dtype)
    if compiled or device:
        prepared.call = _call(prepared.call, compiled, device)
    for name in ("architecture", "feature_info", "input_spec"):
        if hasattr(model, name):  # a loaded model keeps nothing but its layers
            setattr(prepared, name, getattr(model, name))
    return prepared


def _folded(model: keras.Model, dtype: str) -> keras.Model:
    """A copy of the model with norms folded into convolutions, which computes in that dtype."""
    convs = dict(_convs_before_norms(model))
    made: dict[layers.Layer, layers.Layer] = {}

    def clone(layer: layers.Layer) -> layers.Layer:
        if layer in convs:
            return layer
        config, kind = layer.get_config(), type(layer)
        if isinstance(layer, layers.BatchNormalization):
            kind = layers.BatchNormalization
            config["dtype"] = dtype if dtype in ("float32", "float64") else f"mixed_{dtype}"
        elif not isinstance(layer, layers.Activation | layers.Softmax):  # a sigmoid or a softmax
            config["dtype"] = dtype
        if layer in convs.values():
            config["use_bias"] = True
        made[layer] = kind.from_config(config)
        return made[layer]

    def call(layer: layers.Layer, x: Any, *args: Any, **options: Any) -> Any:
        return x if layer in convs else layer(x, *args, **options)

    copy = keras.models.clone_model(model, clone_function=clone, call_function=call, recursive=True)
    for layer, other in made.items():
        if layer not in convs.values():
            other.set_weights(layer.get_weights())
    for norm, conv in convs.items():
        made[conv].set_weights(_folded_weights(conv, norm))
    kind = model.inputs[0].dtype
    if all(each.dtype == kind for each in copy.outputs):
        return copy
    cast = layers.Identity(dtype=kind, name=f"to_{kind}")  # a layer casts its input
    return functional(copy.input, cast(copy.output), name=copy.name)


def _folded_weights(
    conv: layers.Conv2D, norm: layers.BatchNormalization
) -> tuple[np.ndarray, np.ndarray]:
    """The kernel (H, W, in, out) and bias (out,) of both layers in one, in float64."""
    kernel, *bias = (np.asarray(array, "float64") for array in conv.get_weights())
    mean, variance = (
        np.asarray(each, "float64") for each in (norm.moving_mean, norm.moving_variance)
    )
    gamma = np.asarray(norm.gamma, "float64") if norm.scale else 1.0
    beta = np.asarray(norm.beta, "float64") if norm.center else 0.0
    scale = gamma / np.sqrt(variance + norm.epsilon)
    return kernel * scale, (sum(bias) - mean) * scale + beta


def _convs_before_norms(
    model: keras.Model,
) -> Iterator[tuple[layers.BatchNormalization, layers.Conv2D]]:
    """Each norm whose input is that of a convolution and of nothing else, and the convolution."""
    nodes = [node for level in model._nodes_by_depth.values() for node in level]
    users = Counter(id(x) for node in nodes if not node.is_input for x in node.input_tensors)
    users.update(map(id, model.outputs))
    calls = Counter(node.operation for node in nodes)
    for node in nodes:
        layer = node.operation
        if isinstance(layer, keras.Model):
            yield from _convs_before_norms(layer)
        elif isinstance(layer, layers.BatchNormalization):
            (x,) = node.input_tensors
            conv = x._keras_history.operation
            is_linear = getattr(conv, "activation", None) is activations.linear
            once = users[id(x)] == calls[conv] == calls[layer] == 1
            if isinstance(conv, layers.Conv2D) and is_linear and once:
                yield layer, conv


def _call(run: Any, compiled: bool, device: str | None) -> Any:
    """The function `call` of a model, as one graph of TensorFlow if compiled, on that device."""

    def placed(images: Any) -> Any:
        with keras.device(device) if device else nullcontext():
            return run(images, training=False)

    if compiled:
        tf = tensorflow()
        if tf is None:
            raise ValueError(
                "compiled=True needs Keras on TensorFlow; call predict, which compiles on jax"
            )
        placed = tf.function(placed, autograph=False, reduce_retracing=True)
    return lambda inputs, training=None, mask=None: placed(inputs)
