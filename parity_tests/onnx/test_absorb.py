"""Files that differ from a row by what weights can absorb are read, and the differences named."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper
from onnxscript import ir

from resnet_spec import Architecture, Stem, to_json

from parity_tests.onnx.graphs import array, exported, tensor, without_metadata
from parity_tests.support import TINY, light
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata, runtimes
from resnet_parity.onnx_io.absorb import absorb
from resnet_parity.onnx_io.export import export
from resnet_parity.onnx_io.exporters import ExportOptions
from resnet_parity.onnx_io.graph_adapters import Sessions
from resnet_parity.onnx_io.identify import identify
from resnet_parity.onnx_io.imports import import_verified
from resnet_parity.onnx_io.inference_form import inference_form
from resnet_parity.onnx_io.reading import parse, read_model
from resnet_parity.onnx_io.tensors import _with_epsilon, weights_of
from resnet_parity.probes import random_weights
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
    label = made = f"{name}.{operator}.{len(proto.graph.node)}"
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
    new = helper.make_node(operator, order, [made], name=label, **attributes)
    proto.graph.node.insert(place, new)


def read(proto: ModelProto, arch: Architecture = TINY) -> ModelProto:
    """The file as it is read from disk; its metadata names an architecture of one's own."""
    helper.set_model_props(proto, {metadata.SPEC_KEY: to_json(arch)})
    return parse(metadata.add_checksum(proto), "the file")


def check_function(
    proto: ModelProto, notes: list[str], *, size=(33, 47), arch: Architecture = TINY
) -> dict[str, np.ndarray]:
    """The file and the weights that are read from it compute the same; return the weights."""
    found = identify(read(proto, arch), "the file")
    assert list(found.notes) == notes
    weights = weights_of(found.match)
    adapter, images = torch_adapter(), random_images(arch, "absorb", size).astype("float32")
    sessions = Sessions("the file", found.proto.SerializeToString(), found.match)
    logits = sessions.run(images, "ort disabled")["logits"]
    computed = adapter.run(adapter.build(arch, weights, "float32"), images, "nchw")["logits"]
    assert relative_error(logits, computed) <= limit("float32", "noise floor of taps")
    return weights


def numbers(seed: int, *shape: int) -> np.ndarray:
    values = np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    return values.astype("float32")


def set_attribute(node: onnx.NodeProto, **values) -> None:
    others = [each for each in node.attribute if each.name not in values]
    del node.attribute[:]
    given = {name: value for name, value in values.items() if value is not None}
    node.attribute.extend([*others, *(helper.make_attribute(k, v) for k, v in given.items())])


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


def scaled_conv_bias(proto):
    conv_bias(proto)
    number = add_tensor(proto, "f", numbers(4, 16, 1, 1))
    put_after(proto, "layer1.0.conv1", "Mul", "x", number)


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


def scaled_nhwc_image(proto):
    put_after(proto, "image", "Mul", "x", add_tensor(proto, "f", numbers(5, 1, 1, 1, 3)))


