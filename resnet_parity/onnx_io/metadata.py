"""The metadata of an exported file: its architecture, and checksums of its weights and itself.

The file's checksum is the SHA-256 of all its bytes, with zeros in place of the checksum itself, so
that a change of any bit is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from resnet_spec import Architecture, parameters, to_json

from resnet_parity.errors import ParityError

PRODUCER = "resnet-parity"
NAME_KEY = "resnet_parity.architecture"
SPEC_KEY = "resnet_parity.spec"
WEIGHTS_KEY = "resnet_parity.weights_sha256"
_MARK = "resnet_parity.file_sha256="
_BLANK = "0" * 64


def add_metadata(model: ModelProto, arch: Architecture, weights: Mapping[str, np.ndarray]) -> bytes:
    """Return the bytes of a file with its metadata and its checksum; changes the model."""
    checksum = weights_checksum(arch, weights)
    values = {NAME_KEY: arch.name, SPEC_KEY: to_json(arch), WEIGHTS_KEY: checksum}
    helper.set_model_props(model, values)
    return add_checksum(model)


def add_checksum(model: ModelProto) -> bytes:
    """Return the bytes of a file with its own checksum in the doc string; changes the model."""
    model.doc_string = _MARK + _BLANK
    content = model.SerializeToString(deterministic=True)
    start = _checksum_start(content)
    checksum = hashlib.sha256(content).hexdigest().encode()
    return content[:start] + checksum + content[start + len(checksum) :]


def verify_checksum(content: bytes) -> None:
    """Raise `ParityError` if the bytes of a file hold a checksum that is not theirs."""
    start = _checksum_start(content)
    if start < 0:
        return
    end = start + len(_BLANK)
    checksum = hashlib.sha256(content[:start] + _BLANK.encode() + content[end:]).hexdigest()
    if checksum.encode() != content[start:end]:
        raise ParityError(
            "its embedded SHA-256 does not match its content; it was damaged or changed: copy or "
            "export it again"
        )


def require_checksum(model: ModelProto) -> None:
    """Raise `ParityError` if a file of this project has lost its checksum."""
    is_ours = model.producer_name == PRODUCER or any(
        entry.key.startswith("resnet_parity.") for entry in model.metadata_props
    )
    if is_ours and not str(model.doc_string).startswith(_MARK):
        raise ParityError(
            "its embedded SHA-256 is missing; it was damaged or changed: copy or export it again"
        )


def _checksum_start(content: bytes) -> int:
    """The offset of the checksum; -1 if there is none."""
    start = content.find(_MARK.encode())
    return start if start < 0 else start + len(_MARK)


def read_metadata(model: ModelProto) -> dict[str, str]:
    """The metadata of a file, by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def weights_checksum(arch: Architecture, weights: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of every tensor in canonical order and layout, as little-endian float32."""
    checksum = hashlib.sha256()
    for parameter in parameters(arch):
        checksum.update(np.ascontiguousarray(weights[parameter.name], "<f4").tobytes())
    return checksum.hexdigest()


def graph_checksum(model: ModelProto) -> str:
    """The SHA-256 of what a graph computes; for an export, the same on every machine.

    It covers operators, attributes, edges by name, initializers with their values, the image's
    name, type and shape, and the opset. It ignores producer, metadata, doc strings, node names, IR
    version, and the order of nodes, attributes and initializers. An export has canonical names, and
    its norms are folded in float64 with operations that IEEE 754 rounds correctly.
    """
    graph = model.graph
    content = {
        "opsets": sorted((each.domain, each.version) for each in model.opset_import),
        "inputs": list(map(_input, graph.input)),
        "outputs": [each.name for each in graph.output],
        "initializers": sorted((each.name, _summary(each)) for each in graph.initializer),
        "nodes": sorted(
            (list(node.output), node.domain, node.op_type, list(node.input), _attributes(node))
            for node in graph.node
        ),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _input(value: ValueInfoProto) -> list[Any]:
    """Name, type and extents; the extents that are open by name."""
    tensor = value.type.tensor_type
    extents = [each.dim_param or each.dim_value for each in tensor.shape.dim]
    return [value.name, tensor.elem_type, extents]


def _attributes(node: NodeProto) -> dict[str, Any]:
    """The attributes of a node as plain data; tensors by type, shape and checksum."""
    values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    return {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, TensorProto):
        return _summary(value)
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, int | float) else list(map(_plain, value))


def _summary(tensor: TensorProto) -> list[Any]:
    """Type, shape, and the SHA-256 of the values as little-endian numbers."""
    array = numpy_helper.to_array(tensor)
    values = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return [tensor.data_type, list(tensor.dims), hashlib.sha256(values).hexdigest()]
