"""Match one value of a graph with one operation of the spec, and return what its inputs must be.

One function per operation. It raises a `MismatchError` if another operator computes the value, and
notes attributes and tensors that differ as faults of the match.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any

import numpy as np
from onnxscript import ir

import resnet_spec as spec

from resnet_parity.onnx_io import nodes
from resnet_parity.onnx_io.reading import CONSTANT_FIX

EVAL_FIX = "export the model again after model.eval()"


class MismatchError(Exception):
    """Another operator than that of the spec computes a value."""

    def __init__(self, message: str, value: ir.Value | None = None) -> None:
        super().__init__(message)
        self.value = value


@dataclass(frozen=True)
class Fault:
    """An operation that differs, and how; `fix` is what the user can do, where that is known."""

    text: str
    fix: str = ""


@dataclass
class Match:
    """The nodes of a graph by the operation of the spec that they compute.

    `values` holds the output of each operation; `nodes` the node that computes it, and helper nodes
    under names such as `avgpool.flat`. `folded` holds each norm that was folded, by the name of its
    convolution; `layouts` the layouts found for image and feature maps. `faults` name each
    operation that differs and how, at a `cost`; the graph is that architecture if there are none.
    `absorbed` holds a norm and a sentence for each difference that its weights make up for.
    """

    architecture: spec.Architecture
    operations: dict[str, spec.Node]
    values: dict[str, ir.Value] = field(default_factory=dict)
    nodes: dict[str, ir.Node] = field(default_factory=dict)
    folded: dict[str, spec.Norm] = field(default_factory=dict)
    used: set[ir.Node] = field(default_factory=set)
    layouts: set[str] = field(default_factory=set)
    faults: tuple[Fault, ...] = ()
    absorbed: tuple[tuple[str, str], ...] = ()
    cost: int = 0

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

    @property
    def notes(self) -> Iterator[str]:
        """A sentence for each kind of difference that was absorbed, with the norms' names."""
        names: dict[str, list[str]] = {}
        order = list(self.operations)
        for norm, sentence in sorted(self.absorbed, key=lambda pair: order.index(pair[0])):
            names.setdefault(sentence, []).append(norm)
        for sentence, norms in names.items():
            others = f" and {len(norms) - 1} others" if len(norms) > 2 else ""
            yield f"{norms[0] + others if others else ', '.join(norms)}: {sentence}"

    @property
    def agreement(self) -> int:
        """The number of nodes that compute what the spec says, less the cost of the faults."""
        return len(self.nodes) - self.cost

    def add_fault(self, text: str, fix: str = "", *, cost: int = 1) -> None:
        """Note a difference; the search goes on."""
        self.faults = (*self.faults, Fault(text, fix))
        self.cost += cost

    def compare(self, name: str, what: str, expected: Any, actual: Any) -> None:
        """Note a fault if an attribute or a tensor's shape is not that of the operation."""
        if actual != expected:
            shown = "computed" if actual is None else f"{actual}"
            fix = CONSTANT_FIX if actual is None else ""
            self.add_fault(f"{name}: {what} {shown} instead of {expected}", fix)


InputPairs = list[tuple[str, ir.Value]]
"""Names of operations, each with the value that must be its output."""

Orders = list[InputPairs]
"""The pairs for the inputs of an operation, once for each possible order of the inputs."""


