"""Canonical names for a matched graph, so that the files of both implementations read alike."""

from __future__ import annotations

import numpy as np
from onnxscript import ir

from resnet_spec import IMAGE, outputs

from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.nodes import axes_of, constant, number_names, zeros_of
from resnet_parity.onnx_io.tensors import put_tensor, put_weights

_AXES = {"n": "batch", "h": "height", "w": "width"}


def put_canonical_names(graph: ir.Graph, match: Match) -> None:
    """Name the image, the outputs, every node by its operation, and every tensor of the spec."""
    number_names(graph)
    for name, node in match.nodes.items():
        node.name = node.outputs[0].name = name
        _normalise(graph, node)
    put_weights(graph, match)
    _name_inputs_and_outputs(graph, match)
    for index, node in enumerate(node for node in graph if (node.name or "").startswith("node_")):
        node.name = f"{node.op_type.lower()}_{index}"


def _normalise(graph: ir.Graph, node: ir.Node) -> None:
    """Where ONNX has several encodings of the same operation, use one."""
    for attribute in ("momentum", "noop_with_empty_axes", "allowzero"):  # without effect here
        node.attributes.pop(attribute, None)
    if node.op_type == "Pad":
        # With explicit axes: without them ONNX Runtime fuses zeros into a max-pool, which then
        # ignores them, so that negative values win (since microsoft/onnxruntime#18136).
        zeros = zeros_of(node)
        assert zeros is not None  # `match` checked it
        axes = [axis for axis in range(4) if zeros[axis] or zeros[axis + 4]]
        amounts = [zeros[axis] for axis in axes] + [zeros[axis + 4] for axis in axes]
        node.resize_inputs(4)
        put_tensor(graph, node, 1, f"{node.name}.pads", np.array(amounts))
        node.replace_input_with(2, None)
        put_tensor(graph, node, 3, f"{node.name}.axes", np.array(axes))
    if node.op_type == "ReduceMean":
        put_tensor(graph, node, 1, f"{node.name}.axes", np.array(axes_of(node)))
    if node.op_type == "Gemm" and not node.attributes.get_int("transB", 0):
        kernel = constant(node, 1)
        assert kernel is not None  # `match` checked it
        node.attributes["transB"] = ir.AttrInt64("transB", 1)
        transposed = np.ascontiguousarray(np.einsum("io->oi", kernel))
        put_tensor(graph, node, 1, f"{node.name}.transposed", transposed)


def _name_inputs_and_outputs(graph: ir.Graph, match: Match) -> None:
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
