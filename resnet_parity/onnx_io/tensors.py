"""The weights of a matched graph: read, replaced, and compared with those of a model.

A norm that was folded into the convolution before it (its scale into the kernel, the rest into the
bias) is read as a norm that only adds: gamma one, mean zero, variance 1 - eps, beta the bias. That
is the same function, and it fits the architecture unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnxscript import ir

from resnet_spec import Conv, Linear, Norm, layer_parameters, make_plan, parameters
from resnet_spec.layers import Weighted

from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.nodes import constant, epsilon_of, free_name, is_plain_affine

Weights = Mapping[str, np.ndarray]

_MIN_SIZE = float(np.finfo("float32").tiny) * 2**24
"""Products of two numbers below this lose bits in float32, as do gammas that decay made tiny."""


def weights_of(match: Match) -> dict[str, np.ndarray]:
    """Return every tensor of the architecture in canonical layout, with the graph's values."""
    weights: dict[str, np.ndarray] = {}
    for layer in make_plan(match.architecture).layers:
        if isinstance(layer, Conv):
            weights |= _conv_weights(layer, match)
        elif isinstance(layer, Linear):
            weights |= _linear_weights(layer, match.nodes[layer.name])
        elif layer.name in match.nodes:
            weights |= _norm_weights(layer, match)
    return {parameter.name: weights[parameter.name] for parameter in parameters(match.architecture)}


def _conv_weights(layer: Conv, match: Match) -> Iterator[tuple[str, np.ndarray]]:
    node = match.nodes[layer.name]
    kernel = _array(node, 1)
    bias = constant(node, 2)
    bias = np.zeros(layer.out_channels, kernel.dtype) if bias is None else bias.copy()
    yield f"{layer.name}.weight", kernel
    norm = match.folded.get(layer.name)
    if layer.bias:
        yield f"{layer.name}.bias", bias if norm is None else np.zeros_like(bias)
    if norm is not None:
        yield f"{norm.name}.weight", np.ones_like(bias)
        yield f"{norm.name}.bias", bias
        yield f"{norm.name}.running_mean", np.zeros_like(bias)
        yield f"{norm.name}.running_var", _unit_variance(norm, bias)


def _norm_weights(layer: Norm, match: Match) -> Iterator[tuple[str, np.ndarray]]:
    node = match.nodes[layer.name]
    arrays = _norm_arrays(node)
    bias = _absorbed_bias(match, match.operations[layer.name].inputs[0])
    if bias is not None:
        arrays[2] = (arrays[2].astype("float64") - bias).astype(arrays[2].dtype)
    if is_plain_affine(node):  # with any eps
        arrays[3] = _unit_variance(layer, arrays[3])
    else:
        arrays[0], arrays[3] = _with_epsilon(layer.eps, arrays, epsilon_of(node))
    names = (parameter.name for parameter in layer_parameters(layer))
    yield from zip(names, arrays, strict=True)


def _absorbed_bias(match: Match, conv: str) -> np.ndarray | None:
    """The bias of a convolution that has none in the spec, before a norm; None if it has none."""
    operation = match.operations[conv].operation
    if not isinstance(operation, Conv) or operation.bias or conv in match.folded:
        return None
    return constant(match.nodes[conv], 2)


