"""Match a graph with the spec, operation by operation, from its outputs back to the image.

Every value has one producer, so the only choice on the way back is the order of the two inputs of a
sum: the second order is tried if the first fails.
"""

from __future__ import annotations

from onnxscript import ir

from resnet_spec import IMAGE, Architecture, make_graph, outputs

from resnet_parity.onnx_io.match import (
    InputPairs,
    Match,
    MismatchError,
    Orders,
    describe,
    input_of,
    inputs_of,
    source_of,
)
from resnet_parity.onnx_io.nodes import TO_NCHW, TO_NHWC, transposes

_MAX_STEPS = 20
"""Steps per operation; a wrong order of a sum's inputs fails within one block."""


def match(graph: ir.Graph, arch: Architecture) -> Match:
    """Match every node; raises a `MismatchError` that names the first difference."""
    names = outputs(arch)
    if len(graph.outputs) != len(names):
        raise MismatchError(f"it returns {len(graph.outputs)} tensors instead of {len(names)}")
    if len(graph.inputs) != 1:
        raise MismatchError(f"it takes {len(graph.inputs)} inputs instead of one image")
    operations = {node.name: node for node in make_graph(arch)}
    start = Match(arch, operations)
    pairs = [
        (names[output], _as_nchw(value, start))
        for output, value in zip(names, graph.outputs, strict=True)
    ]
    found = _search(pairs, start, graph.inputs[0])
    _check_leftover(graph, found)
    if len(found.layouts) != 1:
        raise MismatchError(
            "its image and its feature maps have different layouts", len(found.values)
        )
    return found


def _search(pairs: InputPairs, start: Match, image: ir.Value) -> Match:
    """Search depth first; where the inputs have two orders, keep the state to come back to."""
    found, todo = start, list(reversed(pairs))
    choices: list[tuple[Match, InputPairs]] = []
    furthest = MismatchError("", -1)
    for _ in range(_MAX_STEPS * (len(found.operations) + 1)):
        if not todo:
            return found
        name, value = todo.pop()
        try:
            orders = _step(name, value, found, image)
        except MismatchError as error:
            reached = len(found.values)
            if reached > furthest.reached:
                furthest = MismatchError(str(error), reached)
            if not choices:
                raise furthest from error
            found, todo = choices.pop()
            continue
        for other in orders[1:]:
            choices.append((found.copy(), [*todo, *reversed(other)]))
        todo += reversed(orders[0])
    raise MismatchError("its sums have too many possible orders of inputs", furthest.reached)


def _step(name: str, value: ir.Value, found: Match, image: ir.Value) -> Orders:
    """The pairs that the inputs of one operation must match, for each possible order."""
    if name == IMAGE:
        return [_match_image(value, found, image)]
    if name in found.values:
        if found.values[name] is not value:
            raise MismatchError(f"{name} is computed twice")
        return [[]]
    node = found.operations[name]
    orders = inputs_of(node.operation, node, source_of(value, found), found)
    found.values[name] = value
    return orders


def _match_image(value: ir.Value, found: Match, image: ir.Value) -> InputPairs:
    value = source_of(value, found)
    node = value.producer()
    layout = "nchw"
    if node is not None and node.op_type == "Transpose":
        if not transposes(node, TO_NCHW):
            raise MismatchError("the image is transposed, but not from NHWC to NCHW")
        found.used.add(node)
        value, layout = input_of(node, 0), "nhwc"
    if value is not image:
        raise MismatchError(f"the first layer takes {describe(value)} instead of the image")
    found.layouts.add(layout)
    found.values[IMAGE] = value
    return []


def _as_nchw(value: ir.Value, start: Match) -> ir.Value:
    """An output; for a feature map in NHWC, the NCHW map that it was transposed from."""
    node = value.producer()
    if node is None or node.op_type != "Transpose":
        if start.architecture.out_indices is not None:
            start.layouts.add("nchw")
        return value
    if not transposes(node, TO_NHWC):
        raise MismatchError("an output map is transposed, but not from NCHW to NHWC")
    start.used.add(node)
    start.layouts.add("nhwc")
    return input_of(node, 0)


def _check_leftover(graph: ir.Graph, found: Match) -> None:
    """Raise `MismatchError` if a node computes something that is not in the architecture."""
    left = [node for node in graph if node not in found.used]
    if left:
        kinds = ", ".join(sorted({node.op_type for node in left}))
        raise MismatchError(
            f"{len(left)} nodes are not part of the architecture: {kinds}", len(found.values)
        )
