"""Exports are canonical, equal from both frameworks, and written only once they are verified."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import pytest
from onnxscript import ir

from resnet_spec import Norm, from_json, make_plan

from parity_tests.onnx.graphs import (
    array,
    exported,
    identified,
    structure,
    tensor,
    without_metadata,
)
from parity_tests.support import (
    BORDERED,
    EVERYTHING,
    KINDS,
    SMALL,
    TINY,
    USERS,
    find,
    light,
    python,
)
from resnet_parity import cli
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.export import ExportError, export, export_verified
from resnet_parity.onnx_io.exporters import EXPORT_OPSETS, ExportOptions
from resnet_parity.onnx_io.identify import identify
from resnet_parity.onnx_io.operators import compare_operators, count_operators
from resnet_parity.onnx_io.participants import compare_participants, of_file
from resnet_parity.onnx_io.reading import WORKING_OPSET
from resnet_parity.onnx_io.rewrite import prepare, rewrite_model
from resnet_parity.onnx_io.runtimes import start
from resnet_parity.onnx_io.tensors import deviations, weights_of
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import limit

FRAMEWORKS = ("torch", "keras")
NETS = [arch.name for arch in (TINY, SMALL, *KINDS, *BORDERED, EVERYTHING, *USERS)]
QUICK = ["zero-border", EVERYTHING.name]


EXPORTS = [
    (net, framework, layout)
    for net in NETS
    for framework in FRAMEWORKS
    for layout in ("nchw", "nhwc")
]
FEW = [(net, *case) for net in QUICK for case in (("torch", "nhwc"), ("keras", "nchw"))]


@pytest.mark.parametrize(("name", "framework", "layout"), light(EXPORTS, FEW))
def test_exports_are_canonical_and_exact(name, framework, layout):
    """No operator more than needed; the same bits at every optimization level."""
    proto, found = identified(exported(name, framework, layout))
    assert (found.architecture, found.match.layout) == (find(name), layout)
    rows = compare_operators(proto, found.architecture, layout)
    assert [row for row in rows if row.found != row.needed] == []
    participant = of_file(name, found, ["ort disabled", "ort basic", "ort extended", "ort all"])
    weights = random_weights(find(name), 0, "float32")
    for verdict in compare_participants(
        find(name), [participant], weights, batches=(1, 3), sizes=1
    ):
        assert verdict.status == "pass", (verdict.engine, verdict.figure)


@pytest.mark.parametrize("level", ["ort disabled", "ort basic"])
def test_onnx_runtime_ignores_zeros_around_a_pool(level):
    """Unless the Pad has explicit axes, which is why exports write them.

    A fixed ONNX Runtime may make this test fail.
    """
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1, 1, 4, 4])
    pooled = onnx.helper.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, None)
    pads = onnx.numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "pads")
    nodes = [
        onnx.helper.make_node("Pad", ["image", "pads"], ["padded"]),
        onnx.helper.make_node("MaxPool", ["padded"], ["pooled"], kernel_shape=[3, 3]),
    ]
    graph = onnx.helper.make_graph(nodes, "zeros", [image], [pooled], [pads])
    opset = onnx.helper.make_opsetid("", 18)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    (found,) = start(level, model.SerializeToString())(np.full((1, 1, 4, 4), -1, np.float32))
    assert found[0, 0, 0, 0] == {"ort disabled": 0, "ort basic": -1}[level]


@pytest.mark.parametrize("name", light(NETS, QUICK))
def test_both_frameworks_export_the_same_graph(name):
    """Operators, names, attributes and shapes are the same; values are checked elsewhere."""
    files = [exported(name, framework, "nchw") for framework in FRAMEWORKS]
    ours, theirs = (structure(onnx.load_model_from_string(content)) for content in files)
    assert ours == theirs


OPERATORS = {
    "resnet20": {"Conv": 19, "Relu": 19, "Add": 9, **dict.fromkeys(("MaxPool", "Pad"), 2)},
    "resnet50": {"Conv": 53, "Relu": 49, "Add": 16, "MaxPool": 1, "ReduceMean": 1, "Gemm": 1},
}
"""Counted by hand; zero-padding shortcuts subsample with a 1x1 pool, and pad channels."""
OPERATORS["resnet20"] |= {"ReduceMean": 1, "Gemm": 1}


@pytest.mark.parametrize("name", light(list(OPERATORS), ["resnet20"]))
def test_inspect_prints_the_same_for_both_frameworks(name, tmp_path, capsys):
    for framework in FRAMEWORKS:
        content = exported(name, framework, "nchw")
        assert count_operators(onnx.load_model_from_string(content)) == OPERATORS[name]
        path = tmp_path / f"{framework}.onnx"
        path.write_bytes(content)
        assert cli.main(["inspect", str(path), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["architecture"], report["canonical"]) == (name, True)


def test_names_are_canonical():
    proto = onnx.load_model_from_string(exported("everything", "torch", "nchw"))
    graph = proto.graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["image", "logits"]
    assert {node.name for node in graph.node} >= {
        "conv1.0",
        "layer1.0.se.fc1",
        "layer3.1.add",
        "fc",
    }
    names = {each.name for each in graph.initializer}
    assert {"conv1.0.weight", "conv1.0.bias", "layer3.0.downsample.0.pads", "fc.bias"} <= names
    bordered = onnx.load_model_from_string(exported("zero-border", "torch", "nhwc")).graph
    names = {each.name for each in bordered.initializer}
    assert {"conv1.weight", "layer2.0.downsample.0.weight", "fc.bias"} <= names
    extents = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert extents == ["batch", 3, "height", "width"]


def test_a_file_holds_metadata():
    proto = onnx.load_model_from_string(exported("everything", "torch", "nchw"))
    properties = {entry.key: entry.value for entry in proto.metadata_props}
    assert properties["resnet_parity.architecture"] == "everything"
    assert from_json(properties["resnet_parity.spec"]) == EVERYTHING
    digest = hashlib.sha256()
    for value in random_weights(EVERYTHING, 0, "float32").values():
        digest.update(value.astype("<f4").tobytes())
    assert properties["resnet_parity.weights_sha256"] == digest.hexdigest()
    assert proto.producer_name == "resnet-parity"


def test_norms_are_kept_without_folding():
    """The file holds the weights that it was exported with, bit for bit."""
    proto, found = identified(exported(SMALL.name, "torch", fold=False))
    assert count_operators(proto)["BatchNormalization"] == 21
    assert not found.match.folded
    ours = random_weights(SMALL, 0, "float32")
    theirs = weights_of(found.match)
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


EXTENTS = {
    (): [1, 3, 40, 56],
    ("size",): [1, 3, "height", "width"],
    ("batch",): ["batch", 3, 40, 56],
}
"""The shape of the image, by the dynamic axes."""
DYNAMIC = [(framework, dynamic) for framework in FRAMEWORKS for dynamic in EXTENTS]
FEW_DYNAMIC = [each for each in DYNAMIC if each != ("keras", ("batch",))]


@pytest.mark.parametrize(
    ("framework", "dynamic"),
    light(DYNAMIC, FEW_DYNAMIC),
)
def test_dynamic_axes(framework, dynamic):
    options = ExportOptions(framework=framework, size=(40, 56), dynamic=dynamic, layout="nchw")
    content, verdicts = export_verified(TINY, random_weights(TINY, 0, "float32"), options)
    (image,) = onnx.load_model_from_string(content).graph.input
    found = [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim]
    assert found == EXTENTS[dynamic]
    assert {verdict.status for verdict in verdicts} == {"pass"}


MAPS = replace(TINY, name="maps", num_classes=0, out_indices=(1, 2))
VECTORS = replace(TINY, name="vectors", num_classes=0)
LAYOUTS = [(framework, layout) for framework in FRAMEWORKS for layout in ("nchw", "nhwc")]
FEW_LAYOUTS = [each for each in LAYOUTS if each != ("torch", "nchw")]


@pytest.mark.parametrize(
    ("framework", "layout"),
    light(LAYOUTS, FEW_LAYOUTS),
)
@pytest.mark.parametrize("arch", light([MAPS, VECTORS], [MAPS]), ids=lambda arch: arch.name)
def test_backbones(arch, framework, layout):
    """Feature maps have the layout of the image, vectors have no layout."""
    options = ExportOptions(framework=framework, dynamic=("batch", "size"), layout=layout)
    content, verdicts = export_verified(arch, random_weights(arch, 0, "float32"), options)
    assert {verdict.status for verdict in verdicts} == {"pass"}
    proto, found = identified(content)
    rows = compare_operators(proto, arch, layout)
    assert [row for row in rows if row.found != row.needed] == []
    assert found.match.layout == layout


@pytest.mark.parametrize("returned", ["transposed", "back", "transposed back"])
@pytest.mark.parametrize("back", [(0, 3, 1, 2), (0, 2, 3, 1)], ids=["to NCHW", "elsewhere"])
def test_a_transpose_and_its_inverse_are_removed(back, returned):
    """Even if the map in between is an output; the function stays the same."""
    names = returned.split()
    nodes = [
        onnx.helper.make_node("Relu", ["image"], ["map"]),
        onnx.helper.make_node("Transpose", ["map"], ["transposed"], perm=(0, 2, 3, 1)),
        onnx.helper.make_node("Transpose", ["transposed"], ["again"], perm=back),
        onnx.helper.make_node("Neg", ["again"], ["back"]),
    ]
    info, number = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    image = info("image", number, [2, 3, 4, 5])
    outputs = [info(name, number, None) for name in names]
    graph = onnx.helper.make_graph(nodes, "transposes", [image], outputs)
    opset = onnx.helper.make_opsetid("", WORKING_OPSET)
    proto = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=10)
    model = ir.from_proto(proto)
    prepare(model)
    rewrite_model(model, fold=False)
    numbers = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
    results = [
        start("reference", p.SerializeToString())(numbers) for p in (proto, ir.to_proto(model))
    ]
    for before, after in zip(*results, strict=True):
        np.testing.assert_array_equal(before, after)
    transposes = sum(node.op_type == "Transpose" for node in model.graph)
    is_undone = back == (0, 3, 1, 2)
    assert transposes == ("transposed" in names) + ("back" in names and not is_undone)


def test_maps_of_another_layout_than_the_image_are_refused():
    """Such a graph results if its last transposes are removed."""
    options = ExportOptions(dynamic=("batch", "size"), layout="nhwc")
    proto = without_metadata(export(MAPS, random_weights(MAPS, 0, "float32"), options))
    producers = {node.output[0]: node for node in proto.graph.node}
    for returned in proto.graph.output:
        last = producers[returned.name]
        returned.name = last.input[0]
        proto.graph.node.remove(last)
    with pytest.raises(ParityError, match="different layouts"):
        identify(proto, "the file", MAPS)


@pytest.mark.parametrize("opset", light(list(EXPORT_OPSETS), [EXPORT_OPSETS[-1]]))
def test_every_opset(opset):
    options = ExportOptions(dynamic=("batch", "size"), opset=opset)
    content, _ = export_verified(TINY, random_weights(TINY, 0, "float32"), options)
    proto = onnx.load_model_from_string(content)
    assert [each.version for each in proto.opset_import] == [opset]


def test_weights_come_from_a_file(tmp_path, capsys):
    from resnet_parity.weights.files import write_weights

    arch = find("resnet20")
    weights = random_weights(arch, 5, "float32")
    write_weights(tmp_path / "w.safetensors", arch, weights)
    out = tmp_path / "net.onnx"
    arguments = ["--weights", str(tmp_path / "w.safetensors"), "--out", str(out)]
    assert cli.main(["export", "resnet20", *arguments, "--no-fold"]) == 0
    assert "float32: torch ort all" in capsys.readouterr().out
    proto = onnx.load(out)
    np.testing.assert_array_equal(array(proto, "fc.weight"), weights["fc.weight"])


Change = Callable[[onnx.ModelProto], None]


def change_exports(monkeypatch, framework: str, change: Change) -> None:
    """Make the framework's exporter write a changed graph."""
    adapter = importlib.import_module(f"resnet_parity.adapters.{framework}.export")
    original = adapter.to_onnx

    def changed(model, *rest):
        proto = onnx.load_model_from_string(original(model, *rest))
        change(proto)
        return proto.SerializeToString()

    monkeypatch.setattr(adapter, "to_onnx", changed)