def _with_epsilon(
    wanted: float, arrays: Sequence[np.ndarray], given: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gamma and a variance that with epsilon `wanted` scale like `arrays` with epsilon `given`.

    Variance + epsilon rounds to the same float32, or to the one beside it where the difference of
    the epsilons ends in half a unit in the last place. Where the variance would be negative it is
    zero, and gamma is scaled instead.
    """
    gamma, variance = arrays[0], arrays[3]
    eps, other = variance.dtype.type(wanted), variance.dtype.type(given)
    if eps == other:
        return gamma, variance
    total = (variance + other).astype("float64")
    is_low = total < float(eps)
    scaled = gamma * np.sqrt(float(eps) / np.where(is_low, total, 1))
    shifted = np.where(is_low, 0, total - float(eps))
    return np.where(is_low, scaled, gamma).astype(gamma.dtype), shifted.astype(variance.dtype)


def _unit_variance(norm: Norm, like: np.ndarray) -> np.ndarray:
    """The variance that gives 1 when eps is added."""
    return np.full_like(like, 1 - like.dtype.type(norm.eps))


def _linear_weights(layer: Linear, node: ir.Node) -> Iterator[tuple[str, np.ndarray]]:
    kernel = _array(node, 1)
    bias = constant(node, 2)
    if not node.attributes.get_int("transB", 0):
        kernel = np.einsum("io->oi", kernel).copy()
    if bias is None:
        bias = np.zeros(len(kernel), kernel.dtype)
    yield f"{layer.name}.weight", kernel
    yield f"{layer.name}.bias", np.broadcast_to(bias.ravel(), len(kernel)).copy()


def _array(node: ir.Node, index: int) -> np.ndarray:
    """A copy of a tensor input of a matched node."""
    array = constant(node, index)
    assert array is not None  # `match` checked it
    return array.copy()


def _norm_arrays(node: ir.Node) -> list[np.ndarray]:
    """Gamma, beta, mean and variance of a BatchNormalization node."""
    return [_array(node, index) for index in range(1, 5)]


def put_weights(graph: ir.Graph, match: Match, weights: Weights | None = None) -> None:
    """Give every tensor of the graph its canonical name, and the value in `weights` if given.

    Norms that the graph has folded are folded in float64 and rounded once.
    """
    for layer in make_plan(match.architecture).layers:
        node = match.nodes.get(layer.name)
        if node is None:  # a folded norm
            continue
        if isinstance(layer, Norm) and weights is not None:
            node.attributes["epsilon"] = ir.AttrFloat32("epsilon", layer.eps)
        for index, (name, array) in enumerate(_tensors(layer, node, match, weights), start=1):
            put_tensor(graph, node, index, name, array)
        if weights is not None and _absorbed_bias(match, layer.name) is not None:
            node.resize_inputs(2)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]


def put_tensor(graph: ir.Graph, node: ir.Node, index: int, name: str, array: np.ndarray) -> None:
    """Make an initializer of that name the input of a node; another of that name is renamed."""
    other = graph.initializers.pop(name, None)
    tensor = ir.tensor(array, name=name)
    shape, dtype = ir.Shape(array.shape), ir.TensorType(tensor.dtype)
    value = ir.Value(name=name, shape=shape, type=dtype, const_value=tensor)
    graph.initializers[name] = value
    node.resize_inputs(max(len(node.inputs), index + 1))
    node.replace_input_with(index, value)
    if other is not None and other.uses():
        other.name = free_name(graph, f"{name}.before")
        graph.initializers[other.name] = other


def open_batch(graph: ir.Graph, match: Match) -> None:
    """Let a global average that is reshaped to (1, channels) take any number of images."""
    *_, last = make_plan(match.architecture).blocks
    for name, node in match.nodes.items():
        if name.endswith(".flat") and node.op_type == "Flatten":
            node.attributes["axis"] = ir.AttrInt64("axis", 1)
        if name.endswith(".flat") and node.op_type == "Reshape" and constant(node, 1) is not None:
            put_tensor(graph, node, 1, f"{name}.shape", np.array([-1, last.out_channels]))


def _tensors(
    layer: Weighted, node: ir.Node, match: Match, weights: Weights | None
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensor inputs of a node in order: its own, or what `weights` make of them."""
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
    """Kernel and bias of a convolution, with the norm that is folded into it, if any."""
    kernel, bias = weights[f"{layer.name}.weight"], weights.get(f"{layer.name}.bias")
    if norm is None:
        yield kernel
        if bias is not None:
            yield bias
        return
    factor, _ = affine(_statistics(norm, weights), norm.eps)
    yield (kernel * factor[:, None, None, None]).astype(kernel.dtype)
    yield _bias_terms(layer, norm, weights).sum(axis=0).astype(kernel.dtype)


def _bias_terms(layer: Conv, norm: Norm, weights: Weights) -> np.ndarray:
    """The terms of a folded bias in float64: (2 or 3, channels)."""
    factor, terms = affine(_statistics(norm, weights), norm.eps)
    bias = weights.get(f"{layer.name}.bias")
    return terms if bias is None else np.stack([bias * factor, *terms])


def affine(statistics: Sequence[np.ndarray], eps: float) -> tuple[np.ndarray, np.ndarray]:
    """A norm as a factor (channels) and the two terms that it adds (2, channels), in float64."""
    dtype = statistics[3].dtype
    gamma, beta, mean, _ = (array.astype("float64") for array in statistics)
    # variance + eps is rounded as every engine rounds it; else norms of exact probes were inexact.
    factor = gamma / np.sqrt((statistics[3] + dtype.type(eps)).astype("float64"))
    return factor, np.stack([beta, -mean * factor])


def _statistics(norm: Norm, weights: Weights) -> list[np.ndarray]:
    """Gamma, beta, mean and variance."""
    return [weights[parameter.name] for parameter in layer_parameters(norm)]


def deviations(match: Match, weights: Weights) -> Iterator[tuple[str, float]]:
    """Yield each tensor's name and the largest relative error of one of its channels.

    Kernels and biases are compared with `weights` as the graph has them folded. A norm that is not
    folded is compared by its factor and its term, because an exporter may have reduced it to those.
    The error of a sum is relative to the size of its terms, because these may cancel.
    """
    for layer in make_plan(match.architecture).layers:
        node = match.nodes.get(layer.name)
        if node is None:  # a folded norm
            continue
        if isinstance(layer, Norm):
            factor, terms = affine(_norm_arrays(node), epsilon_of(node))
            wanted_factor, wanted_terms = affine(_statistics(layer, weights), layer.eps)
            yield f"the factor of {layer.name}", _channel_error(factor, wanted_factor[None])
            yield f"the term of {layer.name}", _channel_error(terms.sum(axis=0), wanted_terms)
            continue
        own = dict(_tensors(layer, node, match, None))
        norm = match.folded.get(layer.name)
        for name, wanted in _tensors(layer, node, match, weights):
            found = own.get(name, np.zeros_like(wanted))  # exporters omit a bias of zeros
            terms = wanted[None]
            if isinstance(layer, Conv) and norm and name == f"{layer.name}.bias":
                terms = _bias_terms(layer, norm, weights)
            yield name, _channel_error(found, terms)


def _channel_error(found: np.ndarray, terms: np.ndarray) -> float:
    """The largest error of a channel, relative to the norm of its terms (n, channels, ...).

    Channels are compared one by one, because a large one would hide the error of a small one.
    """
    wanted = terms.sum(axis=0)
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return float("inf")
    difference = _norms(found.astype("float64") - wanted)
    size = _norms(np.moveaxis(terms.astype("float64"), 0, -1))
    return float((difference / np.maximum(size, _MIN_SIZE)).max())


def _norms(array: np.ndarray) -> np.ndarray:
    return np.linalg.norm(array.reshape(len(array), -1), axis=1)
