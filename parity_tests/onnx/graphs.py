"""Exports that several tests share, each created once per process."""

from __future__ import annotations

from functools import cache

import onnx
from onnx import ModelProto, numpy_helper

from parity_tests.support import find
from resnet_parity.onnx_io.export import export
from resnet_parity.onnx_io.exporters import ExportOptions
from resnet_parity.onnx_io.identify import Identified, identify
from resnet_parity.onnx_io.reading import parse
from resnet_parity.probes import random_weights

DYNAMIC = ("batch", "size")


@cache
def exported(name: str, framework: str, layout: str | None = None, fold: bool = True) -> bytes:
    """A small file with the random probe's weights, of any batch and size."""
    arch = find(name)
    options = ExportOptions(framework, dynamic=DYNAMIC, layout=layout, fold=fold)  # pyright: ignore
    return export(arch, random_weights(arch, 0, "float32"), options)


def identified(content: bytes) -> tuple[ModelProto, Identified]:
    """A parsed and identified file."""
    proto = parse(content, "the file")
    return proto, identify(proto, "the file")


def without_metadata(content: bytes) -> ModelProto:
    """A model as another tool might have written it: without metadata and checksum."""
    proto = onnx.load_model_from_string(content)
    proto.doc_string = proto.producer_name = ""
    del proto.metadata_props[:]
    return proto


def structure(proto: ModelProto) -> list[tuple]:
    """Every node with its names and attributes, and every tensor's name and shape."""
    nodes = [
        (node.op_type, node.name, tuple(node.input), tuple(node.output), _attributes(node))
        for node in proto.graph.node
    ]
    return sorted(nodes) + sorted((each.name, tuple(each.dims)) for each in proto.graph.initializer)


def _attributes(node: onnx.NodeProto) -> tuple:
    """The attributes that have an effect and are not an operator's default."""
    defaults = {"group": 1, "alpha": 1.0, "beta": 1.0, "transA": 0, "auto_pad": b"NOTSET"}
    defaults |= {"dilations": [1, 1], "strides": [1, 1], "pads": [0, 0, 0, 0], "ceil_mode": 0}
    defaults |= {"storage_order": 0, "mode": b"constant", "training_mode": 0}
    written = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    if not any(written.get("pads", ())):
        written.pop("count_include_pad", None)  # there is no padding to count
    return tuple(sorted((k, str(v)) for k, v in written.items() if defaults.get(k) != v))


def tensor(proto: ModelProto, name: str) -> onnx.TensorProto:
    return next(each for each in proto.graph.initializer if each.name == name)


def array(proto: ModelProto, name: str):
    return numpy_helper.to_array(tensor(proto, name))
