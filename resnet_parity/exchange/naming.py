"""Canonical names for all that a matched graph holds, so that files of both hands read alike."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from resnet_spec import IMAGE, outputs

from resnet_parity.exchange.match import Match
from resnet_parity.exchange.nodes import constant, zeros_of
from resnet_parity.exchange.tensors import put_weights

_AXES = {"n": "batch", "h": "height", "w": "width"}


def give_names(graph: ir.Graph, match: Match) -> None:
    """Name the image and what is returned, every node by its operation, every tensor by its own."""
    for index, node in enumerate(graph):  # first out of each other's way
        node.name = f"node_{index}"
        for value in node.outputs:
            value.name = f"value_{index}"
    for node in match.nodes.values():
        _write_plainly(graph, node)
    put_weights(graph, match)
    for name, node in match.nodes.items():
        node.name = node.outputs[0].name = name
        _name_constants(graph, node)
    _name_ends(graph, match)
    for index, node in enumerate(node for node in graph if (node.name or "").startswith("node_")):
        node.name = f"{node.op_type.lower()}_{index}"


def _write_plainly(graph: ir.Graph, node: ir.Node) -> None:
    """Of several ways to say the same, take one."""
    for attribute in ("momentum", "noop_with_empty_axes", "allowzero"):  # mean nothing here
        node.attributes.pop(attribute, None)
    if node.op_type == "Pad":
        # With its axes written out: without them ONNX Runtime fuses zeros into a max-pool, where
        # they no longer win against what is negative (microsoft/onnxruntime#18136 brought that).
        zeros = zeros_of(node)
        assert zeros is not None  # the match has seen them
        axes = [axis for axis in range(4) if zeros[axis] or zeros[axis + 4]]
        amounts = [zeros[axis] for axis in axes] + [zeros[axis + 4] for axis in axes]
        node.resize_inputs(4)
        node.replace_input_with(1, _constant(graph, node, "pads", np.array(amounts)))
        node.replace_input_with(2, None)
        node.replace_input_with(3, _constant(graph, node, "axes", np.array(axes)))
    if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0):
        kernel = constant(node, 1)
        assert kernel is not None  # the match has seen it
        node.attributes["transB"] = ir.AttrInt64("transB", 1)
        turned = np.ascontiguousarray(np.einsum("io->oi", kernel))
        node.replace_input_with(1, _constant(graph, node, "turned", turned))


def _constant(graph: ir.Graph, node: ir.Node, kind: str, array: np.ndarray) -> ir.Value:
    tensor = ir.tensor(array, name=f"{node.name}.{kind}")
    value = ir.Value(name=tensor.name, shape=ir.Shape(array.shape), const_value=tensor)
    value.type = ir.TensorType(tensor.dtype)
    graph.initializers[str(tensor.name)] = value
    return value


def _name_constants(graph: ir.Graph, node: ir.Node) -> None:
    """The numbers that are no weights: the axes of a mean, the amounts of a pad."""
    kinds = {"ReduceMean": ("", "axes"), "Pad": ("", "pads", "value", "axes")}
    for value, kind in zip(node.inputs, kinds.get(node.op_type, ()), strict=False):
        if value is None or not kind or not value.is_initializer():
            continue
        if len(value.uses()) > 1:  # every operation has its own
            tensor = value.const_value
            value = ir.Value(name="", shape=value.shape, type=value.type, const_value=tensor)
            node.replace_input_with(kinds[node.op_type].index(kind), value)
        else:
            graph.initializers.pop(str(value.name))
        value.name = f"{node.name}.{kind}"
        graph.initializers[value.name] = value


def _name_ends(graph: ir.Graph, match: Match) -> None:
    (image,) = graph.inputs
    image.name = IMAGE
    if image.shape is not None:
        image.shape = ir.Shape(
            [
                extent if isinstance(extent, int) else _AXES[axis]
                for axis, extent in zip(match.layout, image.shape, strict=True)
            ]
        )
    for name, value in zip(outputs(match.architecture), graph.outputs, strict=True):
        inner = match.values.get(name)
        if inner is not None and inner is not value:
            inner.name = f"{name}.nchw"
        value.name = name
