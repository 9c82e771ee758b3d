"""A model as an ONNX file: exported by its framework, rewritten, named, and verified."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import ModelProto
from onnxscript import ir, version_converter

from resnet_spec import Architecture, check_weights, get_architecture, parameters

from resnet_parity.adapters.loading import keras_adapter
from resnet_parity.checks import GRAPH_CHECKS
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata
from resnet_parity.onnx_io.canonical_names import put_canonical_names
from resnet_parity.onnx_io.exporters import LAYOUTS, ExportOptions, exported_graph
from resnet_parity.onnx_io.identify import identify
from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.participants import first_failure, verify_file
from resnet_parity.onnx_io.reading import MAX_BYTES, WORKING_OPSET, parse
from resnet_parity.onnx_io.rewrite import fold_constants, prepare, rewrite_model
from resnet_parity.onnx_io.search import closest
from resnet_parity.onnx_io.tensors import deviations, put_weights
from resnet_parity.progress import Progress
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Verdict

_MAX_WEIGHT_BYTES = MAX_BYTES - 2**24
"""Bytes of weights in one file; the rest is for the graph."""


class ExportError(ParityError):
    """The exported graph does not compute the model, or could not be rewritten to its operators."""

    exit_code = 1


def export(
    arch: str | Architecture,
    weights: Mapping[str, np.ndarray],
    options: ExportOptions,
    *,
    keras_backend: str | None = None,
) -> bytes:
    """Return the file of a model with those weights, not yet verified; see `export_verified`.

    Raises `ParityError` for a framework that is missing or a model too large for one file,
    `resnet_spec.WeightsError` for weights that do not fit, `ExportError` where the exporter writes
    a graph of another model.
    """
    arch = get_architecture(arch)
    size = 4 * sum(parameter.size for parameter in parameters(arch))
    if size > _MAX_WEIGHT_BYTES:
        raise ParityError(
            f"{arch.name!r} has {size:,} bytes of weights; one ONNX file holds at most "
            f"{_MAX_WEIGHT_BYTES:,}"
        )
    check_weights(arch, weights, dict.fromkeys(weights, "float32"))
    model = ir.from_proto(exported_graph(arch, weights, options, keras_backend))
    fold_constants(model)
    prepare(model)
    rewrite_model(model, fold=options.fold)
    found = closest(model.graph, arch)
    if found.faults:
        hint = ""
        if options.framework == "keras" and "tensorflow" not in keras_adapter().versions():
            hint = "; set KERAS_BACKEND=tensorflow, which Keras' exporter supports best"
        raise ExportError(
            f"the exporter of {options.framework} wrote another model: {found.faults[0].text}{hint}"
        )
    put_canonical_names(model.graph, found)
    # The exporter's own values depend on the CPU (Keras' exporter folds norms with TensorFlow's
    # rsqrt), and it reduces norms that stay to a factor and a term. They are checked and replaced,
    # so that a file holds the same values wherever it was written.
    _check_values(options.framework, found, weights)
    put_weights(model.graph, found, weights)
    model.graph.name = arch.name
    model.producer_name, model.producer_version = metadata.PRODUCER, None
    if options.opset > WORKING_OPSET:
        version_converter.convert_version(model, options.opset, fallback=True)
        prepare(model)
    proto = _without_notes(ir.to_proto(model))
    _check_options(proto, found, options)
    content = metadata.add_metadata(proto, arch, weights)
    onnx.checker.check_model(content, full_check=True)
    return content


def export_verified(
    arch: str | Architecture,
    weights: Mapping[str, np.ndarray],
    options: ExportOptions,
    *,
    keras_backend: str | None = None,
    checks: Collection[str] = GRAPH_CHECKS,
    progress: Progress = lambda step, total: None,
) -> tuple[bytes, list[Verdict]]:
    """Export, run those checks, and return the file and the verdicts.

    Raises `ExportError` where a check fails, and otherwise as `export` does.
    """
    arch = get_architecture(arch)
    progress(f"exporting from {options.framework}", 3)
    content = export(arch, weights, options, keras_backend=keras_backend)
    proto = parse(content, "the export")
    found = identify(proto, "the export", arch)
    own = options.framework, found, dict(weights)
    verdicts = list(verify_file(*own, progress, checks=checks))
    if failure := first_failure(verdicts, checks):
        raise ExportError(f"the export does not compute the model, nothing was written: {failure}")
    return content, verdicts


def _check_values(framework: str, found: Match, weights: Mapping[str, np.ndarray]) -> None:
    """Raise `ExportError` if the graph's values differ from the weights by more than rounding."""
    for name, error in deviations(found, weights):
        if error > limit("export", "tensors"):
            raise ExportError(
                f"the graph from {framework} has other values than the model, nothing was "
                f"written: {name} is off by {error:.1e}"
            )


def _check_options(proto: ModelProto, found: Match, options: ExportOptions) -> None:
    """Raise `ExportError` for a graph that does not have the properties that were asked for."""
    height, width = ("height", "width") if "size" in options.dynamic else options.size
    batch = "batch" if "batch" in options.dynamic else 1
    extents = {"n": batch, "c": found.architecture.in_channels, "h": height, "w": width}
    layout = options.layout or LAYOUTS[options.framework]
    (image,) = proto.graph.input
    given = [each.dim_param or each.dim_value for each in image.type.tensor_type.shape.dim]
    versions = [each.version for each in proto.opset_import if not each.domain]
    norms = "folded" if options.fold else "kept"
    for what, wanted, made in (
        ("an image of", [extents[axis] for axis in layout], given),
        ("the layout", layout, found.layout),
        ("opset", [options.opset], versions),
        ("norms that are", norms, "folded" if found.folded and not options.fold else norms),
    ):
        if wanted != made:
            raise ExportError(
                f"the graph from {options.framework} has {what} {made}, {wanted} was asked for; "
                "nothing was written"
            )


def _without_notes(proto: ModelProto) -> ModelProto:
    """Remove doc strings, metadata, value infos and opsets that exporters add and nothing uses."""
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
