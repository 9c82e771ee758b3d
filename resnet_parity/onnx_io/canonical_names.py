"""Canonical names for all that a matched graph holds, so that files of both implementations read alike."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from resnet_spec import IMAGE, outputs

from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.nodes import axes_of, constant, move_aside, zeros_of
from resnet_parity.onnx_io.tensors import put_weights

_AXES = {"n": "batch", "h": "height", "w": "width"}


def give_names(graph: ir.Graph, match: Match) -> None:
    """Name the image and what is returned, every node by its operation, every tensor by its own."""
    move_aside(graph)
    for name, node in match.nodes.items():
        node.name = node.outputs[0].name = name
        _write_plainly(graph, node)
    put_weights(graph, match)
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
        _put_constant(graph, node, 1, "pads", np.array(amounts))
        node.replace_input_with(2, None)
        _put_constant(graph, node, 3, "axes", np.array(axes))
    if node.op_type == "ReduceMean":
        _put_constant(graph, node, 1, "axes", np.array(axes_of(node)))
    if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0):
        kernel = constant(node, 1)
        assert kernel is not None  # the match has seen it
        node.attributes["transB"] = ir.AttrInt64("transB", 1)
        turned = np.ascontiguousarray(np.einsum("io->oi", kernel))
        _put_constant(graph, node, 1, "turned", turned)


def _put_constant(graph: ir.Graph, node: ir.Node, index: int, kind: str, array: np.ndarray) -> None:
    """An input that is no other node's, called after its own: `avgpool.axes`, say."""
    tensor = ir.tensor(array, name=f"{node.name}.{kind}")
    value = ir.Value(name=tensor.name, shape=ir.Shape(array.shape), const_value=tensor)
    value.type = ir.TensorType(tensor.dtype)
    graph.initializers[str(tensor.name)] = value
    node.replace_input_with(index, value)


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
