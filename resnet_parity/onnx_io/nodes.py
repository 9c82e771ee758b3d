"""Read the attributes and constant inputs of a graph's nodes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count

import numpy as np
from onnxscript import ir

TO_NHWC = (0, 2, 3, 1)
TO_NCHW = (0, 3, 1, 2)


ABSORBED = "resnet_parity.absorbed"
"""The key in the `meta` of a norm, under which sentences say what was absorbed into it."""

NO_OPS = ("Identity", "Dropout")
"""Operators without effect in inference."""

RESHAPING = ("Flatten", "Reshape", "Squeeze")
"""Operators that may drop the axes of height and width."""


def may_drop(node: ir.Node) -> bool:
    """Whether a node is a Dropout that is active, or may be, as in training."""
    is_said = node.op_type == "Dropout" and len(node.inputs) > 2 and node.inputs[2] is not None
    training = constant(node, 2)
    return is_said and (training is None or bool(training.any()))


def transposes(node: ir.Node | None, axes: tuple[int, ...]) -> bool:
    """Whether a node is a Transpose with this order of axes."""
    return node is not None and tuple(node.attributes.get_ints("perm", ())) == axes


def constant(node: ir.Node, index: int) -> np.ndarray | None:
    """The value of an input that is stored in the file; None if it is absent or computed."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def epsilon_of(norm: ir.Node) -> float:
    """The number that a norm adds to its variance."""
    return norm.attributes.get_float("epsilon", 1e-5)


def is_plain_affine(norm: ir.Node) -> bool:
    """Whether a norm has no effect but gamma and beta: mean 0, and variance + eps = 1."""
    mean, variance = constant(norm, 3), constant(norm, 4)
    if mean is None or variance is None:
        return False
    eps = variance.dtype.type(epsilon_of(norm))
    return not mean.any() and bool((variance + eps == 1).all())