def scale(kept: onnx.TensorProto, factor: float, channel: int | None = None) -> None:
    """Scale the values of a tensor, or of one of its channels, in place."""
    numbers = onnx.numpy_helper.to_array(kept).copy()
    numbers[slice(None) if channel is None else channel] *= np.float32(factor)
    kept.CopyFrom(onnx.numpy_helper.from_array(numbers, kept.name))


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_exporter_that_changes_values_is_refused(framework, rank, tmp_path, monkeypatch, capsys):
    """It changes the largest kernel (dense layer or convolution), but not the graph."""

    def change(proto):
        kernels = (each for each in proto.graph.initializer if len(each.dims) == rank)
        scale(max(kernels, key=lambda each: np.prod(each.dims)), 1.001)

    change_exports(monkeypatch, framework, change)
    out = tmp_path / "net.onnx"
    assert cli.main(["export", "resnet20", "--framework", framework, "--out", str(out)]) == 1
    error = capsys.readouterr().err
    assert (
        f"the graph from {framework} has other values than the model, nothing was written" in error
    )
    assert ("fc.weight is off by" if rank == 2 else ".weight is off by") in error
    assert not list(tmp_path.iterdir())


def test_garbage_of_an_exporter_is_collected(nothing_frozen, monkeypatch):
    """Before each optimizer of tf2onnx, or a wide model would take tens of gigabytes.

    Objects that existed before are collected once and frozen, so that they are not scanned each
    time.
    """
    frozen = []
    monkeypatch.setattr("gc.collect", lambda: frozen.append(gc.get_freeze_count()))
    logger = logging.getLogger("tf2onnx.optimizer")
    before = logger.level, logger.filters[:]
    assert export(TINY, random_weights(TINY, 0, "float32"), ExportOptions(framework="keras"))
    assert len(frozen) > 10
    assert list(map(bool, frozen)) == [
        False,
        *[True] * (len(frozen) - 2),
        False,
    ]
    assert (logger.level, logger.filters) == before


