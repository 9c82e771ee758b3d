"""The layers in the config of a Keras model, read as data: names, classes, numbers, inputs.

Facts of a layer besides its settings:

* `class`: its class, with its module if it is not one of Keras; `keras.ops.X` is an operation;
* `calls`: the inputs of each of its calls, as `(name, call, tensor)` of the layers that make them;
  `("model/", 0, number)` is an input of the model around the layer, `("", 0, number)` of the whole;
* `outputs`, of a model: what it returns, in the same form;
* `training`: True if it is called as in training; `constant_values`: those of a padding operation.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from resnet_parity.files import shown
from resnet_parity.weights.formats.hdf5 import MAX_DEPTH, Source, is_name

_RELU = ("max_value", "negative_slope", "threshold")
_FACTS = (
    *("batch_shape", "filters", "units", "kernel_size", "strides", "padding", "dilation_rate"),
    *("groups", "pool_size", "use_bias", "epsilon", "momentum", "scale", "center", "axis"),
    *("activation", "data_format", "offset", "mean", "variance", "dims", "keepdims", "mode"),
    "pad_width",
    *_RELU,
)
_FUNCTION = (*_RELU, "activation", "pool_size", "strides", "padding", "dilation_rate", "groups")
"""Facts that are never left out, since without one a layer has the usual value of it."""

UNREADABLE = "unreadable"
"""A value of such a fact that is no number, text or short list."""

_OPERATION = "keras.ops."
_BACKBONE = ("block_type", "use_pre_activation", "stackwise_num_strides")
_OLD_WORDS = {
    "batch_input_shape": "batch_shape",
    "subsample": "strides",
    "border_mode": "padding",
    "bias": "use_bias",
    "nb_filter": "filters",
    "output_dim": "units",
    "dim_ordering": "data_format",
}
"""Facts in the words of Keras 1 and 2."""

_MAX_TEXT, _MAX_ITEMS = 80, 8
"""The longest text, and the most numbers, of one fact."""


Tensor = tuple[str, int, int]
"""A layer, the number of its call, the number of its output."""

Calls = tuple[tuple[Tensor, ...], ...]


@dataclass(frozen=True)
class ConfigLayer:
    """A layer, or a model with its own layers."""

    name: str
    kind: str
    """The class in snake case, as Keras 3 names groups of weights: `conv2d`."""
    facts: Mapping[str, Any]
    layers: tuple[ConfigLayer, ...]


def snake_case(name: str) -> str:
    """The name of a class as Keras 3 writes it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def layers_of(config: Any, source: Source, depth: int = 0) -> tuple[ConfigLayer, ...]:
    """The layers of a model's config, and its operations, in their order; none if it has none."""
    inner, nodes = _inside(config)
    if not isinstance(nodes, list):
        return ()
    if depth > MAX_DEPTH:
        raise source.error(f": its config nests models more than {MAX_DEPTH} deep")
    layers = [_layer(node, source, depth) for node in nodes]
    if config.get("class_name") == "Sequential":
        inputs = [(("", 0, 0),), *(((layer.name, 0, 0),) for layer in layers)]
        calls = zip(layers, inputs, strict=False)
        return tuple(replace(each, facts={**each.facts, "calls": (x,)}) for each, x in calls)
    inputs = _tensors(inner.get("input_layers") if isinstance(inner, dict) else None)
    places = {name: index for index, (name, _, _) in enumerate(inputs)}
    return tuple(
        replace(each, facts={**each.facts, "calls": ((("", 0, places[each.name]),),)})
        if each.name in places and not each.facts.get("calls")
        else each
        for each in layers
    )


def _inside(config: Any) -> tuple[Any, Any]:
    """The settings of a model and the list of its layers, which Keras 1 has in their place."""
    inner = config.get("config") if isinstance(config, dict) else None
    return inner, inner.get("layers") if isinstance(inner, dict) else inner


def _class(node: Mapping[str, Any], kind: str) -> str:
    """The class of a layer, with the module of one that is not in Keras."""
    module, registered = node.get("module"), node.get("registered_name")
    if not isinstance(module, str):
        return registered if isinstance(registered, str) and ">" in registered else kind
    if re.match(r"keras\.(src\.)?ops\b", module):
        return f"{_OPERATION}{kind}"
    return kind if re.match(r"(tf_)?keras\b", module) else f"{module}.{kind}"


def _calls(nodes: Any) -> dict[str, Any]:
    """The inputs of each call of a layer, and facts on how it is called."""
    calls, found = [], {}
    for node in nodes if isinstance(nodes, list) else ():
        old = isinstance(node, list) and bool(node) and isinstance(node[0], str)
        entries = [node] if old else node
        calls.append(_tensors(entries))
        options = [node.get("kwargs")] if isinstance(node, dict) else []
        if isinstance(entries, list):
            options += [each[3] for each in entries if isinstance(each, list) and len(each) > 3]
        for each in options:
            if isinstance(each, dict) and each.get("training"):
                found["training"] = True
            if isinstance(each, dict) and isinstance(each.get("constant_values"), int | float):
                found["constant_values"] = each["constant_values"]
    return {"calls": tuple(calls), **found}


