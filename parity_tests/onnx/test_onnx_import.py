"""Files of this project, torchvision, timm and Keras are identified, and their weights read."""

from __future__ import annotations

import json
import warnings
from typing import get_args

import numpy as np
import onnx
import pytest
import timm
import torch
import torchvision
from onnx import helper, numpy_helper
from onnxscript import ir

from resnet_spec import get_architecture
from resnet_spec.layers import Operation

from parity_tests.onnx.graphs import exported, identified, tensor, without_metadata
from parity_tests.support import SMALL, TINY, find, light, with_random_statistics
from resnet_parity import cli
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata
from resnet_parity.onnx_io.compare import compare_models
from resnet_parity.onnx_io.export import export, export_verified
from resnet_parity.onnx_io.exporters import ExportOptions
from resnet_parity.onnx_io.identify import identify
from resnet_parity.onnx_io.imports import import_verified
from resnet_parity.onnx_io.match import inputs_of
from resnet_parity.onnx_io.reading import read_files, read_model
from resnet_parity.onnx_io.rewrite import rewrite_model
from resnet_parity.onnx_io.tensors import weights_of
from resnet_parity.probes import random_weights
from resnet_parity.probes.random import random_images
from resnet_parity.weights.files import read_weights

SIZE = (64, 96)


def test_every_operation_of_the_spec_can_be_identified():
    assert set(get_args(Operation)) <= set(inputs_of.registry)


def written(model: torch.nn.Module, path, *, dynamo: bool = True, size=SIZE, **options) -> None:
    """Export a model as its users do."""
    torch.manual_seed(0)
    model = with_random_statistics(model).eval()
    image = torch.zeros(2, 3, *size)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(model, (image,), path, dynamo=dynamo, verbose=False, **options)


def taken_from(path):
    """The result of `import` for a file."""
    return import_verified(read_model(path), str(path))


