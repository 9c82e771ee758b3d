"""Damaged and malicious files are refused with one error, and nothing is written."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.parser import parse_model
from onnxscript import ir
from onnxscript.rewriter.pattern import RewriteRuleClassBase

from resnet_spec import Architecture, Stage, Stem, to_json

from parity_tests.onnx.graphs import exported, identified, tensor, without_metadata
from parity_tests.support import TINY
from resnet_parity import cli
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata, runtimes
from resnet_parity.onnx_io.nodes import axes_of, flattens, zeros_of
from resnet_parity.onnx_io.reading import parse, read_model

KERNEL = "layer1.0.conv1.weight"


@pytest.fixture
def model() -> onnx.ModelProto:
    """A file without an embedded checksum, as another tool may write it."""
    return without_metadata(exported("resnet20", "torch"))


def refused(model: onnx.ModelProto, tmp_path: Path, capsys) -> str:
    """The message of `import` for a file that it refuses without writing anything."""
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    before = sorted(tmp_path.iterdir())
    assert cli.main(["import", str(path)]) == 2
    assert sorted(tmp_path.iterdir()) == before
    _, error, message = capsys.readouterr().err.partition(f"resnet-parity: error: {path}")
    assert error
    assert "Traceback" not in message
    return message


def outside(model: onnx.ModelProto, **entries: str) -> None:
    """Move a kernel into another file."""
    kernel = tensor(model, KERNEL)
    kernel.ClearField("raw_data")
    kernel.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        kernel.external_data.add(key=key, value=value)


def kernel_bytes(model: onnx.ModelProto) -> bytes:
    return numpy_helper.to_array(tensor(model, KERNEL)).tobytes()


def test_external_data_without_a_length_is_read_as_far_as_its_shape_says(model, tmp_path):
    data = kernel_bytes(model)
    (tmp_path / "data").write_bytes(data + b"after")
    outside(model, location="data")
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    assert kernel_bytes(read_model(tmp_path / "net.onnx")) == data


def test_external_data_beside_the_model_is_loaded(model, tmp_path):
    """PyTorch's exporter writes it by default."""
    data = kernel_bytes(model)
    (tmp_path / "net.onnx.data").write_bytes(b"before" + data + b"after")
    outside(model, location="net.onnx.data", offset="6", length=str(len(data)))
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    read = read_model(tmp_path / "net.onnx")
    assert kernel_bytes(read) == data
    assert not tensor(read, KERNEL).external_data


def _rename_tensor(model: onnx.ModelProto, name: str) -> None:
    tensor(model, KERNEL).data_type = TensorProto.DOUBLE
    tensor(model, KERNEL).name = name


def _rename_node(model: onnx.ModelProto, name: str) -> None:
    model.graph.node[0].name = name
    model.graph.node[0].op_type = "Loop"


def _rename_operator(model: onnx.ModelProto, name: str) -> None:
    model.graph.node[0].op_type = name


def _rename_domain(model: onnx.ModelProto, name: str) -> None:
    model.graph.node[0].domain = name


def _rename_input(model: onnx.ModelProto, name: str) -> None:
    model.graph.node[0].input[0] = name


def _rename_place(model: onnx.ModelProto, name: str) -> None:
    outside(model, location=name)


@pytest.mark.parametrize(
    "rename",
    [
        *(_rename_tensor, _rename_node, _rename_operator),
        *(_rename_domain, _rename_input, _rename_place),
    ],
)
def test_a_name_cannot_write_to_the_terminal(rename, model, tmp_path, capsys):
    """No line break, which would forge a message, and no escape sequence."""
    rename(model, "a\nresnet-parity: \x1b]0;title\x07\x1b[2J\r\x9b1m\u202e")
    message = refused(model, tmp_path, capsys)
    assert message.removesuffix("\n").isprintable()
    if rename is _rename_input:  # the message of the onnx package breaks there, and is cut
        return
    assert r"a\nresnet-parity: \x1b]0;title\x07\x1b[2J\r\x9b1m\u202e" in message


