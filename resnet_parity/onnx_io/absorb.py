"""Absorb into weights what a graph computes per channel, besides the operators of a ResNet.

Everything is combined in float64 and rounded once. What depends on the architecture, an epsilon
and the bias of a convolution before a norm, is absorbed where weights are read, see `tensors`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
from onnxscript import ir

from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import nodes
from resnet_parity.onnx_io.tensors import affine, put_tensor

Affine = tuple[np.ndarray, np.ndarray]
"""A factor and a term per channel, in float64."""

Run = Sequence[tuple[ir.Node, Affine]]
"""Nodes, one after the other, that only scale and shift the channels of a map."""

_NORM = "BatchNormalization"


def absorb(graph: ir.Graph, name: str) -> list[str]:
    """Change a graph in place, and return a sentence for each kind of change.

    `name` is the name of its file in messages. The `meta` of a norm says what was absorbed into it.
    Raises `ParityError` for what no weights can absorb: a normalisation of an image that is padded
    afterwards, and what scales the result of a convolution with a computed bias.
    """
    notes = [*_remove_no_ops(graph), *_absorb_image(graph, name)]
    _absorb_runs(graph, name)
    return notes


def _remove_no_ops(graph: ir.Graph) -> Iterator[str]:
    """Remove Identity, Dropout in inference, and casts that keep all values."""
    removed: Counter[str] = Counter()
    for node in list(graph):
        if node.graph is None:
            continue
        chain = [node]
        if node.op_type == "Cast" and _target(node) == ir.DataType.DOUBLE:
            chain += [after for after in [_only_user(node.outputs[0])] if after]
        is_no_op = node.op_type in nodes.NO_OPS and not nodes.may_drop(node)
        if not is_no_op and not _keeps_values(chain):
            continue
        value, last = node.inputs[0], chain[-1].outputs[0]
        if value is not None and not last.is_graph_output():
            removed.update(each.op_type for each in chain)
            ir.convenience.replace_all_uses_with(last, value)
            graph.remove(chain, safe=True)
    if removed:
        counts = ", ".join(f"{count} {operator}" for operator, count in removed.items())
        yield f"{counts} removed: they change nothing in inference"


def _keeps_values(casts: Sequence[ir.Node]) -> bool:
    """Whether nodes cast float32 to float32, directly or by float64."""
    value = casts[0].inputs[0]
    is_from_float32 = value is not None and value.dtype == ir.DataType.FLOAT
    are_casts = all(cast.op_type == "Cast" for cast in casts)
    return are_casts and is_from_float32 and _target(casts[-1]) == ir.DataType.FLOAT


def _target(cast: ir.Node) -> int:
    return cast.attributes.get_int("to", 0)


def _absorb_image(graph: ir.Graph, name: str) -> Iterator[str]:
    """Absorb factors and terms between the image and the first convolution into the latter."""
    chain = _to_first_conv(graph)
    kernel = nodes.constant(chain[-1], 1) if chain else None
    if kernel is None or chain[-1].attributes.get_int("group", 1) != 1:
        return
    run: list[tuple[ir.Node, Affine]] = []
    for index, node in enumerate(chain):
        if node.op_type in ("Pad", "Conv"):
            zeros = nodes.zeros_of(node) if node.op_type == "Pad" else nodes.pads(node)
            if zeros is None and node.op_type == "Pad":
                return  # no padding of a ResNet
            if _combined(run)[1].any() and any(zeros or (1,)):
                raise ParityError(_not_absorbed(name, graph, run, node))
        elif not nodes.transposes(node, nodes.TO_NCHW):
            is_nhwc = any(nodes.transposes(after, nodes.TO_NCHW) for after in chain[index:])
            own = _affine(node, kernel.shape[1], axis=3 if is_nhwc else 1)
            if own is None:
                return
            run.append((node, own))
    if run and (not _combined(run)[1].any() or _holds_bias(chain[-1], run, name)):
        where = _absorb_from_image(graph, chain[-1], run)
        yield f"{_operators(run)} on the image absorbed into the {where} of the first convolution"


def _to_first_conv(graph: ir.Graph) -> list[ir.Node]:
    """The nodes from the image to the first convolution; none unless they are one chain."""
    chain: list[ir.Node] = []
    node = _only_user(graph.inputs[0]) if len(graph.inputs) == 1 else None
    while node is not None:
        chain.append(node)
        if node.op_type == "Conv":
            return chain
        node = _only_user(node.outputs[0])
    return []


def _absorb_from_image(graph: ir.Graph, conv: ir.Node, run: Run) -> str:
    """Absorb what scales and shifts the input of a convolution; return the names of its weights."""
    factor, term = _combined(run)
    kernel, bias = nodes.constant(conv, 1), nodes.constant(conv, 2)
    assert kernel is not None  # the caller saw it
    exact = kernel.astype("float64")
    _put(graph, conv, 1, exact * factor[:, None, None])
    if term.any():
        added = (exact * term[:, None, None]).sum(axis=(1, 2, 3))
        _put(graph, conv, 2, added if bias is None else added + bias)
    _bypass(graph, run)
    return "kernel and bias" if term.any() else "kernel"


def _not_absorbed(name: str, graph: ir.Graph, run: Run, padding: ir.Node) -> str:
    """Why a normalisation of the image cannot be absorbed, and what to do."""
    numbers = ", ".join(f"{a:.9g} * x {b:+.9g}" for a, b in zip(*_combined(run), strict=True))
    outputs = [value.name for value in graph.outputs]
    where, last = padding.name or padding.outputs[0].name, run[-1][0].outputs[0].name
    mode = padding.attributes.get_string("auto_pad", "NOTSET")
    amount = "" if mode == "NOTSET" else f", by its auto_pad {mode} at some or all sizes of images"
    return (
        f"{name}: its graph normalises the image ({_operators(run)}), and {where!r} pads the "
        f"result with zeros{amount}. No weights can absorb that, because zeros after a "
        "normalisation are not zeros before it. Cut it off with "
        f"{nodes.cut([last], outputs).replace(nodes.FILE, repr(name))}, import cut.onnx, and "
        f"normalise the channels of an image before it enters the network: {numbers}"
    )


def _absorb_runs(graph: ir.Graph, name: str) -> None:
    """Absorb factors and terms around norms: those before into the convolution, others after."""
    for node in list(graph):
        kernel = nodes.constant(node, 1)  # of a norm its gamma
        if node.graph is None or kernel is None or node.op_type not in ("Conv", _NORM):
            continue
        run = list(_run(node.outputs[0], len(kernel)))
        norms = [index for index, (each, _) in enumerate(run) if _has_statistics(each)]
        if node.op_type == "Conv":
            before = run[: norms[0]] if norms else []
            if before and _holds_bias(node, before, name):
                _absorb_into_conv(graph, node, before, run[norms[0]][0])
        elif run and (_has_statistics(node) or not norms) and _affine(node, len(kernel)):
            _absorb_into_norm(graph, node, run)


def _run(value: ir.Value, channels: int) -> Iterator[tuple[ir.Node, Affine]]:
    """The nodes after a value that only scale and shift its channels, one after the other."""
    while (node := _only_user(value)) is not None:
        own = _affine(node, channels)
        if own is None:
            return
        yield node, own
        value = node.outputs[0]


def _holds_bias(conv: ir.Node, run: Run, name: str) -> bool:
    """Whether a convolution has no bias or one number per filter, so that it can absorb a run.

    Raises `ParityError` for a bias that the graph computes.
    """
    kernel, bias = nodes.constant(conv, 1), nodes.constant(conv, 2)
    if bias is None and len(conv.inputs) > 2 and conv.inputs[2] is not None:
        raise ParityError(
            f"{name}: the graph computes the bias of {conv.name or conv.outputs[0].name!r}, which "
            f"therefore cannot absorb {_operators(run)}; export it again with constants folded"
        )
    return bias is None or (kernel is not None and bias.shape == kernel.shape[:1])


def _has_statistics(node: ir.Node) -> bool:
    return node.op_type == _NORM and not nodes.is_plain_affine(node)


def _absorb_into_conv(graph: ir.Graph, conv: ir.Node, run: Run, norm: ir.Node) -> None:
    """Absorb what stands between a convolution and its norm."""
    factor, term = _combined(run)
    kernel, bias = nodes.constant(conv, 1), nodes.constant(conv, 2)
    assert kernel is not None  # the caller saw it
    _put(graph, conv, 1, kernel.astype("float64") * factor[:, None, None, None])
    _put(graph, conv, 2, term if bias is None else bias * factor + term)
    _note(norm, f"{_operators(run)} before it, absorbed into the convolution")
    _bypass(graph, run)


def _absorb_into_norm(graph: ir.Graph, norm: ir.Node, run: Run) -> None:
    """Absorb what follows a norm into its gamma and beta."""
    factor, term = _combined(run)
    gamma, beta = nodes.constant(norm, 1), nodes.constant(norm, 2)
    assert gamma is not None  # the caller saw it
    assert beta is not None
    _put(graph, norm, 1, gamma * factor)
    _put(graph, norm, 2, beta * factor + term)
    _note(norm, f"{_operators(run)} after it, absorbed into weight and bias")
    _bypass(graph, run)


def _combined(run: Run) -> Affine:
    factor, term = np.ones(1), np.zeros(1)
    for _, (own_factor, own_term) in run:
        factor, term = own_factor * factor, own_factor * term + own_term
    return factor, term


def _operators(run: Run) -> str:
    return " and ".join(node.op_type for node, _ in run)


def _note(norm: ir.Node, sentence: str) -> None:
    norm.meta.setdefault(nodes.ABSORBED, []).append(sentence)


def _affine(node: ir.Node, channels: int, axis: int = 1) -> Affine | None:
    """The factor and term per channel of a node; None if it computes something else."""
    if node.op_type == _NORM:
        arrays = [nodes.constant(node, index) for index in range(1, 5)]
        is_training = node.attributes.get_int("training_mode", 0)
        known = [array for array in arrays if array is not None and array.shape == (channels,)]
        eps = nodes.epsilon_of(node)
        if axis != 1 or is_training or len(known) < 4 or not (known[3] + eps > 0).all():
            return None
        factor, terms = affine(known, eps)
        return factor, terms.sum(axis=0)
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    place = 1 if nodes.constant(node, 1) is not None else 0
    number = _per_channel(nodes.constant(node, place), channels, axis)
    if number is None or (node.op_type == "Div" and (place == 0 or not number.all())):
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    if node.op_type == "Add":
        return ones, number
    if node.op_type == "Sub":
        return (ones, -number) if place else (-ones, number)
    return (number if node.op_type == "Mul" else 1 / number), zeros


def _per_channel(array: np.ndarray | None, channels: int, axis: int) -> np.ndarray | None:
    """The numbers in float64 that an array gives the channels of a map; None if it has others."""
    if array is None or array.ndim > 4:
        return None
    extents = (1,) * (4 - array.ndim) + array.shape
    wanted = tuple(channels if each == axis else 1 for each in range(4))
    if extents not in ((1,) * 4, wanted):
        return None
    return np.broadcast_to(array.astype("float64").ravel(), (channels,))


def _data(node: ir.Node) -> ir.Value:
    """The input of an affine node that is no weight."""
    value = node.inputs[0] if nodes.constant(node, 0) is None else node.inputs[1]
    assert value is not None  # `_affine` saw it
    return value


def _only_user(value: ir.Value) -> ir.Node | None:
    """The node that takes a value; None if there are several, or if the graph returns it."""
    users = [use.node for use in value.uses()]
    return users[0] if len(users) == 1 and not value.is_graph_output() else None


def _put(graph: ir.Graph, node: ir.Node, index: int, array: np.ndarray) -> None:
    name = nodes.free_name(graph, f"{node.outputs[0].name}.{index}")
    put_tensor(graph, node, index, name, array.astype("float32"))


def _bypass(graph: ir.Graph, run: Run) -> None:
    """Remove affine nodes."""
    for node, _ in run:
        ir.convenience.replace_all_uses_with(
            node.outputs[0], _data(node), replace_graph_outputs=True
        )
        graph.remove(node, safe=True)
