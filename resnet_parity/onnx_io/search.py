"""A graph held to the spec, operation by operation, from what it returns back to the image.

Every value of a graph has one producer, so walking backwards leaves no choice, but for the order of
the two inputs of a sum: there the other order is tried where the first fails.
"""

from __future__ import annotations

from onnxscript import ir

from resnet_spec import IMAGE, Architecture, make_graph, outputs

from resnet_parity.onnx_io.match import (
    Match,
    MismatchError,
    Pairs,
    in_words,
    input_of,
    inputs_of,
    source_of,
)
from resnet_parity.onnx_io.nodes import TO_NCHW, TO_NHWC, transposes

_STEPS = 20
"""Steps per operation; a wrong order of a sum's inputs is noticed within one block."""


def match(graph: ir.Graph, arch: Architecture) -> Match:
    """Which node is which; raises `MismatchError` that says in words where the two part."""
    names = outputs(arch)
    if len(graph.outputs) != len(names):
        raise MismatchError(f"it returns {len(graph.outputs)} tensors instead of {len(names)}")
    if len(graph.inputs) != 1:
        raise MismatchError(f"it takes {len(graph.inputs)} inputs instead of one image")
    operations = {node.name: node for node in make_graph(arch)}
    start = Match(arch, operations)
    pairs = [
        (names[returned], _as_nchw(value, start))
        for returned, value in zip(names, graph.outputs, strict=True)
    ]
    found = _search(pairs, start, graph.inputs[0])
    _check_leftover(graph, found)
    if len(found.layouts) != 1:
        raise MismatchError(
            "its image and its feature maps have different layouts", len(found.values)
        )
    return found


def _search(pairs: Pairs, start: Match, image: ir.Value) -> Match:
    """Depth first, with the states to go back to where an order of inputs was a choice."""
    found, todo = start, list(reversed(pairs))
    choices: list[tuple[Match, Pairs]] = []
    furthest = MismatchError("", -1)
    for _ in range(_STEPS * len(found.operations) + _STEPS):
        if not todo:
            return found
        name, value = todo.pop()
        try:
            ways = _step(name, value, found, image)
        except MismatchError as error:
            reached = len(found.values)
            if reached > furthest.reached:
                furthest = MismatchError(str(error), reached)
            if not choices:
                raise furthest from error
            found, todo = choices.pop()
            continue
        for other in ways[1:]:
            choices.append((found.copy(), [*todo, *reversed(other)]))
        todo += reversed(ways[0])
    raise MismatchError("it has too many ways to be read", furthest.reached)


def _step(name: str, value: ir.Value, found: Match, image: ir.Value) -> list[Pairs]:
    """What the inputs of one operation must be, in each order in which they may stand."""
    if name == IMAGE:
        return [_match_image(value, found, image)]
    if name in found.values:
        if found.values[name] is not value:
            raise MismatchError(f"{name} stands in two places")
        return [[]]
    node = found.operations[name]
    ways = inputs_of(node.operation, node, source_of(value, found), found)
    found.values[name] = value
    return ways


def _match_image(value: ir.Value, found: Match, image: ir.Value) -> Pairs:
    value = source_of(value, found)
    node = value.producer()
    layout = "nchw"
    if node is not None and node.op_type == "Transpose":
        if not transposes(node, TO_NCHW):
            raise MismatchError("the image is transposed, but not from NHWC")
        found.used.add(node)
        value, layout = input_of(node, 0), "nhwc"
    if value is not image:
        raise MismatchError(f"the first layer takes {in_words(value)} instead of the image")
    found.layouts.add(layout)
    found.values[IMAGE] = value
    return []


def _as_nchw(value: ir.Value, start: Match) -> ir.Value:
    """What is returned; a feature map before it was turned into NHWC."""
    node = value.producer()
    if node is None or node.op_type != "Transpose":
        if start.architecture.out_indices is not None:
            start.layouts.add("nchw")
        return value
    if not transposes(node, TO_NHWC):
        raise MismatchError("a returned map is transposed, but not to NHWC")
    start.used.add(node)
    start.layouts.add("nhwc")
    return input_of(node, 0)


def _check_leftover(graph: ir.Graph, found: Match) -> None:
    """What computes something that the net has no place for."""
    left = [node for node in graph if node not in found.used]
    if left:
        kinds = ", ".join(sorted({node.op_type for node in left}))
        raise MismatchError(
            f"{len(left)} nodes have no place in the net: {kinds}", len(found.values)
        )
