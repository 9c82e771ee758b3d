"""Every file with a single fault is refused by the name of its layer, or imported as it computes.

A fault is one changed attribute, tensor, operator or edge of an export of torchvision's. ONNX
Runtime decides what is right: a file that computes what it did before must import; any other one
is refused with the layer and the attribute, or imports weights that compute what the file computes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from onnx import helper, numpy_helper

import resnet_torch
from parity_tests.support import with_random_statistics
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.identify import Identified, identify
from resnet_parity.onnx_io.reading import parse
from resnet_parity.onnx_io.tensors import weights_of
from resnet_parity.tolerances import limit

SIZE = (64, 64)


@cache
def base(name: str) -> tuple[bytes, dict[str, str]]:
    """An export, and the canonical name of each of its nodes."""
    model, norms = name.split()
    torch.manual_seed(0)
    network = with_random_statistics(getattr(torchvision.models, model)(num_classes=10)).eval()
    kept = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        options = kept if norms == "kept" else {}
        example = (torch.zeros(1, 3, *SIZE),)
        torch.onnx.export(network, example, file, dynamo=False, **options)  # pyright: ignore
    found = identify(onnx.load_model_from_string(file.getvalue()), name)
    names = {node.name or "": canonical for canonical, node in found.match.nodes.items()}
    return file.getvalue(), {theirs: name.removesuffix(".flat") for theirs, name in names.items()}


@cache
def expected(name: str) -> np.ndarray:
    return outputs(base(name)[0])


def outputs(content: bytes) -> np.ndarray:
    """The output of ONNX Runtime, without any optimization."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image()})[0]


def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((1, 3, *SIZE)).astype(np.float32)


class Case:
    """A graph, and the node of it that is to be changed."""

    def __init__(self, name: str, layer: str, operator: str) -> None:
        content, names = base(name)
        self.proto = onnx.load_model_from_string(content)
        self.graph = self.proto.graph
        self.node = next(
            node
            for node in self.graph.node
            if names.get(node.name) == layer and node.op_type == operator
        )

    def set(self, **values: Any) -> None:
        """Replace attributes; None removes one."""
        left = [each for each in self.node.attribute if each.name not in values]
        del self.node.attribute[:]
        given = [helper.make_attribute(k, v) for k, v in values.items() if v is not None]
        self.node.attribute.extend([*left, *given])

    def ints(self, name: str) -> list[int]:
        return next(list(each.ints) for each in self.node.attribute if each.name == name)

    def tensor(self, index: int) -> onnx.TensorProto:
        """An initializer among the inputs."""
        wanted = self.node.input[index]
        return next(each for each in self.graph.initializer if each.name == wanted)

    def put(self, index: int, array: np.ndarray) -> None:
        tensor = self.tensor(index)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))

    def array(self, index: int) -> np.ndarray:
        return numpy_helper.to_array(self.tensor(index))

    def replace(self, operator: str, **attributes: Any) -> None:
        """Another operator on the same inputs."""
        self.node.op_type = operator
        del self.node.attribute[:]
        self.set(**attributes)

    def remove(self, kept: int = 0) -> None:
        """Take the node out: what used it takes its input."""
        old, new = self.node.output[0], self.node.input[kept]
        for node in self.graph.node:
            for index, each in enumerate(node.input):
                if each == old:
                    node.input[index] = new
        self.graph.node.remove(self.node)
        for value in self.graph.output:
            if value.name == old:
                value.name = new

    def insert(self, operator: str, **attributes: Any) -> None:
        """Put one more node before this one."""
        new = helper.make_node(operator, [self.node.input[0]], ["added"], "added", **attributes)
        place = list(self.graph.node).index(self.node)
        self.node.input[0] = "added"
        self.graph.node.insert(place, new)


Change = tuple[str, Callable[[Case], Any], str]
"""A label, the change, and the word that the message must hold besides the layer."""