ABSORBED: dict[Callable[[ModelProto], None], list[str]] = {
    other_epsilon: ["bn1 and 5 others: epsilon 2e-05 instead of 1e-05, absorbed into running_var"],
    large_epsilon: [f"{NORM}: epsilon 0.001 instead of 1e-05, absorbed into running_var"],
    conv_bias: [f"{NORM}: the bias of the convolution before it, absorbed into running_mean"],
    conv_bias_as_add: [
        f"{NORM}: Add before it, absorbed into the convolution",
        f"{NORM}: the bias of the convolution before it, absorbed into running_mean",
    ],
    scaled_conv_bias: [
        f"{NORM}: Mul before it, absorbed into the convolution",
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


def test_a_scaled_image_in_nhwc():
    proto = without_metadata(exported(TINY.name, "torch", layout="nhwc"))
    scaled_nhwc_image(proto)
    check_function(proto, ["Mul on the image absorbed into the kernel of the first convolution"])


def normalised(proto: ModelProto) -> None:
    """(x - mean) / std before the first convolution, as in torchvision's transforms."""
    put_after(proto, "image", "Div", "x", add_tensor(proto, "std", numbers(6, 1, 3, 1, 1)))
    put_after(proto, "image", "Sub", "x", add_tensor(proto, "mean", numbers(7, 3, 1, 1)))
    first, second = proto.graph.node[:2]
    assert (first.op_type, second.op_type) == ("Sub", "Div")


UNPADDED = replace(TINY, name="unpadded", stem=Stem(channels=16, kernel=1))
"""Its stem is a 1x1 convolution."""


@cache
def _unpadded() -> bytes:
    options = ExportOptions("torch", dynamic=("batch", "size"), fold=False)
    return export(UNPADDED, random_weights(UNPADDED, 0, "float32"), options)


def unpadded() -> ModelProto:
    return without_metadata(_unpadded())


def test_a_normalised_image_without_padding():
    proto = unpadded()
    normalised(proto)
    notes = [
        "Sub and Div on the image absorbed into the kernel and bias of the first convolution",
        "bn1: the bias of the convolution before it, absorbed into running_mean",
    ]
    check_function(proto, notes, arch=UNPADDED)


@pytest.mark.parametrize("norm", [True, False])
def test_a_normalised_image_before_padding_is_refused_with_a_way_on(norm, tmp_path):
    """The message says what to cut off and what to compute instead; both together are the file."""
    proto = with_norms()
    if norm:  # as `bn_data` in files of MXNet
        tensors = [add_tensor(proto, f"n{i}", numbers(i, 3)) for i in range(4)]
        put_after(proto, "image", "BatchNormalization", "x", *tensors)
    else:
        normalised(proto)
    path, cut = tmp_path / "net.onnx", tmp_path / "cut.onnx"
    onnx.save(proto, path)
    with pytest.raises(ParityError, match=r"normalises the image .* 'conv1' pads") as caught:
        identify(read_model(path), str(path), TINY)
    found = re.search(r"extract_model\((.*)\), import .* network: (.*)$", str(caught.value))
    assert found
    source, _, inputs, outputs = ast.literal_eval(found[1])
    onnx.utils.extract_model(source, str(cut), inputs, outputs)
    taken = identify(read_model(cut), str(cut), TINY)
    weights = weights_of(taken.match)
    factor, term = np.array([re.findall(r"[-+]?[\d.]+", each) for each in found[2].split(", ")]).T
    image = random_images(TINY, "absorb", (33, 47)).astype("float32")
    fed = image * factor.astype("f")[:, None, None] + term.astype("f")[:, None, None]
    adapter = torch_adapter()
    computed = adapter.run(adapter.build(TINY, weights, "float32"), fed, "nchw")["logits"]
    (logits,) = runtimes.start("ort disabled", proto.SerializeToString())(image)
    assert relative_error(logits, computed) <= limit("float32", "noise floor of taps")


def test_an_epsilon_is_absorbed_to_the_last_bit():
    """Variance and epsilon add to the same float32 as in the file."""
    proto = with_norms()
    other_epsilon(proto)
    weights = check_function(proto, ABSORBED[other_epsilon])
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            variance = array(proto, node.input[4])
            shifted = weights[f"{node.name}.running_var"] + np.float32(1e-5)
            np.testing.assert_array_equal(shifted, variance + np.float32(2e-5))
            np.testing.assert_array_equal(
                weights[f"{node.name}.weight"], array(proto, node.input[1])
            )


def test_a_variance_below_a_smaller_epsilon():
    """A channel that died has no variance, and a variance cannot be negative."""
    proto = with_norms()
    norm = named(proto, NORM)
    set_attribute(norm, epsilon=1e-6)
    variance = array(proto, norm.input[4]).copy()
    variance[[3, 5]] = 0, 2e-6
    tensor(proto, norm.input[4]).CopyFrom(numpy_helper.from_array(variance, norm.input[4]))
    where = "running_var, in 2 channels of small variance into weight"
    note = f"{NORM}: epsilon 1e-06 instead of 1e-05, absorbed into {where}"
    weights = check_function(proto, [note])
    assert (weights[f"{NORM}.running_var"] >= 0).all()
    changed = weights[f"{NORM}.weight"] != array(proto, norm.input[1])
    assert np.flatnonzero(changed).tolist() == [3, 5]


def test_a_variance_that_is_negative_with_its_epsilon_is_refused():
    proto = with_norms()
    name = named(proto, NORM).input[4]
    variance = array(proto, name).copy()
    variance[3] = -1
    tensor(proto, name).CopyFrom(numpy_helper.from_array(variance, name))
    with pytest.raises(ParityError, match=f"{NORM}: the variance -1 of channel 3 plus epsilon"):
        identify(read(proto), "the file")


def test_a_bias_is_absorbed_exactly():
    proto = with_norms()
    conv_bias(proto)
    weights = check_function(proto, ABSORBED[conv_bias])
    mean = array(proto, named(proto, NORM).input[3]).astype("float64")
    wanted = (mean - array(proto, "b")).astype("float32")
    np.testing.assert_array_equal(weights[f"{NORM}.running_mean"], wanted)


def computed_bias(proto: ModelProto, conv: str, filters: int) -> None:
    """The bias of a convolution is the sum of two tensors."""
    terms = [add_tensor(proto, f"b{i}", numbers(i, filters)) for i in range(2)]
    proto.graph.node.insert(0, helper.make_node("Add", terms, ["b"], "sum"))
    named(proto, conv).input.append("b")


def test_a_computed_bias_absorbs_nothing():
    """Absorbed, the factor would replace the bias, and the logits would differ without a word."""
    proto = with_norms()
    computed_bias(proto, "layer1.0.conv1", 16)
    put_after(proto, "layer1.0.conv1", "Mul", "x", add_tensor(proto, "f", numbers(3, 16, 1, 1)))
    with pytest.raises(ParityError, match=r"computes the bias of 'layer1.0.conv1'.* absorb Mul; "):
        identify(read(proto), "the file")


def test_a_computed_bias_absorbs_no_normalised_image():
    proto = unpadded()
    computed_bias(proto, "conv1", 16)
    normalised(proto)
    with pytest.raises(ParityError, match=r"computes the bias of 'conv1'.* absorb Sub and Div; "):
        identify(read(proto, UNPADDED), "the file")


@pytest.mark.parametrize("change", ABSORBED, ids=lambda change: change.__name__)
def test_the_graph_computes_the_same_after_absorption(change):
    """ONNX Runtime runs the graph before and after, without the weights of an architecture."""
    proto = with_norms()
    change(proto)
    check_graph(proto)


def test_the_graph_computes_the_same_after_a_normalised_image_is_absorbed():
    proto = unpadded()
    named(proto, "conv1").input.append(add_tensor(proto, "b", numbers(1, 16)))
    normalised(proto)
    check_graph(proto, unpadded())


def check_graph(proto: ModelProto, plain: ModelProto | None = None) -> None:
    """Absorption removes the nodes that `plain` does not have, and keeps the function."""
    form, _ = inference_form(proto, "the file")
    model = ir.from_proto(onnx.shape_inference.infer_shapes(form))
    count = len(list(model.graph))
    absorb(model.graph, "the file")
    added = len(form.graph.node) - len((plain or with_norms()).graph.node)
    assert len(list(model.graph)) == count - max(added, 0)
    image = random_images(TINY, "absorb", (33, 47)).astype("float32")
    forms = form.SerializeToString(), ir.to_proto(model).SerializeToString()
    (before,), (after,) = (runtimes.start("ort disabled", each)(image) for each in forms)
    assert relative_error(before, after) <= limit("float32", "noise floor of taps")


def test_names_of_absorbed_tensors_are_free():
    """Values and tensors of the file have the names that the absorbed kernel and bias would get."""
    proto = with_norms()
    conv_bias_as_add(proto)
    absorbed = named(proto, "layer1.0.conv1").output[0]
    other = named(proto, "layer2.0.conv1")
    names = {other.output[0]: f"{absorbed}.1", other.input[1]: f"{absorbed}.2"}
    for node in proto.graph.node:
        for each in (node.input, node.output):
            each[:] = [names.get(name, name) for name in each]
    for stored in proto.graph.initializer:
        stored.name = names.get(stored.name, stored.name)
    check_graph(proto)


ENDS = {
    "Softmax, Identity": ("1 Identity", "Softmax"),
    "Softmax, Cast": ("1 Cast", "Softmax"),
    "Cast, LogSoftmax, Dropout": ("1 Dropout, 1 Cast", "LogSoftmax"),
    "Cast": ("1 Cast", None),
    "Identity": ("1 Identity", None),
}


@pytest.mark.parametrize("operators", ENDS)
def test_no_ops_at_the_end(operators):
    proto = with_norms()
    proto.graph.node[-1].output[0] = value = "before"
    words = operators.split(", ")
    for index, operator in enumerate(words, start=1):
        made = "logits" if index == len(words) else f"end.{index}"
        attributes: dict[str, Any] = {"to": 1} if operator == "Cast" else {}
        proto.graph.node.append(helper.make_node(operator, [value], [made], **attributes))
        value = made
    removed, softmax_of = ENDS[operators]
    notes = [f"{removed} at the end removed: they change nothing in inference"]
    if softmax_of:
        notes += [f"the {softmax_of} at the end is cut: the weights give logits, not probabilities"]
    check_function(proto, notes)
    if softmax_of is None:
        assert inference_form(proto, "the file")[0].graph.output[0].name == "logits"


def test_a_cast_to_half_at_the_end_is_no_no_op():
    proto = with_norms()
    proto.graph.node[-1].output[0] = "before"
    cast = helper.make_node("Cast", ["before"], ["logits"], to=onnx.TensorProto.FLOAT16)
    proto.graph.node.append(cast)
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    with pytest.raises(ParityError, match=r"additional Cast .*; cut it off with onnx\.utils\.extr"):
        identify(read(proto), "the file")


def test_an_output_too_many_is_cut():
    proto = with_norms()
    value = helper.make_tensor_value_info(named(proto, NORM).output[0], 1, list("nchw"))
    proto.graph.output.append(value)
    with pytest.raises(ParityError, match="returns 2 tensors instead of 1; cut it") as caught:
        identify(read(proto), "the file")
    assert "('the file', 'cut.onnx', ['image'], ['logits'])" in str(caught.value)


@pytest.mark.parametrize(("wanted", "given"), [(1e-5, 2e-5), (1e-5, 1e-3), (1e-3, 1e-5)])
def test_an_epsilon_is_absorbed_to_one_unit_in_the_last_place(wanted, given):
    variance = np.exp(np.random.default_rng(0).uniform(-16, 5, 100_000)).astype("float32")
    gamma = np.ones_like(variance)
    total = variance + np.float32(given)
    new_gamma, shifted = _with_epsilon(wanted, [gamma, gamma, gamma, variance], given)
    off = np.abs(shifted + np.float32(wanted) - total) / np.spacing(total)
    is_low = total < np.float32(wanted)
    most = limit("import", "absorbed epsilon")
    assert off[~is_low].max() <= most
    assert (new_gamma[~is_low] == 1).all()
    shifted, gamma, total = (each[is_low].astype("float64") for each in (shifted, new_gamma, total))
    factor, expected = gamma / np.sqrt(shifted + np.float32(wanted)), 1 / np.sqrt(total)
    assert (np.abs(factor - expected) <= most * np.spacing(expected.astype("float32"))).all()


@pytest.mark.full
def test_a_graph_of_other_activations_is_refused_soon():
    """Every ReLU is another operator; the search ends after a few readings."""
    proto = without_metadata(exported("resnet50", "torch"))
    for node in proto.graph.node:
        node.op_type = "LeakyRelu" if node.op_type == "Relu" else node.op_type
    start = time.process_time()
    with pytest.raises(ParityError, match=r"LeakyRelu instead of Relu.*; `resnet-parity show"):
        identify(proto, "the file")
    assert time.process_time() - start < 6