def test_each_statistic_of_an_unfolded_norm_is_checked():
    """In its factor or its term; a term of 1000 in another channel hides nothing."""
    weights = random_weights(TINY, 0, "float32")
    for leaf in ("bias", "running_mean"):
        weights[f"bn1.{leaf}"][[3, 5]] = 1, 1000
    content = export(TINY, weights, ExportOptions(fold=False))
    most = limit("export", "tensors")
    parts = ("factor", "term", "term", "factor")
    for index, error in product(range(1, 5), (3e-7, 3e-6)):
        proto = without_metadata(content)
        norm = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
        scale(tensor(proto, norm.input[index]), 1 + error, channel=3)
        found = dict(deviations(identify(proto, "the file", TINY).match, weights))
        off = {name for name, value in found.items() if value > most}
        assert bool(off) == (f"the {parts[index - 1]} of bn1" in off) == (error > most), (
            index,
            off,
        )


UNFOLDED = [
    ("torch", TINY.name, "BatchNormalization", 3, "term"),
    ("keras", "preact", "Mul", 1, "factor"),
    ("keras", "preact", "Add", 1, "term"),
]


@pytest.mark.parametrize(("framework", "name", "operator", "index", "part"), UNFOLDED)
def test_an_unfolded_norm_is_checked(framework, name, operator, index, part, monkeypatch):
    """The first norm of a preactivation network has no convolution to be folded into."""

    def change(proto):
        held = {each.name: each for each in proto.graph.initializer}
        nodes = (node for node in proto.graph.node if node.op_type == operator)
        scale(
            next(held[node.input[index]] for node in nodes if node.input[index] in held), 1 + 3e-6
        )

    change_exports(monkeypatch, framework, change)
    options = ExportOptions(framework=framework, fold=framework == "keras")
    with pytest.raises(ExportError, match=rf"other values .*: the {part} of \S+ is off by"):
        export(find(name), random_weights(find(name), 0, "float32"), options)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_terms_of_a_folded_norm_that_cancel_are_not_refused(framework):
    """Beta and mean cancel to a millionth, so the folded bias is mostly rounding."""
    weights = random_weights(TINY, 0, "float32")
    for norm in (layer for layer in make_plan(TINY).layers if isinstance(layer, Norm)):
        gamma, mean, variance = (
            weights[f"{norm.name}.{leaf}"].astype("float64")
            for leaf in ("weight", "running_mean", "running_var")
        )
        beta = mean * gamma / np.sqrt(variance + norm.eps) * (1 + 1e-6)
        weights[f"{norm.name}.bias"] = beta.astype("float32")
    assert export(TINY, weights, ExportOptions(framework=framework))