def conv_changes() -> Iterator[Change]:
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield f"auto_pad {mode}", lambda c, m=mode: c.set(auto_pad=m, pads=None), "auto_pad|pads"
    yield "dilations", lambda c: c.set(dilations=[2, 2]), "dilations"
    yield "dilations of height", lambda c: c.set(dilations=[2, 1]), "dilations"
    yield "no dilations", lambda c: c.set(dilations=None), "dilations"
    yield "group", lambda c: c.set(group=2), "group"
    yield "kernel_shape", lambda c: c.set(kernel_shape=[5, 5]), "kernel_shape"
    yield "no kernel_shape", lambda c: c.set(kernel_shape=None), "kernel_shape"
    yield "more pads", lambda c: c.set(pads=[n + 1 for n in c.ints("pads")]), "pads"
    yield "no pads", lambda c: c.set(pads=None), "pads"
    yield (
        "pads at the end",
        lambda c: c.set(pads=[0, 0, *(2 * n for n in c.ints("pads")[:2])]),
        "pads",
    )
    yield (
        "uneven pads",
        lambda c: c.set(pads=[n + k % 2 for k, n in enumerate(c.ints("pads"))]),
        "pads",
    )
    yield "strides", lambda c: c.set(strides=[3 - n for n in c.ints("strides")]), "strides"
    yield "strides of width", lambda c: c.set(strides=[c.ints("strides")[0], 3]), "strides"
    yield "no strides", lambda c: c.set(strides=None), "strides"
    yield (
        "wide kernel",
        lambda c: c.put(1, np.pad(c.array(1), [(0, 0), (0, 0), (1, 1), (1, 1)])),
        "shape",
    )
    yield "more filters", lambda c: c.put(1, np.concatenate([c.array(1)] * 2)), "shape"
    yield "fewer channels", lambda c: c.put(1, c.array(1)[:, :-1]), "shape"


def bias_changes() -> Iterator[Change]:
    yield "no bias", lambda c: c.node.input.pop(), "bias"
    yield "short bias", lambda c: c.put(2, c.array(2)[:-1]), "bias"


def norm_changes() -> Iterator[Change]:
    for eps in (2e-5, 1e-3):
        yield f"epsilon {eps}", lambda c, e=eps: c.set(epsilon=e), "epsilon"
    yield "no epsilon", lambda c: c.set(epsilon=None), "epsilon"
    yield "momentum", lambda c: c.set(momentum=0.5), "momentum"
    yield "no momentum", lambda c: c.set(momentum=None), "momentum"
    yield "training_mode", lambda c: c.set(training_mode=1), "training_mode.*model\\.eval"
    yield "training_mode and its outputs", training, "training_mode.*model\\.eval"
    yield "no norm", lambda c: c.remove(), "missing"
    yield "instance norm", instance_norm, "InstanceNormalization"
    for index, what in enumerate(("scale", "bias", "mean", "variance"), start=1):
        yield f"short {what}", lambda c, i=index: c.put(i, c.array(i)[:-1]), what


def training(case: Case) -> None:
    case.set(training_mode=1)
    case.node.output.extend(["new mean", "new variance"])


def instance_norm(case: Case) -> None:
    del case.node.input[3:]
    case.replace("InstanceNormalization", epsilon=1e-5)


def relu_changes() -> Iterator[Change]:
    for operator in ("LeakyRelu", "Elu", "Sigmoid", "Tanh", "HardSwish", "Softplus"):
        yield operator, lambda c, o=operator: c.replace(o), operator
    yield "Clip", clip, "Clip"
    yield "Identity", lambda c: c.replace("Identity"), "missing"
    yield "removed", lambda c: c.remove(), "missing"
    yield "Sigmoid before it", lambda c: c.insert("Sigmoid"), "Sigmoid"
    yield "Relu before it", lambda c: c.insert("Relu"), "Relu"


def clip(case: Case) -> None:
    case.replace("Clip")
    for name, number in (("least", 0), ("most", 1)):
        case.graph.initializer.append(numpy_helper.from_array(np.array(number, np.float32), name))
        case.node.input.append(name)


def sum_changes() -> Iterator[Change]:
    for operator in ("Mul", "Sub", "Max"):
        yield operator, lambda c, o=operator: c.replace(o), operator
    yield "swapped", lambda c: c.node.input.insert(0, c.node.input.pop()), "Add"
    yield "only the first", lambda c: c.remove(0), "missing"
    yield "only the second", lambda c: c.remove(1), "missing"
    yield "twice the first", lambda c: c.node.input.__setitem__(1, c.node.input[0]), "takes"
    yield "shortcut before the ReLU", before_relu, "takes"