def imported(path, tmp_path, capsys) -> dict:
    out = tmp_path / "out.safetensors"
    assert cli.main(["import", str(path), "--out", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    weights = read_weights(out, get_architecture(report["architecture"], num_classes=7))
    return report | {"weights": weights}


TORCHVISION = [(name, dynamo) for name in ("resnet18", "resnet50") for dynamo in (True, False)]


@pytest.mark.parametrize(("name", "dynamo"), light(TORCHVISION, TORCHVISION[:1]))
def test_torchvision(name, dynamo, tmp_path, capsys):
    """Exporters fold the norms; the weights read give the same function in both implementations."""
    model = getattr(torchvision.models, name)(num_classes=7)
    written(model, tmp_path / "net.onnx", dynamo=dynamo)
    report = imported(tmp_path / "net.onnx", tmp_path, capsys)
    assert report["architecture"] == name
    assert "bn1" in report["folded"]
    assert "fine-tuning" in " ".join(report["notes"])
    check_both_frameworks(get_architecture(name, num_classes=7), report["weights"], model)


def test_norms_that_were_not_folded_are_read(tmp_path, capsys):
    """The tensors are torchvision's own, bit for bit."""
    model = torchvision.models.resnet18(num_classes=7)
    keep = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    written(model, tmp_path / "net.onnx", dynamo=False, **keep)
    report = imported(tmp_path / "net.onnx", tmp_path, capsys)
    assert (report["architecture"], report["folded"]) == ("resnet18", [])
    state = model.state_dict()
    for name, array in report["weights"].items():
        np.testing.assert_array_equal(array, state[name].numpy(), err_msg=name)


@pytest.mark.full
@pytest.mark.parametrize("name", ["resnet18d", "seresnet18", "resnetv2_50"])
def test_timm(name, tmp_path, capsys):
    """Files with other names and another head are identified by their structure."""
    model = timm.create_model(name, num_classes=7)
    written(model, tmp_path / "net.onnx")
    report = imported(tmp_path / "net.onnx", tmp_path, capsys)
    assert report["architecture"] == name
    check_both_frameworks(get_architecture(name, num_classes=7), report["weights"], model)


def check_both_frameworks(arch, weights, theirs: torch.nn.Module) -> None:
    """Both implementations with the imported weights compute what the model computes."""
    images = random_images(arch, "import", SIZE).astype("float32")
    with torch.inference_mode():
        expected = theirs(torch.from_numpy(images)).numpy()
    for adapter, mode in ((torch_adapter(), "nchw"), (keras_adapter(), "eager")):
        model = adapter.build(arch, weights, "float32")
        assert _relative(expected, adapter.run(model, images, mode)["logits"])


def _relative(expected, found) -> bool:
    from resnet_parity.compare import relative_error
    from resnet_parity.tolerances import limit

    return relative_error(expected, found) <= limit("float32", "noise floor of taps")


HOPS = [(name, framework) for name in (TINY.name, "gated") for framework in ("torch", "keras")]


@pytest.mark.parametrize(("name", "framework"), light(HOPS, HOPS[:1]))
def test_torch_to_onnx_to_keras_and_back(name, framework, tmp_path):
    """Every conversion keeps the function; `import_verified` runs the checks each time."""
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(name, framework))
    taken = taken_from(path)
    assert taken.architecture == find(name)
    options = ExportOptions("keras" if framework == "torch" else "torch", dynamic=("batch", "size"))
    content, verdicts = export_verified(taken.architecture, taken.weights, options)
    assert {verdict.status for verdict in verdicts} == {"pass"}
    _, found = identified(content)
    for name, array in weights_of(found.match).items():
        if name.endswith(".weight") and array.ndim == 4:
            np.testing.assert_array_equal(array, taken.weights[name], err_msg=name)


@pytest.mark.full
def test_architectures_that_a_file_does_not_distinguish_are_reported(tmp_path):
    """Once norms are folded, a model with biases equals one without, whatever its epsilon."""
    path = tmp_path / "net.onnx"
    path.write_bytes(without_metadata(exported("resnet50_v1", "torch")).SerializeToString())
    taken = taken_from(path)
    assert (taken.architecture.name, taken.equivalents) == ("resnet50_v1", ("keras_resnet50",))
    assert "keras_resnet50" in next(taken.notes)


def change(proto: onnx.ModelProto, node: str, **attributes) -> None:
    (found,) = (each for each in proto.graph.node if each.name == node)
    for name, value in attributes.items():
        kept = [each for each in found.attribute if each.name != name]
        del found.attribute[:]
        found.attribute.extend([*kept, helper.make_attribute(name, value)])


DEFECTS = {
    "stride": ("layer2.0.conv1", {"strides": [1, 1]}, r"layer2.0.conv1: strides \(1, 1\)"),
    "padding": ("layer2.0.conv2", {"pads": [0, 0, 2, 2]}, r"layer2.0.conv2: pads \(0, 0, 2, 2\)"),
    "dilation": ("layer1.1.conv1", {"dilations": [2, 2]}, "layer1.1.conv1: dilations"),
    "same padding": ("conv1", {"auto_pad": "SAME_UPPER"}, "conv1: auto_pad SAME_UPPER"),
    "pool": ("maxpool", {"pads": [0, 0, 1, 1]}, r"maxpool: pads \(0, 0, 1, 1\)"),
    "rounding up": ("maxpool", {"ceil_mode": 1}, "maxpool: ceil_mode 1 instead of 0"),
    "scaled head": ("fc", {"alpha": 0.5}, "fc: alpha 0.5"),
}


@pytest.mark.parametrize("case", DEFECTS)
def test_a_graph_with_a_defect_is_refused(case):
    """The message names the operation and the difference."""
    node, attributes, message = DEFECTS[case]
    proto = without_metadata(exported("resnet18", "torch", fold=False))
    change(proto, node, **attributes)
    with pytest.raises(ParityError, match=f"nearest is resnet18, but {message}"):
        identified(proto.SerializeToString())


@pytest.mark.parametrize("attributes", [{"ceil_mode": 1}, {"pads": [0, 0, 1, 1]}], ids=str)
def test_an_average_over_zeros_neither_rounds_up_nor_pads(attributes):
    arch = find("averaging-dilated")
    proto = without_metadata(exported(arch.name, "torch"))
    change(proto, "layer2.0.downsample.0", **attributes)
    with pytest.raises(ParityError, match=f"layer2.0.downsample.0: {next(iter(attributes))}"):
        identify(proto, "the file", arch)


PICKS = [
    ({}, {}, 1),
    ({"ceil_mode": 1}, {}, 2),
    ({}, {"ceil_mode": 1}, 2),
    ({"dilations": [2, 2]}, {}, 2),
]


@pytest.mark.parametrize(("first", "second", "left"), PICKS)
def test_a_subsampling_pool_is_fused_into_the_one_before(first, second, left):
    """Unless either rounds its size up or is dilated."""
    image, out = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("image", ["n", 3, 32, 32]), ("out", ["n", 3, "h", "w"]))
    )
    windows = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], **first}
    picks = {"kernel_shape": [1, 1], "strides": [2, 2], **second}
    nodes = [
        helper.make_node("MaxPool", ["image"], ["all"], **windows),
        helper.make_node("MaxPool", ["all"], ["out"], **picks),
    ]
    graph = helper.make_graph(nodes, "g", [image], [out])
    opset = [helper.make_opsetid("", 18)]
    model = ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8))
    rewrite_model(model, fold=False)
    assert len([node for node in model.graph if node.op_type == "MaxPool"]) == left