OTHER_OPTIONS = {
    "batch": (
        ExportOptions(size=(64, 96), dynamic=()),
        r"\[1, 3, 64, 96\], \['batch', 3, 64, 96\] was",
    ),
    "size": (
        ExportOptions(size=(96, 64)),
        r"\['batch', 3, 96, 64\], \['batch', 3, 64, 96\] was asked",
    ),
    "layout": (
        ExportOptions(size=(64, 96), layout="nhwc"),
        r"has an image of \['batch', 64, 96, 3\]",
    ),
    "norms": (
        ExportOptions(size=(64, 96), fold=False),
        "has norms that are folded, kept was asked for",
    ),
    "opset": (ExportOptions(size=(64, 96), opset=20), r"has opset \[18\], \[20\] was asked for"),
}


@pytest.mark.parametrize("case", OTHER_OPTIONS)
def test_a_graph_with_other_options_is_refused(case, monkeypatch):
    """Such as from an exporter that ignores an option; the graph is right, so the checks pass."""
    from resnet_parity.onnx_io import export as module

    other, message = OTHER_OPTIONS[case]
    wanted = ExportOptions(size=(64, 96))
    weights = random_weights(TINY, 0, "float32")
    if case == "norms":
        change = lambda model, fold: rewrite_model(model, fold=True)  # noqa: E731
        monkeypatch.setattr(module, "rewrite_model", change)
        wanted = other
    elif case == "opset":
        monkeypatch.setattr(module.version_converter, "convert_version", lambda *_, **__: None)
        wanted = other
    else:
        original = module.exported_graph
        monkeypatch.setattr(module, "exported_graph", lambda a, w, _, b: original(a, w, other, b))
    with pytest.raises(ExportError, match=message):
        export(TINY, weights, wanted)


