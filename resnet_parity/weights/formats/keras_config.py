"""The layers in the config of a Keras model, read as data: names, classes, numbers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from resnet_parity.files import shown
from resnet_parity.weights.formats.hdf5 import MAX_DEPTH, Source, is_name

_FACTS = (
    *("batch_shape", "filters", "units", "kernel_size", "strides", "padding", "dilation_rate"),
    *("groups", "pool_size", "use_bias", "epsilon", "momentum", "scale", "center", "axis"),
    *("activation", "data_format", "offset", "mean", "variance"),
)
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
    """The layers of a model's config, in their order; none if it states none.

    Operations of Keras 3 that are no layers, such as `x + 1`, are left out.
    """
    inner = config.get("config") if isinstance(config, dict) else None
    nodes = inner.get("layers") if isinstance(inner, dict) else inner  # a list: Keras 1
    if not isinstance(nodes, list):
        return ()
    if depth > MAX_DEPTH:
        raise source.error(f": its config nests models more than {MAX_DEPTH} deep")
    return tuple(
        _layer(node, source, depth)
        for node in nodes
        if not (isinstance(node, dict) and _is_operation(node.get("module")))
    )


def _is_operation(module: Any) -> bool:
    return isinstance(module, str) and re.match(r"keras\.(src\.)?ops\b", module) is not None


def _layer(node: Any, source: Source, depth: int) -> ConfigLayer:
    kind = node.get("class_name") if isinstance(node, dict) else None
    settings = node.get("config") if isinstance(node, dict) else None
    stated = settings.get("name") if isinstance(settings, dict) else None
    name = stated or (node.get("name") if isinstance(node, dict) else None)
    if not (isinstance(kind, str) and isinstance(name, str) and all(map(is_name, name.split("/")))):
        raise source.error(f": its config holds {shown(node)}, which is no layer")
    facts = {"class": kind[:_MAX_TEXT]}
    for key, value in settings.items() if isinstance(settings, dict) else ():
        word = _OLD_WORDS.get(key, key)
        if word in _FACTS and (fact := _compact(value)) is not None:
            facts[word] = fact
    return ConfigLayer(name, snake_case(kind), facts, layers_of(node, source, depth + 1))


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
        return backbone_facts(inner) if is_backbone else {}
    return {key: fact for key in _BACKBONE if (fact := _compact(settings.get(key))) is not None}


def by_group(layers: Iterable[ConfigLayer]) -> dict[str, ConfigLayer]:
    """The layers by the groups that hold their weights: `conv2d`, `conv2d_1`, in order."""
    seen: Counter[str] = Counter()
    found = {}
    for layer in layers:
        number = seen[layer.kind]
        found[f"{layer.kind}_{number}" if number else layer.kind] = layer
        seen[layer.kind] += 1
    return found


def all_facts(layers: Iterable[ConfigLayer], outer: str = "") -> Iterator[tuple[str, Any]]:
    """The facts of each layer, by its name after the models that contain it."""
    for layer in layers:
        yield f"{outer}{layer.name}", layer.facts
        yield from all_facts(layer.layers, f"{outer}{layer.name}/")