@pytest.mark.parametrize("training", [True, False])
def test_a_dropout_is_refused_in_training_mode_alone(training):
    proto = without_metadata(exported(TINY.name, "torch"))
    proto.graph.initializer.extend(
        numpy_helper.from_array(value, name)
        for name, value in (("ratio", np.array(0.5, np.float32)), ("training", np.array(training)))
    )
    (head,) = (node for node in proto.graph.node if node.op_type == "Gemm")
    drop = helper.make_node("Dropout", [head.input[0], "ratio", "training"], ["kept"])
    head.input[0] = "kept"
    proto.graph.node.insert(list(proto.graph.node).index(head), drop)
    if training:
        with pytest.raises(ParityError, match=r"Dropout after avgpool is active.*model\.eval"):
            identified_as(proto)
    else:
        assert identified_as(proto) == TINY


def identified_as(proto: onnx.ModelProto):
    """The architecture of a file that must be TINY, which is not in the registry."""
    return identify(proto, "the file", TINY).architecture


@pytest.mark.parametrize("change_to", [{"keepdims": 1}, {"keepdims": 2**40}])
def test_an_inconsistent_graph_is_refused(change_to):
    """Its mean keeps two axes, which the classifier does not accept."""
    proto = without_metadata(exported("resnet18", "torch", fold=False))
    change(proto, "avgpool", **change_to)
    with pytest.raises(ParityError, match=r"avgpool keeps the axes .*keepdims"):
        identified(proto.SerializeToString())


LIES = {
    "width": (
        '"width":16,"stride":1',
        '"width":32,"stride":1',
        "it could not be identified; nearest is",
    ),
    "blocks": ('"blocks":3', '"blocks":9999999', "more blocks than it has nodes"),
    "type": ('"blocks":3', '"blocks":"3"', "must be an integer"),
    "field": ('"stages"', '"stagse"', "takes the fields"),
    "name": (
        '"name":"small"',
        '"name":"resnet50"',
        "names 'resnet50', but describes another",
    ),
}


@pytest.mark.parametrize("case", LIES)
def test_wrong_metadata_is_refused(case):
    """The metadata names another architecture, or one of too many blocks."""
    old, new, message = LIES[case]
    proto = onnx.load_model_from_string(exported(SMALL.name, "torch"))
    (entry,) = (each for each in proto.metadata_props if each.key == metadata.SPEC_KEY)
    assert old in entry.value
    entry.value = entry.value.replace(old, new)
    with pytest.raises(ParityError, match=rf"(?s)the file: .*{message}"):
        identified(metadata.add_checksum(proto))


def test_the_onnx_domain_has_two_names():
    """They are the empty string and "ai.onnx"."""
    proto = without_metadata(exported(TINY.name, "torch"))
    for each in (*proto.opset_import, *proto.graph.node):
        each.domain = "ai.onnx"
    assert identified_as(proto) == TINY


def test_a_file_for_one_image_takes_more_images_on_the_exact_check(tmp_path):
    """Its mean is reshaped to (1, channels)."""
    content = export(
        TINY, random_weights(TINY, 0, "float32"), ExportOptions(size=(32, 48), dynamic=())
    )
    proto = without_metadata(content)
    (mean,) = (node for node in proto.graph.node if node.op_type == "ReduceMean")
    (head,) = (node for node in proto.graph.node if node.op_type == "Gemm")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, -1]), "one"))
    head.input[0] = "flat"
    reshape = helper.make_node("Reshape", ["mean", "one"], ["flat"])
    place = list(proto.graph.node).index(mean)
    proto.graph.node.remove(mean)
    average = helper.make_node("GlobalAveragePool", [mean.input[0]], ["mean"])
    for node in (reshape, average):
        proto.graph.node.insert(place, node)
    path = tmp_path / "net.onnx"
    path.write_bytes(proto.SerializeToString())
    result = compare_models([str(path)], read_files([str(path)]), TINY, runtimes=("ort all",))
    assert result.passed
    probes = {verdict.probe for verdict in result.verdicts}
    assert {"exact 32x32, batch 5", "random 32x48, batch 1"} <= probes
    assert "random 32x48, batch 2" not in probes


def test_weights_that_do_not_match_their_checksum_are_refused(tmp_path):
    proto = onnx.load_model_from_string(exported(TINY.name, "torch", fold=False))
    (entry,) = (each for each in proto.metadata_props if each.key == metadata.WEIGHTS_KEY)
    entry.value = "0" * 64
    (tmp_path / "net.onnx").write_bytes(metadata.add_checksum(proto))
    with pytest.raises(ParityError, match="do not match the SHA-256 in its metadata"):
        taken_from(tmp_path / "net.onnx")