def pads(node: ir.Node) -> tuple[int, ...] | None:
    """The padding in pixels as (top, left, bottom, right); None where it depends on the size.

    SAME padding keeps the size at stride 1, whatever it is; else the size must be known.
    """
    mode = node.attributes.get_string("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return tuple(node.attributes.get_ints("pads", (0, 0, 0, 0)))
    if mode == "VALID":
        return (0, 0, 0, 0)
    weight = constant(node, 1)
    kernel = node.attributes.get_ints("kernel_shape", () if weight is None else weight.shape[2:])
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    totals = []
    for extent, width, stride, dilation in zip(
        [None, None] if shape is None else list(shape)[2:],
        kernel,
        node.attributes.get_ints("strides", (1, 1)),
        node.attributes.get_ints("dilations", (1, 1)),
        strict=True,
    ):
        beyond = dilation * (width - 1) + 1  # what the last window takes from its first cell on
        if stride == 1 or width == 1:
            totals.append(beyond - 1)
        elif isinstance(extent, int):
            totals.append(max(beyond - 1 - (extent - 1) % stride, 0))
        else:
            return None
    less = tuple(total // 2 for total in totals)
    more = tuple(total - half for total, half in zip(totals, less, strict=True))
    return less + more if mode == "SAME_UPPER" else more + less


def zeros_of(pad: ir.Node) -> tuple[int, ...] | None:
    """The zeros that a Pad adds before, then after each of four axes; None for other values."""
    amounts, value, axes = constant(pad, 1), constant(pad, 2), constant(pad, 3)
    has_value = len(pad.inputs) > 2 and pad.inputs[2] is not None
    has_axes = len(pad.inputs) > 3 and pad.inputs[3] is not None
    if amounts is None or (has_value and value is None) or (has_axes and axes is None):
        return None
    if pad.attributes.get_string("mode", "constant") != "constant":
        return None
    if value is not None and (value.size != 1 or value.item() != 0):
        return None
    if amounts.ndim != 1 or (axes is not None and axes.ndim != 1):
        return None
    chosen = [int(axis) % 4 for axis in axes] if axes is not None else list(range(4))
    if len(amounts) != 2 * len(chosen):
        return None
    zeros = [0] * 8
    for index, axis in enumerate(chosen):
        zeros[axis], zeros[axis + 4] = int(amounts[index]), int(amounts[index + len(chosen)])
    return tuple(zeros)


def axes_of(mean: ir.Node) -> tuple[int, ...]:
    """The axes of a mean over a feature map, from 0 to 3; empty where they are computed."""
    axes = constant(mean, 1)
    given = axes.ravel() if axes is not None else mean.attributes.get_ints("axes", ())
    return tuple(sorted(int(axis) % 4 for axis in given))


def flattens(node: ir.Node, channels: int) -> bool:
    """Whether a node reshapes (N, channels, 1, 1) to (N, channels) for any N."""
    if node.op_type == "Flatten":
        before = node.inputs[0].shape if node.inputs[0] is not None else None
        axis = node.attributes.get_int("axis", 1)
        if before is None:
            return axis == 1
        axis = axis + before.rank() if axis < 0 else axis
        return axis == 1 or (axis == 0 and before[0] == 1)
    target = constant(node, 1)
    if target is not None and target.ndim != 1:
        return False
    if node.op_type == "Squeeze":
        return target is not None and sorted(int(axis) % 4 for axis in target) == [2, 3]
    if target is not None:
        before = node.inputs[0].shape if node.inputs[0] is not None else None
        batch = before[0] if before is not None and isinstance(before[0], int) else 0
        return len(target) == 2 and target[0] in (0, -1, batch) and target[1] in (channels, -1)
    # [computed, channels]: the number of elements leaves one possible value.
    concat = node.inputs[1].producer() if len(node.inputs) > 1 and node.inputs[1] else None
    if concat is None or concat.op_type != "Concat" or len(concat.inputs) != 2:
        return False
    width = constant(concat, 1)
    before = ancestors(node.inputs[:1])
    makers = ancestors(concat.inputs[:1]) - before
    is_small = len(makers) <= 8 and all(maker.op_type in _SHAPE_OPERATORS for maker in makers)
    if not is_small or width is None:
        return False
    is_guessed = width.tolist() == [-1] and _counts_images(concat, before)
    return width.tolist() == [channels] or is_guessed


def _counts_images(concat: ir.Node, network: set[ir.Node]) -> bool:
    """Whether the first number that a node joins is the first extent of the image or of a map."""
    value = concat.inputs[0]
    while (node := value.producer() if value else None) is not None:
        if node.op_type not in ("Unsqueeze", "Squeeze", "Cast", "Gather", "Slice"):
            break
        taken = [constant(node, 1), constant(node, 2)]  # an index, or where a slice starts and ends
        wanted = {"Gather": ([0],), "Slice": ([0], [1])}.get(node.op_type, ())
        for array, numbers in zip(taken, wanted, strict=False):
            if array is None or array.ravel().tolist() != numbers:
                return False
        if node.op_type in ("Gather", "Slice"):
            shape = node.inputs[0].producer() if node.inputs[0] else None
            if shape is None or shape.op_type != "Shape" or shape.attributes.get_int("start", 0):
                return False
            source = shape.inputs[0]
            return source is not None and (source.is_graph_input() or source.producer() in network)
        value = node.inputs[0]
    return False


def reshaping(node: ir.Node) -> str:
    """How a Flatten, Reshape or Squeeze changes a shape, in words."""
    if node.op_type == "Flatten":
        return f"flattens from axis {node.attributes.get_int('axis', 1)} on"
    target = constant(node, 1)
    values = "computed values" if target is None else tuple(target.ravel().tolist())
    return f"{'drops the axes' if node.op_type == 'Squeeze' else 'reshapes to'} {values}"


_SHAPE_OPERATORS = ("Shape", "Gather", "Slice", "Squeeze", "Unsqueeze", "Reshape", "Cast")
"""Operators that may compute one extent of a shape: no output is larger than its input."""


def ancestors(values: Iterable[ir.Value | None]) -> set[ir.Node]:
    """All nodes that the values depend on."""
    found: set[ir.Node] = set()
    todo = [value.producer() for value in values if value is not None]
    while todo:
        node = todo.pop()
        if node is not None and node not in found:
            found.add(node)
            todo += [value.producer() for value in node.inputs if value is not None]
    return found


FILE = "<file>"
"""The name of a graph's file in messages, where only the caller knows it."""


def cut(inputs: Iterable[str | None], outputs: Iterable[str | None]) -> str:
    """The call that writes the part of a file between these values."""
    return f"onnx.utils.extract_model({FILE}, 'cut.onnx', {list(inputs)}, {list(outputs)})"


def free_name(graph: ir.Graph, name: str) -> str:
    """The name itself, or with a number if a value of the graph has it already."""
    taken = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    taken |= {value.name for node in graph for value in node.outputs}
    numbered = (f"{name}.{number}" for number in count(2))
    return next(each for each in chain([name], numbered) if each not in taken)


def number_names(graph: ir.Graph) -> None:
    """Name all nodes and their outputs by number, so that no canonical name is taken."""
    for index, node in enumerate(graph):
        node.name = f"node_{index}"
        for place, value in enumerate(node.outputs):
            value.name = f"value_{index}_{place}"