LOCATIONS = {
    "absolute": "/etc/passwd",
    "above": "../secret",
    "above, hidden": "folder/../../secret",
    "in a folder": "folder/data",
    "the folder": ".",
    "none": "",
    "backslash": "..\\secret",
    "zero byte": "data\0",
}


@pytest.mark.parametrize("case", LOCATIONS)
def test_locations_outside_the_folder(case, model, tmp_path, capsys):
    size = len(kernel_bytes(model))
    inside = tmp_path / "inside"
    (inside / "folder").mkdir(parents=True)
    for path in (tmp_path / "secret", inside / "folder" / "data"):
        path.write_bytes(bytes(size))
    outside(model, location=LOCATIONS[case], length=str(size))
    assert "not a file name in the model's own folder" in refused(model, inside, capsys)


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_links(link, model, tmp_path, capsys):
    data = kernel_bytes(model)
    (tmp_path / "secret").write_bytes(data)
    inside = tmp_path / "inside"
    inside.mkdir()
    make = os.symlink if link == "symbolic" else os.link
    make(tmp_path / "secret", inside / "data")
    outside(model, location="data", length=str(len(data)))
    message = refused(model, inside, capsys)
    assert f"tensor {KERNEL} is stored in 'data'" in message
    assert "link" in message.lower()


ENTRIES = {
    "negative offset": ({"offset": "-4"}, "at the offset '-4'"),
    "offset beyond the end": ({"offset": "1000000"}, "ends before the tensor does"),
    "an offset of many digits": ({"offset": "9" * 5000}, "at the offset '999"),
    "no number": ({"offset": "0x10"}, "at the offset '0x10'"),
    "too long": ({"length": str(2**31)}, "its shape needs 9,216"),
    "negative length": ({"length": "-1"}, "with a length of '-1'"),
    "no file": ({"location": "elsewhere"}, "which does not exist"),
}


@pytest.mark.parametrize("case", ENTRIES)
def test_offsets_and_lengths(case, model, tmp_path, capsys):
    entries, message = ENTRIES[case]
    data = kernel_bytes(model)
    (tmp_path / "data").write_bytes(data)
    outside(model, **({"location": "data", "length": str(len(data))} | entries))
    assert message in refused(model, tmp_path, capsys)


def huge(model):
    """Claim two gigabytes that the file does not hold."""
    kernel = tensor(model, KERNEL)
    kernel.dims[:] = [2**13, 2**16, 1, 1]


def huge_outside(model):
    huge(model)
    outside(model, location="net.onnx", length=str(2**31))


def overflowing(model):
    tensor(model, KERNEL).dims[:] = [2**40, 2**40, 2**40, 1]


def negative(model):
    tensor(model, KERNEL).dims[0] = -16


def values_twice(model):
    tensor(model, KERNEL).float_data.append(1.0)


def unknown_type(model):
    tensor(model, KERNEL).data_type = 999


def many_axes(model):
    tensor(model, KERNEL).dims[:] = [2**62] * 400


def many_integers(model):
    model.graph.initializer.append(numpy_helper.from_array(np.ones(65, np.int64), "many"))


def half(model):
    kernel = numpy_helper.to_array(tensor(model, KERNEL)).astype(np.float16)
    tensor(model, KERNEL).CopyFrom(numpy_helper.from_array(kernel, KERNEL))


def sparse(model):
    values = helper.make_tensor(KERNEL, TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("at", TensorProto.INT64, [1], [2**40])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [16]))


def old_opset(model):
    model.opset_import[0].version = 6


def future_opset(model):
    model.opset_import[0].version = 99


def no_opset(model):
    del model.opset_import[:]


def two_opsets(model):
    model.opset_import.add(domain="ai.onnx", version=18)


def operator_of_another_domain(model):
    model.graph.node[1].domain = "com.evil"


