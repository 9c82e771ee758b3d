"""The numbers that an exporter wrote, against those of the weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnxscript import ir

from resnet_spec import Conv, Norm, make_plan
from resnet_spec.layers import Weighted

from resnet_parity.engine import relative_error
from resnet_parity.exchange.match import Match
from resnet_parity.exchange.tensors import Weights, affine, read, statistics_of, summands, tensors


def errors(match: Match, weights: Weights) -> Iterator[tuple[str, float]]:
    """The relative error of every tensor of the graph, folded or not, by name.

    What is a sum is held against the size of its summands, for these may cancel.
    """
    for layer in make_plan(match.architecture).layers:
        node = match.nodes.get(layer.name)
        if node is None:  # a norm that is folded
            continue
        if isinstance(layer, Norm):
            yield from _of_norm(layer, node, weights)
        else:
            yield from _of_products(layer, node, match, weights)


def _of_norm(layer: Norm, node: ir.Node, weights: Weights) -> Iterator[tuple[str, float]]:
    """As the factor and the term that it comes to: an exporter may have made those of it."""
    own = [read(node, index) for index in range(1, 5)]
    factor, terms = affine(own, node.attributes.get_float("epsilon", 1e-5))
    wanted, wanted_terms = affine(statistics_of(layer, weights), layer.eps)
    yield f"{layer.name}.weight", relative_error(wanted, factor)
    yield f"{layer.name}.bias", _error_of_sum(wanted_terms, terms.sum(axis=0))


def _of_products(
    layer: Weighted, node: ir.Node, match: Match, weights: Weights
) -> Iterator[tuple[str, float]]:
    """Of a convolution, with a norm folded or not, or a dense layer."""
    own = dict(tensors(layer, node, match, None))
    norm = match.folded.get(layer.name)
    for name, wanted in tensors(layer, node, match, weights):
        found = own.get(name, np.zeros_like(wanted))  # exporters leave out a bias that is zero
        if isinstance(layer, Conv) and norm is not None and name == f"{layer.name}.bias":
            yield name, _error_of_sum(summands(layer, norm, weights), found)
        else:
            yield name, relative_error(wanted, found)


def _error_of_sum(terms: np.ndarray, found: np.ndarray) -> float:
    """Over the norm that the sum would have if its terms were independent, where that is larger."""
    return relative_error(terms.sum(axis=0), found, float(np.linalg.norm(terms)))
