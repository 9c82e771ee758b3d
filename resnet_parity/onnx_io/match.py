"""Match one value of a graph with one operation of the spec, and return what its inputs must be.

One function per operation; each raises a `MismatchError` that names the operation and what differs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

import numpy as np
from onnxscript import ir

import resnet_spec as spec

from resnet_parity.onnx_io import nodes

_NO_OPS = ("Identity", "Dropout")
"""Operators without effect in evaluation mode."""

_RESHAPING = ("Flatten", "Reshape", "Squeeze")


class MismatchError(Exception):
    """A graph is not that architecture; `reached` is the number of operations that matched."""

    def __init__(self, message: str, reached: int = 0) -> None:
        super().__init__(message)
        self.reached = reached


@dataclass
class Match:
    """The nodes of a graph by the operation of the spec that they compute.

    `values` holds the output of each operation; `nodes` the node that computes it, and helper nodes
    under names such as `avgpool.flat`. `folded` holds each norm that was folded, by the name of its
    convolution; `layouts` the layouts found for image and feature maps.
    """

    architecture: spec.Architecture
    operations: dict[str, spec.Node]
    values: dict[str, ir.Value] = field(default_factory=dict)
    nodes: dict[str, ir.Node] = field(default_factory=dict)
    folded: dict[str, spec.Norm] = field(default_factory=dict)
    used: set[ir.Node] = field(default_factory=set)
    layouts: set[str] = field(default_factory=set)

    def copy(self) -> Match:
        """A copy for a search that may fail; its changes do not reach this one."""
        return replace(
            self,
            values=dict(self.values),
            nodes=dict(self.nodes),
            folded=dict(self.folded),
            used=set(self.used),
            layouts=set(self.layouts),
        )

    @property
    def layout(self) -> str:
        return next(iter(self.layouts))


InputPairs = list[tuple[str, ir.Value]]
"""Names of operations, each with the value that must be its output."""

Orders = list[InputPairs]
"""The pairs for the inputs of an operation, once for each possible order of the inputs."""


@singledispatch
def inputs_of(operation: Any, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    """Return the possible pairs of inputs if the value computes the operation.

    Raises `MismatchError` if it does not.
    """
    raise TypeError(f"no rule matches the operation {operation}")


@inputs_of.register
def _(operation: spec.Conv, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    conv = _producer(value, "Conv", operation.name, found)
    kernel = nodes.constant(conv, 1)
    per_group = operation.in_channels // operation.groups
    shape = (operation.out_channels, per_group, operation.kernel, operation.kernel)
    _check(operation.name, "kernel", shape, None if kernel is None else kernel.shape)
    attributes = conv.attributes
    said = tuple(attributes.get_ints("kernel_shape", shape[2:]))
    _check(operation.name, "kernel_shape", shape[2:], said)
    _check(operation.name, "groups", operation.groups, attributes.get_int("group", 1))
    for word, number in (("strides", operation.stride), ("dilations", operation.dilation)):
        _check(operation.name, word, (number,) * 2, tuple(attributes.get_ints(word, (1, 1))))
    _check(operation.name, "padding", (operation.padding,) * 4, nodes.pads(conv))
    bias = nodes.constant(conv, 2)
    if bias is not None:
        _check(operation.name, "bias", (operation.out_channels,), bias.shape)
    if len(conv.inputs) > 2 and conv.inputs[2] is not None and bias is None:
        raise MismatchError(f"{operation.name} computes its bias")
    if operation.name not in found.folded and not operation.bias and bias is not None:
        raise MismatchError(
            f"{operation.name} has a bias, but neither the spec nor a norm adds one"
        )
    return [[(node.inputs[0], input_of(conv, 0))]]


@inputs_of.register
def _(operation: spec.Norm, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    producer = value.producer()
    if producer is None or producer.op_type != "BatchNormalization":
        if not isinstance(found.operations[node.inputs[0]].operation, spec.Conv):
            raise MismatchError(
                f"{operation.name} is {describe(value)} instead of BatchNormalization"
            )
        # It can only be folded into the convolution before it, which is matched next.
        found.folded[node.inputs[0]] = operation
        return [[(node.inputs[0], value)]]
    found.used.add(producer)
    for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1):
        tensor = nodes.constant(producer, index)
        shape = None if tensor is None else tensor.shape
        _check(operation.name, what, (operation.channels,), shape)
    if producer.attributes.get_int("training_mode", 0):
        raise MismatchError(f"{operation.name} uses batch statistics, as in training")
    eps = producer.attributes.get_float("epsilon", 1e-5)
    if np.float32(eps) != np.float32(operation.eps) and not nodes.is_plain_affine(producer):
        raise MismatchError(f"{operation.name} has epsilon {eps:g} instead of {operation.eps:g}")
    found.nodes[operation.name] = producer
    return [[(node.inputs[0], input_of(producer, 0))]]


@inputs_of.register
def _(operation: spec.Relu, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    relu = _producer(value, "Relu", operation.name, found)
    return [[(node.inputs[0], input_of(relu, 0))]]


@inputs_of.register
def _(operation: spec.Identity, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    return [[(node.inputs[0], value)]]


@inputs_of.register
def _(operation: spec.Add, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    add = _producer(value, "Add", operation.name, found)
    first, second = input_of(add, 0), input_of(add, 1)
    branch, shortcut = node.inputs
    return [
        [(branch, first), (shortcut, second)],
        [(branch, second), (shortcut, first)],
    ]


@inputs_of.register
def _(operation: spec.Gate, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    product = _producer(value, "Mul", operation.name, found)
    factors = [input_of(product, 0), input_of(product, 1)]
    for x, gate in (factors, factors[::-1]):
        sigmoid = source_of(gate, found).producer()
        if sigmoid is not None and sigmoid.op_type == "Sigmoid":
            found.used.add(sigmoid)
            found.nodes[f"{operation.name}.sigmoid"] = sigmoid
            return [[(node.inputs[0], x), (node.inputs[1], input_of(sigmoid, 0))]]
    raise MismatchError(f"{operation.name} is not a product with a sigmoid")


@inputs_of.register
def _(operation: spec.MaxPool, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    pool = _producer(value, "MaxPool", operation.name, found)
    source = input_of(pool, 0)
    padded = nodes.pads(pool)
    zeros = _zeros_before(operation.name, source, found) if operation.border != "lowest" else None
    if zeros is not None and not any(padded or (1,)):
        padded, source = zeros
    elif operation.border == "zero" and operation.padding:
        raise MismatchError(f"{operation.name} does not pad with zeros")
    _check_pool(operation.name, pool, operation.kernel, operation.stride)
    _check(operation.name, "ceil_mode", 0, pool.attributes.get_int("ceil_mode", 0))
    _check(operation.name, "padding", (operation.padding,) * 4, padded)
    return [[(node.inputs[0], source)]]


@inputs_of.register
def _(operation: spec.AveragePool, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    pool = _producer(value, "AveragePool", operation.name, found)
    source = input_of(pool, 0)
    _check_pool(operation.name, pool, operation.kernel, operation.stride)
    if operation.zeros:
        zeros = _zeros_before(operation.name, source, found)
        padded, source = zeros or (None, source)
        _check(operation.name, "padding", (0, 0, operation.zeros, operation.zeros), padded)
        _check(operation.name, "ceil_mode", 0, pool.attributes.get_int("ceil_mode", 0))
        _check(operation.name, "pads", (0, 0, 0, 0), nodes.pads(pool))
        return [[(node.inputs[0], source)]]
    counts = pool.attributes.get_int("count_include_pad", 0)
    same = pool.attributes.get_string("auto_pad", "NOTSET") == "SAME_UPPER"
    rounds_up = same or pool.attributes.get_int("ceil_mode", 0)
    if counts or not rounds_up or (not same and any(nodes.pads(pool) or ())):
        raise MismatchError(
            f"{operation.name} does not round its size up, or counts padding in its means"
        )
    return [[(node.inputs[0], source)]]


@inputs_of.register
def _(operation: spec.ChannelPad, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    pad = _producer(value, "Pad", operation.name, found)
    expected = (0, operation.before, 0, 0, 0, operation.after, 0, 0)
    _check(operation.name, "channels of zeros", expected, nodes.zeros_of(pad))
    return [[(node.inputs[0], input_of(pad, 0))]]


@inputs_of.register
def _(operation: spec.GlobalAverage, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    producer = value.producer()
    flattened = False
    if operation.flat and producer is not None and producer.op_type in _RESHAPING:
        *_, last = spec.make_plan(found.architecture).blocks
        width = last.out_channels
        if not nodes.flattens(producer, width):
            raise MismatchError(f"{operation.name} is reshaped, but not to (N, {width})")
        found.used |= {producer, *nodes.ancestors(producer.inputs[1:])}
        found.nodes[f"{operation.name}.flat"] = producer
        value, flattened = input_of(producer, 0), True
        producer = value.producer()
    if producer is None or producer.op_type not in ("GlobalAveragePool", "ReduceMean"):
        raise MismatchError(f"{operation.name} is {describe(value)} instead of a global average")
    keeps = True
    if producer.op_type == "ReduceMean":
        _check(operation.name, "axes", (2, 3), nodes.axes_of(producer))
        keeps = bool(producer.attributes.get_int("keepdims", 1))
    if keeps == (operation.flat and not flattened) or (flattened and not keeps):
        raise MismatchError(f"{operation.name} returns a tensor of the wrong rank")
    found.used.add(producer)
    found.nodes[operation.name] = producer
    return [[(node.inputs[0], input_of(producer, 0))]]


@inputs_of.register
def _(operation: spec.Linear, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    gemm = _producer(value, "Gemm", operation.name, found)
    attributes = gemm.attributes
    if attributes.get_float("alpha", 1.0) != 1 or attributes.get_float("beta", 1.0) != 1:
        raise MismatchError(f"{operation.name} scales its terms")
    _check(operation.name, "transA", 0, attributes.get_int("transA", 0))
    shape = (operation.out_features, operation.in_features)
    kernel, bias = nodes.constant(gemm, 1), nodes.constant(gemm, 2)
    found_shape = None if kernel is None else tuple(kernel.shape)
    expected = shape if attributes.get_int("transB", 0) else shape[::-1]
    _check(operation.name, "kernel", expected, found_shape)
    if bias is not None:
        _check(operation.name, "bias", (operation.out_features,), tuple(bias.shape))
    elif len(gemm.inputs) > 2:
        raise MismatchError(f"{operation.name} computes its bias")
    return [[(node.inputs[0], input_of(gemm, 0))]]


def _zeros_before(
    name: str, value: ir.Value, found: Match
) -> tuple[tuple[int, ...], ir.Value] | None:
    """The zeros around a map as (top, left, bottom, right), and the map without them; else None."""
    pad = value.producer()
    if pad is None or pad.op_type != "Pad":
        return None
    zeros = nodes.zeros_of(pad)
    if zeros is None or any(zeros[:2] + zeros[4:6]):
        return None
    found.nodes[f"{name}.pad"] = pad
    found.used.add(pad)
    return zeros[2:4] + zeros[6:], input_of(pad, 0)


def _check_pool(name: str, pool: ir.Node, kernel: int, stride: int) -> None:
    _check(name, "kernel", (kernel,) * 2, tuple(pool.attributes.get_ints("kernel_shape", ())))
    _check(name, "strides", (stride,) * 2, tuple(pool.attributes.get_ints("strides", (1, 1))))
    _check(name, "dilations", (1, 1), tuple(pool.attributes.get_ints("dilations", (1, 1))))


def _producer(value: ir.Value, op_type: str, name: str, found: Match) -> ir.Node:
    """The node that computes an operation; it is noted as used."""
    node = value.producer()
    if node is None or node.op_type != op_type:
        raise MismatchError(f"{name} is {describe(value)} instead of {op_type}")
    found.used.add(node)
    found.nodes[name] = node
    return node


def source_of(value: ir.Value, found: Match) -> ir.Value:
    """The value without the Identity and Dropout nodes after it."""
    while (node := value.producer()) is not None and node.op_type in _NO_OPS:
        training = nodes.constant(node, 2)
        if len(node.inputs) > 2 and node.inputs[2] and (training is None or training.any()):
            raise MismatchError("a Dropout is active, or may be, as in training")
        found.used.add(node)
        value = input_of(node, 0)
    return value


def input_of(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise MismatchError(f"a {node.op_type} has no input {index}")
    return value


def _check(name: str, what: str, expected: Any, actual: Any) -> None:
    if actual != expected:
        shown = "computed" if actual is None else f"{actual}"
        raise MismatchError(f"{name}: {what} {shown} instead of {expected}")


def describe(value: ir.Value) -> str:
    node = value.producer()
    return f"the input {value.name!r}" if node is None else node.op_type
