"""The ResNet inside a Keras model: its own layers, and the architecture that they make.

A saved or copied model keeps nothing but its layers, and a user's model holds other layers too:
augmentations, another classifier, a second network. The layers of a ResNet are found by their
names, and their numbers say which architecture it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import activations, layers

from resnet_spec import WeightsError, keras_layer_name

from resnet_keras.operations import Layers, canonical_name

_STEM = re.compile(r"(?:(.+)_)?conv1(?:_0)?")
_BLOCK = re.compile(r"(?:.*_)?layer\d+_\d+")
_OWN = re.compile(r"conv1(?:_\w+)?|bn1|relu|maxpool(?:_\w+)?|layer\d+_\d+(?:_\w+)?|norm|avgpool|fc")


@dataclass(frozen=True)
class Network:
    """One ResNet of a model: its name, its layers by the plan's Keras names, and its outputs."""

    name: str
    layers: Layers
    outputs: tuple[str, ...]


def find_network(model: keras.Model, name: str | None = None) -> Network:
    """The ResNet in a model, nested or not; of several, the one of that name.

    A classifier of another name counts as `fc`.

    Raises `WeightsError` if the model is not one of Keras, or holds no such ResNet, or several.
    """
    if not isinstance(model, keras.Model):
        raise WeightsError("this is not a Keras model", [f"it is a {type(model).__name__}"])
    unique = {id(next(iter(each.layers.values()))): each for each in _networks(model)}
    found = [each for each in unique.values() if name is None or _is_named(each, name)]
    if len(found) == 1:
        return _with_head(model, found[0])
    names = ", ".join(repr(each.name) for each in unique.values())
    if not names:
        problem = f"{model.name!r} has no convolution conv1 and no layer1_0 to layer4_2"
        raise WeightsError("the model holds no ResNet of this package", [problem])
    count = len(found) or "no such"
    raise WeightsError(f"the model holds {count} ResNets", [names], "pass name=, one of these")


def _networks(model: keras.Model) -> Iterator[Network]:
    """The ResNets in a model and in the models nested in it."""
    nested = (layer for layer in _all_layers(model) if isinstance(layer, keras.Model))
    for container in (model, *nested):
        for layer in container.layers:
            stem = _STEM.fullmatch(layer.name)
            if stem and isinstance(layer, layers.Conv2D) and not _BLOCK.fullmatch(stem[1] or ""):
                own = _own_layers(container, f"{stem[1]}_" if stem[1] else "")
                ends = [tensor._keras_history.operation for tensor in container.outputs or ()]
                outputs = tuple(canonical_name(name) for name in own if own[name] in ends)
                yield Network(stem[1] or container.name, own, outputs)


def _is_named(network: Network, name: str) -> bool:
    """Whether a network has that name; a dot becomes an underscore in the names of its layers."""
    return keras_layer_name(network.name) == keras_layer_name(name)


def _own_layers(container: keras.Model, start: str) -> Layers:
    """The layers of the ResNet whose names begin so, without this beginning."""
    own = (each for each in container.layers if each.name.startswith(start))
    named = {each.name.removeprefix(start): each for each in own}
    return {name: layer for name, layer in named.items() if _OWN.fullmatch(name)}


def _with_head(model: keras.Model, network: Network) -> Network:
    """The network with its classifier, if that is a layer of another name."""
    own = network.layers
    if "avgpool" not in own or "fc" in own:
        return network
    found = [(index, head) for index, head, pool in _heads(model) if pool is own["avgpool"]]
    heads = {id(head): (index, head) for index, head in found}
    if len(heads) > 1:
        title = f"{len(heads)} dense layers follow the average of {network.name!r}"
        problems = [
            f"{head.name}: keras.Model(model.inputs, model.outputs[{index}])"
            for index, head in heads.values()
        ]
        raise WeightsError(title, problems, "pass one of these models, which share its weights")
    return replace(network, layers={**own, "fc": found[0][1]}) if found else network


def _all_layers(model: keras.Model) -> Iterator[layers.Layer]:
    """The layers of a model, and those of the models nested in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _heads(model: keras.Model) -> Iterator[tuple[int, layers.Dense, layers.Layer]]:
    """The outputs from a dense layer, or from an activation of one; the layer; its source."""
    for index, tensor in enumerate(model.outputs or ()):
        returned = _source(tensor, layers.Activation | layers.Softmax | layers.Dropout)
        dense, *_ = returned._keras_history
        if isinstance(dense, layers.Dense):
            features = _source(_input(returned), layers.Dropout | layers.Identity)
            yield index, dense, features._keras_history.operation


def _source(tensor: keras.KerasTensor, passed: Any) -> keras.KerasTensor:
    """The tensor that this one was made of, past layers of these kinds and into nested models."""
    while True:
        source, _, index = tensor._keras_history
        if isinstance(source, keras.Model):
            tensor = source.outputs[index]
        elif isinstance(source, passed):
            tensor = _input(tensor)
        else:
            return tensor


def _input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    """The tensor that a layer made this one of: in this call, if it was called several times."""
    source, call, _ = tensor._keras_history
    return source._inbound_nodes[call].input_tensors[0]


def returns_logits(model: keras.Model) -> bool:
    """Whether no activation follows the classifier."""
    source = _source(model.outputs[0], layers.Identity)._keras_history.operation
    linear = getattr(source, "activation", activations.linear) is activations.linear
    return linear and not isinstance(source, layers.Softmax)