@singledispatch
def inputs_of(operation: Any, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    """Return the possible pairs of inputs if the value computes the operation.

    Raises `MismatchError` if another operator computes it.
    """
    raise TypeError(f"no rule matches the operation {operation}")


@inputs_of.register
def _(operation: spec.Conv, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    name, conv = operation.name, _producer(value, "Conv", operation.name, found)
    kernel, bias = nodes.constant(conv, 1), nodes.constant(conv, 2)
    per_group = operation.in_channels // operation.groups
    shape = (operation.out_channels, per_group, operation.kernel, operation.kernel)
    attributes = conv.attributes
    found.compare(name, "group", operation.groups, attributes.get_int("group", 1))
    found.compare(name, "weight of shape", shape, None if kernel is None else kernel.shape)
    said = tuple(attributes.get_ints("kernel_shape", shape[2:]))
    found.compare(name, "kernel_shape", shape[2:], said)
    for word, number in (("strides", operation.stride), ("dilations", operation.dilation)):
        given = tuple(attributes.get_ints(word, (1, 1)))
        if word == "strides" or operation.kernel > 1:  # one pixel has no dilation
            found.compare(name, word, (number,) * 2, given)
    _compare_pads(name, conv, operation.padding, found)
    if bias is not None:
        found.compare(name, "bias of shape", (operation.out_channels,), bias.shape)
    if len(conv.inputs) > 2 and conv.inputs[2] is not None and bias is None:
        found.add_fault(f"{name} computes its bias")
    if name not in found.folded and not operation.bias and bias is not None:
        norm = _norm_after(name, found)
        if norm is None:
            found.add_fault(f"{name} has a bias, but neither the spec nor a norm adds one")
        else:
            sentence = "the bias of the convolution before it, absorbed into running_mean"
            found.absorbed += ((norm, sentence),)
    return [[(node.inputs[0], input_of(conv, 0))]]


@inputs_of.register
def _(operation: spec.Norm, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    name, producer = operation.name, value.producer()
    if producer is not None and producer.op_type == "Conv" and may_be_folded(node, found):
        return [presumed_folded(node, value, found)]
    norm = _producer(value, "BatchNormalization", name, found)
    for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1):
        tensor = nodes.constant(norm, index)
        shape = None if tensor is None else tensor.shape
        found.compare(name, f"{what} of shape", (operation.channels,), shape)
    if norm.attributes.get_int("training_mode", 0):
        found.add_fault(
            f"{name}: training_mode 1 instead of 0, so it uses the statistics of the batch",
            EVAL_FIX,
        )
    if not nodes.is_plain_affine(norm):
        _absorb_epsilon(operation, norm, found)
    found.absorbed += tuple((name, each) for each in norm.meta.get(nodes.ABSORBED, ()))
    return [[(node.inputs[0], input_of(norm, 0))]]


def _norm_after(conv: str, found: Match) -> str | None:
    """The norm after a convolution, if the graph keeps it."""
    after = [name for name, node in found.operations.items() if conv in node.inputs]
    is_norm = [isinstance(found.operations[name].operation, spec.Norm) for name in after]
    return after[0] if is_norm == [True] and after[0] in found.nodes else None


def _absorb_epsilon(operation: spec.Norm, norm: ir.Node, found: Match) -> None:
    """Note that another epsilon is absorbed, or a fault where the norm has no real factor."""
    name, variance, eps = operation.name, nodes.constant(norm, 4), nodes.epsilon_of(norm)
    if variance is None or variance.shape != (operation.channels,):
        return  # a fault already
    total = variance + np.float32(eps)
    if not (total > 0).all():
        channel = int(np.argmin(total))
        found.add_fault(
            f"{name}: the variance {variance[channel]:g} of channel {channel} plus epsilon {eps:g} "
            "is not positive",
            "set it to the variance of the trained model, and export again",
        )
    elif np.float32(eps) != np.float32(operation.eps):
        low = int((total < np.float32(operation.eps)).sum())
        where = "running_var" + f", in {low} channels of small variance into weight" * bool(low)
        sentence = f"epsilon {eps:g} instead of {operation.eps:g}, absorbed into {where}"
        found.absorbed += ((name, sentence),)


def may_be_folded(node: spec.Node, found: Match) -> bool:
    """Whether a convolution comes before a norm, into which exporters may fold it."""
    return isinstance(found.operations[node.inputs[0]].operation, spec.Conv)


def presumed_folded(node: spec.Node, value: ir.Value, found: Match) -> InputPairs:
    """The convolution before a norm, as the producer of the norm's value."""
    assert isinstance(node.operation, spec.Norm)
    found.folded[node.inputs[0]] = node.operation
    return [(node.inputs[0], value)]


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
    return both_orders(node, input_of(add, 0), input_of(add, 1))


def both_orders(node: spec.Node, first: ir.Value, second: ir.Value) -> Orders:
    """The inputs of an operation of two inputs, in either order."""
    one, other = node.inputs
    return [[(one, first), (other, second)], [(one, second), (other, first)]]


@inputs_of.register
def _(operation: spec.Gate, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    product = _producer(value, "Mul", operation.name, found)
    factors = [input_of(product, 0), input_of(product, 1)]
    for x, gate in (factors, factors[::-1]):
        sigmoid = source_of(gate, operation.name, found).producer()
        if sigmoid is not None and sigmoid.op_type == "Sigmoid":
            found.used.add(sigmoid)
            found.nodes[f"{operation.name}.sigmoid"] = sigmoid
            return [[(node.inputs[0], x), (node.inputs[1], input_of(sigmoid, 0))]]
    found.add_fault(f"{operation.name} is not a product with a Sigmoid")
    orders = []
    for x, gate in (factors, factors[::-1]):
        other = gate.producer()
        before = gate if other is None else input_of(other, 0)
        orders.append([(node.inputs[0], x), (node.inputs[1], before)])
    return orders


@inputs_of.register
def _(operation: spec.MaxPool, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    name, pool = operation.name, _producer(value, "MaxPool", operation.name, found)
    source = input_of(pool, 0)
    padded = nodes.pads(pool)
    zeros = _zeros_before(name, source, found) if operation.border != "lowest" else None
    _compare_pool(name, pool, operation.kernel, operation.stride, found)
    found.compare(name, "ceil_mode", 0, pool.attributes.get_int("ceil_mode", 0))
    if zeros is not None and not any(padded or (1,)):
        padded, source = zeros
        found.compare(name, "pads of a Pad", (operation.padding,) * 4, padded)
    else:
        if operation.border == "zero" and operation.padding:
            found.add_fault(f"{name} does not pad with zeros")
        _compare_pads(name, pool, operation.padding, found)
    return [[(node.inputs[0], source)]]


@inputs_of.register
def _(operation: spec.AveragePool, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    name, pool = operation.name, _producer(value, "AveragePool", operation.name, found)
    attributes, source = pool.attributes, input_of(pool, 0)
    _compare_pool(name, pool, operation.kernel, operation.stride, found)
    ceil_mode = attributes.get_int("ceil_mode", 0)
    if operation.zeros:
        zeros = _zeros_before(name, source, found)
        padded, source = zeros or (None, source)
        expected = (0, 0, operation.zeros, operation.zeros)
        found.compare(name, "pads of a Pad", expected, padded)
        found.compare(name, "ceil_mode", 0, ceil_mode)
        _compare_pads(name, pool, 0, found)
        return [[(node.inputs[0], source)]]
    same = attributes.get_string("auto_pad", "NOTSET") == "SAME_UPPER"
    found.compare(name, "count_include_pad", 0, attributes.get_int("count_include_pad", 0))
    if not same:
        found.compare(name, "ceil_mode", 1, ceil_mode)
        _compare_pads(name, pool, 0, found)
    return [[(node.inputs[0], source)]]


@inputs_of.register
def _(operation: spec.ChannelPad, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    pad = _producer(value, "Pad", operation.name, found)
    expected = (0, operation.before, 0, 0, 0, operation.after, 0, 0)
    found.compare(operation.name, "pads of zeros", expected, nodes.zeros_of(pad))
    return [[(node.inputs[0], input_of(pad, 0))]]


@inputs_of.register
def _(operation: spec.GlobalAverage, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    name, producer = operation.name, value.producer()
    flattened = f"{name}.flat" in found.nodes
    flattens = producer is not None and producer.op_type in nodes.RESHAPING
    if operation.flat and not flattened and producer is not None and flattens:
        *_, last = spec.make_plan(found.architecture).blocks
        width = last.out_channels
        if not nodes.flattens(producer, width):
            found.add_fault(
                f"{name}: the {producer.op_type} after it {nodes.reshaping(producer)} "
                f"instead of to (N, {width})"
            )
        before = nodes.ancestors(producer.inputs[:1])
        found.used |= {producer, *nodes.ancestors(producer.inputs[1:]) - before}
        found.nodes[f"{name}.flat"] = producer
        value, flattened = input_of(producer, 0), True
        producer = value.producer()
    if producer is None or producer.op_type not in ("GlobalAveragePool", "ReduceMean"):
        raise MismatchError(f"{name} is {describe(value)} instead of a global average", value)
    keeps = True
    if producer.op_type == "ReduceMean":
        found.compare(name, "axes", (2, 3), nodes.axes_of(producer))
        keeps = bool(producer.attributes.get_int("keepdims", 1))
    if operation.flat and keeps and not flattened:
        found.add_fault(f"{name} keeps the axes of height and width (keepdims), and no Flatten")
    if not operation.flat and not keeps:
        found.compare(name, "keepdims", 1, 0)
    found.used.add(producer)
    found.nodes[name] = producer
    return [[(node.inputs[0], input_of(producer, 0))]]


@inputs_of.register
def _(operation: spec.Linear, node: spec.Node, value: ir.Value, found: Match) -> Orders:
    name, gemm = operation.name, _producer(value, "Gemm", operation.name, found)
    attributes = gemm.attributes
    kernel, bias = nodes.constant(gemm, 1), nodes.constant(gemm, 2)
    for word, term in (("alpha", gemm), ("beta", bias)):
        if term is not None:
            found.compare(name, word, 1.0, attributes.get_float(word, 1.0))
    found.compare(name, "transA", 0, attributes.get_int("transA", 0))
    shape = (operation.out_features, operation.in_features)
    given = None if kernel is None else tuple(kernel.shape)
    trans = attributes.get_int("transB", 0)
    if given is not None and given[trans] != shape[1] == given[1 - trans]:
        found.add_fault(f"{name}: transB {trans} instead of {1 - trans} for a weight of {given}")
    else:
        expected = shape if trans else shape[::-1]
        found.compare(name, f"transB {trans} and a weight of shape", expected, given)
    if bias is not None and tuple(bias.shape) not in ((), (1,), (1, 1), (1, shape[0])):  # broadcast
        found.compare(name, "bias of shape", shape[:1], tuple(bias.shape))
    elif bias is None and len(gemm.inputs) > 2 and gemm.inputs[2] is not None:
        found.add_fault(f"{name} computes its bias")
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


def _compare_pads(name: str, node: ir.Node, padding: int, found: Match) -> None:
    """Compare the padding on each side; auto_pad is named where it decides."""
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    expected, actual = (padding,) * 4, nodes.pads(node)
    if mode == "NOTSET":
        found.compare(name, "pads", expected, actual)
    elif actual != expected:
        found.add_fault(f"{name}: auto_pad {mode} instead of pads {expected}")


def _compare_pool(name: str, pool: ir.Node, kernel: int, stride: int, found: Match) -> None:
    for word, number in (("kernel_shape", kernel), ("strides", stride), ("dilations", 1)):
        given = tuple(pool.attributes.get_ints(word, (1, 1)))
        found.compare(name, word, (number,) * 2, given)


def _producer(value: ir.Value, op_type: str, name: str, found: Match) -> ir.Node:
    """The node that computes an operation; it is noted as used."""
    node = value.producer()
    if node is None or node.op_type != op_type:
        raise MismatchError(f"{name} is {describe(value)} instead of {op_type}")
    found.used.add(node)
    found.nodes[name] = node
    return node


def source_of(value: ir.Value, name: str, found: Match) -> ir.Value:
    """The value without the Identity and Dropout nodes after it; `name` is its operation."""
    while (node := value.producer()) is not None and node.op_type in nodes.NO_OPS:
        if nodes.may_drop(node):
            found.add_fault(
                f"the Dropout after {name} is active, or may be, as in training", EVAL_FIX
            )
        found.used.add(node)
        value = input_of(node, 0)
    return value


def input_of(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise MismatchError(f"a {node.op_type} has no input {index}")
    return value


def describe(value: ir.Value) -> str:
    node = value.producer()
    return f"the input {value.name!r}" if node is None else node.op_type
