"""Files that other tools changed: the same function is read, the rest refused by its cause."""

from __future__ import annotations

import gzip

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from resnet_spec import get_architecture

from parity_tests.onnx.graphs import exported, identified, tensor, without_metadata
from parity_tests.onnx.test_absorb import (
    add_tensor,
    check_function,
    read,
    set_attribute,
    with_norms,
)
from parity_tests.support import TINY, find, light
from resnet_parity import cli
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.identify import Identified, identify
from resnet_parity.onnx_io.imports import import_verified
from resnet_parity.onnx_io.match import Match

MAXIMUM = float(np.finfo("float32").max)
SAME = {
    "Max": ("Relu", [0.0], {}, "5 Max read as Relu"),
    "Clip": ("Relu", [0.0], {}, "5 Clip read as Relu"),
    "Clip to the largest number": ("Relu", [0.0, MAXIMUM], {}, "5 Clip read as Relu"),
    "LeakyRelu": ("Relu", [], {"alpha": 0.0}, "5 LeakyRelu read as Relu"),
    "PRelu": ("Relu", [[0.0]], {}, "5 PRelu read as Relu"),
    "Sum": ("Add", [], {}, "2 Sum read as Add"),
}
OTHER = {
    "Max": ("Relu", [0.5], {}, "is Max instead of Relu"),
    "Clip": ("Relu", [0.0, 6.0], {}, "is Clip instead of Relu"),
    "Clip from below zero": ("Relu", [-1.0], {}, "is Clip instead of Relu"),
    "LeakyRelu": ("Relu", [], {}, "is LeakyRelu instead of Relu"),
    "PRelu": ("Relu", [[0.1]], {}, "is PRelu instead of Relu"),
}


def renamed(case: str, table: dict) -> ModelProto:
    """A file in which another operator is in the place of each ReLU, or each sum."""
    operator, constants, attributes, _ = table[case]
    proto = with_norms()
    names = [add_tensor(proto, f"number.{i}", np.float32(each)) for i, each in enumerate(constants)]
    for node in proto.graph.node:
        if node.op_type == operator:
            node.op_type = case.partition(" ")[0]
            node.input.extend(names)
            set_attribute(node, **attributes)
    return proto


@pytest.mark.parametrize("case", SAME)
def test_a_relu_or_a_sum_of_another_name_is_read(case):
    check_function(renamed(case, SAME), [f"{SAME[case][-1]}: they compute the same"])


@pytest.mark.parametrize("case", light(list(SAME), ["Max"]))
def test_a_relu_of_another_name_is_proven(case):
    assert import_verified(read(renamed(case, SAME)), "the file").not_verified == ()


@pytest.mark.parametrize("case", OTHER)
def test_another_activation_is_refused(case):
    with pytest.raises(ParityError, match=OTHER[case][-1]):
        identify(read(renamed(case, OTHER)), "the file")


