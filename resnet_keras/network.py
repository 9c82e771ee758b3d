"""The ResNet inside a Keras model: its own layers, and the architecture that they make.

A saved or copied model keeps nothing but its layers, and a user's model holds other layers too:
augmentations, another classifier, a second network. The layers of a ResNet are found by their
names, and their numbers say which architecture it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import activations, layers

from resnet_spec import WeightsError

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
    found = [each for each in unique.values() if name in (None, each.name)]
    if len(found) == 1:
        return found[0]
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
                own = _own_layers(model, container, f"{stem[1]}_" if stem[1] else "")
                ends = [tensor._keras_history.operation for tensor in container.outputs or ()]
                outputs = tuple(canonical_name(name) for name in own if own[name] in ends)
                yield Network(stem[1] or container.name, own, outputs)


def _own_layers(model: keras.Model, container: keras.Model, start: str) -> Layers:
    """The layers of the ResNet whose names begin so, without this beginning."""
    named = {each.name.removeprefix(start): each for each in container.layers}
    own = {
        name: layer
        for name, layer in named.items()
        if _OWN.fullmatch(name) and layer.name.startswith(start)
    }
    if "avgpool" in own and "fc" not in own:
        for head in _heads(model):
            if _takes_from(head, own["avgpool"]):
                own["fc"] = head
    return own


def _all_layers(model: keras.Model) -> Iterator[layers.Layer]:
    """The layers of a model, and those of the models nested in it."""
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _all_layers(layer)


def _heads(model: keras.Model) -> Iterator[layers.Dense]:
    """The dense layers whose values the model returns, as they are or after an activation."""
    for tensor in model.outputs or ():
        source = _source(tensor, layers.Activation | layers.Softmax | layers.Dropout)
        if isinstance(source, layers.Dense):
            yield source


def _takes_from(head: layers.Dense, pool: layers.Layer) -> bool:
    """Whether a dense layer takes its features from the global average of a network."""
    try:
        return _source(head.input, layers.Dropout | layers.Identity) is pool
    except (AttributeError, ValueError):  # called outside of a graph, or several times
        return False


def _source(tensor: keras.KerasTensor, passed: Any) -> layers.Layer:
    """The layer that made a tensor, past layers of these kinds and into nested models."""
    while True:
        source, _, index = tensor._keras_history
        if isinstance(source, keras.Model):
            tensor = source.outputs[index]
        elif isinstance(source, passed):
            tensor = source.input
        else:
            return source


def returns_logits(model: keras.Model) -> bool:
    """Whether no activation follows the classifier."""
    source = _source(model.outputs[0], layers.Identity)
    linear = getattr(source, "activation", activations.linear) is activations.linear
    return linear and not isinstance(source, layers.Softmax)
