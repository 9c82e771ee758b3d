"""Translate Keras' layers and operations into steps; each takes a layer and its input's layout.

A layout names the axes of a Keras tensor, such as "nhwc". A layer that mistakes one axis for
another is translated as such.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from resnet_parity.diagnose.record import SAME, Array, Assign, Kind, RecordedStep

Chain = Sequence[RecordedStep]
Translate = Callable[[Any, str], Chain]

LAST, FIRST = "nhwc", "nchw"


def _tensors(**named: tuple[Any, str] | None) -> dict[str, Any]:
    """Variables, each with the einsum that brings its axes into canonical order."""
    present = {name: each for name, each in named.items() if each and each[0] is not None}
    return {
        "tensors": {name: np.einsum(axes, to_array(v)) for name, (v, axes) in present.items()},
        "assign": {name: _assign(v, axes) for name, (v, axes) in present.items()},
    }


def to_array(tensor: Any) -> Array:
    """Return a copy of a tensor or variable as a NumPy array."""
    return np.array(importlib.import_module("keras").ops.convert_to_numpy(tensor))


def _assign(variable: Any, axes: str) -> Assign:
    theirs, _, ours = axes.partition("->")

    def assign(value: Array) -> None:
        variable.assign(np.einsum(f"{ours}->{theirs}", value))

    return assign


def layout_mismatch(layer: Any, layout: str) -> Chain:
    """A transpose if the layer expects another layout than its input has; else nothing."""
    wanted = FIRST if getattr(layer, "data_format", None) == "channels_first" else LAST
    if len(layout) != 4 or not hasattr(layer, "data_format") or layout == wanted:
        return []
    if "pad" in type(layer).__name__.lower():  # padding works on any two axes
        return []
    axes = tuple(layout.index(axis) for axis in (wanted[i] for i in map(layout.index, FIRST)))
    return [RecordedStep(Kind.TRANSPOSE, "", {"axes": axes})]


def _conv(layer: Any, layout: str) -> Chain:
    settings = _window(layer) | {"groups": layer.groups}
    tensors = _tensors(weight=(layer.kernel, "hwio->oihw"), bias=(layer.bias, "o->o"))
    return [RecordedStep(Kind.CONV, "", settings, **tensors), *activation(layer)]


def _depthwise(layer: Any, layout: str) -> Chain:
    settings = _window(layer) | {"groups": layer.kernel.shape[2]}
    tensors = _tensors(weight=(layer.kernel, "hwio->iohw"), bias=(layer.bias, "o->o"))
    if layer.depth_multiplier != 1:
        return [RecordedStep(Kind.OPAQUE, "", {"operation": "DepthwiseConv2D"})]
    return [RecordedStep(Kind.CONV, "", settings, **tensors), *activation(layer)]


def _window(layer: Any) -> dict[str, Any]:
    pad = SAME if layer.padding == "same" else ((0, 0), (0, 0))
    return {
        "stride": tuple(layer.strides),
        "pad": pad,
        "dilation": tuple(getattr(layer, "dilation_rate", (1, 1))),
    }


def _dense(layer: Any, layout: str) -> Chain:
    tensors = _tensors(weight=(layer.kernel, "io->oi"), bias=(layer.bias, "o->o"))
    return [RecordedStep(Kind.DENSE, "", **tensors), *activation(layer)]


def _pool(kind: str) -> Translate:
    def translate(layer: Any, layout: str) -> Chain:
        settings = _window(layer) | {
            "kernel": tuple(layer.pool_size),
            "ceil": False,
            "counted": False,
            "border": -math.inf if kind == Kind.MAX_POOL else 0.0,
        }
        return [RecordedStep(kind, "", settings)]

    return translate


def norm(layer: Any, layout: str, training: bool, unbiased: bool) -> Chain:
    """A batch normalisation, over the axis that the layer takes for the channels."""
    axes = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    settings = {
        "eps": layer.epsilon,
        "axis": layout[axes],
        "training": training,
        "decay": layer.momentum,
        "unbiased": unbiased,
    }
    tensors = _tensors(
        gamma=(layer.gamma, "c->c"),
        beta=(layer.beta, "c->c"),
        mean=(layer.moving_mean, "c->c"),
        variance=(layer.moving_variance, "c->c"),
    )
    return [RecordedStep(Kind.NORM, "", settings, **tensors)]


def _zero_padding(layer: Any, layout: str) -> Chain:
    first = layout.index("h") if layer.data_format is None else 1
    first = 2 if layer.data_format == "channels_first" else first
    pairs = dict(zip(layout[first : first + 2], layer.padding, strict=True))
    around = tuple(tuple(pairs.get(axis, (0, 0))) for axis in FIRST)
    return [RecordedStep(Kind.PAD, "", {"around": around, "value": 0.0})]


def _rescaling(layer: Any, layout: str) -> Chain:
    scale, offset = (np.reshape(each, -1) for each in (layer.scale, layer.offset))
    tensors = {"scale": scale.astype("float64"), "offset": offset.astype("float64")}
    return [RecordedStep(Kind.AFFINE, "", tensors=tensors)]


def _normalization(layer: Any, layout: str) -> Chain:
    mean, variance = (to_array(each).reshape(-1) for each in (layer.mean, layer.variance))
    scale = 1 / np.sqrt(variance.astype("float64"))
    return [RecordedStep(Kind.AFFINE, "", tensors={"scale": scale, "offset": -mean * scale})]


def _relu_layer(layer: Any, layout: str) -> Chain:
    if layer.threshold:
        return [RecordedStep(Kind.OPAQUE, "", {"operation": "ReLU with a threshold"})]
    slope = float(layer.negative_slope or 0.0)
    return [RecordedStep(Kind.RELU, "", {"slope": slope, "most": layer.max_value})]


def _leaky_relu(layer: Any, layout: str) -> Chain:
    return [RecordedStep(Kind.RELU, "", {"slope": float(layer.negative_slope), "most": None})]


def activation(layer: Any, layout: str = LAST) -> Chain:
    """The activation that a layer applies to its own output; nothing if it is linear."""
    name = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return [] if name == "linear" else [_function(name)]


def _function(name: str) -> RecordedStep:
    most = {"relu": None, "relu6": 6.0}
    if name in most:
        return RecordedStep(Kind.RELU, "", {"slope": 0.0, "most": most[name]})
    return RecordedStep({"swish": "silu"}.get(name, name), "")


def _activation_layer(name: str) -> Translate:
    return lambda layer, layout: [_function(name)]


def _flatten(layer: Any, layout: str) -> Chain:
    return [RecordedStep(Kind.FLATTEN, "", {"order": layout[1:] if len(layout) == 4 else "chw"})]


TRANSLATIONS: dict[str, Translate] = {
    "Conv2D": _conv,
    "DepthwiseConv2D": _depthwise,
    "Dense": _dense,
    "MaxPooling2D": _pool(Kind.MAX_POOL),
    "AveragePooling2D": _pool(Kind.AVERAGE_POOL),
    "GlobalAveragePooling2D": lambda layer, layout: [RecordedStep(Kind.GLOBAL_AVERAGE, "")],
    "ZeroPadding2D": _zero_padding,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Permute": lambda layer, layout: [],  # it changes the layout of its output only
    "ReLU": _relu_layer,
    "LeakyReLU": _leaky_relu,
    "Activation": activation,
    "Flatten": _flatten,
    "Reshape": _flatten,
    "Softmax": _activation_layer("softmax"),
    "Relu": _activation_layer("relu"),
    "Sigmoid": _activation_layer("sigmoid"),
    "Silu": _activation_layer("silu"),
    "Tanh": _activation_layer("tanh"),
    "Add": lambda layer, layout: [RecordedStep(Kind.ADD, "")],
    "Subtract": lambda layer, layout: [RecordedStep("subtract", "")],
    "Multiply": lambda layer, layout: [RecordedStep(Kind.MULTIPLY, "")],
    "TrueDivide": lambda layer, layout: [RecordedStep("divide", "")],
    "Divide": lambda layer, layout: [RecordedStep("divide", "")],
    "Mean": lambda layer, layout: [RecordedStep(Kind.GLOBAL_AVERAGE, "")],
}
"""By class name. The recorder checks each step, so a wrong translation is detected."""
