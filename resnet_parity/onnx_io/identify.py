"""Which ResNet a graph holds: what the file says, else every row of the table that could be it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from onnx import ModelProto, shape_inference, version_converter
from onnx_ir.passes import PassError
from onnxscript import ir

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    ArchitectureError,
    from_json,
    get_architecture,
    parameters,
)

from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata as metadata
from resnet_parity.onnx_io import opsets
from resnet_parity.onnx_io.match import Match, MismatchError
from resnet_parity.onnx_io.nodes import constant
from resnet_parity.onnx_io.reading import brief
from resnet_parity.onnx_io.rewrite import clean, prepare
from resnet_parity.onnx_io.search import match


@dataclass(frozen=True)
class Identified:
    """A graph, what it is, and the other rows of the table that compute the same."""

    model: ir.Model
    match: Match
    also: tuple[str, ...] = ()

    @property
    def architecture(self) -> Architecture:
        return self.match.architecture


def identify(proto: ModelProto, name: str, wanted: Architecture | None = None) -> Identified:
    """Say which architecture a model is; the operators that exporters leave over are removed.

    `name` is that of its file, in messages; with `wanted` it must be that architecture.

    Raises `ParityError` that says where the nearest architecture and the graph part.
    """
    try:
        return _identify(_model(proto, name), proto, name, wanted)
    except (PassError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        # A file that the checker lets pass can still hold what no rule thought of.
        told = brief(_cause(error))
        raise ParityError(f"{name} holds what is not understood: {told}") from error


def _cause(error: Exception) -> Exception:
    """What went wrong in a pass; of passes within passes each says only that one did."""
    while isinstance(error, PassError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _identify(
    model: ir.Model, proto: ModelProto, name: str, wanted: Architecture | None
) -> Identified:
    clean(model, fold=False)
    found: list[Match] = []
    nearest: tuple[str, MismatchError] | None = None
    for arch in [wanted] if wanted else _candidates(proto, model.graph, name):
        try:
            found.append(match(model.graph, arch))
            _check_image(model.graph, found[-1], name)
        except MismatchError as error:
            if nearest is None or error.reached > nearest[1].reached:
                nearest = arch.name, error
    if found:
        return Identified(model, found[0], tuple(each.architecture.name for each in found[1:]))
    raise ParityError(f"{name}: {_refusal(nearest, wanted)}")


def _model(proto: ModelProto, name: str) -> ir.Model:
    """The model, with shapes that follow from the image alone: what the file claims is dropped.

    One of an older opset is converted, so that rules and matching know one form of each operator.
    """
    bare = ModelProto()
    bare.CopyFrom(proto)
    for each in (*bare.opset_import, *bare.graph.node):
        each.domain = "" if each.domain == "ai.onnx" else each.domain  # two words for one thing
    del bare.graph.value_info[:]
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        if next(each.version for each in bare.opset_import if not each.domain) < opsets.WORKING:
            bare = version_converter.convert_version(bare, opsets.WORKING)
        inferred = shape_inference.infer_shapes(bare, check_type=True, strict_mode=True)
    except (shape_inference.InferenceError, version_converter.ConvertError, RuntimeError) as error:
        raise ParityError(f"{name} does not fit together: {brief(error)}") from error
    model = ir.from_proto(inferred)
    prepare(model)
    return model


def _check_image(graph: ir.Graph, found: Match, name: str) -> None:
    """Raise `ParityError` for an image that the net cannot take, or none could."""
    (image,) = graph.inputs
    extents = [None] * 4 if image.shape is None else list(image.shape)
    known = [extent for extent in extents if isinstance(extent, int)]
    if image.dtype != ir.DataType.FLOAT or len(extents) != 4 or any(e < 1 for e in known):
        raise ParityError(f"{name}: its image is {image.dtype} of shape {image.shape}")
    channels = extents[found.layout.index("c")]
    wanted = found.architecture.in_channels
    if isinstance(channels, int) and channels != wanted:
        raise ParityError(f"{name}: its image has {channels} channels, its first layer {wanted}")


def _refusal(nearest: tuple[str, MismatchError] | None, wanted: Architecture | None) -> str:
    if nearest is not None and wanted is not None:
        return f"it is no {nearest[0]}: {nearest[1]}"
    if nearest is None:
        return (
            "no architecture of the table has convolutions of these shapes; a net of your own is "
            "recognised if this project exported it"
        )
    return f"it is not recognised; nearest is {nearest[0]}, but {nearest[1]}"


def _candidates(proto: ModelProto, graph: ir.Graph, name: str) -> Iterator[Architecture]:
    """The architecture that the file names, or all with convolutions of the same shapes."""
    spec = metadata.properties(proto).get(metadata.SPEC)
    if spec is not None:
        yield _named(spec, graph, name)
        return
    shapes = Counter(tuple(kernel.shape) for kernel in _kernels(graph))
    ends = _ends(graph)
    dilated = any(max(node.attributes.get_ints("dilations", (1,))) > 1 for node in graph)
    for name in ARCHITECTURES:
        for stride in (None, 16, 8) if dilated else (None,):
            try:
                arch = get_architecture(name, output_stride=stride, **ends)
            except ArchitectureError:
                continue
            if Counter(p.shape for p in parameters(arch) if p.axes == "oihw") == shapes:
                yield arch


def _named(spec: str, graph: ir.Graph, name: str) -> Architecture:
    """The architecture of the metadata, which is held to the graph like any other."""
    mend = "export it again, or take its metadata out"
    try:
        arch = from_json(spec)
    except ArchitectureError as error:
        raise ParityError(
            f"{name}: its metadata names an architecture that cannot be: {error}; {mend}"
        ) from error
    if sum(stage.blocks for stage in arch.stages) > len(graph):
        raise ParityError(
            f"{name}: its metadata names an architecture with more blocks than it has nodes; {mend}"
        )
    ends = ("num_classes", "in_channels", "output_stride", "out_indices")
    row = ARCHITECTURES.get(arch.name)
    if row is not None and replace(row, **{end: getattr(arch, end) for end in ends}) != arch:
        raise ParityError(
            f"{name}: its metadata calls itself {arch.name!r}, and describes another net; {mend}"
        )
    return arch


def _kernels(graph: ir.Graph):
    kernels = (constant(node, 1) for node in graph if node.op_type == "Conv")
    return [kernel for kernel in kernels if kernel is not None]


def _ends(graph: ir.Graph) -> dict[str, Any]:
    """Image channels and classes, as far as a graph shows them."""
    kernels = _kernels(graph)
    ends = {"in_channels": int(kernels[0].shape[1])} if kernels else {}
    heads = [node for node in graph if node.op_type == "Gemm"]
    kernel = constant(heads[-1], 1) if heads else None
    if kernel is None:
        return ends | {"num_classes": 0}
    out = 0 if heads[-1].attributes.get_int("transB", 0) else 1
    return ends | {"num_classes": int(kernel.shape[out])}
