"""Match a graph with the spec, operation by operation, from its outputs back to the image.

Every value has one producer, so the only choice on the way back is the order of the two inputs of a
sum. A graph that differs has more readings: an operator is another one, is missing, or is one too
many. The search follows the reading with the fewest faults, so that it ends at the one that
explains most of the graph.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count

from onnxscript import ir

from resnet_spec import IMAGE, Architecture, Identity, Norm, make_graph, outputs

from resnet_parity.onnx_io.match import (
    InputPairs,
    Match,
    MismatchError,
    both_orders,
    describe,
    input_of,
    inputs_of,
    may_be_folded,
    presumed_folded,
    source_of,
)
from resnet_parity.onnx_io.nodes import TO_NCHW, TO_NHWC, cut, transposes

_MAX_STEPS = 20
"""Steps per operation; a wrong order of a sum's inputs fails within one block."""

_WRONG_OPERATOR = 8
"""The cost of a wrong operator; an attribute that differs costs 1.

No operation has that many attributes, so a reading of another operator never replaces one of wrong
attributes.
"""

_MOST_WRONG = 10
"""Wrong operators, after which the search ends: the message names the first of them."""

_MOST_READINGS = 500
"""Readings that are kept: the ones that cost least. Each holds the nodes that it has matched."""

_Step = tuple[str, ir.Value, str]
"""The name of an operation, the value that must be its output, and the operation it goes to."""

_REMOVE = "remove it from the model, and export it again"

_CLASSIFIER = (
    "feature maps alone are read from files of `resnet-parity export`; of another file export the "
    "classifier"
)

_Todo = list[_Step]
"""What is still to be matched; the next one stands last."""


def closest(graph: ir.Graph, arch: Architecture, *, strict: bool = False) -> Match:
    """The match with the fewest faults; with `strict`, the search ends at the first fault."""
    names = outputs(arch)
    start = Match(arch, {node.name: node for node in make_graph(arch)})
    if len(graph.outputs) != len(names):
        logits = [each for each in graph.outputs if _is_of(each, "Gemm")]
        fix = _cut(graph, logits[:1]) if len(names) == len(logits[:1]) else _CLASSIFIER
        start.add_fault(f"it returns {len(graph.outputs)} tensors instead of {len(names)}", fix)
    if len(graph.inputs) != 1:
        weights = [each.name for each in graph.inputs if _is_weight(each)]
        if weights:
            text = f"it holds no values of {len(weights)} weights, such as {weights[0]!r}"
            start.add_fault(text, "export it again with its weights (export_params=True)")
        else:
            text = f"it takes {len(graph.inputs)} inputs instead of one image"
            start.add_fault(text, "export the model again with the image as its only input")
    if start.faults:
        return start
    todo = [
        (names[output], _as_nchw(value, start), "the output")
        for output, value in zip(names, graph.outputs, strict=True)
    ]
    return _Search(graph, 0 if strict else None).run(start, todo[::-1])


def _is_weight(value: ir.Value) -> bool:
    """Whether an input of a graph has the place of a weight."""
    places = {"Conv": 1, "BatchNormalization": 1, "Gemm": 1}
    return any(index >= places.get(node.op_type, index + 1) for node, index in value.uses())


def _is_of(value: ir.Value, operator: str) -> bool:
    node = value.producer()
    return node is not None and node.op_type == operator


def _cut(graph: ir.Graph, outputs: Iterable[ir.Value]) -> str:
    """The fix for a graph that goes on after these values."""
    call = cut([value.name for value in graph.inputs], [value.name for value in outputs])
    return f"cut it off with {call}, and import cut.onnx"