def operator_with_a_huge_output(model):
    shape = helper.make_tensor("s", TensorProto.INT64, [1], [2**33])
    model.graph.initializer.append(shape)
    model.graph.node.append(helper.make_node("ConstantOfShape", ["s"], ["huge"]))


def subgraph(model):
    node = helper.make_node("Identity", ["image"], ["x"])
    node.attribute.append(helper.make_attribute("body", helper.make_graph([], "g", [], [])))
    model.graph.node.append(node)


def no_graph(model):
    model.ClearField("graph")


def loop(model):
    model.graph.node[1].input[0] = model.graph.node[-1].output[0]


def missing_tensor(model):
    model.graph.initializer.remove(tensor(model, KERNEL))


def not_finite(model):
    kernel = numpy_helper.to_array(tensor(model, KERNEL)).copy()
    kernel[0, 0, 0, 0] = np.nan
    tensor(model, KERNEL).CopyFrom(numpy_helper.from_array(kernel, KERNEL))


MALICIOUS = {
    huge: "should hold 2,147,483,648 bytes and holds 9,216",
    huge_outside: "more than 2,147,483,647 bytes",
    overflowing: "too large an extent",
    negative: "has a negative extent",
    values_twice: "should hold 9,216 bytes",
    half: f"tensor {KERNEL} is FLOAT16; export the model in float32",
    sparse: "holds sparse tensors",
    old_opset: "its opset is 6, not 7 to",
    future_opset: "its opset is 99, not 7 to",
    no_opset: "its opset is none",
    two_opsets: "its opset is 18, 18",
    operator_of_another_domain: "com.evil",
    operator_with_a_huge_output: "is a ConstantOfShape, which computes a constant",
    subgraph: "holds a graph",
    no_graph: "it holds no graph",
    loop: "topologically sorted",
    unknown_type: "of the unknown type 999",
    many_axes: "too many axes or too large an extent",
    many_integers: "holds 65 integers",
    missing_tensor: KERNEL,
    not_finite: f"{KERNEL} holds values that are not finite",
}


ONES, ZERO = np.ones(8, np.int64), np.array(0, np.float32)
flattens_one = partial(flattens, channels=1)
STRANGE = {
    "two values": (zeros_of, "Pad", ONES, np.zeros(2, np.float32)),
    "no value": (zeros_of, "Pad", ONES, np.zeros(0, np.float32)),
    "axes in a square": (zeros_of, "Pad", ONES, ZERO, np.array([[2, 3], [0, 1]])),
    "one axis for all": (zeros_of, "Pad", ONES, ZERO, np.array(2)),
    "few amounts": (zeros_of, "Pad", ONES[:2], ZERO),
    "shape in a square": (flattens_one, "Reshape", np.array([[1, -1], [1, -1]])),
    "shape of no axes": (flattens_one, "Reshape", np.array(1)),
    "squeezed by a square": (flattens_one, "Squeeze", np.array([[2, 3]])),
}


def node_of(operator: str, *arrays: np.ndarray) -> ir.Node:
    tensors = [
        ir.Value(name=f"t{index}", const_value=ir.tensor(array))
        for index, array in enumerate(arrays)
    ]
    return ir.Node("", operator, [ir.Value(name="map"), *tensors])


@pytest.mark.parametrize("case", STRANGE)
def test_constants_of_unexpected_shapes_match_nothing(case):
    """A file may hold pads, axes and shapes of any shape."""
    read, operator, *arrays = STRANGE[case]
    assert not read(node_of(operator, *arrays))


def test_constants_of_the_expected_shapes_match():
    assert zeros_of(node_of("Pad", ONES, ZERO)) == (1,) * 8
    assert zeros_of(node_of("Pad", ONES[:4], ZERO, np.array([2, 3]))) == (0, 0, 1, 1) * 2
    assert flattens(node_of("Reshape", np.array([-1, 7])), 7)
    assert flattens(node_of("Squeeze", np.array([2, 3])), 7)
    assert axes_of(node_of("ReduceMean", np.array([[2], [3]]))) == (2, 3)