def test_a_negative_extent_is_any_number():
    proto = with_norms()
    for axis in (0, 2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = -1
    check_function(proto, [])


def _operator(operator: str, domain: str = ""):
    def change(proto: ModelProto) -> None:
        proto.graph.node[1].op_type, proto.graph.node[1].domain = operator, domain

    return change


def _computed_kernel(proto: ModelProto, operator: str = "Mul") -> None:
    kernel = tensor(proto, "layer1.0.conv1.weight")
    kernel.name = "original"
    node = helper.make_node(operator, ["original", "original"], ["layer1.0.conv1.weight"])
    proto.graph.node.insert(0, node)


def _kernel_norm(proto: ModelProto) -> None:
    proto.graph.node.insert(0, helper.make_node("ReduceL2", ["conv1.weight"], ["norm"]))


def _no_values(proto: ModelProto) -> None:
    for each in proto.graph.initializer:
        proto.graph.input.append(
            helper.make_tensor_value_info(each.name, TensorProto.FLOAT, each.dims)
        )
    del proto.graph.initializer[:]


def _group_norms(proto: ModelProto) -> None:
    (first,) = (node for node in proto.graph.node if node.name == "layer1.0.bn1")
    add_tensor(proto, "grouped", np.array([0, 4, -1]))
    kept = [each for each in proto.graph.node if each is not first]
    position = list(proto.graph.node).index(first)
    source, made = first.input[0], first.output[0]
    for name in ("ones", "zeros"):
        add_tensor(proto, name, np.full(4, name == "ones", "float32"))
    steps = [
        helper.make_node("Shape", [source], ["shape"]),
        helper.make_node("Reshape", [source, "grouped"], ["groups"]),
        helper.make_node("InstanceNormalization", ["groups", "ones", "zeros"], ["normal"], "gn"),
        helper.make_node("Reshape", ["normal", "shape"], [made]),
    ]
    nodes = [*kept[:position], *steps, *kept[position:]]
    copies = [onnx.NodeProto.FromString(each.SerializeToString()) for each in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(copies)


REFUSED = {
    "quantised": (_operator("QuantizeLinear"), "quantised; give the float32 file"),
    "quantised sum": (_operator("QLinearAdd", "com.microsoft"), "quantised; give the float32 file"),
    "optimised": (_operator("FusedConv", "com.microsoft"), "optimised the file; .*ENABLE_BASIC"),
    "another operator": (_operator("TopK"), "no supported ResNet has; export the ResNet alone"),
    "computed kernel": (
        _computed_kernel,
        "nearest is tiny, but layer1.0.conv1: weight of shape computed .*prune.remove",
    ),
    "norm of a kernel": (_kernel_norm, "computes a constant; .*remove_parametrizations"),
    "no values": (_no_values, "no values of .* weights, such as .*export_params=True"),
    "group norms": (_group_norms, "its norm 'gn' is a group norm, one of 1;"),
    "no output": (lambda proto: proto.graph.ClearField("output"), "has no outputs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_says_which_tool_made_the_file(case):
    change, message = REFUSED[case]
    proto = with_norms()
    change(proto)
    with pytest.raises(ParityError, match=message):
        identify(read(proto), "the file")


def test_feature_maps_of_others_are_refused_with_a_way_on():
    proto = without_metadata(exported("resnet18", "torch"))
    (head,) = (node for node in proto.graph.node if node.op_type == "Gemm")
    proto.graph.node.remove(head)
    del proto.graph.output[:]
    maps = [node.output[0] for node in proto.graph.node if node.op_type == "Add"][::7]
    proto.graph.output.extend(onnx.ValueInfoProto(name=each) for each in maps)
    for value in proto.graph.output:
        value.type.tensor_type.elem_type = TensorProto.FLOAT
        value.type.tensor_type.shape.SetInParent()
        for _ in range(4):
            value.type.tensor_type.shape.dim.add()
    with pytest.raises(ParityError, match=r"returns 2 tensors .*of another file export the class"):
        identified(proto.SerializeToString())


def test_one_class_is_one():
    proto, found = identified(exported(TINY.name, "torch"))
    one = Match(get_architecture(find(TINY.name), num_classes=1), {})
    assert Identified(found.model, one, proto).label == "tiny (1 class)"


FILES = {
    "pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\nsize 4\n",
    "compressed by gzip": gzip.compress(b"\x08"),
    "a web page": b"<!DOCTYPE html>\n<html></html>",
}


@pytest.mark.parametrize("what", FILES)
@pytest.mark.parametrize("suffix", ["onnx", "safetensors"])
def test_a_download_of_something_else_is_named(what, suffix, tmp_path, capsys):
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(FILES[what])
    options = {
        "onnx": ["inspect", str(path)],
        "safetensors": ["export", "resnet20", "--weights", str(path), "--out", f"{path}.onnx"],
    }
    assert cli.main(options[suffix]) == 2
    assert what in capsys.readouterr().err
