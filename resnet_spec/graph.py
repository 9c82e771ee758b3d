"""The spec as a graph: every operation of a net, with the names of those that it takes up.

Whoever walks a net, forwards or backwards, walks this: the taps, the oracle, its gradients.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from resnet_spec.architecture import Architecture
from resnet_spec.layers import (
    Add,
    Gate,
    GlobalAverage,
    Identity,
    Norm,
    Operation,
    Relu,
    SqueezeExcitation,
)
from resnet_spec.plan import Block, Plan, make_plan

IMAGE = "image"
"""The name of what the first operation takes up."""


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
def make_graph(arch: Architecture) -> tuple[Node, ...]:
    """The operations of an architecture, each behind those that it depends on."""
    return tuple(_walk(make_plan(arch)))


def _walk(plan: Plan) -> Iterator[Node]:
    x = yield from _walk_stem(plan)
    for block in plan.blocks:
        x = yield from _walk_block(block, x)
    if plan.features:
        return
    if plan.norm:
        x = yield from _one(plan.norm, x)
        x = yield from _one(Relu("relu"), x, is_tap=False)
    x = yield from _one(GlobalAverage("avgpool"), x)
    if plan.fc:
        yield from _one(plan.fc, x)


def _one(operation: Operation, *inputs: str, is_tap: bool = True):
    """One node; its name is the value of the `yield from`."""
    yield Node(operation, inputs, is_tap)
    return operation.name


def _walk_stem(plan: Plan):
    x = IMAGE
    for layer in plan.stem.layers:
        x = yield from _one(layer, x)
        if layer in plan.stem.hidden_norms:
            x = yield from _one(Relu(f"{layer.name}.relu"), x, is_tap=False)
    if plan.stem.norm:
        x = yield from _one(Relu("relu"), x)
    if plan.stem.pool:
        x = yield from _one(plan.stem.pool, x)
    return x


def _walk_block(block: Block, x: str):
    shortcut, last = x, block.norms[-1]
    for layer in block.branch:
        x = yield from _one(layer, x)
        if isinstance(layer, Norm) and (block.preactivation or layer is not last):
            number = block.norms.index(layer) + 1
            x = yield from _one(Relu(f"{block.name}.relu{number}"), x, is_tap=False)
            if layer is block.bn1 and block.preactivation and block.projects:
                shortcut = x
    if block.se:
        x = yield from _walk_gate(block.se, x)
    if block.shortcut is not None:
        for layer in block.shortcut:
            shortcut = yield from _one(layer, shortcut, is_tap=not isinstance(layer, Identity))
        x = yield from _one(Add(f"{block.name}.add"), x, shortcut, is_tap=False)
    output = Identity(block.name) if block.preactivation else Relu(block.name)
    return (yield from _one(output, x))


def _walk_gate(se: SqueezeExcitation, x: str):
    gate = yield from _one(GlobalAverage(f"{se.name}.mean", flat=False), x, is_tap=False)
    gate = yield from _one(se.fc1, gate)
    gate = yield from _one(Relu(f"{se.name}.relu"), gate, is_tap=False)
    gate = yield from _one(se.fc2, gate)
    return (yield from _one(Gate(se.name), x, gate))
