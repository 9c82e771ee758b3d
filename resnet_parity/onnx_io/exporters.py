"""The ONNX graph that a framework's own exporter writes."""

from __future__ import annotations

import gc
import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import numpy as np
import onnx
from onnx import ModelProto

from resnet_spec import Architecture

from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.layout import remove_transposes
from resnet_parity.onnx_io.reading import READABLE_OPSETS, WORKING_OPSET

Framework = Literal["torch", "keras"]
LAYOUTS = {"torch": "nchw", "keras": "nhwc"}
"""The layout of each framework's own images."""

EXPORT_OPSETS = range(WORKING_OPSET, READABLE_OPSETS.stop)


@dataclass(frozen=True)
class ExportOptions:
    """The properties of the graph to export.

    `size` is height and width in pixels; it is not used where `dynamic` holds "size". `layout` is
    that of the image and of feature maps; None is the framework's own. Raises `ParityError` for an
    option that is not supported.
    """

    framework: Framework = "torch"
    size: tuple[int, int] = (224, 224)
    dynamic: Collection[str] = ("batch",)
    layout: str | None = None
    opset: int = WORKING_OPSET
    fold: bool = True

    def __post_init__(self) -> None:
        for option, given, supported in (
            ("framework", (self.framework,), tuple(LAYOUTS)),
            ("layout", (self.layout or "nchw",), tuple(LAYOUTS.values())),
            ("dynamic", self.dynamic, ("batch", "size")),
        ):
            for value in set(given) - set(supported):
                choices = " or ".join(supported)
                raise ParityError(f"{option} {value!r} is not supported; choose {choices}")
        if self.opset not in EXPORT_OPSETS:
            first, last = EXPORT_OPSETS[0], EXPORT_OPSETS[-1]
            raise ParityError(f"opset {self.opset} is not supported; choose {first} to {last}")
        if min(self.size) < 1:
            raise ParityError(f"an image of {self.size} pixels is not supported")
        if self.framework == "keras" and not self.fold:
            raise ParityError(
                "Keras' exporter always folds norms; leave --no-fold out, or use --framework torch"
            )


def check_backend(backend: str) -> None:
    """Raise `ParityError` for a backend of Keras that no graph is exported from."""
    if backend == "jax":
        raise ParityError(
            "exports from Keras on jax are not supported; set KERAS_BACKEND=tensorflow"
        )


def exported_graph(
    arch: Architecture,
    weights: Mapping[str, np.ndarray],
    options: ExportOptions,
    keras_backend: str | None,
) -> ModelProto:
    """Build the model in the framework, and return the graph that its exporter writes."""
    is_torch = options.framework == "torch"
    adapter = torch_adapter() if is_torch else keras_adapter(keras_backend)
    if not is_torch:
        check_backend(list(adapter.versions())[-1])
    to_onnx = import_module(f"resnet_parity.adapters.{options.framework}.export").to_onnx
    model = adapter.build(arch, weights, "float32")
    layout = options.layout or LAYOUTS[options.framework]
    with collecting_garbage():
        content = to_onnx(model, layout, options.size, options.dynamic)
        proto = onnx.load_model_from_string(content)
    is_keras_on_torch = not is_torch and "torch" in adapter.versions()
    return remove_transposes(proto) if is_keras_on_torch else proto


@contextmanager
def collecting_garbage() -> Iterator[None]:
    """Collect garbage before each optimizer of tf2onnx, and at the end.

    Each optimizer works on a copy of the whole graph, and earlier copies stay in reference cycles.
    Python collects cycles once there are many objects, but these are few objects of megabytes each:
    the export of resnet34 (87 MB) took 6.3 GB without this and takes 2.9 GB with it. tf2onnx logs a
    line before each copy, which is the only hook that it offers. Objects that existed before are
    frozen, so that they are not scanned each time.
    """

    def collect(record: logging.LogRecord) -> bool:
        gc.collect()
        return False  # drops the record

    logger = logging.getLogger("tf2onnx.optimizer")
    level = logger.level
    logger.addFilter(collect)
    logger.setLevel(1)  # filters see no record below the level
    gc.collect()
    if is_first := not gc.get_freeze_count():  # else the caller has frozen objects of its own
        gc.freeze()
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeFilter(collect)
        if is_first:
            gc.unfreeze()
        gc.collect()