class FailingRule(RewriteRuleClassBase):
    """A rule that fails on an unexpected graph."""

    def pattern(self, op, x):
        return op.Relu(x)

    def rewrite(self, op, x):
        raise TypeError("only integer scalar arrays")


def test_an_error_in_a_rule_is_one_error(monkeypatch, model, tmp_path, capsys):
    """The message is that of the rule, not that of the passes around it."""
    monkeypatch.setattr("resnet_parity.onnx_io.rewrite.RULES", (FailingRule.rule(),))
    message = " holds a graph that could not be read: only integer scalar arrays"
    assert refused(model, tmp_path, capsys).startswith(message)


@pytest.mark.parametrize("change", MALICIOUS, ids=lambda change: change.__name__)
def test_malicious_files(change, model, tmp_path, capsys):
    change(model)
    assert MALICIOUS[change] in refused(model, tmp_path, capsys)


IDENTITY = parse_model(
    "<ir_version: 8, opset_import: ['' : 18]> net (float[N, 3, H, W] x) => (float[N, 3, H, W] y)"
    "{ y = Relu(x) }".replace("'", '"')
)


def test_files_that_are_not_onnx(tmp_path, capsys):
    for content, word in ((b"", "no graph"), (b"PK\3\4 not a model", "not an ONNX file")):
        path = tmp_path / "net.onnx"
        path.write_bytes(content)
        assert cli.main(["inspect", str(path)]) == 2
        assert word in capsys.readouterr().err
    path.write_bytes(IDENTITY.SerializeToString())
    for command in ("inspect", "import"):  # a valid file of another network
        assert cli.main([command, str(path)]) == 2
        out, err = capsys.readouterr()
        assert "does not have the convolutions of a ResNet" in out + err
    assert cli.main(["inspect", str(tmp_path)]) == 2
    assert "holds no checkpoint" in capsys.readouterr().err
    assert cli.main(["inspect", str(tmp_path / "nowhere.onnx")]) == 2
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("has_checksum", [True, False])
def test_truncated_files(has_checksum, model):
    content = exported(TINY.name, "torch") if has_checksum else model.SerializeToString()
    identified(content)
    for length in np.linspace(1, len(content) - 1, 50).astype(int):
        with pytest.raises(ParityError):
            identified(content[:length])


def flip(content: bytes, place: int, bit: int) -> bytes:
    flipped = bytearray(content)
    flipped[place] ^= 1 << bit
    return bytes(flipped)


def test_any_flipped_bit_of_an_export_is_noticed():
    """An export holds its own checksum, and is refused without it."""
    content = exported(TINY.name, "keras")
    parse(content, "the file")
    generator = np.random.default_rng(0)
    mark = content.index(b"resnet_parity.file_sha256=")
    places = [*generator.integers(0, len(content), 60), *range(mark - 4, mark + 92, 3)]
    for place in places:
        with pytest.raises(ParityError):
            parse(flip(content, place, int(generator.integers(8))), "the file")


def test_flipped_bits_of_other_files_are_read_or_refused(model):
    """Without a checksum a changed weight is not noticed; only the structure is changed here."""
    content = model.SerializeToString()
    identified(content)
    structure = np.ones(len(content), bool)
    for each in model.graph.initializer:
        if len(each.raw_data) > 64:
            start = content.index(each.raw_data)
            structure[start : start + len(each.raw_data)] = False
    generator = np.random.default_rng(1)
    refused = 0
    for place in generator.choice(np.flatnonzero(structure), 80, replace=False):
        try:
            identified(flip(content, int(place), int(generator.integers(8))))
        except ParityError:
            refused += 1
    assert refused


