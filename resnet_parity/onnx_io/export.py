"""A model as an ONNX file: exported by its framework, cleaned, named, sealed, and proven."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

import numpy as np
import onnx
from onnx import ModelProto
from onnxscript import ir, version_converter

from resnet_spec import Architecture, check_weights, parameters

from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata as metadata
from resnet_parity.onnx_io import opsets
from resnet_parity.onnx_io.canonical_names import give_names
from resnet_parity.onnx_io.deviations import deviations
from resnet_parity.onnx_io.garbage import collected
from resnet_parity.onnx_io.identify import identify
from resnet_parity.onnx_io.layout import without_transpositions
from resnet_parity.onnx_io.match import Match, MismatchError
from resnet_parity.onnx_io.proof import prove, unproven
from resnet_parity.onnx_io.reading import LARGEST, parse
from resnet_parity.onnx_io.rewrite import clean, fold_constants, prepare
from resnet_parity.onnx_io.search import match
from resnet_parity.onnx_io.tensors import put_weights
from resnet_parity.progress import Progress
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Verdict

Framework = Literal["torch", "keras"]
LAYOUTS = {"torch": "nchw", "keras": "nhwc"}
"""What each framework's own images are like."""

_MOST = LARGEST - 2**24
"""Bytes of weights in one file; the rest is for the graph."""


class ExportError(ParityError):
    """An export that is not the function that it should be, or no clean graph."""

    exit_code = 1


@dataclass(frozen=True)
class Form:
    """How a graph is wanted; `size` is height and width in pixels, where `dynamic` has no "size".

    `layout` is that of the image and of feature maps, the framework's own unless given. Raises
    `ParityError` for what cannot be had.
    """

    framework: Framework = "torch"
    size: tuple[int, int] = (224, 224)
    dynamic: Collection[str] = ("batch",)
    layout: str | None = None
    opset: int = opsets.WORKING
    fold: bool = True

    def __post_init__(self) -> None:
        opsets.check_written(self.opset)
        for what, given, possible in (
            ("framework", {self.framework}, set(LAYOUTS)),
            ("layout", {self.layout}, {None, *LAYOUTS.values()}),
            ("dynamic", set(self.dynamic), {"batch", "size"}),
        ):
            if not given <= possible:
                raise ParityError(f"{what} {given - possible} cannot be had; {possible} can")
        if min(self.size) < 1:
            raise ParityError(f"an image of {self.size} pixels cannot be")
        if self.framework == "keras" and not self.fold:
            raise ParityError(
                "Keras' exporter folds every norm that it can; leave --no-fold out, or take "
                "--framework torch"
            )


def export(
    arch: Architecture,
    weights: Mapping[str, np.ndarray],
    form: Form,
    *,
    keras_backend: str | None = None,
) -> bytes:
    """The file of a model with those weights; it is not proven yet, see `export_proven`.

    Raises `ParityError` for a framework that is missing or a net too large for one file,
    `resnet_spec.WeightsError` for weights that do not fit, `ExportError` where the exporter gives a
    graph that is not that net.
    """
    size = 4 * sum(parameter.size for parameter in parameters(arch))
    if size > _MOST:
        raise ParityError(f"{arch.name!r} has {size:,} bytes of weights, a file holds {_MOST:,}")
    check_weights(arch, weights, dict.fromkeys(weights, "float32"))
    model = ir.from_proto(_written(arch, weights, form, keras_backend))
    fold_constants(model)
    prepare(model)
    clean(model, fold=form.fold)
    try:
        found = match(model.graph, arch)
    except MismatchError as error:
        hint = ""
        if form.framework == "keras" and "tensorflow" not in keras_adapter().versions():
            hint = "; Keras' exporter is at its best with KERAS_BACKEND=tensorflow"
        raise ExportError(
            f"the exporter of {form.framework} gave another net: {error}{hint}"
        ) from error
    give_names(model.graph, found)
    # Keras' exporter folds norms with TensorFlow's rsqrt, which is as good as the CPU has it, and
    # of norms that stay it leaves a factor and a term. From anywhere a file holds the same numbers.
    _check_numbers(form.framework, found, weights)
    put_weights(model.graph, found, weights)
    model.graph.name = arch.name
    model.producer_name, model.producer_version = metadata.PRODUCER, None
    if form.opset > opsets.WORKING:
        version_converter.convert_version(model, form.opset, fallback=True)
        prepare(model)
    proto = _tidy(ir.to_proto(model))
    _check_form(proto, found, form)
    content = metadata.metadata(proto, arch, weights)
    onnx.checker.check_model(content, full_check=True)
    return content


