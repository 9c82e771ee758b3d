"""Files that differ from a row by what weights can absorb are read, and the differences named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from resnet_spec import Architecture, to_json

from parity_tests.onnx.graphs import exported, without_metadata
from parity_tests.support import TINY, light
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.compare import relative_error
from resnet_parity.onnx_io import metadata, runtimes
from resnet_parity.onnx_io.identify import identify
from resnet_parity.onnx_io.imports import import_verified
from resnet_parity.onnx_io.reading import parse
from resnet_parity.onnx_io.tensors import weights_of
from resnet_parity.probes.random import random_images
from resnet_parity.tolerances import limit

NORM = "layer1.0.bn1"


def with_norms(name: str = TINY.name) -> ModelProto:
    """A file with its norms, as another tool may have written it."""
    return without_metadata(exported(name, "torch", fold=False))


def named(proto: ModelProto, name: str) -> onnx.NodeProto:
    (found,) = (node for node in proto.graph.node if node.name == name)
    return found


def add_tensor(proto: ModelProto, name: str, values) -> str:
    tensor = numpy_helper.from_array(np.asarray(values), name)
    proto.graph.initializer.append(tensor)
    return name


def put_after(proto: ModelProto, name: str, operator: str, *inputs: str, **attributes) -> None:
    """Insert a node that takes what a node returns, or the image if `name` is "image"."""
    made = f"{name}.{operator}.{len(proto.graph.node)}"
    x = f"{made}.x"
    if name == "image":
        place, value = 0, "image"
        for node in proto.graph.node:
            node.input[:] = [made if each == value else each for each in node.input]
        x = value
    else:
        node = named(proto, name)
        place = list(proto.graph.node).index(node) + 1
        made, node.output[0] = node.output[0], x
    order = [x if each == "x" else each for each in inputs or ("x",)]
    new = helper.make_node(operator, order, [made], name=f"{name}.{operator}", **attributes)
    proto.graph.node.insert(place, new)


def read(proto: ModelProto, arch: Architecture = TINY) -> ModelProto:
    """The file as it is read from disk; its metadata names an architecture of one's own."""
    helper.set_model_props(proto, {metadata.SPEC_KEY: to_json(arch)})
    return parse(metadata.add_checksum(proto), "the file")


def check_function(proto: ModelProto, notes: list[str], size=(33, 47)) -> dict[str, np.ndarray]:
    """The file and the weights that are read from it compute the same; return the weights."""
    found = identify(read(proto), "the file")
    assert list(found.notes) == notes
    weights = weights_of(found.match)
    adapter, images = torch_adapter(), random_images(TINY, "absorb", size).astype("float32")
    run = runtimes.start("ort disabled", found.proto.SerializeToString())
    (logits,) = run(images)
    computed = adapter.run(adapter.build(TINY, weights, "float32"), images, "nchw")["logits"]
    assert relative_error(logits, computed) <= limit("float32", "noise floor of taps")
    return weights


def numbers(seed: int, *shape: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    return values.astype("float32")


def set_attribute(node: onnx.NodeProto, **values) -> None:
    others = [each for each in node.attribute if each.name not in values]
    del node.attribute[:]
    node.attribute.extend([*others, *(helper.make_attribute(k, v) for k, v in values.items())])


def other_epsilon(proto):
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            set_attribute(node, epsilon=2e-5)


def large_epsilon(proto):
    set_attribute(named(proto, NORM), epsilon=1e-3)


def conv_bias(proto):
    named(proto, "layer1.0.conv1").input.append(add_tensor(proto, "b", numbers(1, 16) - 1))


def conv_bias_as_add(proto):
    number = add_tensor(proto, "b", numbers(1, 16, 1, 1) - 1)
    put_after(proto, "layer1.0.conv1", "Add", number, "x")


def scale_and_shift(proto):
    put_after(proto, NORM, "Add", "x", add_tensor(proto, "t", numbers(2, 1, 16, 1, 1)))
    put_after(proto, NORM, "Mul", add_tensor(proto, "f", numbers(3, 16, 1, 1)), "x")


def centred_and_divided(proto):
    put_after(proto, NORM, "Div", "x", add_tensor(proto, "d", numbers(2, 1, 16, 1, 1)))
    put_after(proto, NORM, "Sub", "x", add_tensor(proto, "s", numbers(3, 1)[0]))


def second_norm(proto):
    tensors = [add_tensor(proto, f"n{i}", numbers(i, 16)) for i in range(4)]
    put_after(proto, NORM, "BatchNormalization", "x", *tensors, epsilon=1e-4)


def scaled_image(proto):
    put_after(proto, "image", "Div", "x", add_tensor(proto, "d", np.float32(255)))


def no_ops(proto):
    put_after(proto, NORM, "Identity")
    ratio = add_tensor(proto, "ratio", np.float32(0.5))
    put_after(proto, "layer2.0.conv1", "Dropout", "x", ratio, add_tensor(proto, "no", False))
    put_after(proto, "relu", "Cast", to=onnx.TensorProto.FLOAT)
    put_after(proto, "layer1.0.relu1", "Cast", to=onnx.TensorProto.FLOAT)
    put_after(proto, "layer1.0.relu1", "Cast", to=onnx.TensorProto.DOUBLE)


def softmax(proto):
    proto.graph.node[-1].output[0] = "before"
    proto.graph.node.append(helper.make_node("Softmax", ["before"], ["logits"]))


def log_softmax(proto):
    softmax(proto)
    proto.graph.node[-1].op_type = "LogSoftmax"
    set_attribute(proto.graph.node[-1], axis=1)


ABSORBED: dict[Callable[[ModelProto], None], list[str]] = {
    other_epsilon: ["bn1 and 5 others: epsilon 2e-05 instead of 1e-05, absorbed into running_var"],
    large_epsilon: [f"{NORM}: epsilon 0.001 instead of 1e-05, absorbed into running_var"],
    conv_bias: [f"{NORM}: the bias of the convolution before it, absorbed into running_mean"],
    conv_bias_as_add: [
        f"{NORM}: Add before it, absorbed into the convolution",
        f"{NORM}: the bias of the convolution before it, absorbed into running_mean",
    ],
    scale_and_shift: [f"{NORM}: Mul and Add after it, absorbed into weight and bias"],
    centred_and_divided: [f"{NORM}: Sub and Div after it, absorbed into weight and bias"],
    second_norm: [f"{NORM}: BatchNormalization after it, absorbed into weight and bias"],
    scaled_image: ["Div on the image absorbed into the kernel of the first convolution"],
    no_ops: ["3 Cast, 1 Identity, 1 Dropout removed: they change nothing in inference"],
    softmax: ["the Softmax at the end is cut: the weights give logits, not probabilities"],
    log_softmax: ["the LogSoftmax at the end is cut: the weights give logits, not probabilities"],
}


@pytest.mark.parametrize("change", ABSORBED, ids=lambda change: change.__name__)
def test_what_weights_can_absorb(change):
    """The weights that are read compute what the file computes, and every change is named."""
    proto = with_norms()
    change(proto)
    check_function(proto, ABSORBED[change])


PROVEN = [conv_bias_as_add, scaled_image, softmax]


@pytest.mark.parametrize(
    "change", light(list(ABSORBED), PROVEN[:1]), ids=lambda change: change.__name__
)
def test_what_was_absorbed_is_proven(change):
    """`import` runs its checks on the file, and its notes name every change."""
    proto = with_norms()
    change(proto)
    taken = import_verified(read(proto), "the file")
    assert list(taken.notes) == ABSORBED[change]
