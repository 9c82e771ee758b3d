"""The data of the architecture explorer: stages, blocks and layers of every architecture.

Each layer carries its lines of code in both frameworks. Equal blocks and layers are stored once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from resnet_spec import (
    GROUPS,
    Add,
    AveragePool,
    Block,
    ChannelPad,
    Conv,
    Gate,
    GlobalAverage,
    Linear,
    MaxPool,
    Node,
    Norm,
    Relu,
    make_graph,
    make_plan,
)
from resnet_spec.architecture import Architecture
from resnet_spec.taps import IMAGE, mac_count, shapes
from resnet_spec.tensors import Parameter, layer_parameters, parameter_count

from resnet_parity.site.chapters import CHAPTERS
from resnet_parity.site.colour import coloured
from resnet_parity.site.columns import anchor
from resnet_parity.site.definitions import module_file
from resnet_parity.site.evidence import UNIT
from resnet_parity.site.lines import Place, places_in_block, places_outside
from resnet_parity.site.results import ROOT, read

_FUNCTIONS = {
    Add: ("layers", "ResidualAdd"),
    AveragePool: ("layers", "average_pool"),
    ChannelPad: ("layers", "channel_pad"),
    Conv: ("layers", "conv"),
    Gate: ("blocks", "SqueezeExcite"),
    GlobalAverage: ("layers", "global_average_pool"),
    Linear: ("layers", "linear"),
    MaxPool: ("layers", "max_pool"),
    Norm: ("layers", "batch_norm"),
    Relu: ("layers", "relu"),
}
"""The module and the definition that create each operation."""


class Interned:
    """A list of distinct values; each is referred to by its index."""

    def __init__(self) -> None:
        self.all: list[Any] = []
        self._indices: dict[str, int] = {}

    def index(self, value: Any) -> int:
        """Return the index of a value; a new value is appended."""
        key = json.dumps(value)
        if key not in self._indices:
            self._indices[key] = len(self.all)
            self.all.append(value)
        return self._indices[key]


def explorer_data() -> dict[str, Any]:
    """Return all that the explorer shows as plain data, apart from `figures`."""
    layers, blocks, places = Interned(), Interned(), Interned()
    nets = {
        arch.name: _net(arch, layers, blocks, places) for rows in GROUPS.values() for arch in rows
    }
    return {
        "chapters": {module: each.id for each in CHAPTERS for module in each.modules},
        "groups": {group: [arch.name for arch in rows] for group, rows in GROUPS.items()},
        "nets": nets,
        "blocks": blocks.all,
        "layers": layers.all,
        "places": places.all,
        "vectors": _vectors(),
        "figures": {
            "unit": UNIT,
            "measured": list(read("depth")["rows"]),
            "nets": {},
        },
    }


def figures() -> dict[str, dict[str, Any]]:
    """Return the measured errors at every tap by architecture; the page loads one at a time."""
    data = read("depth")
    return {
        name: _figures(net, data["setups"][net["setup"]]["date"])
        for name, net in data["rows"].items()
    }


def _figures(net: dict[str, Any], date: str) -> dict[str, Any]:
    """The errors of an architecture by tap, in the order of dtypes and frameworks."""
    rows = [errors for frameworks in net["errors"].values() for errors in frameworks.values()]
    return {
        "date": date,
        "image": net["image"],
        "dtypes": list(net["errors"]),
        "taps": {tap: list(each) for tap, *each in zip(net["taps"], *rows, strict=True)},
    }


def _vectors() -> dict[str, int]:
    """The number of conformance vectors of each architecture."""
    file = ROOT / "conformance" / "vectors.json"
    data = json.loads(file.read_text(encoding="utf-8"))["architectures"]
    return {name: len(vectors) for name, vectors in data.items()}


def _net(
    arch: Architecture, layers: Interned, blocks: Interned, places: Interned
) -> dict[str, Any]:
    plan = make_plan(arch)
    extents = shapes(arch, arch.image_size, arch.image_size)
    of_block: dict[str, list[Node]] = {block.name: [] for block in plan.blocks}
    stem: list[int] = []
    head: list[int] = []
    for node in make_graph(arch):
        owner = next((name for name in _owners(node.name) if name in of_block), None)
        if owner is not None:
            of_block[owner].append(node)
            continue
        layer = _layer(node, "", extents, places_outside(arch, node), places)
        (head if any(of_block.values()) else stem).append(layers.index(layer))
    stages = []
    for stage in plan.stages:
        indices = [
            blocks.index(_block(block, of_block[block.name], extents, layers, places))
            for block in stage.blocks
        ]
        runs = [[kind, len(list(run))] for kind, run in groupby(indices)]
        stages.append({"name": stage.name, "blocks": runs})
    return {
        "source": arch.source,
        "image": extents[IMAGE],
        "parameters": parameter_count(arch),
        "macs": mac_count(arch),
        "stem": stem,
        "stages": stages,
        "head": head,
    }


def _owners(name: str) -> Iterator[str]:
    """The prefixes of an operation's name that may name its block."""
    parts = name.split(".")
    return (".".join(parts[:count]) for count in range(2, len(parts) + 1))


