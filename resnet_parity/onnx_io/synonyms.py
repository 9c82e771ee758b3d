"""Operators that compute a ReLU or a sum of two maps under another name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from onnxscript import ir

from resnet_parity.onnx_io.nodes import constant

_ATTRIBUTES = ("alpha", "max", "min")

_LARGEST = np.finfo("float32").max


def replace_synonyms(graph: ir.Graph) -> Iterator[str]:
    """Change a graph in place, and return a sentence for each operator that was replaced."""
    replaced: Counter[tuple[str, str]] = Counter()
    for node in graph:
        inputs = _inputs_of_relu(node)
        name = "Relu"
        if inputs is None and node.op_type == "Sum" and len(node.inputs) == 2:
            name, inputs = "Add", list(node.inputs)
        if inputs is None:
            continue
        replaced[node.op_type, name] += 1
        node.op_type = name
        node.resize_inputs(len(inputs))
        for index, value in enumerate(inputs):
            node.replace_input_with(index, value)
        for attribute in _ATTRIBUTES:
            node.attributes.pop(attribute, None)
    for (found, name), count in replaced.items():
        yield f"{count} {found} read as {name}: they compute the same"


def _inputs_of_relu(node: ir.Node) -> list[ir.Value | None] | None:
    """The map of which a node takes max(x, 0), None if it computes something else."""
    first, second = (constant(node, index) for index in (1, 2))
    is_relu = False
    if node.op_type == "Clip":
        has_end = len(node.inputs) > 2 and node.inputs[2] is not None
        is_open = not has_end or (second is not None and bool((second >= _LARGEST).all()))
        is_relu = _is_zero(first) and is_open
    elif node.op_type == "LeakyRelu":
        is_relu = node.attributes.get_float("alpha", 0.01) == 0
    elif node.op_type == "PRelu":
        is_relu = _is_zero(first)
    elif node.op_type == "Max" and len(node.inputs) == 2:
        before = constant(node, 0)
        if before is not None and before.size == 1 and _is_zero(before):
            return [node.inputs[1]]
        is_relu = first is not None and first.size == 1 and _is_zero(first)
    return [node.inputs[0]] if is_relu else None


def _is_zero(array: np.ndarray | None) -> bool:
    """Whether a constant holds zeros alone."""
    return array is not None and array.size > 0 and bool(not array.any())