def test_an_export_is_verified_with_other_batches_than_the_traced_one():
    """PyTorch's exporter traces two images; a graph for two alone would pass with two."""
    _, verdicts = export_verified(
        TINY, random_weights(TINY, 0, "float32"), ExportOptions(size=(64, 96), dynamic=("batch",))
    )
    probes = {verdict.probe for verdict in verdicts if verdict.check == "float32"}
    assert probes == {"random 64x96, batch 1", "random 64x96, batch 3"}


def test_the_memory_check_counts_only_what_runs(tmp_path, monkeypatch, capsys):
    """Three images of 640x640 are too many for a resnet50, one is not."""
    asked = []
    monkeypatch.setattr(
        "resnet_parity.onnx_io.export.export_verified",
        lambda *_, **__: asked.append(1) or (b"", []),
    )
    out = ["--out", str(tmp_path / "net.onnx")]
    for dynamic, code in (("batch", 2), ("none", 0), ("size", 0), ("batch,size", 0)):
        arguments = ["resnet50", "--size", "640x640", "--dynamic", dynamic, *out]
        assert cli.main(["export", *arguments]) == code, dynamic
    assert "the taps of 3 images of 640x640" in capsys.readouterr().err
    assert len(asked) == 3


@pytest.mark.parametrize(
    "wrong",
    [{"layout": "NCHW"}, {"dynamic": ("sizes",)}, {"framework": "tf"}, {"size": (0, 3)}],
    ids=str,
)
def test_unsupported_options(wrong):
    with pytest.raises(ParityError, match="not supported"):
        ExportOptions(**wrong)