def _block(block: Block, nodes, extents, layers: Interned, places: Interned) -> dict[str, Any]:
    strides = [layer.stride for layer in block.convs]
    return {
        "kind": block.kind,
        "first": block.preactivation,
        "shortcut": [type(layer).__name__ for layer in block.shortcut],
        "plain": block.add is None,
        "stride": max(strides),
        "se": block.se is not None,
        "layers": [
            layers.index(_layer(node, block.name, extents, places_in_block(block, node), places))
            for node in nodes
        ],
    }


def _layer(
    node: Node, owner: str, extents, found: dict[str, list[Place]], places: Interned
) -> dict[str, Any]:
    """The data of an operation; names are relative to the block `owner`, "<" is its input."""
    operation = node.operation
    inputs = [
        name[len(owner) :].lstrip(".") if _inside(name, owner) else "<" for name in node.inputs
    ]
    weighted = isinstance(operation, Conv | Norm | Linear)
    return {
        "name": node.name[len(owner) :].lstrip("."),
        "kind": type(operation).__name__,
        "text": _text(operation),
        "inputs": inputs,
        "shape": extents[node.name],
        "tensors": [_tensor(p, node.name) for p in layer_parameters(operation)] if weighted else [],
        "function": _FUNCTIONS.get(type(operation)),
        "places": {
            framework: [places.index(_place(framework, place)) for place in own]
            for framework, own in found.items()
        },
    }


def _inside(name: str, owner: str) -> bool:
    return not owner or name.startswith(f"{owner}.")


def _place(framework: str, place: Place) -> list[Any]:
    """The module of a line, its number, its anchor and its HTML."""
    html = coloured(module_file(framework, place.module))[place.number - 1].lstrip()
    return [place.module, place.number, anchor(framework, place.module, place.number), html]


def _tensor(parameter: Parameter, layer: str) -> list[Any]:
    """The last part of a tensor's name and its shape, in PyTorch and in Keras."""
    leaf = parameter.name[len(layer) + 1 :]
    return [leaf, parameter.shape, parameter.keras_variable, parameter.keras_shape]


def _text(operation: Any) -> str:
    """A label with the numbers of an operation."""
    if isinstance(operation, Conv):
        text = f"{operation.kernel}x{operation.kernel}, {operation.in_channels} to "
        text += str(operation.out_channels)
        numbers = {"stride": operation.stride, "dilation": operation.dilation}
        numbers["groups"] = operation.groups
        return ", ".join([text, *(f"{word} {n}" for word, n in numbers.items() if n > 1)])
    if isinstance(operation, MaxPool | AveragePool):
        return f"{operation.kernel}x{operation.kernel}, stride {operation.stride}"
    if isinstance(operation, ChannelPad):
        return f"zeros: {operation.before} before, {operation.after} after"
    if isinstance(operation, Linear):
        return f"{operation.in_features} to {operation.out_features}"
    return f"eps {operation.eps:g}" if isinstance(operation, Norm) else ""
