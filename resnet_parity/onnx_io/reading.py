"""ONNX files from any source, read safely: nothing is run, and no claimed size is allocated.

A file is refused with one `ParityError` that names the file and the reason.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from resnet_spec.text import printable

from resnet_parity.errors import ParityError
from resnet_parity.files import brief, check_readable, reading
from resnet_parity.onnx_io import metadata

READABLE_OPSETS = range(7, 24)
"""Runtimes support none before 7, and one-year-old ones none after 23."""

WORKING_OPSET = 18
"""The opset in which graphs are exported, rewritten and matched; older ones are converted first."""

FRAMEWORKS = ("torch", "keras")
EXPORTS = ("torch.onnx", "keras.onnx")
"""The names under which frameworks and their exports are compared."""

MAX_BYTES = 2**31 - 1
"""The size of a file together with its external data; a protobuf message cannot be larger."""

CONSTANT_FIX = (
    "remove what computes weights (torch.nn.utils.parametrize.remove_parametrizations, "
    "torch.nn.utils.prune.remove) and export again with constants folded, or fold them by onnxsim"
)

_MAX_AXES = 8
_MAX_INTEGERS = 64
"""Integers are shapes, axes and pads; no ResNet needs many."""

_KINDS: dict[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("float_data", 4),
    TensorProto.INT64: ("int64_data", 8),
    TensorProto.INT32: ("int32_data", 4),
    TensorProto.BOOL: ("int32_data", 1),
}
"""The field that holds the values of a tensor without raw data, and the bytes of one value."""

_OPERATORS = {
    *("Conv", "BatchNormalization", "Relu", "Add", "MaxPool", "AveragePool", "Pad", "Gemm"),
    *("ReduceMean", "GlobalAveragePool", "Flatten", "Reshape", "Squeeze", "Mul", "Sigmoid"),
    *("Cast", "Concat", "Constant", "Div", "Dropout", "Gather", "Identity", "LogSoftmax", "MatMul"),
    *("Shape", "Slice", "Softmax", "Sub", "Transpose", "Unsqueeze"),
    # No supported ResNet has these; they are read so that a message can name the layer.
    *("Celu", "ConvTranspose", "Elu", "Gelu", "GlobalMaxPool", "GroupNormalization"),
    *("HardSigmoid", "HardSwish", "InstanceNormalization", "Min", "Mish", "Selu", "Softplus"),
    *("Tanh", "ThresholdedRelu"),
    # These may compute a ReLU or a sum, see `synonyms`.
    *("Clip", "LeakyRelu", "Max", "PRelu", "Sum"),
}
"""The operators of ResNets, those that exporters add around them, and those of their variants."""


def read_files(names: Sequence[str]) -> dict[str, ModelProto]:
    """Read the names that are files; a file that has the name of an export is read.

    Raises `ParityError` for a name that is no file, no framework and no export, or is given twice,
    and as `read_model` does.
    """
    if len(set(names)) != len(names):
        raise ParityError("a name is given twice; name each file, framework and export once")
    return {name: read_model(Path(name)) for name in names if _is_file(name)}


def _is_file(name: str) -> bool:
    if name in FRAMEWORKS or (name in EXPORTS and not Path(name).exists()):
        return False
    if not Path(name).exists():
        known = ", ".join((*FRAMEWORKS, *EXPORTS))
        raise ParityError(f"{name!r} is not an existing file, and not one of: {known}")
    return True


def read_model(path: str | Path) -> ModelProto:
    """Return the model in a file, with its external data inside.

    Raises `ParityError` for a file that is not ONNX, is damaged, claims more than it holds, points
    outside its folder, or holds operators or tensors that no ResNet has.
    """
    path = Path(path)
    return parse(_read_bytes(path), str(path), path.parent)


def parse(content: bytes, name: str, folder: Path | None = None) -> ModelProto:
    """Return the model in those bytes, called `name` in messages; see `read_model`.

    Without a folder the model must have no external data.
    """
    with reading(name, "an ONNX file", "export it again"):
        try:
            metadata.verify_checksum(content)
            model = onnx.load_model_from_string(content)
            _check_model(model)
            metadata.require_checksum(model)
            _load_tensors(model, folder, MAX_BYTES - len(content))
            onnx.checker.check_model(model)
        except ParityError as error:
            fix = "" if "; " in str(error) else "; copy or export the file again"
            raise ParityError(f"{name}: {error}{fix}") from error
        except DecodeError as error:  # its own text names classes of protobuf alone
            raise ParityError(
                f"{name} is not an ONNX file, or is damaged; copy or export it again"
            ) from error
        except onnx.checker.ValidationError as error:
            node = re.search(r"Name: (\S+) OpType", str(error))
            where = f" (node {node[1]!r})" if node else ""
            reason = brief(error).rstrip(".")
            raise ParityError(f"{name} is not valid: {reason}{where}; export it again") from error
    return model


def _read_bytes(path: Path) -> bytes:
    check_readable(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ParityError(f"{path} has more than {MAX_BYTES:,} bytes; export the ResNet alone")
        return path.read_bytes()
    except OSError as error:
        raise ParityError(f"{path} cannot be read: {error.strerror}") from error


def _check_model(model: ModelProto) -> None:
    """Check everything but the tensors."""
    if not model.graph.node:
        raise ParityError("it holds no graph, so it is not an ONNX file, or is damaged")
    if not model.graph.output:
        raise ParityError("its graph has no outputs; export it again")
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in READABLE_OPSETS:
        named = ", ".join(map(str, versions)) or "none"
        first, last = READABLE_OPSETS[0], READABLE_OPSETS[-1]
        raise ParityError(
            f"its opset is {named}, not {first} to {last}; export it with another opset"
        )
    if model.graph.sparse_initializer:
        raise ParityError("it holds sparse tensors; export it with dense ones")
    if model.functions or model.training_info:
        raise ParityError("it holds functions or a training graph; export the model for inference")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
            raise ParityError(_unknown_operator(model, node))
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor"):
                raise ParityError(
                    f"node {node.name!r} holds a graph or a sparse tensor; "
                    "export the model without loops and branches"
                )


def _unknown_operator(model: ModelProto, node: NodeProto) -> str:
    """Why a node of an operator that no ResNet has is there, and what to do."""
    name = printable(f"{node.domain}.{node.op_type}" if node.domain else node.op_type)
    if re.search(r"Quantize|QLinear|^QGemm|Integer$", node.op_type):
        reason = "so the file is quantised; give the float32 file that it was made from"
    elif node.domain.startswith("com.microsoft"):
        reason = (
            "an operator of ONNX Runtime, which optimised the file; give the file that it was "
            "made from, or save it with GraphOptimizationLevel.ORT_ENABLE_BASIC"
        )
    elif not _depends_on_image(model, node):
        reason = f"which computes a constant; {CONSTANT_FIX}"
    else:
        reason = (
            "which no supported ResNet has; export the ResNet alone, without what comes before or "
            "after it"
        )
    return f"node {node.name!r} is a {name}, {reason}"


def _depends_on_image(model: ModelProto, node: NodeProto) -> bool:
    """Whether an input of the graph that holds no weights leads to a node."""
    reached = {value.name for value in model.graph.input}
    reached -= {tensor.name for tensor in model.graph.initializer}
    for each in model.graph.node:  # in topological order
        if reached.intersection(each.input):
            reached.update(each.output)
    return bool(reached.intersection(node.input))


def _load_tensors(model: ModelProto, folder: Path | None, room: int) -> None:
    """Check that every tensor has the size of its shape; load external data."""
    for tensor in _tensors(model):
        name = printable(tensor.name) or "of a constant"
        if tensor.data_type not in _KINDS:
            known = {number: kind for kind, number in TensorProto.DataType.items()}
            kind = known.get(tensor.data_type, f"of the unknown type {tensor.data_type}")
            raise ParityError(f"tensor {name} is {kind}; export the model in float32")
        if any(extent < 0 for extent in tensor.dims):
            raise ParityError(f"tensor {name} has a negative extent")
        if len(tensor.dims) > _MAX_AXES or any(extent > MAX_BYTES for extent in tensor.dims):
            raise ParityError(f"tensor {name} has too many axes or too large an extent")
        count = math.prod(tensor.dims)
        if tensor.data_type != TensorProto.FLOAT and count > _MAX_INTEGERS:
            raise ParityError(f"tensor {name} holds {count:,} integers, which no ResNet needs")
        field, item = _KINDS[tensor.data_type]
        size = count * item
        if uses_external_data(tensor):
            if folder is None:
                raise ParityError(f"tensor {name} is stored in another file")
            room -= size
            if room < 0:
                raise ParityError(
                    f"its tensors have more than {MAX_BYTES:,} bytes; export the ResNet alone"
                )
            _load_external(tensor, name, size, folder)
        held = len(tensor.raw_data) if tensor.HasField("raw_data") else None
        listed = len(getattr(tensor, field))
        if (held, listed) not in ((size, 0), (None, count)):
            raise ParityError(
                f"tensor {name} of shape {tuple(tensor.dims)} should hold {size:,} bytes and holds "
                f"{held if held is not None else listed * item:,}"
            )


def _tensors(model: ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _load_external(tensor: TensorProto, name: str, size: int, folder: Path) -> None:
    """Load a tensor from another file, which must be a regular file in the same folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where = f"tensor {name} is stored in {entries.get('location')!r}"
    location = entries.get("location", "")
    is_name = location not in ("", ".", "..") and Path(location).name == location
    if not is_name or "\\" in location or "\0" in location:
        raise ParityError(
            f"{where}, which is not a file name in the model's own folder; if you trust it, save "
            "the model in one file: onnx.save(onnx.load('net.onnx'), 'one.onnx')"
        )
    offset, length = entries.get("offset", "0"), entries.get("length", str(size))
    if not (offset.isascii() and offset.isdecimal() and len(offset) < 19):
        raise ParityError(f"{where} at the offset {offset[:40]!r}, which is not a valid number")
    if length != str(size):
        raise ParityError(f"{where} with a length of {length[:40]!r}, but its shape needs {size:,}")
    if "length" not in entries:  # else everything after the offset would be read
        tensor.external_data.add(key="length", value=str(size))
    path = folder / location
    if not path.is_file() or path.stat().st_size < int(offset) + size:
        raise ParityError(
            f"{where}, which does not exist or ends before the tensor does; put it beside it"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_external_data_for_tensor(tensor, str(folder))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ParityError(f"{where}: {brief(error)}") from error
