"""Identify the ResNet in a graph: by the file's metadata, else by trying every architecture."""

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
)

from resnet_parity.errors import ParityError
from resnet_parity.files import brief
from resnet_parity.onnx_io import metadata
from resnet_parity.onnx_io.absorb import absorb
from resnet_parity.onnx_io.fixed_size import settle_sizes
from resnet_parity.onnx_io.inference_form import inference_form
from resnet_parity.onnx_io.match import Match
from resnet_parity.onnx_io.nodes import constant
from resnet_parity.onnx_io.reading import WORKING_OPSET
from resnet_parity.onnx_io.refusal import kernels, kernels_of, refusal
from resnet_parity.onnx_io.rewrite import prepare, rewrite_model
from resnet_parity.onnx_io.search import closest
from resnet_parity.onnx_io.synonyms import replace_synonyms


@dataclass(frozen=True)
class Identified:
    """A graph, its match, and the other architectures of the registry that it fits as well.

    `proto` is the file in the form that the checks run, see `inference_form`; `notes` say what
    was changed and absorbed.
    """

    model: ir.Model
    match: Match
    proto: ModelProto
    equivalents: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def architecture(self) -> Architecture:
        return self.match.architecture

    @property
    def label(self) -> str:
        """The architecture and what it returns, in words."""
        arch = self.architecture
        count = arch.num_classes
        ends = f"{count} class{'es' * (count > 1)}" if count else "no classifier"
        return f"{arch.name} ({'a backbone' if arch.out_indices is not None else ends})"


def identify(proto: ModelProto, name: str, wanted: Architecture | None = None) -> Identified:
    """Identify the architecture of a model; its graph is rewritten to the operators of the spec.

    `name` is the name of its file in messages. With `wanted` it must be that architecture. Raises a
    `ParityError` that names the nearest architecture and the first difference.
    """
    form, notes = inference_form(proto, name)
    try:
        model = _model(form, name)
        notes = [*notes, *_conversion(form), *replace_synonyms(model.graph)]
        notes += [*settle_sizes(model.graph), *absorb(model.graph, name)]
        found = _identify(model, form, name, wanted)
        return replace(found, notes=(*notes, *found.match.notes))
    except (ParityError, MemoryError):
        raise
    except shape_inference.InferenceError as error:
        raise ParityError(_inconsistency(form, name, wanted, error)) from error
    except Exception as error:  # a valid file can still hold something that no rule expects
        reason = brief(_root_error(error))
        raise ParityError(
            f"{name} holds a graph that could not be read: {reason}; export it again"
        ) from error


