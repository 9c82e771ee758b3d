"""ONNX files of anyone, read with care: nothing is run, and nothing allocated, that a file claims.

What is refused is refused with one `ParityError` that names the file and the reason.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable
from resnet_parity.onnx_io import metadata as metadata
from resnet_parity.onnx_io import opsets

LARGEST = 2**31 - 1
"""Bytes of a file together with its external data; protobuf knows no larger message."""

_MOST_AXES = 8
_MOST_INTEGERS = 64
"""Integers are shapes, axes and amounts; no ResNet needs many."""

_KINDS: dict[int, tuple[str, int]] = {
    TensorProto.FLOAT: ("float_data", 4),
    TensorProto.INT64: ("int64_data", 8),
    TensorProto.INT32: ("int32_data", 4),
}
"""Where a tensor without raw data lists its numbers, and the bytes of one."""

_OPERATORS = {
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Concat",
    "Constant",
    "Conv",
    "Dropout",
    "Flatten",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "MatMul",
    "MaxPool",
    "Mul",
    "Pad",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
}
"""What a ResNet is made of, and what exporters put around it."""


def read_model(path: Path) -> ModelProto:
    """The model of a file, with its external data inside.

    Raises `ParityError` for what is no ONNX file, is damaged, claims more than it holds, points
    outside its folder, or holds what no ResNet does.
    """
    return parse(_read_bytes(path), str(path), path.parent)


def parse(content: bytes, name: str, folder: Path | None = None) -> ModelProto:
    """The model in those bytes, called `name` in messages; see `read_model`.

    Without a folder it may have no external data.
    """
    try:
        metadata.check(content)
        model = onnx.load_model_from_string(content)
        _check_model(model)
        metadata.check_marked(model)
        _load_tensors(model, folder, LARGEST - len(content))
        onnx.checker.check_model(model)
    except ParityError as error:
        raise ParityError(f"{name}: {error}") from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise ParityError(f"{name} is no ONNX file, or a damaged one: {brief(error)}") from error
    except onnx.checker.ValidationError as error:
        raise ParityError(f"{name} is not valid: {brief(error)}") from error
    return model


def _read_bytes(path: Path) -> bytes:
    check_readable(path)
    try:
        if path.stat().st_size > LARGEST:
            raise ParityError(f"{path} has more than {LARGEST:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise ParityError(f"{path} cannot be read: {error.strerror}") from error


def _check_model(model: ModelProto) -> None:
    """What can be said before any tensor is looked at."""
    if not model.graph.node:
        raise ParityError("it holds no graph; it is no ONNX file, or a damaged one")
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(versions) != 1 or versions[0] not in opsets.READ:
        named = ", ".join(map(str, versions)) or "none"
        first, last = opsets.READ[0], opsets.READ[-1]
        raise ParityError(f"its opset is {named}; {first} to {last} can be read")
    if model.graph.sparse_initializer:
        raise ParityError("it holds sparse tensors, which no ResNet here has")
    if model.functions or model.training_info:
        raise ParityError("it holds functions or a training graph; export the model for inference")
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in _OPERATORS:
            name = f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            raise ParityError(f"node {node.name!r} is a {name}, which no ResNet here has")
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs or attribute.HasField("sparse_tensor"):
                raise ParityError(f"node {node.name!r} holds a graph or a sparse tensor")


def _load_tensors(model: ModelProto, folder: Path | None, room: int) -> None:
    """Check that every tensor holds what its shape says; take in those that lie outside."""
    for tensor in _tensors(model):
        name = tensor.name or "of a constant"
        if tensor.data_type not in _KINDS:
            known = {number: kind for kind, number in TensorProto.DataType.items()}
            kind = known.get(tensor.data_type, f"of the unknown type {tensor.data_type}")
            raise ParityError(f"tensor {name} is {kind}; export the model in float32")
        if any(extent < 0 for extent in tensor.dims):
            raise ParityError(f"tensor {name} has a negative extent")
        if len(tensor.dims) > _MOST_AXES or any(extent > LARGEST for extent in tensor.dims):
            raise ParityError(f"tensor {name} has more axes or a larger extent than any can have")
        count = math.prod(tensor.dims)
        if tensor.data_type != TensorProto.FLOAT and count > _MOST_INTEGERS:
            raise ParityError(f"tensor {name} holds {count:,} integers, which no ResNet needs")
        field, item = _KINDS[tensor.data_type]
        size = count * item
        if uses_external_data(tensor):
            if folder is None:
                raise ParityError(f"tensor {name} lies in another file")
            room -= size
            if room < 0:
                raise ParityError(f"its tensors have more than {LARGEST:,} bytes")
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
    """Take in a tensor that lies in another file, a plain one in the same folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    where = f"tensor {name} lies in {entries.get('location')!r}"
    location = entries.get("location", "")
    if not location or location in (".", "..") or Path(location).name != location:
        raise ParityError(f"{where}, which is not a file name in the model's own folder")
    if "\\" in location or "\0" in location:
        raise ParityError(f"{where}, which is not a file name in the model's own folder")
    offset, length = entries.get("offset", "0"), entries.get("length", str(size))
    if not (offset.isascii() and offset.isdecimal() and len(offset) < 19):
        raise ParityError(f"{where} at the offset {offset[:40]!r}, which is none")
    if length != str(size):
        raise ParityError(f"{where} with a length of {length[:40]!r}, its shape needs {size:,}")
    if "length" not in entries:  # else all that is behind the offset would be read
        tensor.external_data.add(key="length", value=str(size))
    path = folder / location
    if not path.is_file() or path.stat().st_size < int(offset) + size:
        raise ParityError(f"{where}, which is not there or ends before the tensor does")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_external_data_for_tensor(tensor, str(folder))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise ParityError(f"{where}: {brief(error)}") from error


def brief(error: Exception) -> str:
    """The first line of a message, and not all of a long one."""
    line = str(error).strip().partition("\n")[0]
    return line if len(line) <= 200 else f"{line[:200]} ..."
