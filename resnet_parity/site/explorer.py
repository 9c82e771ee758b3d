"""The data of the architecture explorer: stages, blocks and layers of every architecture.

Each layer carries its lines of code in both frameworks. Equal blocks and layers are stored once.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import resnet_spec as spec
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
    spec.Add: ("layers", "ResidualAdd"),
    spec.AveragePool: ("layers", "average_pool"),
    spec.ChannelPad: ("layers", "channel_pad"),
    spec.Conv: ("layers", "conv"),
    spec.Gate: ("blocks", "SqueezeExcite"),
    spec.GlobalAverage: ("layers", "global_average_pool"),
    spec.Linear: ("layers", "linear"),
    spec.MaxPool: ("layers", "max_pool"),
    spec.Norm: ("layers", "batch_norm"),
    spec.Relu: ("layers", "relu"),
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
    vectors = json.loads((ROOT / "conformance" / "vectors.json").read_text(encoding="utf-8"))
    nets = {
        arch.name: _net(arch, layers, blocks, places)
        for rows in spec.GROUPS.values()
        for arch in rows
    }
    return {
        "chapters": {module: each.id for each in CHAPTERS for module in each.modules},
        "groups": {group: [arch.name for arch in rows] for group, rows in spec.GROUPS.items()},
        "nets": nets,
        "blocks": blocks.all,
        "layers": layers.all,
        "places": places.all,
        "vectors": {name: len(each) for name, each in vectors["architectures"].items()},
        "figures": {"unit": UNIT, "measured": list(read("depth")["rows"]), "nets": {}},
    }


def figures() -> dict[str, dict[str, Any]]:
    """Return the measured errors at every tap by architecture; the page loads one at a time.

    They are in the order of dtypes and frameworks.
    """
    data, found = read("depth"), {}
    for name, net in data["rows"].items():
        rows = [errors for frameworks in net["errors"].values() for errors in frameworks.values()]
        found[name] = {
            "date": data["setups"][net["setup"]]["date"],
            "image": net["image"],
            "dtypes": list(net["errors"]),
            "taps": {tap: list(each) for tap, *each in zip(net["taps"], *rows, strict=True)},
        }
    return found


def _net(
    arch: Architecture, layers: Interned, blocks: Interned, places: Interned
) -> dict[str, Any]:
    plan = spec.make_plan(arch)
    extents = shapes(arch, arch.image_size, arch.image_size)
    of_block: dict[str, list[spec.Node]] = {block.name: [] for block in plan.blocks}
    stem: list[int] = []
    head: list[int] = []
    for node in spec.make_graph(arch):
        owner = ".".join(node.name.split(".")[:2])
        if owner in of_block:
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


def _block(block: spec.Block, nodes, extents, layers: Interned, places: Interned) -> dict[str, Any]:
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
    node: spec.Node, owner: str, extents, found: dict[str, list[Place]], places: Interned
) -> dict[str, Any]:
    """The data of an operation; names are relative to the block `owner`, "<" is its input."""
    operation = node.operation
    prefix = owner and f"{owner}."
    inputs = [name.removeprefix(prefix) if name.startswith(prefix) else "<" for name in node.inputs]
    weighted = isinstance(operation, spec.Conv | spec.Norm | spec.Linear)
    return {
        "name": node.name[len(owner) :].lstrip("."),
        "kind": type(operation).__name__,
        "text": _text(operation),
        "inputs": inputs,
        "shape": extents[node.name],
        "reduction": _reduction(extents[IMAGE], extents[node.name]),
        "tensors": [_tensor(p, node.name) for p in layer_parameters(operation)] if weighted else [],
        "function": _FUNCTIONS.get(type(operation)),
        "places": {
            framework: [places.index(_place(framework, place)) for place in own]
            for framework, own in found.items()
        },
    }


def _reduction(image: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """The total stride of a map; 0 if the mean over the map was taken."""
    return image[1] // shape[1] if len(shape) == 3 and shape[1] > 1 else 0


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
    if isinstance(operation, spec.Conv):
        text = f"{operation.kernel}x{operation.kernel}, {operation.in_channels} to "
        text += str(operation.out_channels)
        numbers = {"stride": operation.stride, "dilation": operation.dilation}
        numbers["groups"] = operation.groups
        return ", ".join([text, *(f"{word} {n}" for word, n in numbers.items() if n > 1)])
    if isinstance(operation, spec.MaxPool | spec.AveragePool):
        return f"{operation.kernel}x{operation.kernel}, stride {operation.stride}"
    if isinstance(operation, spec.ChannelPad):
        return f"zeros: {operation.before} before, {operation.after} after"
    if isinstance(operation, spec.Linear):
        return f"{operation.in_features} to {operation.out_features}"
    return f"eps {operation.eps:g}" if isinstance(operation, spec.Norm) else ""