def export_proven(
    arch: Architecture,
    weights: Mapping[str, np.ndarray],
    form: Form,
    *,
    keras_backend: str | None = None,
    progress: Progress = lambda step, total: None,
) -> tuple[bytes, list[Verdict]]:
    """The file, once the checks holds for it, and what it showed; raises as `export` does."""
    progress(f"exporting from {form.framework}", 3)
    content = export(arch, weights, form, keras_backend=keras_backend)
    proto = parse(content, "the export")
    found = identify(proto, "the export", arch)
    verdicts = list(prove(form.framework, proto, found, dict(weights), progress))
    trouble = unproven(verdicts)
    if trouble:
        raise ExportError(
            f"the export is not the function that it should be, nothing was written: {trouble}"
        )
    return content, verdicts


def _written(
    arch: Architecture, weights: Mapping[str, np.ndarray], form: Form, keras_backend: str | None
) -> ModelProto:
    """What the framework's own exporter gives."""
    is_torch = form.framework == "torch"
    adapter = torch_adapter() if is_torch else keras_adapter(keras_backend)
    if "jax" in adapter.versions():
        raise ParityError("Keras exports on jax are not proven here; set KERAS_BACKEND=tensorflow")
    to_onnx = import_module(f"resnet_parity.adapters.{form.framework}.export").to_onnx
    model = adapter.build(arch, weights, "float32")
    layout = form.layout or LAYOUTS[form.framework]
    with collected():
        proto = onnx.load_model_from_string(to_onnx(model, layout, form.size, form.dynamic))
    is_keras_on_torch = not is_torch and "torch" in adapter.versions()
    return without_transpositions(proto) if is_keras_on_torch else proto


def _check_numbers(framework: str, found: Match, weights: Mapping[str, np.ndarray]) -> None:
    """Raise `ExportError` where a graph's numbers are more than roundings away from the weights."""
    for name, error in deviations(found, weights):
        if error > limit("export", "tensors"):
            raise ExportError(
                f"the graph from {framework} has other numbers than the model, nothing was "
                f"written: {name} is off by {error:.1e}"
            )


def _check_form(proto: ModelProto, found: Match, form: Form) -> None:
    """Raise `ExportError` for a graph in another form than the one that was asked for."""
    height, width = ("height", "width") if "size" in form.dynamic else form.size
    batch = "batch" if "batch" in form.dynamic else 1
    extents = {"n": batch, "c": found.architecture.in_channels, "h": height, "w": width}
    layout = form.layout or LAYOUTS[form.framework]
    (image,) = proto.graph.input
    given = [each.dim_param or each.dim_value for each in image.type.tensor_type.shape.dim]
    versions = [each.version for each in proto.opset_import if not each.domain]
    norms = "folded" if form.fold else "kept"
    for what, wanted, made in (
        ("an image of", [extents[axis] for axis in layout], given),
        ("the layout", layout, found.layout),
        ("opset", [form.opset], versions),
        ("norms that are", norms, "folded" if found.folded and not form.fold else norms),
    ):
        if wanted != made:
            raise ExportError(
                f"the graph from {form.framework} has {what} {made}, {wanted} was asked for; "
                "nothing was written"
            )


def _tidy(proto: ModelProto) -> ModelProto:
    """What exporters note along the way, and nobody needs, is left out."""
    del proto.graph.value_info[:]
    del proto.metadata_props[:]
    for part in (proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]
    used = {node.domain for node in proto.graph.node}
    kept = [each for each in proto.opset_import if each.domain in used | {""}]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    return proto
