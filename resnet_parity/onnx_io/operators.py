"""Count the operators of a graph, and those that its architecture needs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from onnx import ModelProto

import resnet_spec as spec

_OPERATORS = {
    spec.Conv: ("Conv",),
    spec.Relu: ("Relu",),
    spec.Add: ("Add",),
    spec.MaxPool: ("MaxPool",),
    spec.AveragePool: ("AveragePool",),
    spec.ChannelPad: ("Pad",),
    spec.GlobalAverage: ("ReduceMean",),
    spec.Gate: ("Mul", "Sigmoid"),
    spec.Linear: ("Gemm",),
}

_EQUIVALENT = {"GlobalAveragePool": "ReduceMean"}
"""Operators that may replace another one."""

_FLATTENING = ("Flatten", "Reshape", "Squeeze")
"""One of these may follow the global average."""


@dataclass(frozen=True)
class OperatorCount:
    """The number of operators of a type in a graph, and the number that its architecture needs."""

    operator: str
    found: int
    needed: int
    remark: str = ""


def count_operators(proto: ModelProto) -> Counter[str]:
    """The number of operators of each type in a graph."""
    return Counter(node.op_type for node in proto.graph.node)


def needed_operators(arch: spec.Architecture, layout: str) -> Counter[str]:
    """The operators that an architecture needs, with norms folded where a convolution allows it."""
    nodes = {node.name: node for node in spec.make_graph(arch)}
    uses = Counter(name for node in nodes.values() for name in node.inputs)
    needed: Counter[str] = Counter()
    for node in nodes.values():
        operation = node.operation
        if isinstance(operation, spec.Norm):
            before = nodes.get(node.inputs[0])
            follows = before is not None and isinstance(before.operation, spec.Conv)
            needed["BatchNormalization"] += not (follows and uses[node.inputs[0]] == 1)
            continue
        needed.update(_OPERATORS.get(type(operation), ()))
        if isinstance(operation, spec.MaxPool):
            needed["Pad"] += operation.border == "zero" and operation.padding > 0
        if isinstance(operation, spec.AveragePool):
            needed["Pad"] += operation.zeros > 0
    if layout == "nhwc":
        needed["Transpose"] = 1 + (0 if arch.out_indices is None else len(spec.outputs(arch)))
    return +needed


def compare_operators(
    proto: ModelProto, arch: spec.Architecture | None, layout: str
) -> list[OperatorCount]:
    """Return a row per operator type; without an architecture `needed` is 0."""
    found = count_operators(proto)
    if arch is None:
        return [OperatorCount(operator, number, 0) for operator, number in sorted(found.items())]
    needed = needed_operators(arch, layout)
    may_flatten = True
    rows = []
    for operator in sorted({*found, *needed} - set(_EQUIVALENT)):
        others = [other for other, same in _EQUIVALENT.items() if same == operator and found[other]]
        number = found[operator] + sum(found[other] for other in others)
        remark = f"as {', '.join(others)}" if others else ""
        if operator == "BatchNormalization" and number > needed[operator]:
            remark = "not folded into the convolution before it"
        if operator in _FLATTENING and may_flatten and _flattens_the_mean(proto, operator):
            may_flatten, remark = False, "one may follow the global average"
            rows.append(OperatorCount(operator, number, 1, remark))
        else:
            rows.append(OperatorCount(operator, number, needed[operator], remark))
    return rows


def _flattens_the_mean(proto: ModelProto, operator: str) -> bool:
    """Whether an operator of this type follows the global average."""
    means = ("ReduceMean", *_EQUIVALENT)
    made = {name for node in proto.graph.node if node.op_type in means for name in node.output}
    return any(node.op_type == operator and node.input[0] in made for node in proto.graph.node)
