"""The weights of a matched graph: read out under canonical names, or put in place of its own.

A norm that has gone into the convolution before it (its scale into the kernel, the rest into the
bias) comes back as a norm that does nothing but add: gamma one, mean zero, variance 1 - eps, beta
the bias. That is the same function, and fits the architecture as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnxscript import ir

from resnet_spec import Conv, Linear, Norm, layer_parameters, make_plan
from resnet_spec.layers import Weighted

from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.nodes import constant, is_plain_affine

Weights = Mapping[str, np.ndarray]


def weights_of(match: Match) -> dict[str, np.ndarray]:
    """Every tensor of the architecture, in canonical layout, from the numbers in the graph."""
    weights: dict[str, np.ndarray] = {}
    for layer in make_plan(match.architecture).layers:
        if isinstance(layer, Conv):
            weights |= _conv_weights(layer, match)
        elif isinstance(layer, Linear):
            weights |= _linear_weights(layer, match.nodes[layer.name])
        elif layer.name in match.nodes:
            weights |= _norm_weights(layer, match.nodes[layer.name])
    return {p.name: weights[p.name] for p in _parameters(match)}


def _conv_weights(layer: Conv, match: Match) -> Iterator[tuple[str, np.ndarray]]:
    node = match.nodes[layer.name]
    kernel = read(node, 1)
    bias = constant(node, 2)
    bias = np.zeros(layer.out_channels, kernel.dtype) if bias is None else bias.copy()
    yield f"{layer.name}.weight", kernel
    norm = match.folded.get(layer.name)
    if norm is None:
        if layer.bias:
            yield f"{layer.name}.bias", bias
        return
    if layer.bias:
        yield f"{layer.name}.bias", np.zeros_like(bias)
    yield f"{norm.name}.weight", np.ones_like(bias)
    yield f"{norm.name}.bias", bias
    yield f"{norm.name}.running_mean", np.zeros_like(bias)
    yield f"{norm.name}.running_var", _unit_variance(norm, bias)


def _norm_weights(layer: Norm, node: ir.Node) -> Iterator[tuple[str, np.ndarray]]:
    arrays = [read(node, index) for index in range(1, 5)]
    if is_plain_affine(node):  # whatever its eps
        arrays[3] = _unit_variance(layer, arrays[3])
    names = (parameter.name for parameter in layer_parameters(layer))
    yield from zip(names, arrays, strict=True)


def _unit_variance(norm: Norm, like: np.ndarray) -> np.ndarray:
    """A variance that plus eps is one."""
    return np.full_like(like, 1 - like.dtype.type(norm.eps))


def _linear_weights(layer: Linear, node: ir.Node) -> Iterator[tuple[str, np.ndarray]]:
    kernel = read(node, 1)
    bias = constant(node, 2)
    if not node.attributes.get_int("transB", 0):
        kernel = np.einsum("io->oi", kernel).copy()
    yield f"{layer.name}.weight", kernel
    yield f"{layer.name}.bias", np.zeros(len(kernel), kernel.dtype) if bias is None else bias.copy()


def read(node: ir.Node, index: int) -> np.ndarray:
    """A tensor input of a matched node."""
    array = constant(node, index)
    assert array is not None  # the match has seen it
    return array.copy()


def _parameters(match: Match):
    return [p for layer in make_plan(match.architecture).layers for p in layer_parameters(layer)]


def put_weights(
    graph: ir.Graph,
    match: Match,
    weights: Weights | None = None,
) -> None:
    """Give every tensor of the graph its canonical name, and these weights, or keep its own.

    Norms are folded as the graph has them folded, in float64, rounded once.
    """
    for layer in make_plan(match.architecture).layers:
        node = match.nodes.get(layer.name)
        if node is None:  # a norm that is folded
            continue
        if isinstance(layer, Norm) and weights is not None:
            node.attributes["epsilon"] = ir.AttrFloat32("epsilon", layer.eps)
        for index, (name, array) in enumerate(tensors(layer, node, match, weights), start=1):
            _put(graph, node, index, name, array)
    _drop_unused(graph)


def open_batch(graph: ir.Graph, match: Match) -> None:
    """Let means that are reshaped to (1, channels), of one image, be reshaped for any number."""
    *_, last = make_plan(match.architecture).blocks
    for name, node in match.nodes.items():
        if name.endswith(".flat") and node.op_type == "Reshape" and constant(node, 1) is not None:
            _put(graph, node, 1, f"{name}.shape", np.array([-1, last.out_channels]))


def tensors(
    layer: Weighted, node: ir.Node, match: Match, weights: Weights | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensor inputs of a node, in their order."""
    names = [parameter.name for parameter in layer_parameters(layer)]
    if isinstance(layer, Conv) and len(names) == 1 and layer.name in match.folded:
        names.append(f"{layer.name}.bias")
    if weights is None:
        own = ((name, constant(node, index)) for index, name in enumerate(names, start=1))
        yield from ((name, array) for name, array in own if array is not None)
    elif isinstance(layer, Conv):
        yield from zip(names, _folded(layer, match.folded.get(layer.name), weights), strict=False)
    elif isinstance(layer, Linear) and not node.attributes.get_int("transB", 0):
        yield names[0], np.einsum("oi->io", weights[names[0]]).copy()
        yield names[1], weights[names[1]]
    else:
        yield from ((name, weights[name]) for name in names)


