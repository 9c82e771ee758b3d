"""The operators of a graph, counted, beside those that its net needs and no more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from onnx import ModelProto

from resnet_spec import (
    Add,
    Architecture,
    AveragePool,
    ChannelPad,
    Conv,
    Gate,
    GlobalAverage,
    Linear,
    MaxPool,
    Norm,
    Relu,
    make_graph,
    outputs,
)

_OPERATORS = {
    Conv: ("Conv",),
    Relu: ("Relu",),
    Add: ("Add",),
    MaxPool: ("MaxPool",),
    AveragePool: ("AveragePool",),
    ChannelPad: ("Pad",),
    GlobalAverage: ("ReduceMean",),
    Gate: ("Mul", "Sigmoid"),
    Linear: ("Gemm",),
}

_SAME = {"GlobalAveragePool": "ReduceMean"}
"""Operators that do the work of another, and are as good."""

_ONE_FOR_FREE = ("Flatten", "Reshape", "Squeeze")
"""One of these may stand behind the global average."""


@dataclass(frozen=True)
class Count:
    """How often an operator stands in a graph, and how often its net needs it."""

    operator: str
    found: int
    needed: int
    remark: str = ""


def count_operators(proto: ModelProto) -> Counter[str]:
    """The operators of a graph, by name."""
    return Counter(node.op_type for node in proto.graph.node)


def needed_operators(arch: Architecture, layout: str) -> Counter[str]:
    """What a net needs: a norm that alone takes up a convolution is folded into it."""
    nodes = {node.name: node for node in make_graph(arch)}
    takers = Counter(name for node in nodes.values() for name in node.inputs)
    needed: Counter[str] = Counter()
    for node in nodes.values():
        operation = node.operation
        if isinstance(operation, Norm):
            before = nodes.get(node.inputs[0])
            follows = before is not None and isinstance(before.operation, Conv)
            needed["BatchNormalization"] += not (follows and takers[node.inputs[0]] == 1)
            continue
        needed.update(_OPERATORS.get(type(operation), ()))
        if isinstance(operation, MaxPool):
            needed["Pad"] += operation.border == "zero" and operation.padding > 0
        if isinstance(operation, AveragePool):
            needed["Pad"] += operation.zeros > 0
    if layout == "nhwc":
        needed["Transpose"] = 1 + (0 if arch.out_indices is None else len(outputs(arch)))
    return +needed


def inspect(proto: ModelProto, arch: Architecture | None, layout: str) -> list[Count]:
    """A row per operator; without an architecture nothing is known to be needed."""
    found = count_operators(proto)
    if arch is None:
        return [Count(operator, number, 0) for operator, number in sorted(found.items())]
    needed = needed_operators(arch, layout)
    free = 1
    rows = []
    for operator in sorted({*found, *needed} - set(_SAME)):
        same = [other for other, kept in _SAME.items() if kept == operator and found[other]]
        number = found[operator] + sum(found[other] for other in same)
        remark = f"as {', '.join(same)}" if same else ""
        if operator in _ONE_FOR_FREE and free and _flattens_the_mean(proto, operator):
            free, remark = 0, "one may stand behind the global average"
            rows.append(Count(operator, number, 1, remark))
        else:
            rows.append(Count(operator, number, needed[operator], remark))
    return rows


def _flattens_the_mean(proto: ModelProto, operator: str) -> bool:
    """Whether one of them stands behind the global average."""
    means = ("ReduceMean", *_SAME)
    made = {name for node in proto.graph.node if node.op_type in means for name in node.output}
    return any(node.op_type == operator and node.input[0] in made for node in proto.graph.node)
