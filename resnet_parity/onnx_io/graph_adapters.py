"""Adapters that let the checks run a graph: with given weights, or with its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnxscript import ir

from resnet_spec import Architecture, outputs

from resnet_parity.adapters.protocol import Adapter, Arrays
from resnet_parity.checks import GRAPH_CHECKS
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import runtimes
from resnet_parity.onnx_io.identify import Identified
from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.nodes import number_names
from resnet_parity.onnx_io.tensors import open_batch, put_weights


class Sessions:
    """The bytes of a graph, called `name` in messages, and a session per runtime, started once.

    Raises `ParityError` where a runtime fails.
    """

    def __init__(self, name: str, content: bytes, match: Match) -> None:
        self.name = name
        self.content = content
        self.match = match
        self._started: dict[str, runtimes.Run] = {}

    def run(self, images: np.ndarray, runtime: str) -> dict[str, np.ndarray]:
        """Return the outputs for images (N, C, H, W), in canonical layout."""
        is_nhwc = self.match.layout == "nhwc"
        image = np.ascontiguousarray(np.einsum("nchw->nhwc", images)) if is_nhwc else images
        names = outputs(self.match.architecture)
        try:
            if runtime not in self._started:
                self._started[runtime] = runtimes.start(runtime, self.content)
            returned = self._started[runtime](image)
        except ParityError as error:
            raise ParityError(f"{self.name}: {error} (an image of {image.shape})") from error
        if is_nhwc:
            returned = [np.einsum("nhwc->nchw", x) if x.ndim == 4 else x for x in returned]
        return dict(zip(names, map(np.ascontiguousarray, returned), strict=True))


class _GraphAdapter:
    """The adapter protocol for a graph, of which only the outputs can be compared."""

    def modes(self) -> tuple[str, ...]:
        return runtimes.RUNTIMES

    def unsupported_reason(self, mode: str, check: str) -> str | None:
        if check not in GRAPH_CHECKS:
            return "an ONNX graph computes in the dtype of its export, and has no gradients"
        return runtimes.unsupported_reason(mode)

    def versions(self) -> dict[str, str]:
        return runtimes.versions()

    def float64_unsupported_reason(self) -> str | None:
        return "an ONNX graph computes in float32"

    def norm_of_ones(self, mode: str, dtype: str) -> np.ndarray:
        """Exact values: the rounding of runtimes is not measured, so no waiver applies to them."""
        return np.full(1, 0.5, dtype)

    def run(self, model: Sessions, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
        return model.run(images, mode)


class GraphWithGivenWeights(_GraphAdapter):
    """A graph that is built with given weights, for images of any size."""

    def __init__(self, name: str, identified: Identified) -> None:
        self.name = name
        self.identified = identified
        _open_shapes(identified.model.graph, identified.match.layout)
        open_batch(identified.model.graph, identified.match)
        number_names(identified.model.graph)

    def build(self, architecture: Architecture, weights: Arrays, dtype: str) -> Sessions:
        """The graph with those weights in place of its own."""
        put_weights(self.identified.model.graph, self.identified.match, weights)
        content = ir.to_proto(self.identified.model).SerializeToString()
        return Sessions(self.name, content, self.identified.match)


class GraphWithOwnWeights(_GraphAdapter):
    """A file in its inference form: with its own weights, opset and shapes."""

    def __init__(self, name: str, content: bytes, match: Match) -> None:
        self.sessions = Sessions(name, content, match)

    def build(self, architecture: Architecture, weights: Arrays, dtype: str) -> Sessions:
        """The file itself; its own weights are used."""
        return self.sessions


class CachedBuild:
    """An adapter that reuses its last model when the next probe has the same weights."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._weights: Arrays | None = None
        self._model: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def build(self, architecture: Architecture, weights: Arrays, dtype: str) -> Any:
        """Return the model of the last call if it was for the same weights, else build one."""
        if weights is not self._weights:
            self._model = self._adapter.build(architecture, weights, dtype)
            self._weights = weights
        return self._model


def _open_shapes(graph: ir.Graph, layout: str) -> None:
    """Remove the image size from all shapes; the operators of a ResNet take any size."""
    (image,) = graph.inputs
    channels = layout.index("c")
    known = None if image.shape is None else image.shape[channels]
    axes: list[int | str] = [f"axis_{axis}" for axis in layout]
    if isinstance(known, int):
        axes[channels] = known
    image.shape = ir.Shape(axes)
    for node in graph:
        for value in node.outputs:
            value.shape = None


def own_shape(graph: ir.Graph, layout: str) -> dict[str, int | None]:
    """The extents that a file fixes for its image, by axis; None for those that are dynamic."""
    (image,) = graph.inputs
    shape = image.shape if image.shape is not None else [None] * 4
    extents = (extent if isinstance(extent, int) else None for extent in shape)
    return dict(zip(layout, extents, strict=True))