def test_an_export_that_computes_something_else_is_refused(tmp_path, monkeypatch, capsys):
    """The weights written are not the weights given."""
    from resnet_parity.onnx_io import export

    original = export.put_weights

    def changed(graph, match, weights):
        original(graph, match, {**weights, "fc.weight": weights["fc.weight"] * np.float32(1.001)})

    monkeypatch.setattr(export, "put_weights", changed)
    assert cli.main(["export", "resnet20", "--out", str(tmp_path / "net.onnx")]) == 1
    assert "nothing was written: float32 check" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_export_of_another_model_is_refused(monkeypatch):
    import resnet_parity.adapters.torch.export as framework

    original = framework.to_onnx

    def changed(model, *rest):
        proto = onnx.load_model_from_string(original(model, *rest))
        node = next(node for node in proto.graph.node if node.op_type == "MaxPool")
        (pads,) = (each for each in node.attribute if each.name == "pads")
        pads.ints[:] = [0, 0, 1, 1]
        return proto.SerializeToString()

    monkeypatch.setattr(framework, "to_onnx", changed)
    with pytest.raises(ExportError, match=r"another model: maxpool: .*\(0, 0, 1, 1\)"):
        export(TINY, random_weights(TINY, 0, "float32"), ExportOptions(dynamic=("batch", "size")))


@pytest.mark.parametrize("name", light(NETS, ["preact"]))
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_fresh_models(name, framework):
    """Exporters omit biases and means of zeros, and gammas of ones."""
    import torch

    import resnet_torch

    torch.manual_seed(5)
    arch = find(name)
    weights = resnet_torch.get_weights(resnet_torch.create_model(arch))
    weights["fc.bias"][:] = 0
    options = ExportOptions("torch" if framework == "torch" else "keras", dynamic=("batch", "size"))
    _, verdicts = export_verified(arch, weights, options)
    assert {verdict.status for verdict in verdicts} == {"pass"}


KERAS_ON_TORCH = """
import sys
from parity_tests.support import find
from resnet_parity.onnx_io.export import ExportOptions, export_verified
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import limit
for name in sys.argv[1:]:
    for layout in ("nchw", "nhwc"):
        options = ExportOptions("keras", dynamic=("batch", "size"), layout=layout)
        weights = random_weights(find(name), 0, "float32")
        _, verdicts = export_verified(find(name), weights, options, keras_backend="torch")
        print(name, layout, *{verdict.status for verdict in verdicts})
"""


