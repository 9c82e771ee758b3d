"""The operations of the plan, read from Keras layers: the inverse of `resnet_keras.layers`."""

from __future__ import annotations

from collections.abc import Mapping

from keras import activations, initializers, layers

from resnet_spec import (
    Add,
    AveragePool,
    ChannelPad,
    Conv,
    Gate,
    GlobalAverage,
    Identity,
    Linear,
    MaxPool,
    Norm,
    Operation,
    Relu,
    keras_layer_name,
)

Layers = Mapping[str, layers.Layer]
"""The layers of one network by the names that the plan gives them."""

_PARTS = ("pad", "window", "hcw", "sigmoid")
"""The endings of layers that are a part of another one."""


def canonical_name(name: str) -> str:
    """The canonical name of a Keras layer, see `resnet_spec.keras_layer_name`."""
    return name.replace("_", ".")


def operations_of(network: Layers) -> dict[str, Operation | None]:
    """The operation of each layer by its canonical name; None where a plan has no such layer.

    Layers that are a part of another one, such as its padding, have no operation of their own.
    """
    whole = (name for name in network if name.rpartition("_")[2] not in _PARTS)
    return {canonical_name(name): _operation(name, network) for name in whole}


def _operation(name: str, network: Layers) -> Operation | None:
    """The plan's operation for a layer, or None if no plan has such a layer."""
    layer, pad = network[name], network.get(f"{name}_pad")
    zeros = getattr(pad, "padding", ((0, 0), (0, 0)))
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    for kind, read in _READERS.items():
        if isinstance(layer, kind):
            try:
                return read(canonical_name(name), layer, zeros, network)
            except ValueError:  # height and width differ
                return None
    return None


def _conv(name, layer, zeros, network) -> Conv | None:
    (kernel,), (stride,) = set(layer.kernel_size), set(layer.strides)
    (dilation,), groups = set(layer.dilation_rate), layer.groups
    channels = layer.kernel.shape[2] * groups, layer.filters
    is_zero = isinstance(layer.kernel_initializer, initializers.Zeros)
    spec = Conv(name, *channels, kernel, stride, dilation, groups, layer.use_bias, is_zero)
    is_linear = layer.padding == "valid" and layer.activation is activations.linear
    return spec if is_linear and zeros == (spec.pad.height, spec.pad.width) else None


def _norm(name, layer, zeros, network) -> Norm | None:
    start = getattr(layer.gamma_initializer, "value", 1.0)
    whole = layer.scale and layer.center and layer.axis in (-1, 3)
    spec = Norm(name, layer.moving_mean.shape[0], layer.epsilon, layer.momentum, start)
    return spec if whole else None


def _max_pool(name, layer, zeros, network) -> MaxPool | None:
    (kernel,), (stride,) = set(layer.pool_size), set(layer.strides)
    ((padding,),) = {frozenset(pair) for pair in zeros}
    window = network.get(keras_layer_name(name, "window"))
    if window is None:
        return MaxPool(name, kernel, stride, padding) if layer.padding == "valid" else None
    (wide,), is_same = set(window.pool_size), window.padding == "same"
    whole = is_same and (kernel, padding, set(window.strides)) == (1, 0, {1})
    return MaxPool(name, wide, stride, wide // 2, "lowest") if whole else None


def _average_pool(name, layer, zeros, network) -> AveragePool | None:
    (kernel,), (stride,), count = set(layer.pool_size), set(layer.strides), zeros[0][1]
    spec = AveragePool(name, kernel, stride, count)
    edge = "valid" if count else "same"
    return spec if layer.padding == edge and zeros == (spec.pad.height, spec.pad.width) else None


def _channel_pad(name, layer, zeros, network) -> ChannelPad | None:
    swap, pad = (network.get(keras_layer_name(name, part)) for part in ("hcw", "pad"))
    if not isinstance(swap, layers.Permute) or pad is None or zeros[0] != (0, 0):
        return None
    whole = swap.dims == layer.dims == (1, 3, 2)
    return ChannelPad(name, pad.input.shape[2], *zeros[1]) if whole else None


def _relu(name, layer, zeros, network) -> Relu | None:
    is_plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return Relu(name) if is_plain else None


def _gate(name, layer, zeros, network) -> Gate | None:
    sigmoid = network.get(keras_layer_name(name, "sigmoid"))
    is_sigmoid = getattr(sigmoid, "activation", None) is activations.sigmoid
    return Gate(name) if is_sigmoid else None


_READERS = {
    layers.Conv2D: _conv,
    layers.BatchNormalization: _norm,
    layers.MaxPooling2D: _max_pool,
    layers.AveragePooling2D: _average_pool,
    layers.Permute: _channel_pad,
    layers.ReLU: _relu,
    layers.Multiply: _gate,
    layers.Add: lambda name, *_: Add(name),
    layers.Identity: lambda name, *_: Identity(name),
    layers.GlobalAveragePooling2D: lambda name, layer, *_: GlobalAverage(name, not layer.keepdims),
    layers.Dense: lambda name, layer, *_: Linear(name, *layer.kernel.shape),
}
"""How the operation of a layer is read, by its class."""