def _root_error(error: Exception) -> Exception:
    """The first error in nested passes; the outer errors only say that a pass failed."""
    while isinstance(error, PassError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _identify(
    model: ir.Model, proto: ModelProto, name: str, wanted: Architecture | None
) -> Identified:
    rewrite_model(model, fold=False)
    candidates = [wanted] if wanted else list(_candidates(proto, model.graph, name))
    strict = (closest(model.graph, arch, strict=True) for arch in candidates)
    found = [each for each in strict if not each.faults]
    if not found:
        text = refusal(model.graph, candidates, _ends(model.graph), wanted, name)
        raise ParityError(f"{name}: {'' if wanted else 'it could not be identified; '}{text}")
    for each in found:
        _check_image(model.graph, each, name)
    fewest = min(len(each.absorbed) for each in found)
    best, *others = [each for each in found if len(each.absorbed) == fewest]
    return Identified(model, best, proto, tuple(each.architecture.name for each in others))


def _inconsistency(
    proto: ModelProto, name: str, wanted: Architecture | None, error: Exception
) -> str:
    """Why the shapes of a graph contradict each other: the first difference from a row."""
    try:
        model = _model(proto, name, strict=False)
        list(replace_synonyms(model.graph))
        rewrite_model(model, fold=False, strict=False)
        candidates = [wanted] if wanted else list(_candidates(proto, model.graph, name))
        text = refusal(model.graph, candidates, _ends(model.graph), wanted, name)
    except MemoryError:
        raise
    except Exception:  # the checker's own words remain
        text = ""
    return f"{name} is not a consistent graph: {text or f'{brief(error)}; export it again'}"


def _model(proto: ModelProto, name: str, *, strict: bool = True) -> ir.Model:
    """The model with shapes inferred from the image alone; shapes that the file claims are dropped.

    A model of an older opset is converted, so that the rules see one form of each operator. With
    `strict`, shapes that contradict each other raise an `InferenceError`.
    """
    bare = ModelProto()
    bare.CopyFrom(proto)
    del bare.graph.value_info[:]
    for value in bare.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        if _opset(bare) < WORKING_OPSET:
            bare = version_converter.convert_version(bare, WORKING_OPSET)
        inferred = shape_inference.infer_shapes(bare, check_type=strict, strict_mode=strict)
    except (version_converter.ConvertError, RuntimeError) as error:
        raise ParityError(f"{name} is not a consistent graph: {brief(error)}") from error
    model = ir.from_proto(inferred)
    prepare(model, strict=strict)
    return model


def _conversion(form: ModelProto) -> Iterator[str]:
    version = _opset(form)
    if version < WORKING_OPSET:
        yield f"read after conversion to opset {WORKING_OPSET}; checks run it in its own, {version}"


def _opset(proto: ModelProto) -> int:
    return next(each.version for each in proto.opset_import if not each.domain)


def _check_image(graph: ir.Graph, found: Match, name: str) -> None:
    """Raise `ParityError` for an input that is not a float32 image of the right channels."""
    (image,) = graph.inputs
    extents = [None] * 4 if image.shape is None else list(image.shape)
    known = [extent for extent in extents if isinstance(extent, int)]
    if image.dtype != ir.DataType.FLOAT or len(extents) != 4 or any(e < 1 for e in known):
        raise ParityError(
            f"{name}: its input is {image.dtype} of shape {image.shape}, not a float32 image; "
            "export it again with one"
        )
    channels = extents[found.layout.index("c")]
    wanted = found.architecture.in_channels
    if isinstance(channels, int) and channels != wanted:
        first = next(iter(found.operations))
        raise ParityError(
            f"{name}: its image has {channels} channels, the weight of {first} has the shape for "
            f"{wanted}; export it again"
        )


def _candidates(proto: ModelProto, graph: ir.Graph, name: str) -> Iterator[Architecture]:
    """The architecture in the metadata, else all with convolutions of the same shapes."""
    spec = metadata.read_metadata(proto).get(metadata.SPEC_KEY)
    if spec is not None:
        yield _named(spec, graph, name)
        return
    shapes = Counter(shape for _, shape in kernels(graph))
    ends = _ends(graph)
    dilated = any(max(node.attributes.get_ints("dilations", (1,))) > 1 for node in graph)
    for name in ARCHITECTURES:
        for stride in (None, 16, 8) if dilated else (None,):
            try:
                arch = get_architecture(name, output_stride=stride, **ends)
            except ArchitectureError:
                continue
            if kernels_of(arch) == shapes:
                yield arch


def _named(spec: str, graph: ir.Graph, name: str) -> Architecture:
    """The architecture in the metadata; it is matched with the graph like any other."""
    fix = "export it again, or remove its metadata"
    try:
        arch = from_json(spec)
    except ArchitectureError as error:
        raise ParityError(
            f"{name}: its metadata holds an invalid architecture: {error}; {fix}"
        ) from error
    if sum(stage.blocks for stage in arch.stages) > len(graph):
        raise ParityError(
            f"{name}: its metadata holds an architecture with more blocks than it has nodes; {fix}"
        )
    ends = ("num_classes", "in_channels", "output_stride", "out_indices")
    row = ARCHITECTURES.get(arch.name)
    if row is not None and replace(row, **{end: getattr(arch, end) for end in ends}) != arch:
        raise ParityError(
            f"{name}: its metadata names {arch.name!r}, but describes another architecture; {fix}"
        )
    return arch


def _ends(graph: ir.Graph) -> dict[str, Any]:
    """The image channels and classes that the graph shows."""
    shapes = [shape for _, shape in kernels(graph)]
    ends = {"in_channels": int(shapes[0][1])} if shapes else {}
    heads = [node for node in graph if node.op_type == "Gemm"]
    kernel = constant(heads[-1], 1) if heads else None
    if kernel is None:
        return ends | {"num_classes": 0}
    out = 0 if heads[-1].attributes.get_int("transB", 0) else 1
    return ends | {"num_classes": int(kernel.shape[out])}