def claimed(arch, nodes, tensors) -> onnx.ModelProto:
    """A file whose metadata names that architecture, for images of any size."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", arch.num_classes])
    graph = helper.make_graph(nodes, "claimed", [image], [logits], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {metadata.SPEC_KEY: to_json(arch)})
    return model


def test_a_graph_whose_sums_have_many_orders():
    """Both inputs of every sum are branches: 2^40 orders, if each were tried."""
    arch = Architecture(
        "branches", "basic", (Stage(40, 1),), stem=Stem(1, 1, 1, None), num_classes=1
    )
    nodes, tensors, x = [], [], "image"

    def conv(before, name, channels, kernel):
        weight = np.zeros((1, channels, kernel, kernel), np.float32)
        tensors.append(numpy_helper.from_array(weight, f"{name}.w"))
        tensors.append(numpy_helper.from_array(np.zeros(1, np.float32), f"{name}.b"))
        inputs, pads = [before, f"{name}.w", f"{name}.b"], [kernel // 2] * 4
        nodes.append(helper.make_node("Conv", inputs, [name], pads=pads))

    def relu(before):
        nodes.append(helper.make_node("Relu", [before], [f"{before}.relu"]))
        return f"{before}.relu"

    conv("image", "stem", 3, 1)
    x = relu("stem")
    for block in range(40):
        for side in ("left", "right"):
            conv(x, f"{side}{block}", 1, 3)
            conv(relu(f"{side}{block}"), f"{side}{block}.end", 1, 3)
        sides = [f"left{block}.end", f"right{block}.end"]
        nodes.append(helper.make_node("Add", sides, [f"sum{block}"]))
        x = relu(f"sum{block}")
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"]))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"]))
    tensors.append(numpy_helper.from_array(np.zeros((1, 1), np.float32), "fc"))
    nodes.append(helper.make_node("Gemm", ["flat", "fc"], ["logits"]))
    with pytest.raises(ParityError, match="nearest is branches"):
        identified(metadata.add_checksum(claimed(arch, nodes, tensors)))


def test_shapes_that_a_file_claims_are_ignored(model):
    """A reshape has no effect at the one size that the file claims, and is refused all the same."""
    first = next(node for node in model.graph.node if node.name == "layer1.0.conv1")
    target = numpy_helper.from_array(np.array([0, 16, -1, 48]), "target")
    model.graph.initializer.append(target)
    model.graph.node.insert(2, helper.make_node("Reshape", ["relu", "target"], ["same"]))
    first.input[0] = "same"
    claim = helper.make_tensor_value_info("relu", TensorProto.FLOAT, ["n", 16, "h", 48])
    model.graph.value_info.append(claim)
    with pytest.raises(ParityError, match="Reshape"):
        identified(model.SerializeToString())


def test_large_constants_are_not_computed(model):
    """A chain of eight nodes would compute a shape of 64^8 numbers."""
    model.graph.initializer.append(numpy_helper.from_array(np.ones(64, np.int64), "few"))
    for level in range(8):
        before = "few" if level == 0 else f"more{level - 1}"
        node = helper.make_node("Concat", [before] * 64, [f"more{level}"], axis=0)
        model.graph.node.insert(level, node)
    last = len(model.graph.node) - 1
    model.graph.node.insert(last, helper.make_node("Reshape", ["avgpool", "more7"], ["flat"]))
    model.graph.node[last + 1].input[0] = "flat"
    with pytest.raises(ParityError):
        identified(model.SerializeToString())


def test_runtimes_get_bytes_instead_of_a_path(monkeypatch):
    """With a path, a runtime would load external data that the file points to."""
    import onnxruntime

    given = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda content, *rest, **options: (
            given.append(content) or session(content, *rest, **options)
        ),
    )
    content = exported(TINY.name, "torch")
    for runtime in runtimes.ORT_LEVELS:
        runtimes.start(runtime, content)(np.zeros((1, 3, 32, 48), np.float32))
    assert {type(each) for each in given} == {bytes}
    assert len(given) == len(runtimes.ORT_LEVELS)
