"""What a file of this project says of itself: its architecture, its weights, its own digest.

The digest is the SHA-256 of the whole file, with zeros in the place of the digest itself, so that
a change of any bit is noticed.
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
NAME, SPEC, WEIGHTS = (f"resnet_parity.{key}" for key in ("architecture", "spec", "weights_sha256"))
_MARK = "resnet_parity.file_sha256="
_BLANK = "0" * 64


def metadata(model: ModelProto, arch: Architecture, weights: Mapping[str, np.ndarray]) -> bytes:
    """The file of a model, with all that it says of itself."""
    helper.set_model_props(
        model, {NAME: arch.name, SPEC: to_json(arch), WEIGHTS: weights_digest(arch, weights)}
    )
    return sign(model)


def sign(model: ModelProto) -> bytes:
    """The file of a model, with its own digest."""
    model.doc_string = _MARK + _BLANK
    content = model.SerializeToString(deterministic=True)
    place = _place(content)
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:place] + digest + content[place + len(digest) :]


def check(content: bytes) -> None:
    """Raise `ParityError` where a file has a digest, and it is not that of the file."""
    place = _place(content)
    if place < 0:
        return
    end = place + len(_BLANK)
    blank = hashlib.sha256(content[:place] + _BLANK.encode() + content[end:]).hexdigest()
    if blank.encode() != content[place:end]:
        raise ParityError("it is damaged, or was changed: its SHA-256 is not the one that it names")


def check_marked(model: ModelProto) -> None:
    """Raise `ParityError` where a file says that it is of this project, and has no digest."""
    is_ours = model.producer_name == PRODUCER or any(
        entry.key.startswith("resnet_parity.") for entry in model.metadata_props
    )
    if is_ours and not str(model.doc_string).startswith(_MARK):
        raise ParityError("it is damaged, or was changed: it has lost its SHA-256")


def _place(content: bytes) -> int:
    """Where the digest begins; negative where there is none."""
    at = content.find(_MARK.encode())
    return at if at < 0 else at + len(_MARK)


def properties(model: ModelProto) -> dict[str, str]:
    """What the file says of itself, by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def weights_digest(arch: Architecture, weights: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of every tensor in canonical order and layout, as little-endian float32."""
    digest = hashlib.sha256()
    for parameter in parameters(arch):
        digest.update(np.ascontiguousarray(weights[parameter.name], "<f4").tobytes())
    return digest.hexdigest()


def graph_checksum(model: ModelProto) -> str:
    """The SHA-256 of the function that a graph describes; for an export, the same on every machine.

    Counted are operators, attributes, edges by name, initializers with their values, the image's
    name, type and shape, and the opset. Producer, metadata, doc strings, node names, IR version,
    and the order of nodes, attributes and initializers are not. An export has canonical names,
    and weights that were folded in float64 with operations that IEEE 754 rounds correctly.
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
