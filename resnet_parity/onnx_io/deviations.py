"""The numbers of an exported graph, against those of the weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnxscript import ir

from resnet_spec import Conv, Norm, make_plan
from resnet_spec.layers import Weighted

from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.tensors import Weights, affine, read, statistics_of, summands, tensors

_LEAST = float(np.finfo("float32").tiny) * 2**24
"""Products of two numbers below this lose bits in float32, as do gammas that decay took away."""


def deviations(match: Match, weights: Weights) -> Iterator[tuple[str, float]]:
    """The largest relative error of a channel of every tensor, by name, norms folded or not.

    What is a sum is held against the size of its summands, for these may cancel.
    """
    for layer in make_plan(match.architecture).layers:
        if not isinstance(layer, Norm):
            yield from _of_products(layer, match.nodes[layer.name], match, weights)
        elif layer.name in match.nodes:  # else it is folded
            yield from _of_norm(layer, match.nodes[layer.name], weights)


def _of_products(
    layer: Weighted, node: ir.Node, match: Match, weights: Weights
) -> Iterator[tuple[str, float]]:
    """Of a convolution, with a norm folded or not, or a dense layer."""
    own = dict(tensors(layer, node, match, None))
    norm = match.folded.get(layer.name)
    for name, wanted in tensors(layer, node, match, weights):
        found = own.get(name, np.zeros_like(wanted))  # exporters leave out a bias that is zero
        if isinstance(layer, Conv) and norm is not None and name == f"{layer.name}.bias":
            yield name, _of_sum(summands(layer, norm, weights), found)
        else:
            yield name, _largest(wanted, found, wanted)


def _of_norm(layer: Norm, node: ir.Node, weights: Weights) -> Iterator[tuple[str, float]]:
    """As the factor and the term that it comes to: an exporter may have made those of it."""
    own = [read(node, index) for index in range(1, 5)]
    factor, parts = affine(own, node.attributes.get_float("epsilon", 1e-5))
    wanted, wanted_parts = affine(statistics_of(layer, weights), layer.eps)
    yield f"what {layer.name} multiplies by", _largest(wanted, factor, wanted)
    yield f"what {layer.name} adds", _of_sum(wanted_parts, parts.sum(axis=0))


def _of_sum(parts: np.ndarray, found: np.ndarray) -> float:
    """Over the norm that a sum would have if its summands (n, channels) were independent."""
    return _largest(parts.sum(axis=0), found, parts.T)


def _largest(wanted: np.ndarray, found: np.ndarray, sizes: np.ndarray) -> float:
    """The largest error of a channel, relative to the norm of `sizes` there.

    Channels come first. One large channel would hide what is wrong with a small one.
    """
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return float("inf")
    difference = _norms(found.astype("float64") - wanted)
    size = _norms(sizes.astype("float64"))
    return float((difference / np.maximum(size, _LEAST)).max())


def _norms(array: np.ndarray) -> np.ndarray:
    return np.linalg.norm(array.reshape(len(array), -1), axis=1)