def _folded(layer: Conv, norm: Norm | None, weights: Weights) -> Iterator[np.ndarray]:
    """Kernel and bias of a convolution that does the norm's work as well."""
    kernel, bias = weights[f"{layer.name}.weight"], weights.get(f"{layer.name}.bias")
    if norm is None:
        yield kernel
        if bias is not None:
            yield bias
        return
    factor, _ = affine(statistics_of(norm, weights), norm.eps)
    yield (kernel * factor[:, None, None, None]).astype(kernel.dtype)
    yield summands(layer, norm, weights).sum(axis=0).astype(kernel.dtype)


def summands(layer: Conv, norm: Norm, weights: Weights) -> np.ndarray:
    """What a folded bias is the sum of, in float64: (2 or 3, channels)."""
    factor, added = affine(statistics_of(norm, weights), norm.eps)
    bias = weights.get(f"{layer.name}.bias")
    return added if bias is None else np.stack([bias * factor, *added])


def affine(statistics: Sequence[np.ndarray], eps: float) -> tuple[np.ndarray, np.ndarray]:
    """A norm as a factor (channels) and what it adds, two summands (2, channels), in float64."""
    dtype = statistics[3].dtype
    gamma, beta, mean, _ = (array.astype("float64") for array in statistics)
    # The sum is rounded as every engine rounds it, or the norms of an exact probe were inexact.
    factor = gamma / np.sqrt((statistics[3] + dtype.type(eps)).astype("float64"))
    return factor, np.stack([beta, -mean * factor])


def statistics_of(norm: Norm, weights: Weights) -> list[np.ndarray]:
    """Gamma, beta, mean and variance."""
    return [weights[parameter.name] for parameter in layer_parameters(norm)]


def _put(graph: ir.Graph, node: ir.Node, index: int, name: str, array: np.ndarray) -> None:
    old = node.inputs[index] if index < len(node.inputs) else None
    if old is not None and graph.initializers.get(name) is old and len(old.uses()) == 1:
        old.const_value = ir.tensor(array, name=name)
        return
    tensor = ir.tensor(array, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
    value.const_value = tensor
    if name in graph.initializers:  # the name of another tensor, which gets its own in its turn
        other = graph.initializers.pop(name)
        other.name = f"{name}.before"
        graph.initializers[other.name] = other
    graph.initializers[name] = value
    if index < len(node.inputs):
        node.replace_input_with(index, value)
    else:
        node.resize_inputs(index + 1)
        node.replace_input_with(index, value)


def _drop_unused(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