def before_relu(case: Case) -> None:
    """The shortcut starts before the ReLU of the block before."""
    makers = {output: node for node in case.graph.node for output in node.output}
    for index, name in enumerate(case.node.input):
        if makers[name].op_type == "Relu":
            case.node.input[index] = makers[name].input[0]


def pool_changes() -> Iterator[Change]:
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield f"auto_pad {mode}", lambda c, m=mode: c.set(auto_pad=m, pads=None), "auto_pad|pads"
    yield "ceil_mode", lambda c: c.set(ceil_mode=1), "ceil_mode"
    yield "no ceil_mode", lambda c: c.set(ceil_mode=None), "ceil_mode"
    yield "dilations", lambda c: c.set(dilations=[2, 2]), "dilations"
    yield "kernel_shape", lambda c: c.set(kernel_shape=[2, 2]), "kernel_shape"
    yield (
        "wide kernel_shape",
        lambda c: c.set(kernel_shape=[3, 5], pads=[1, 2, 1, 2]),
        "kernel_shape",
    )
    yield "no pads", lambda c: c.set(pads=None), "pads"
    yield "pads at the end", lambda c: c.set(pads=[0, 0, 1, 1]), "pads"
    yield "storage_order", lambda c: c.set(storage_order=1), "storage_order"
    yield "strides", lambda c: c.set(strides=[1, 1]), "strides"
    yield "strides of width", lambda c: c.set(strides=[2, 1]), "strides"
    yield "no strides", lambda c: c.set(strides=None), "strides"
    yield (
        "AveragePool",
        lambda c: c.replace("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        "AveragePool",
    )
    yield "removed", lambda c: c.remove(), "missing"


def average_changes() -> Iterator[Change]:
    yield "GlobalMaxPool", lambda c: c.replace("GlobalMaxPool"), "GlobalMaxPool"
    for axes in ([2, 3], [-2, -1], [2], [1, 2]):
        for keep in (0, 1):
            label = f"mean over {axes}, keepdims {keep}"
            yield label, lambda c, a=axes, k=keep: mean(c, a, k), "axes|keepdims"


def mean(case: Case, axes: list[int], keepdims: int) -> None:
    case.replace("ReduceMean", axes=axes, keepdims=keepdims)


def flatten_changes() -> Iterator[Change]:
    for axis in (0, 2, 3, -3, -1):
        yield f"axis {axis}", lambda c, a=axis: c.set(axis=a), "axis"
    yield "no axis", lambda c: c.set(axis=None), "axis"
    yield "removed", lambda c: c.remove(), "Flatten"


def gemm_changes() -> Iterator[Change]:
    yield "alpha", lambda c: c.set(alpha=0.5), "alpha"
    yield "beta", lambda c: c.set(beta=2.0), "beta"
    yield "no alpha and beta", lambda c: c.set(alpha=None, beta=None), "alpha"
    yield "transA", lambda c: c.set(transA=1), "transA"
    yield "transB", lambda c: c.set(transB=0), "transB"
    yield "no transB", lambda c: c.set(transB=None), "transB"
    yield "transposed weight", lambda c: (c.set(transB=0), c.put(1, c.array(1).T)), "transB"  # pyright: ignore
    yield "fewer features", lambda c: c.put(1, c.array(1)[:, :-1]), "shape"
    yield "short bias", lambda c: c.put(2, c.array(2)[:-1]), "bias"
    yield "bias of a row", lambda c: c.put(2, c.array(2)[None]), "bias"
    yield "no bias", lambda c: c.node.input.pop(), "bias"
    yield "removed", lambda c: c.remove(), "missing"
    yield "Softmax before it", lambda c: c.insert("Softmax"), "Softmax"


OPERATORS = {
    "Conv": list(conv_changes()),
    "BatchNormalization": list(norm_changes()),
    "Relu": list(relu_changes()),
    "Add": list(sum_changes()),
    "MaxPool": list(pool_changes()),
    "GlobalAveragePool": list(average_changes()),
    "Flatten": list(flatten_changes()),
    "Gemm": list(gemm_changes()),
}

LAYERS = {
    "resnet18 folded": {
        "Conv": ("conv1", "layer2.0.downsample.0", "layer3.0.conv1", "layer4.1.conv2"),
        "Relu": ("relu", "layer1.0.relu1", "layer2.0", "layer4.1"),
        "Add": ("layer1.0.add", "layer2.0.add", "layer4.1.add"),
        "MaxPool": ("maxpool",),
        "GlobalAveragePool": ("avgpool",),
        "Flatten": ("avgpool",),
        "Gemm": ("fc",),
    },
    "resnet18 kept": {
        "Conv": ("layer2.0.downsample.0", "layer4.1.conv2"),
        "BatchNormalization": ("bn1", "layer2.0.bn2", "layer2.0.downsample.1", "layer4.1.bn2"),
        "Relu": ("layer1.0.relu1",),
        "Add": ("layer1.1.add", "layer3.1.add"),
    },
    "resnet50 folded": {"Conv": ("layer3.2.conv2",), "Add": ("layer2.0.add",)},
    "resnet50 kept": {
        "BatchNormalization": ("layer3.0.downsample.1", "layer4.2.bn3"),
        "Relu": ("layer3.1.relu2",),
    },
}
"""The layers that are changed in each model of torchvision's: first, middle, end of a branch,
shortcut. Its norms are kept, or folded into the convolutions."""

LIGHT = {
    ("resnet18 kept", "layer4.1.bn2", "training_mode"),
    ("resnet18 kept", "layer4.1.bn2", "epsilon 2e-05"),
    ("resnet18 kept", "bn1", "momentum"),
    ("resnet18 kept", "layer2.0.downsample.1", "no norm"),
    ("resnet18 folded", "layer2.0.downsample.0", "strides"),
    ("resnet18 folded", "layer3.0.conv1", "wide kernel"),
    ("resnet18 folded", "layer4.1.conv2", "pads at the end"),
    ("resnet18 folded", "layer1.0.relu1", "LeakyRelu"),
    ("resnet18 folded", "layer2.0", "removed"),
    ("resnet18 folded", "layer2.0.add", "twice the first"),
    ("resnet18 folded", "fc", "transB"),
    ("resnet18 folded", "avgpool", "mean over [-2, -1], keepdims 0"),
}
"""The cases that run without --full."""


def _cases() -> Iterator[Any]:
    for name, operators in LAYERS.items():
        for operator, layers in operators.items():
            changes = list(OPERATORS[operator])
            if operator == "Conv" and name.endswith("folded"):
                changes += bias_changes()
            for layer, change in product(layers, changes):
                key = name, layer, change[0]
                marks = () if key in LIGHT else pytest.mark.full
                yield pytest.param(
                    name, layer, operator, change, id=f"{name} {layer} {change[0]}", marks=marks
                )


FIX = r"(`resnet-parity \w|(export|set|cut|remove) )"
"""The start of a fix: a command, or a verb."""


@pytest.mark.parametrize(("name", "layer", "operator", "change"), list(_cases()))
def test_a_single_fault(name, layer, operator, change):
    _, apply, word = change
    case = Case(name, layer, operator)
    apply(case)
    content = case.proto.SerializeToString()
    try:
        computed = outputs(content)
    except Exception:  # the file is not valid
        computed = None
    try:
        found = identify(parse(content, "the file"), "the file")
    except ParityError as error:
        text = str(error)
        same = computed is not None and np.array_equal(computed, expected(name))
        assert not same, f"a harmless change is refused: {text}"
        named = re.search(rf"(?<![\w.]){re.escape(layer)}(?![\w]|\.\w)", text)
        assert named and re.search(word, text), text
        fix = text.removeprefix("the file: it could not be identified; ").rpartition("; ")[2]
        assert re.match(FIX, fix), f"no fix: {text}"
        return
    assert computed is not None, "a file that ONNX Runtime refuses is identified"
    assert relative_error(computed, own_outputs(found)) <= limit("float32", "noise floor of taps")


def own_outputs(found: Identified) -> np.ndarray:
    """The output of PyTorch with the weights that were read."""
    model = resnet_torch.create_model(found.architecture)
    resnet_torch.set_weights(model, weights_of(found.match))
    with torch.inference_mode():
        return model.eval()(torch.from_numpy(image())).numpy()
