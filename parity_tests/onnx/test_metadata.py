"""The checksum of a graph changes with what it computes, and with nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from parity_tests.onnx.graphs import exported, tensor
from parity_tests.support import TINY, light, python
from resnet_parity.onnx_io.metadata import graph_checksum


@pytest.fixture
def model() -> ModelProto:
    return onnx.load_model_from_string(exported(TINY.name, "torch", "nchw"))


def producer(model: ModelProto) -> None:
    model.producer_name, model.producer_version = "another exporter", "2.0"
    model.ir_version += 1


def documentation(model: ModelProto) -> None:
    for each in (model, model.graph, *model.graph.node, *model.graph.initializer):
        each.doc_string = "a remark"
    for node in model.graph.node:
        node.name = f"another name of {node.name}"
    del model.metadata_props[:]


def order(model: ModelProto) -> None:
    nodes, tensors = list(model.graph.node), list(model.graph.initializer)
    for node in nodes:
        attributes = list(node.attribute)
        del node.attribute[:]
        node.attribute.extend(reversed(attributes))
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(reversed(nodes))
    model.graph.initializer.extend(reversed(tensors))


def encoding(model: ModelProto) -> None:
    """The same values, as a list of floats."""
    bias = tensor(model, "fc.bias")
    values = numpy_helper.to_array(bias).tolist()
    bias.ClearField("raw_data")
    bias.float_data.extend(values)


@pytest.mark.parametrize("change", [producer, documentation, order, encoding])
def test_changes_without_effect_keep_the_checksum(change, model):
    before = graph_checksum(model)
    change(model)
    assert graph_checksum(model) == before


def stride(model: ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "layer2.0.conv1")
    next(each for each in node.attribute if each.name == "strides").ints[0] = 1


def no_attribute(model: ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "maxpool")
    del node.attribute[0]


def edge(model: ModelProto) -> None:
    node = next(node for node in model.graph.node if node.name == "layer1.0.conv1")
    node.input[0] = "image"


def operator(model: ModelProto) -> None:
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Sigmoid"


def weight(model: ModelProto) -> None:
    """One value, to the next float32."""
    bias = tensor(model, "fc.bias")
    values = numpy_helper.to_array(bias).copy()
    values[3] = np.nextafter(values[3], np.float32(9))
    bias.CopyFrom(numpy_helper.from_array(values, bias.name))


def shape(model: ModelProto) -> None:
    """The same values in another shape."""
    tensor(model, "fc.weight").dims[:] = tensor(model, "fc.weight").dims[::-1]


def dtype(model: ModelProto) -> None:
    """The same bytes, read as integers."""
    tensor(model, "fc.bias").data_type = onnx.TensorProto.INT32


def size(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 32


def opset(model: ModelProto) -> None:
    model.opset_import[0].version += 1


CHANGES = [stride, no_attribute, edge, operator, weight, shape, dtype, size, opset]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_with_an_effect_change_the_checksum(change, model):
    before = graph_checksum(model)
    change(model)
    assert graph_checksum(model) != before


CHECKSUM = """
import sys
import onnx
from parity_tests.onnx.graphs import exported
from resnet_parity.onnx_io.metadata import graph_checksum
print(graph_checksum(onnx.load_model_from_string(exported("tiny", sys.argv[1], "nchw"))))
"""

OLDER_CPU = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F",
    "PYTHONHASHSEED": "5",
}
"""Makes the frameworks, NumPy and the C library compute as on a CPU without AVX2 and FMA."""


@pytest.mark.parametrize("framework", light(["torch", "keras"], ["torch"]))
def test_an_export_has_the_same_checksum_on_another_cpu(framework):
    """Also with another order of sets: values are folded in float64, never by the frameworks."""
    result = python("-W", "ignore", "-c", CHECKSUM, framework, **OLDER_CPU)  # pyright: ignore
    assert result.returncode == 0, result.stderr
    here = graph_checksum(onnx.load_model_from_string(exported(TINY.name, framework, "nchw")))
    assert result.stdout.strip() == here