@pytest.mark.full
def test_keras_on_its_torch_backend():
    """Through PyTorch's exporter and ONNX Runtime's optimizer.

    Average pools that round up and max-pools with zero padding are exported as other operations,
    and refused.
    """
    others = ("deep-stem", "zero-border")
    names = [name for name in NETS if name not in (*others, "averaging-dilated")]
    result = python("-W", "ignore", "-c", KERAS_ON_TORCH, *names, KERAS_BACKEND="torch")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.split("\n")
    for name in names:
        for layout in ("nchw", "nhwc"):
            assert f"{name} {layout} pass" in lines
    for name in others:
        refused = python("-W", "ignore", "-c", KERAS_ON_TORCH, name, KERAS_BACKEND="torch")
        assert "KERAS_BACKEND=tensorflow" in refused.stderr


BAD = {
    "unknown name": (["resnet51"], "did you mean"),
    "opset": (["resnet20", "--opset", "17"], "opset 17 is not supported; choose 18 to 23"),
    "no folder": (["resnet20", "--out", "nowhere/net.onnx"], "there is no folder"),
    "weights": (
        ["resnet20", "--weights", "nowhere.safetensors"],
        "nowhere.safetensors does not exist",
    ),
    "keras folds": (["resnet20", "--framework", "keras", "--no-fold"], "always folds norms"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, tmp_path, monkeypatch, capsys):
    arguments, message = BAD[case]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_weights_that_do_not_fit_are_named(tmp_path, capsys):
    """Also weights of another architecture that fit; a truncated file is reported with the fix."""
    from resnet_parity.weights.files import write_weights

    row, path, out = find("plain20"), tmp_path / "w", tmp_path / "net.onnx"
    rest = ["--weights", str(path), "--out", str(out)]
    own = replace(row, name="mine")
    for arch, error in (
        (row, "its metadata name 'plain20'"),
        (own, "layer1.3.bn1.bias is missing"),
    ):
        write_weights(path, arch, random_weights(arch, 0, "float32"))
        assert cli.main(["export", "resnet32", *rest]) == 2
        error = capsys.readouterr().err
        assert "w does not hold a 'resnet32'" in error
        assert error in error
    write_weights(path, row, random_weights(row, 0, "float32"))
    assert cli.main(["export", "resnet20", *rest]) == 2, "of the same shapes, and another function"
    assert "its metadata name 'plain20'" in capsys.readouterr().err
    path.write_bytes(path.read_bytes()[:-1])
    assert cli.main(["export", "plain20", *rest]) == 2
    assert "or is damaged; copy or write it again" in capsys.readouterr().err
    assert not out.exists()


def test_inputs_and_special_files_are_never_overwritten(tmp_path, capsys):
    path, pipe = tmp_path / "w", tmp_path / "pipe"
    path.write_bytes(b"trained")
    os.mkfifo(pipe)
    for out, error in ((path, "holds the weights to export"), (pipe, "is not a regular file")):
        arguments = ["--weights", str(path), "--out", str(out)]
        assert cli.main(["export", "resnet20", *arguments]) == 2
        assert error in capsys.readouterr().err
    assert path.read_bytes() == b"trained"
    assert pipe.is_fifo()


def test_a_missing_exporter_is_named_with_its_install_line(monkeypatch, tmp_path, capsys):
    from resnet_parity.adapters import loading as frameworks

    there = frameworks.find_spec
    monkeypatch.setattr(frameworks, "find_spec", lambda n: None if n == "tf2onnx" else there(n))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["export", "resnet20", "--framework", "keras"]) == 3
    assert "tf2onnx is not installed; install it with: python -m pip" in capsys.readouterr().err


def test_needed_operators_are_counted_from_the_spec():
    """Norms that are not folded are more than needed; the other operators are right."""
    proto = onnx.load_model_from_string(exported(TINY.name, "torch", fold=False))
    rows = {row.operator: (row.found, row.needed) for row in compare_operators(proto, TINY, "nchw")}
    assert rows["BatchNormalization"] == (6, 0)
    assert Counter(found == needed for found, needed in rows.values()) == {True: 6, False: 1}
