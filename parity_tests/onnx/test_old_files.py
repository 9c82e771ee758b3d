"""Files of opset 7 to 12, and the forms that exporters of that time wrote, are read and proven."""

from __future__ import annotations

import io
import warnings
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper

from parity_tests.onnx.test_absorb import (
    add_tensor,
    check_function,
    named,
    read,
    set_attribute,
    with_norms,
)
from parity_tests.support import TINY, find, light
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.identify import identify
from resnet_parity.onnx_io.imports import import_verified
from resnet_parity.probes import random_weights

INPUTS = "32 weights are inputs of the graph as well: the values in the file are read"
TRAINING = (
    "6 norms have outputs for statistics, which only training computes and nothing uses: they are "
    "read as norms of inference"
)
NONSPATIAL = (
    "6 norms have spatial=0, which runtimes refuse, but one number per channel: they are read as "
    "norms per channel"
)


def conversion(opset: int) -> str:
    return f"read after conversion to opset 18; checks run it in its own, {opset}"


@cache
def written(opset: int, training: str) -> bytes:
    """The bytes of `old`."""
    model = torch_adapter().build(TINY, random_weights(TINY, 0, "float32"), "float32").eval()
    content: Any = io.BytesIO()  # PyTorch's annotation does not know files in memory
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            model,
            (torch.zeros(2, 3, 32, 48),),
            content,
            dynamo=False,
            opset_version=opset,
            training=getattr(torch.onnx.TrainingMode, training),
            do_constant_folding=False,
            keep_initializers_as_inputs=True,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "n", 2: "h", 3: "w"}},
        )
    return content.getvalue()


def old(opset: int, training: str = "PRESERVE") -> ModelProto:
    """A file of PyTorch's older exporter, with all weights as inputs and its norms kept."""
    return onnx.load_model_from_string(written(opset, training))


@pytest.mark.parametrize("opset", light(range(7, 13), (7, 9, 12)))
def test_old_opsets(opset):
    proto = old(opset)
    assert (proto.ir_version, len(proto.graph.input)) >= (3, 33)
    weights = check_function(proto, [INPUTS, conversion(opset)])
    for name, array in random_weights(TINY, 0, "float32").items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)


@pytest.mark.parametrize("opset", light(range(7, 13), (8,)))
def test_old_opsets_are_proven(opset):
    """`import` runs its checks in the opset of the file."""
    taken = import_verified(read(old(opset)), "the file")
    assert list(taken.notes) == [INPUTS, conversion(opset)]
    assert taken.not_verified == ()


@pytest.mark.parametrize("opset", [7, 13])
def test_norms_with_five_outputs(opset):
    """PyTorch wrote them in training mode; ONNX Runtime reads them as norms of inference."""
    proto = old(opset, "TRAINING")
    counts = {len(n.output) for n in proto.graph.node if n.op_type == "BatchNormalization"}
    assert counts == {5}
    check_function(proto, [INPUTS, TRAINING, conversion(opset)])


def test_norms_that_are_not_spatial():
    """MXNet's exporter wrote `spatial=0` with one number per channel."""
    proto = old(8)
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            set_attribute(node, spatial=0)
    check_function(proto, [INPUTS, NONSPATIAL, conversion(8)])


def test_norms_of_pixels_are_refused():
    proto = old(8)
    norm = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
    set_attribute(norm, spatial=0)
    norm.name, norm.input[1] = "pixels", add_tensor(proto, "map", np.ones((16, 16, 24), np.float32))
    with pytest.raises(ParityError, match="the norm 'pixels' has spatial=0 and statistics per pix"):
        identify(proto, "the file", TINY)


def viewed(opset: int, index: int, width: int) -> ModelProto:
    """`x.view(x.size(index), width)` before the classifier."""
    proto = old(opset) if opset < 13 else with_norms()
    flat = next(node for node in proto.graph.node if node.op_type in ("Flatten", "ReduceMean"))
    place = list(proto.graph.node).index(flat)
    source, made = flat.input[0], flat.output[0]
    proto.graph.node.remove(flat)
    extra = []
    if flat.op_type == "ReduceMean":
        extra = [helper.make_node("GlobalAveragePool", [source], ["pooled"])]
        source = "pooled"
    axes = [add_tensor(proto, "axes", np.array([0]))] if opset >= 13 else []
    first = helper.make_node("Unsqueeze", ["count", *axes], ["first"])
    if not axes:
        set_attribute(first, axes=[0])
    number = add_tensor(proto, "index", np.array(index))
    extra += [
        helper.make_node("Shape", [source], ["extents"]),
        helper.make_node("Gather", ["extents", number], ["count"]),
        first,
        helper.make_node(
            "Concat", ["first", add_tensor(proto, "rest", np.array([width]))], ["both"], axis=0
        ),
        helper.make_node("Reshape", [source, "both"], [made]),
    ]
    for node in reversed(extra):
        proto.graph.node.insert(place, node)
    return proto