def _tensors(value: Any, depth: int = 0) -> tuple[Tensor, ...]:
    """The tensors of layers in a value: `["conv1", 0, 0]`, in Keras 3 in a dict."""
    if depth > MAX_DEPTH:
        return ()
    if isinstance(value, dict):
        history = value.get("config") if value.get("class_name") == "__keras_tensor__" else None
        found = history.get("keras_history") if isinstance(history, dict) else [*value.values()]
        return _tensors(found, depth + 1)
    if not isinstance(value, list):
        return ()
    if len(value) >= 3 and isinstance(value[0], str):
        name, call, tensor, *options = value
        if not (isinstance(call, int) and isinstance(tensor, int)):
            return ()
        return ((name, call, tensor), *_tensors(options, depth + 1))
    return tuple(each for item in value for each in _tensors(item, depth + 1))


def _layer(node: Any, source: Source, depth: int) -> ConfigLayer:
    kind = node.get("class_name") if isinstance(node, dict) else None
    settings = node.get("config") if isinstance(node, dict) else None
    stated = settings.get("name") if isinstance(settings, dict) else None
    name = stated or (node.get("name") if isinstance(node, dict) else None)
    if not (isinstance(kind, str) and isinstance(name, str) and all(map(is_name, name.split("/")))):
        raise source.error(f": its config holds {shown(node)}, which is no layer")
    facts: dict[str, Any] = {"class": _class(node, kind)[:_MAX_TEXT]}
    for key, value in settings.items() if isinstance(settings, dict) else ():
        word = _OLD_WORDS.get(key, key)
        if word in _FACTS and (fact := _compact(value)) is not None:
            facts[word] = fact
        elif word in _FUNCTION and value is not None:
            facts[word] = UNREADABLE
    if "inbound_nodes" in node:
        facts |= _calls(node["inbound_nodes"])
    layers = layers_of(node, source, depth + 1)
    if layers:
        outputs = _tensors(settings.get("output_layers")) if isinstance(settings, dict) else ()
        last = ((layers[-1].name, 0, 0),) if kind == "Sequential" else ()
        facts["outputs"] = last or outputs
    return ConfigLayer(name, snake_case(kind), facts, layers)


def _compact(value: Any, depth: int = 0) -> Any:
    """A number, a short text, or a tuple of them; None for anything else."""
    if isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value[:_MAX_TEXT]
    if isinstance(value, list) and len(value) <= _MAX_ITEMS and depth < 2:
        return tuple(_compact(item, depth + 1) for item in value)
    return None


def backbone_facts(config: Any) -> dict[str, Any]:
    """The facts of the `ResNetBackbone` that a config of KerasHub describes; none if it is none."""
    settings = config.get("config") if isinstance(config, dict) else None
    if not isinstance(settings, dict):
        return {}
    if config.get("class_name") != "ResNetBackbone":
        inner = settings.get("backbone")
        is_backbone = isinstance(inner, dict) and inner.get("class_name") == "ResNetBackbone"
        found = backbone_facts(inner) if is_backbone else {}
        pooling = _compact(settings.get("pooling"))
        return {**found, "pooling": pooling} if found and pooling is not None else found
    return {key: fact for key in _BACKBONE if (fact := _compact(settings.get(key))) is not None}


def by_group(layers: Iterable[ConfigLayer]) -> dict[str, ConfigLayer]:
    """The layers by the groups that hold their weights: `conv2d`, `conv2d_1`, in order."""
    seen: Counter[str] = Counter()
    found = {}
    for layer in layers:
        if str(layer.facts.get("class")).startswith(_OPERATION):
            continue
        number = seen[layer.kind]
        found[f"{layer.kind}_{number}" if number else layer.kind] = layer
        seen[layer.kind] += 1
    return found


def all_facts(layers: Iterable[ConfigLayer], outer: str = "") -> Iterator[tuple[str, Any]]:
    """The facts of each layer, by its name after the models that contain it."""
    for layer in layers:
        facts, name = dict(layer.facts), f"{outer}{layer.name}"
        if "calls" in facts:
            facts["calls"] = tuple(_whole(outer, call) for call in facts["calls"])
        if "outputs" in facts:
            facts["outputs"] = _whole(f"{name}/", facts["outputs"])
        yield name, facts
        yield from all_facts(layer.layers, f"{outer}{layer.name}/")


def _whole(outer: str, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tensors with the names of layers after the models that contain them."""
    return tuple((f"{outer}{name}", call, tensor) for name, call, tensor in tensors)