class _Search:
    """The readings that are still to be followed, and the one that explains most so far.

    Readings that cost more than `limit` are dropped.
    """

    def __init__(self, graph: ir.Graph, limit: int | None) -> None:
        self.graph = graph
        self.limit = limit
        self.readings: list[tuple[int, int, int, Match, _Todo]] = []
        self.numbers = count()

    def run(self, start: Match, todo: _Todo) -> Match:
        """Follow the readings, the one with the fewest faults first."""
        self._add(start, todo)
        best = start
        seen: set[tuple[object, ...]] = set()
        for _ in range(_MAX_STEPS * (len(start.operations) + 1)):
            if not self.readings:
                break
            cost, *_, found, todo = heapq.heappop(self.readings)
            if cost > _MOST_WRONG * _WRONG_OPERATOR:
                break
            # What is left is the same, so the reading that came first is as good or better.
            state = (len(found.folded), *((name, value) for name, value, _ in todo))
            if todo and state in seen:
                continue
            seen.add(state)
            if found.agreement > best.agreement or not best.faults:
                best = found
            if todo:
                self._follow(found, todo)
            elif self._explains_all(found):
                return found
            else:
                self._add(found, todo)
        if not best.faults:
            best.add_fault("its sums have too many possible orders of inputs")
        return best

    def _add(self, found: Match, todo: _Todo) -> None:
        if self.limit is None or found.cost <= self.limit:
            entry = (found.cost, -len(found.nodes), next(self.numbers), found, todo)
            heapq.heappush(self.readings, entry)
            if len(self.readings) > 2 * _MOST_READINGS:  # a sorted list is a heap
                self.readings = heapq.nsmallest(_MOST_READINGS, self.readings)

    def _follow(self, before: Match, todo: _Todo) -> None:
        """Match one value, and add the readings that come of it."""
        *todo, (name, value, goal) = todo
        found = before.copy()
        try:
            orders = self._step(name, value, goal, found)
        except MismatchError as error:
            step = name, value if error.value is None else error.value, goal
            for recover in (self._replaced, self._missing, self._additional, self._folded):
                recover(found, todo, step, str(error))
            return
        for other in orders[1:]:
            self._add(found.copy(), [*todo, *_todo(name, other)])
        self._add(found, [*todo, *_todo(name, orders[0])])

    def _step(self, name: str, value: ir.Value, goal: str, found: Match) -> list[InputPairs]:
        """The pairs that the inputs of one operation must match, for each possible order."""
        if name == IMAGE:
            return [_match_image(source_of(value, name, found), found, self.graph.inputs[0])]
        if name in found.values:
            known = found.values[name]
            if source_of(known, name, found) is not source_of(value, name, found):
                other = next((o for o, v in found.values.items() if v is value), describe(value))
                found.add_fault(f"{goal} takes {other} instead of {name}", cost=_WRONG_OPERATOR)
            return [[]]
        node, source = found.operations[name], source_of(value, name, found)
        if source.producer() in found.used and not isinstance(node.operation, Identity):
            other = next((o for o, v in found.values.items() if v is value), describe(value))
            found.add_fault(f"{goal} takes {other} instead of {name}", cost=_WRONG_OPERATOR)
            orders = [[]]
        else:
            orders = inputs_of(node.operation, node, source, found)
        found.values[name] = value
        return orders

    def _replaced(self, before: Match, todo: _Todo, step: _Step, message: str) -> None:
        """Another operator computes the operation, from the same inputs."""
        name, value, _ = step
        inputs = _maps(value)
        if name == IMAGE or not inputs:
            return
        node = before.operations[name]
        if len(node.inputs) == 1:
            orders = [[(node.inputs[0], each)] for each in inputs]
        else:
            orders = both_orders(node, *inputs) if len(inputs) == 2 else []
        for order in orders:
            found = before.copy()
            found.values[name] = value
            self._recover(found, value, message, [*todo, *_todo(name, order)])

    def _missing(self, before: Match, todo: _Todo, step: _Step, message: str) -> None:
        """Nothing computes the operation: the value is its input."""
        name, value, goal = step
        if name == IMAGE:
            return
        for each in before.operations[name].inputs:
            found = before.copy()
            found.values[name] = value
            fault = f"{name} is missing before {goal}, which takes {describe(value)}"
            self._recover(found, None, fault, [*todo, (each, value, name)])

    def _additional(self, before: Match, todo: _Todo, step: _Step, message: str) -> None:
        """The operator is one too many."""
        name, value, goal = step
        if name in before.folded:  # it comes after the folded norm, which is another reading
            return
        after, producer = before.nodes.get(goal), value.producer()
        if after and producer and after.op_type == producer.op_type == "Relu":
            found = before.copy()  # a ReLU of a ReLU is one
            found.used.add(producer)
            self._add(found, [*todo, (name, input_of(producer, 0), goal)])
            return
        for each in _maps(value):
            fault = f"there is an additional {describe(value)} between {name} and {goal}"
            is_last = goal == "the output"
            fix = _cut(self.graph, [each]) if is_last and len(self.graph.outputs) == 1 else _REMOVE
            self._recover(before.copy(), value, fault, [*todo, (name, each, goal)], fix)

    def _folded(self, before: Match, todo: _Todo, step: _Step, message: str) -> None:
        """A norm is folded into a convolution that another operator replaces."""
        name, value, _ = step
        node = before.operations.get(name)
        if node is not None and isinstance(node.operation, Norm) and may_be_folded(node, before):
            found = before.copy()
            found.values[name] = value
            self._add(found, [*todo, *_todo(name, presumed_folded(node, value, found))])

    def _recover(
        self, found: Match, value: ir.Value | None, fault: str, todo: _Todo, fix: str = ""
    ) -> None:
        """Add a reading with one more fault, in which the producer of the value is explained."""
        producer = None if value is None else value.producer()
        if producer is not None:
            found.used.add(producer)
        found.add_fault(fault, fix, cost=_WRONG_OPERATOR)
        self._add(found, todo)

    def _explains_all(self, found: Match) -> bool:
        """Whether no node is left over; else these are one more fault."""
        left = [node for node in self.graph if node not in found.used]
        if left:
            kinds = ", ".join(sorted({node.op_type for node in left}))
            found.add_fault(
                f"{len(left)} nodes are not part of the architecture: {kinds}", cost=_WRONG_OPERATOR
            )
        elif len(found.layouts) > 1:
            found.add_fault(
                "its image and its feature maps have different layouts", cost=_WRONG_OPERATOR
            )
        else:
            return True
        found.used.update(left)
        found.layouts = {"nchw"} if not left else found.layouts
        return False


def _match_image(value: ir.Value, found: Match, image: ir.Value) -> InputPairs:
    node = value.producer()
    layout = "nchw"
    if node is not None and node.op_type == "Transpose":
        if not transposes(node, TO_NCHW):
            raise MismatchError("the image is transposed, but not from NHWC to NCHW")
        found.used.add(node)
        value, layout = input_of(node, 0), "nhwc"
    if value is not image:
        raise MismatchError(f"the first layer takes {describe(value)} instead of the image", value)
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
        start.add_fault("an output map is transposed, but not from NCHW to NHWC")
    start.used.add(node)
    start.layouts.add("nhwc")
    return input_of(node, 0)


def _todo(name: str, pairs: InputPairs) -> _Todo:
    return [(each, value, name) for each, value in reversed(pairs)]


def _maps(value: ir.Value) -> list[ir.Value]:
    """The inputs of a value's producer that depend on the image."""
    node = value.producer()
    inputs = () if node is None else node.inputs
    return [each for each in inputs if each is not None and each.const_value is None]