@pytest.mark.parametrize("width", [-1, 32])
@pytest.mark.parametrize("opset", [9, 18])
def test_a_shape_that_is_computed(opset, width):
    """`x.view(x.size(0), -1)` is Shape, Gather, Unsqueeze, Concat and Reshape."""
    notes = [INPUTS, conversion(opset)] if opset < 18 else []
    check_function(viewed(opset, 0, width), notes)


def test_a_shape_that_is_not_the_number_of_images():
    """`x.view(x.size(1), -1)` is right for no batch but one of that size."""
    with pytest.raises(ParityError, match="avgpool: the Reshape after it reshapes to computed"):
        identify(viewed(18, 1, -1), "the file", TINY)


def of_size(side: int, name: str = TINY.name) -> ModelProto:
    """A file for images of one size."""
    proto = with_norms(name)
    extents = proto.graph.input[0].type.tensor_type.shape.dim
    for extent in extents[2:]:
        extent.dim_value = side
    return proto


def sized(what: str, extent: int) -> str:
    return (
        f"{what} on its map of {extent}x{extent}: the file takes images of one size alone, the "
        "weights take any"
    )


POOLS = {
    "ceil": ({"ceil_mode": 1}, "rounds its size up, without effect"),
    "same": ({"auto_pad": "SAME_UPPER", "pads": None}, "has SAME padding, which is symmetric"),
}


@pytest.mark.parametrize("case", POOLS)
def test_pools_that_equal_the_padded_one(case):
    """At 65x65 the map before the pool has 33x33 pixels, and the last window ends with the padding.

    At 64x64, and at any size, the pool is refused by its name.
    """
    attributes, what = POOLS[case]
    odd, even, free = of_size(65), of_size(64), with_norms()
    for proto in (odd, even, free):
        set_attribute(named(proto, "maxpool"), **attributes)
    check_function(odd, [sized(f"MaxPool 'maxpool' {what}", 33)], size=(65, 65))
    for proto in (even, free):
        with pytest.raises(ParityError, match="maxpool: "):
            identify(read(proto), "the file")


def test_a_pool_of_the_entire_map():
    """Older models end with `AvgPool2d(7)`."""
    proto = of_size(64)
    mean, head = named(proto, "avgpool"), named(proto, "fc")
    place = list(proto.graph.node).index(mean)
    proto.graph.node.remove(mean)
    pool = helper.make_node("AveragePool", mean.input[:1], ["pool"], "pool", kernel_shape=[8, 8])
    flat = helper.make_node("Flatten", ["pool"], ["flat"])
    for node in (flat, pool):
        proto.graph.node.insert(place, node)
    head.input[0] = "flat"
    check_function(proto, [sized("AveragePool 'pool' averages everything", 8)], size=(64, 64))
    pool = named(proto, "pool")
    set_attribute(pool, kernel_shape=[7, 7], strides=[7, 7])
    with pytest.raises(ParityError, match="avgpool is AveragePool"):
        identify(read(proto), "the file")


def test_an_average_that_rounds_down():
    """The shortcut of ResNet-D averages cells of 2x2; at even sizes none is left over."""
    arch = find("deep-stem")
    proto = of_size(64, arch.name)
    notes = []
    for node in proto.graph.node:
        if node.op_type == "AveragePool":
            set_attribute(node, ceil_mode=0)
            what = f"AveragePool {node.name!r} rounds its size down, without effect"
            notes.append(sized(what, 64 >> 2 + len(notes)))
    assert notes
    check_function(proto, notes, size=(64, 64), arch=arch)
    free = with_norms(arch.name)
    for node in free.graph.node:
        if node.op_type == "AveragePool":
            set_attribute(node, ceil_mode=0)
    with pytest.raises(ParityError, match="downsample"):
        identify(read(free, arch), "the file")
