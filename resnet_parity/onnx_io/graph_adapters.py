"""A graph as an engine of the checks: with a probe's weights for its own, or as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnxscript import ir

from resnet_spec import Architecture, outputs

from resnet_parity.adapters.protocol import Adapter, Taps
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import runtimes
from resnet_parity.onnx_io.identify import Identified
from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.nodes import move_aside
from resnet_parity.onnx_io.tensors import open_batch, put_weights


class Sessions:
    """The bytes of a graph, called `name` in messages, and every runtime that was started on them.

    What a runtime cannot run is a `ParityError`.
    """

    def __init__(self, name: str, content: bytes, match: Match) -> None:
        self.name = name
        self.content = content
        self.match = match
        self._started: dict[str, runtimes.Run] = {}

    def run(self, images: np.ndarray, runtime: str) -> dict[str, np.ndarray]:
        """What the graph returns for images (N, C, H, W), in canonical layout."""
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
    """What the checker asks of an implementation, of a graph: only what it returns can be seen."""

    def modes(self) -> tuple[str, ...]:
        return runtimes.RUNTIMES

    def unsupported_reason(self, mode: str, check: str) -> str | None:
        if check not in ("exact", "float32"):
            return "a graph gives outputs in the dtype that it was exported in, and no gradients"
        return runtimes.unsupported_reason(mode)

    def versions(self) -> dict[str, str]:
        return runtimes.versions()

    def float64_unsupported_reason(self) -> str | None:
        return "a graph computes in float32"

    def norm_of_ones(self, mode: str, dtype: str) -> np.ndarray:
        """Halves: no runtime is measured, so that none is excused."""
        return np.full(1, 0.5, dtype)

    def run(self, model: Sessions, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
        return model.run(images, mode)


class GraphOfWeights(_GraphAdapter):
    """A graph that holds whatever weights it is built with, for images of any size."""

    def __init__(self, name: str, identified: Identified) -> None:
        self.name = name
        self.identified = identified
        _open_shapes(identified.model.graph, identified.match.layout)
        open_batch(identified.model.graph, identified.match)
        move_aside(identified.model.graph)

    def build(self, architecture: Architecture, weights: Taps, dtype: str) -> Sessions:
        """The graph with those weights; the numbers that it had are gone."""
        put_weights(self.identified.model.graph, self.identified.match, weights)
        content = ir.to_proto(self.identified.model).SerializeToString()
        return Sessions(self.name, content, self.identified.match)


class FileAsItIs(_GraphAdapter):
    """A file, untouched: its own weights, its own shapes."""

    def __init__(self, name: str, content: bytes, match: Match) -> None:
        self.sessions = Sessions(name, content, match)

    def build(self, architecture: Architecture, weights: Taps, dtype: str) -> Sessions:
        """The file itself; the weights must be those that it holds."""
        return self.sessions


class CachedBuild:
    """An adapter that builds no model twice in a row: the parts of a probe share their weights."""

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter
        self._weights: Taps | None = None
        self._model: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def build(self, architecture: Architecture, weights: Taps, dtype: str) -> Any:
        """The model of the last call, where it was for the same weights."""
        if weights is not self._weights:
            self._model = self._adapter.build(architecture, weights, dtype)
            self._weights = weights
        return self._model


def _open_shapes(graph: ir.Graph, layout: str) -> None:
    """Forget of which size images were: the operators of a ResNet take any."""
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
    """The extents that a file prescribes for its image, by axis; None for those that are open."""
    (image,) = graph.inputs
    shape = image.shape if image.shape is not None else [None] * 4
    extents = (extent if isinstance(extent, int) else None for extent in shape)
    return dict(zip(layout, extents, strict=True))