def test_norms_that_keras_reduces_are_named(tmp_path):
    """Keras writes a factor and a term where it cannot fold, without the statistics."""
    (tmp_path / "net.onnx").write_bytes(exported("preact", "keras"))
    taken = taken_from(tmp_path / "net.onnx")
    assert taken.reduced == ()  # an export of this project restores them
    proto = without_metadata(exported("preact", "keras"))
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            mean, variance = (tensor(proto, node.input[index]) for index in (3, 4))
            eps = np.float32(1e-5)
            for each, number in ((mean, 0), (variance, np.float32(1) - eps)):
                array = np.full(tuple(each.dims), number, np.float32)
                each.CopyFrom(numpy_helper.from_array(array, each.name))
    entries = onnx.load_model_from_string(exported("preact", "keras")).metadata_props
    proto.metadata_props.extend(entry for entry in entries if entry.key == metadata.SPEC_KEY)
    (tmp_path / "net.onnx").write_bytes(metadata.add_checksum(proto))
    taken = taken_from(tmp_path / "net.onnx")
    assert len(taken.reduced) == 7
    assert any("of 7 norms a factor and a term are left" in note for note in taken.notes)


@pytest.mark.full
@pytest.mark.parametrize("opset", [13, 15, 17])
def test_older_opsets(opset, tmp_path, capsys):
    """In older opsets, axes and pads are attributes or other inputs."""
    model = timm.create_model("resnetv2_50", num_classes=7)
    written(model, tmp_path / "net.onnx", dynamo=False, opset_version=opset)
    report = imported(tmp_path / "net.onnx", tmp_path, capsys)
    assert report["architecture"] == "resnetv2_50"


def test_nothing_is_overwritten(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(TINY.name, "torch"))
    (tmp_path / "net.safetensors").write_bytes(b"trained")
    for options in (["--out", str(path)], []):
        assert cli.main(["import", str(path), *options]) == 2
        assert "exists already; name another file with --out" in capsys.readouterr().err
    assert path.read_bytes() == exported(TINY.name, "torch")
    assert (tmp_path / "net.safetensors").read_bytes() == b"trained"
    assert cli.main(["import", str(tmp_path)]) == 2
    assert "is not a file" in capsys.readouterr().err


def test_the_command_prints_the_architecture(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    path.write_bytes(exported("resnet20", "torch", fold=False))
    assert cli.main(["inspect", str(path)]) == 1
    out = capsys.readouterr().out
    assert "not folded into the convolution before it" in out
    assert "resnet20: not canonical: 19 BatchNormalization instead of 0" in out
    assert cli.main(["import", str(path)]) == 0
    assert "is a resnet20" in capsys.readouterr().out.replace("\n", " ")
    weights = read_weights(tmp_path / "net.safetensors", find("resnet20"))
    for name, array in random_weights(find("resnet20"), 0, "float32").items():
        np.testing.assert_array_equal(array, weights[name], err_msg=name)


def test_the_architecture_is_printed_before_the_checks_that_were_chosen(tmp_path, capsys):
    path = tmp_path / "net.onnx"
    path.write_bytes(exported(TINY.name, "torch"))
    assert cli.main(["import", str(path), "--check", "exact"]) == 0
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert "recognised as tiny (10 classes); proving ..." in lines
    assert lines.index("recognised as tiny (10 classes); proving ...") < lines.index(
        next(line for line in lines if line.startswith("exact check"))
    )
    assert "float32 check, " not in err
    assert "not verified: float32 check, left out by --check" in out.replace("\n", " ")


@pytest.mark.parametrize("command", ["import", "inspect"])
def test_a_missing_file_is_reported_before_a_missing_package(command, monkeypatch, capsys):
    def missing(module):
        raise AssertionError(f"{module} was looked for")

    monkeypatch.setattr("resnet_parity.adapters.loading.require", missing)
    assert cli.main([command, "missing.onnx"]) == 2
    assert "missing.onnx does not exist" in capsys.readouterr().err


def test_a_safetensors_file_is_no_input_of_import(tmp_path, capsys):
    path = tmp_path / "net.safetensors"
    path.write_bytes(b"weights")
    assert cli.main(["import", str(path)]) == 2
    error = capsys.readouterr().err
    assert "is a safetensors file, which is what `import` writes" in error
    assert f"resnet-parity export NAME --weights {path}" in error


def test_a_file_without_a_row_names_its_convolution_and_the_nearest_row():
    proto = without_metadata(exported("resnet20", "torch"))
    wide = tensor(proto, "layer2.1.conv1.weight")
    wide.CopyFrom(numpy_helper.from_array(np.zeros((32, 32, 5, 5), np.float32), wide.name))
    change(proto, "layer2.1.conv1", kernel_shape=[5, 5], pads=[2, 2, 2, 2])
    message = (
        r"no architecture has a convolution of shape \(32, 32, 5, 5\), as 'layer2.1.conv1' has; "
        r"nearest is resnet20, but layer2.1.conv1: weight of shape .*show resnet20"
    )
    with pytest.raises(ParityError, match=message):
        identified(proto.SerializeToString())
