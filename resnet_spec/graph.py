"""The spec as a graph: every operation of a network with the names of its inputs.

The taps, the NumPy reference and its gradients walk this graph, forwards or backwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from resnet_spec.architecture import Architecture
from resnet_spec.layers import Identity, Norm, Operation, SqueezeExcitation
from resnet_spec.plan import Block, Plan, make_plan

IMAGE = "image"
"""The input of the first operation."""


@dataclass(frozen=True)
class Node:
    """One operation, the names of its inputs, and whether its output is a tap."""

    operation: Operation
    inputs: tuple[str, ...]
    is_tap: bool = True

    @property
    def name(self) -> str:
        return self.operation.name


@lru_cache(maxsize=256)
def make_graph(arch: str | Architecture) -> tuple[Node, ...]:
    """The operations of an architecture in execution order."""
    return tuple(_walk(make_plan(arch)))


# Each walker yields the nodes of a part in execution order and returns the name of its output.


def _walk(plan: Plan) -> Iterator[Node]:
    x = yield from _walk_stem(plan)
    for block in plan.blocks:
        x = yield from _walk_block(block, x)
    if plan.features:
        return
    if plan.norm:
        x = yield from _one(plan.norm, x)
        x = yield from _one(plan.relu, x, is_tap=False)
    x = yield from _one(plan.avgpool, x)
    if plan.fc:
        yield from _one(plan.fc, x)


def _one(operation: Operation, *inputs: str, is_tap: bool = True):
    yield Node(operation, inputs, is_tap)
    return operation.name


def _walk_stem(plan: Plan):
    stem = plan.stem
    *hidden, last = stem.convs
    x = IMAGE
    for conv, norm, relu in zip(hidden, stem.hidden_norms, stem.hidden_relus, strict=True):
        x = yield from _one(conv, x)
        x = yield from _one(norm, x)
        x = yield from _one(relu, x, is_tap=False)
    x = yield from _one(last, x)
    if stem.norm:
        x = yield from _one(stem.norm, x)
        x = yield from _one(plan.relu, x)
    if stem.pool:
        x = yield from _one(stem.pool, x)
    return x


def _walk_block(block: Block, x: str):
    shortcut, relus = x, iter(block.relus)
    for layer in block.branch:
        x = yield from _one(layer, x)
        if isinstance(layer, Norm) and (block.preactivation or layer is not block.norms[-1]):
            x = yield from _one(next(relus), x, is_tap=False)
            if layer is block.bn1 and block.preactivation and block.projects:
                shortcut = x
    if block.se:
        x = yield from _walk_gate(block.se, x)
    if block.add:
        for layer in block.shortcut:
            shortcut = yield from _one(layer, shortcut, is_tap=not isinstance(layer, Identity))
        x = yield from _one(block.add, x, shortcut, is_tap=False)
    return (yield from _one(block.output if block.preactivation else block.relus[-1], x))


def _walk_gate(se: SqueezeExcitation, x: str):
    gate = yield from _one(se.mean, x, is_tap=False)
    gate = yield from _one(se.fc1, gate)
    gate = yield from _one(se.relu, gate, is_tap=False)
    gate = yield from _one(se.fc2, gate)
    return (yield from _one(se.gate, x, gate))
