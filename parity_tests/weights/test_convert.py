"""Checkpoints of other people: the network is identified, loaded, converted and proven."""

from __future__ import annotations

import argparse
import copy
import hashlib
import importlib
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    Stage,
    WeightsError,
    get_architecture,
    parameter_count,
    parameters,
    stages,
)

import resnet_keras
import resnet_torch
from parity_tests.support import KINDS, SMALL, TINY, command, with_random_statistics
from resnet_parity.adapters import loading as loading_of_adapters
from resnet_parity.adapters.libraries.base import TorchLibrary
from resnet_parity.adapters.libraries.torch_libraries import ResNetTorch, Torchvision
from resnet_parity.cli import main
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import limit
from resnet_parity.weights import converting, loading
from resnet_parity.weights.converting import save_weights
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats.numpy_files import write_npz
from resnet_parity.weights.formats.safetensors_files import write_safetensors
from resnet_parity.weights.identify import identify
from resnet_parity.weights.loading import Loaded, Report, load_weights
from resnet_parity.weights.naming import (
    canonical_array,
    canonical_shape,
    dialect_shape,
    tensor_names,
    to_dialect,
)
from resnet_parity.weights.proof import ProofError, images_of, prove_reading, sizes_of
from resnet_parity.weights.target_table import FORMATS
from resnet_parity.weights.targets import ALIASES, TARGETS

LIGHT = ("resnet18", "resnet50", "resnet50d", "resnetv2_50", "seresnet18", "resnet20")
KERAS = ("keras_resnet50", "keras_resnet50v2")
ROWS = [
    pytest.param(name, marks=[] if name in (*LIGHT, *KERAS) else pytest.mark.full)
    for name in ARCHITECTURES
]


def shapes_in(dialect: str, arch: Architecture, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """The shapes of a network in a dialect, whose head is left out where the dialect has none."""
    if "fc" not in DIALECTS[dialect].roles:
        arch = replace(arch, num_classes=0)
    names = tensor_names(DIALECTS[dialect], arch, prefix) or {}
    return {name: dialect_shape(DIALECTS[dialect], p) for name, p in names.items()}


@pytest.mark.parametrize("name", ROWS)
def test_every_dialect_identifies_the_networks_that_it_can_name(name):
    for dialect in DIALECTS:
        arch = get_architecture(name, num_classes=37, in_channels=2)
        shapes = shapes_in(dialect, arch, "model.")
        if not shapes:
            continue
        first = identify(shapes)[0]
        assert first.fits and not first.left_over, dialect
        assert first.prefix == "model."
        assert {first.dialect.name, dialect} in ({dialect}, {"akamaster", "kuangliu"})
        assert name in (first.architecture.name, *first.others), dialect
        classes = 37 if "fc" in DIALECTS[dialect].roles else 0
        assert (first.architecture.num_classes, first.architecture.in_channels) == (classes, 2)


@pytest.mark.parametrize(
    ("dialect", "name"),
    [
        ("torchvision", "resnet50"),
        ("hf", "resnet50"),
        ("gluon", "resnet50_v1"),
        ("caffe2", "resnet50_v1"),
        ("kerashub", "resnet50"),
        ("kerashub", "resnet50d"),
        ("paddle", "resnet50d"),
        ("keras-applications", "keras_resnet50"),
    ],
)
def test_a_dialect_decides_between_rows_with_equal_tensors(dialect, name):
    assert identify(shapes_in(dialect, get_architecture(name)))[0].architecture.name == name


@pytest.mark.parametrize(
    "arch",
    [
        replace(SMALL, name="resnet20_custom"),
        Architecture("resnet26", "bottleneck", stages(2, 2, 2, 2)),
        Architecture("resnet14_custom", "basic", (Stage(2, 64), Stage(4, 80, 2)), shortcut="A"),
        *(replace(arch, stages=stages(2, 3, 2, width=16)) for arch in KINDS[:5]),
    ],
    ids=lambda arch: arch.name,
)
def test_a_network_that_is_no_row_is_read_off_its_shapes(arch, tmp_path):
    weights = random_weights(arch, 0, "float32")
    write_npz(tmp_path / "net.npz", to_dialect(DIALECTS["torchvision"], arch, weights))
    loaded = load_weights(tmp_path / "net.npz")
    assert_same(loaded.weights, weights)
    found = loaded.architecture
    assert [stage.blocks for stage in found.stages] == [stage.blocks for stage in arch.stages]
    assert (found.block, found.shortcut, found.avg_down) == (
        arch.block,
        "B" if arch.shortcut == "B-pooled" else arch.shortcut,
        arch.avg_down,
    )


@pytest.mark.parametrize("dialect", [name for name, each in DIALECTS.items() if each.norm])
def test_weights_come_back_bitwise_from_every_dialect(dialect, tmp_path):
    """Square kernels and equal numbers of channels: a wrong permutation of axes would fit."""
    square = Architecture("square", "bottleneck", stages(1, 2, width=8), num_classes=32)
    deep = replace(square, stem=replace(square.stem, kernel=3, hidden=(8, 8)), avg_down=True)
    plain = replace(TINY, shortcut="A", stages=stages(1, 2, width=16), num_classes=32)
    candidates = (square, deep, replace(square, preactivation=True), plain)
    head = {} if "fc" in DIALECTS[dialect].roles else {"num_classes": 0}
    arch = next(a for a in candidates if tensor_names(DIALECTS[dialect], replace(a, **head)))
    arch = replace(arch, **head)
    weights = random_weights(arch, 0, "float32")
    path = tmp_path / "net.safetensors"
    if "running_mean" not in DIALECTS[dialect].norm:  # a dialect that is read alone
        pytest.skip("its norms have no statistics, so that it cannot hold these weights")
    write_safetensors(path, to_dialect(DIALECTS[dialect], arch, weights, "net."))
    loaded = load_weights(path, architecture=arch)
    assert_same(loaded.weights, weights)
    assert loaded.report.dialect == dialect


@pytest.mark.parametrize("dialect", ["torchvision", "timm-v2", "keras", "mlx"])
def test_a_dense_layer_may_be_kept_as_a_convolution_and_a_gate_as_a_dense_layer(dialect):
    names, arch = DIALECTS[dialect], get_architecture("seresnet18", num_classes=3)
    by_name = {p.name: p for p in parameters(arch)}
    head, gate = by_name["fc.weight"], by_name["layer1.0.se.fc1.weight"]
    for parameter, axes in (
        (head, names.linear_axes[:2]),
        (head, names.conv_axes),
        (gate, names.linear_axes[:2]),
        (gate, names.conv_axes),
    ):
        canonical = np.arange(parameter.size, dtype="float32").reshape(parameter.shape)
        whole = canonical if canonical.ndim == 4 else canonical[..., None, None]
        stored = np.transpose(whole, ["oihw".index(axis) for axis in axes + "hw"[: 4 - len(axes)]])
        stored = stored.reshape(stored.shape[: len(axes)])
        assert canonical_shape(names, parameter, stored.shape) == parameter.shape
        assert np.array_equal(canonical_array(names, parameter, stored), canonical)
    large = {"o": 3, "i": 512, "h": 3, "w": 3}
    assert canonical_shape(names, head, tuple(large[axis] for axis in names.conv_axes)) is None
    assert canonical_shape(names, head, (3,)) is None


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].tobytes() == array.tobytes(), name


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A torchvision resnet18 for grey images and 37 classes, as after training."""
    torch.manual_seed(0)
    found = torchvision.models.resnet18(num_classes=37)
    found.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return with_random_statistics(found).eval()


@pytest.fixture(scope="module")
def state(model) -> dict[str, torch.Tensor]:
    return model.state_dict()


def body(state, prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: each for name, each in state.items() if not name.startswith("fc.")}


def doubled(state) -> dict[str, torch.Tensor]:
    return {name: each * 2 if each.is_floating_point() else each for name, each in state.items()}


def test_a_fine_tuned_checkpoint_needs_no_option(model, tmp_path, capsys):
    """DataParallel, a dictionary with arguments and an optimizer, 37 classes, one channel."""
    path = tmp_path / "model_best.pth.tar"
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    wrapper = {
        "epoch": 12,
        "args": argparse.Namespace(arch="resnet18", lr=0.1),
        "state_dict": nn.DataParallel(model).state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    torch.save(wrapper, path)
    assert main(["convert", str(path), "--to", "keras", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["out"] == str(tmp_path / "model_best.keras")
    source = report["source"]
    assert (source["architecture"], source["num_classes"], source["in_channels"]) == (
        "resnet18",
        37,
        1,
    )
    assert (source["group"], source["prefix"], source["left_over"]) == ("state_dict", "module.", [])
    assert "torchvision" in report["proof"]["source"] and "keras" in report["proof"]["target"]
    errors = {(each["dtype"]): each["error"] for each in report["proof"]["comparisons"]}
    assert 0 < errors["float64"] < errors["float32"]


WRAPPED = {
    "ema": (lambda s: {"state_dict": s, "state_dict_ema": doubled(s)}, {}, 2),
    "no ema": (lambda s: {"state_dict": s, "state_dict_ema": doubled(s)}, {"ema": False}, 1),
    "dino": (
        lambda s: {
            "student": body(s, "module.backbone."),
            "teacher": body(doubled(s), "module.backbone.")
            | {"module.head.mlp.0.weight": torch.ones(3, 3)},
        },
        {},
        2,
    ),
    "moco": (
        lambda s: {
            "state_dict": body(doubled(s), "module.encoder_q.")
            | {"module.encoder_q.fc.0.weight": torch.ones(512, 512)}
            | body(s, "module.encoder_k.")
            | {"module.queue": torch.ones(128, 9)}
        },
        {},
        2,
    ),
    "moco key": (
        lambda s: {
            "state_dict": body(doubled(s), "module.encoder_q.") | body(s, "module.encoder_k.")
        },
        {"prefix": "module.encoder_k"},
        1,
    ),
    "two": (lambda s: {"a": s, "b": doubled(s)}, {"prefix": "b"}, 2),
    "lightning": (
        lambda s: {
            "state_dict": {f"net.encoder.{name}": each for name, each in doubled(s).items()}
            | {"loss.weight": torch.ones(37)},
            "pytorch-lightning_version": "2.5.0",
            "hyper_parameters": {"lr": 0.1},
        },
        {},
        2,
    ),
    "sequential": (
        lambda s: nn.Sequential(*list(filled(doubled(s)).children())[:-1]).state_dict(),
        {},
        2,
    ),
}


def filled(state) -> nn.Module:
    model = torchvision.models.resnet18(num_classes=37)
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("case", WRAPPED)
def test_a_wrapped_network_is_found(case, state, tmp_path):
    wrap, options, factor = WRAPPED[case]
    torch.save(wrap(state), tmp_path / "net.pth")
    loaded = load_weights(tmp_path / "net.pth", **options)
    kernel = loaded.weights["layer4.1.conv2.weight"]
    assert kernel.tobytes() == (state["layer4.1.conv2.weight"] * factor).numpy().tobytes()
    assert loaded.report.is_ema == (case == "ema")


def test_several_networks_are_listed(state, tmp_path):
    torch.save({"a": state, "b": doubled(state)}, tmp_path / "net.pth")
    with pytest.raises(ParityError, match="holds 2 networks; choose one: --prefix a or --prefix b"):
        load_weights(tmp_path / "net.pth")
    with pytest.raises(ParityError, match=r"no network at 'c'; found: 'a', 'b'"):
        load_weights(tmp_path / "net.pth", prefix="c")


def without(state, name: str) -> dict[str, torch.Tensor]:
    return {each: value for each, value in state.items() if each != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: without(s, "layer2.0.bn1.bias"), "layer2.0.bn1.bias is missing"),
        (
            lambda s: s | {"layer2.0.attn.weight": torch.ones(3)},
            "layer2.0.attn.weight belongs to no layer of it",
        ),
        (
            lambda s: s | {"layer2.0.conv1.weight": torch.ones(128, 64, 5, 5)},
            "layer2.0.conv1.weight has shape (128, 64, 5, 5), expected (128, 64, 3, 3)",
        ),
        (
            lambda s: s | {"layer3.1.bn2.running_var": torch.full((256,), torch.nan)},
            "layer3.1.bn2.running_var holds values that are not finite",
        ),
        (
            lambda s: s | {"layer3.1.bn2.running_var": torch.full((256,), -1.0)},
            "layer3.1.bn2.running_var holds a negative variance (-1)",
        ),
        (
            lambda s: s | {"layer1.0.conv1.weight": torch.ones(64, 64, 3, 3, dtype=torch.int8)},
            "the first is layer1.0.conv1.weight (int8)",
        ),
        (
            lambda s: {"a.weight": torch.ones(3, 3), "b.bias": torch.ones(3)},
            "holds no ResNet that is known; the first of its 2 tensors: a.weight, b.bias; "
            "`resnet-parity inspect --json` lists all",
        ),
    ],
)
def test_a_single_fault_is_named(change, message, state, tmp_path):
    path = tmp_path / "net.pth"
    torch.save(change(dict(state)), path)
    with pytest.raises(ParityError, match=re.escape(message)) as error:
        load_weights(path)
    assert str(path) in str(error.value)


def in_dialect(dialect: str, name: str, **sizes) -> dict[str, np.ndarray]:
    """Zeros in the shapes of a row, by the names of a dialect."""
    shapes = shapes_in(dialect, get_architecture(name, **sizes))
    return {each: np.zeros(shape, "float32") for each, shape in shapes.items()}


@pytest.mark.parametrize(
    ("dialect", "name", "head"),
    [
        ("hf", "resnet18", "classifier.1"),
        ("mmpretrain", "resnet18", "head.fc"),
        ("torchvision", "resnet20", "fc"),
        ("kuangliu", "resnet18_small", "linear"),
    ],
)
def test_a_damaged_head_is_not_left_out(dialect, name, head, tmp_path):
    """No other dialect, which lacks a head, may read the rest of the network instead."""
    tensors = in_dialect(dialect, name)
    for change in ({f"{head}.weight": np.zeros((10, 9), "float32")}, {f"{head}.bias": None}):
        damaged = {each: a for each, a in (tensors | change).items() if a is not None}
        write_npz(tmp_path / "net.npz", damaged)
        with pytest.raises(ParityError, match=rf"{re.escape(head)}\.(weight has|bias is missing)"):
            load_weights(tmp_path / "net.npz")


@pytest.mark.parametrize(
    ("dialect", "name", "given"),
    [
        ("hf", "resnet34", "resnet18"),
        ("kerashub", "resnet101", "resnet50"),
        ("jax-resnet", "resnet34", "resnet18"),
    ],
)
def test_a_network_is_not_cut_to_a_smaller_one(dialect, name, given, tmp_path):
    write_npz(tmp_path / "net.npz", in_dialect(dialect, name, num_classes=3))
    with pytest.raises(ParityError, match=r"does not hold a|belongs to no layer"):
        load_weights(tmp_path / "net.npz", architecture=given)


def test_an_averaged_network_that_is_damaged_is_refused(state, tmp_path):
    torch.save({"model": state, "ema": without(state, "fc.bias")}, tmp_path / "net.pth")
    with pytest.raises(ParityError, match=r"fc.bias is missing"):
        load_weights(tmp_path / "net.pth")
    assert not load_weights(tmp_path / "net.pth", ema=False).report.is_ema
    torch.save({"semantic": state}, tmp_path / "net.pth")
    assert not load_weights(tmp_path / "net.pth").report.is_ema


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (dict, "another network, b: resnet18, 37 classes"),
        (
            lambda s: without(s, "bn1.bias"),
            "another network, b: it does not fit resnet18: bn1.bias is missing",
        ),
        (
            lambda s: s | {"bn1.weight": torch.ones(4), "bn1.bias": torch.ones(3)},
            "another network, b: it does not fit resnet18: bn1.weight has shape (4,), expected "
            "(64,), and 1 more",
        ),
    ],
)
def test_another_network_in_the_file_is_reported(change, line, state, tmp_path, capsys):
    path = tmp_path / "net.pth"
    torch.save({"a": state, "b": change(dict(state))}, path)
    contents = load_weights(path, prefix="a").report.contents
    assert contents == (line,)
    assert main(["inspect", str(path), "--prefix", "a"]) == 0
    assert f"\n  {line}\n" in capsys.readouterr().out
    both = {f"a.{n}": each for n, each in state.items()}
    torch.save(both | {f"b.{n}": each for n, each in change(dict(state)).items()}, path)
    assert len(load_weights(path, prefix="a").report.contents) == 1


def test_a_pointwise_kernel_of_two_axes_is_mis_shaped(tmp_path):
    tensors = in_dialect("keras-applications", "keras_resnet50", num_classes=3)
    name = "conv2_block1_1_conv/kernel"
    tensors[name] = tensors[name][0, 0]
    write_npz(tmp_path / "net.npz", tensors)
    with pytest.raises(ParityError, match=re.escape(f"{name} has shape (64, 64), expected")):
        load_weights(tmp_path / "net.npz")


def test_many_prefixes_take_little_time(tmp_path):
    leaves = ("conv1", "layer1.0.conv1", "layer1.0.conv2")
    names = (f"x{number}.{leaf}.weight" for number in range(1000) for leaf in leaves)
    shapes = dict.fromkeys(names, (8, 8, 3, 3))
    assert {reading.prefix for reading in identify(shapes)} <= {f"x{n}." for n in range(16)}


def test_libraries_that_are_not_installed_are_not_needed(monkeypatch, tmp_path):
    """Another library runs the file, or the reference."""
    missing = {"torchvision", "timm", "transformers"}
    real = loading_of_adapters.find_spec
    monkeypatch.setattr(
        loading_of_adapters, "find_spec", lambda name: None if name in missing else real(name)
    )
    loaded = tiny_loaded(tmp_path / "source")
    proof = save_weights(tmp_path / "out.pth", loaded, "torch").proof
    assert proof is not None and proof.target.startswith("resnet_torch on torch")


@pytest.mark.parametrize("how", ["adapted", "rounded"])
def test_what_was_read_is_proven_though_other_weights_are_written(how, state, tmp_path):
    """torchvision runs the file itself, the reference the weights that were read from it."""
    torch.save(dict(state), tmp_path / "net.pth")
    options: dict[str, Any] = {"num_classes": 3} if how == "adapted" else {}
    dtype = "float32" if how == "adapted" else "float16"
    loaded = load_weights(tmp_path / "net.pth", **options)
    converted = save_weights(tmp_path / "out.safetensors", loaded, "safetensors", dtype=dtype)
    assert [each.size for each in converted.reading] == [(64, 96), (97, 65)]
    original = loaded.original or loaded
    original.weights["layer1.0.bn1.weight"] *= np.float32(1.01)
    with pytest.raises(ProofError, match="was not read right: torchvision"):
        prove_reading(original)


def test_a_library_that_would_end_the_process_is_not_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    monkeypatch.delitem(sys.modules, "triton", raising=False)
    monkeypatch.setattr("resnet_parity.adapters.libraries.base.find_spec", lambda name: object())
    with pytest.raises(ParityError, match="write `import triton` before resnet_keras"):
        Torchvision().load()


def test_pre_activation_networks_are_proven_in_both_namings(tmp_path):
    arch = get_architecture("resnetv2_18", num_classes=5)
    weights = random_weights(arch, 0, "float32")
    for names, library in ((None, "resnet_torch"), ("timm-v2", "timm")):
        path = tmp_path / f"{library}.safetensors"
        saved = save_weights(path, weights, "safetensors", architecture=arch, names=names)
        assert saved.proof is not None and saved.proof.target.startswith(library)
        assert_same(load_weights(path).weights, weights)


def test_nothing_overwrites_what_is_read_or_lies_beside_it(state, tmp_path):
    torch.save(dict(state), tmp_path / "net.pth")
    (tmp_path / "net.keras").write_text("mine")
    assert main(["convert", str(tmp_path / "net.pth"), "--to", "keras"]) == 2
    assert main(["convert", str(tmp_path), "--to", "torch", "-o", str(tmp_path / "net.pth")]) == 2
    assert (tmp_path / "net.keras").read_text() == "mine"
    for name in ("x" * 300, "a\0b"):
        with pytest.raises(ParityError, match="cannot be"):
            load_weights(tmp_path / name)
        for to in ("hf", "npz"):
            with pytest.raises(ParityError, match="cannot be"):
                save_weights(tmp_path / f"{name}{TARGETS[to].suffix}", state_loaded(tmp_path), to)


def state_loaded(folder: Path) -> Loaded:
    return load_weights(folder / "net.pth")


REFUSED = {
    "visual.attnpool.positional_embedding": "CLIP's ModifiedResNet",
    "resnet/root_block/standardized_conv2d/kernel": "BiT",
    "resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights": "resnet_v1 of TF-slim",
    "resnet_v2_50/block1/unit_1/bottleneck_v2/conv1/weights": "resnet_v2 of TF-slim",
    "base_model/conv2d_1/kernel": "SimCLR",
    "res2a_branch2a/kernel": "the Keras ResNet50 of 2016",
    "scale2a_branch2a/gamma": "Caffe ResNet of MSRA",
    "layer1.0.conv1._packed_params": "quantised",
    "layer1.0.conv1.lora_A": "LoRA",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_network_that_no_row_describes_is_refused_by_name(name, tmp_path):
    write_npz(tmp_path / "net.npz", {name: np.ones((3, 3), "float32")})
    with pytest.raises(ParityError, match=re.escape(REFUSED[name])):
        load_weights(tmp_path / "net.npz")


def test_biases_before_norms_are_folded_and_proven(tmp_path):
    """The file of Gluon has biases that its row has not; the reference runs it with them."""
    arch = get_architecture("resnet50_v1", num_classes=3)
    arch = replace(arch, stages=stages(1, 1, width=16), name="gluon")
    biased = replace(arch, conv_bias="all")
    weights = random_weights(biased, 0, "float32")
    tensors = to_dialect(DIALECTS["gluon"], biased, weights)
    write_npz(tmp_path / "net.npz", tensors)
    loaded = load_weights(tmp_path / "net.npz", architecture=arch)
    assert len(loaded.report.biases) == len(weights) - len(loaded.weights) > 0
    assert loaded.report.folded == ("8 biases of convolutions, into running means",)
    mean = weights["layer1.0.bn2.running_mean"] - weights["layer1.0.conv2.bias"]
    assert np.array_equal(loaded.weights["layer1.0.bn2.running_mean"], mean)
    proof = save_weights(tmp_path / "out.npz", loaded, "npz").proof
    assert proof is not None and not proof.comparisons
    assert [each.size for each in proof.folding] == [(32, 24), (25, 33)]
    assert all(0 < each.error <= each.limit for each in proof.folding)
    loaded.weights["layer1.0.bn2.running_mean"] += np.float32(0.01)
    with pytest.raises(ProofError, match=r"layer1.0.bn2.running_mean is not what was read"):
        save_weights(tmp_path / "wrong.npz", loaded, "npz")
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["net.npz", "out.npz"]


@pytest.mark.parametrize("dialect", ["gluoncv", "caffe2"])
def test_numbers_that_are_rounded_when_read_are_proven(dialect, tmp_path):
    """No library has these names: the reference runs the float64 file, or made-up statistics."""
    arch = get_architecture("resnet50_v1", num_classes=3)
    arch = replace(arch, stages=stages(1, 1, width=16), name=dialect)
    names = DIALECTS[dialect]
    whole = replace(names, norm={**DIALECTS["torchvision"].norm, **names.norm})
    tensors = to_dialect(whole, arch, random_weights(arch, 0, "float32"))
    stored = tensor_names(names, arch) or {}
    write_npz(tmp_path / "net.npz", {n: tensors[n].astype("float64") * 1.01 for n in stored})
    loaded = load_weights(tmp_path / "net.npz", architecture=arch)
    proof = save_weights(tmp_path / "out.pth", loaded, "torch").proof
    assert proof is not None and len(proof.comparisons) == 4
    assert proof.target.startswith("resnet_torch")


def test_a_file_that_no_library_opens_is_read_back_and_says_no_more(tmp_path):
    arch = replace(TINY, name="resnet18")
    tensors = to_dialect(DIALECTS["gluoncv"], arch, random_weights(arch, 0, "float32"))
    write_npz(tmp_path / "net.npz", tensors)
    loaded = load_weights(tmp_path / "net.npz", architecture=arch)
    converted = save_weights(tmp_path / "out.npz", loaded, "npz", names="gluoncv")
    assert converted.proof is not None and not converted.proof.comparisons
    assert "read back bitwise; no installed library opens" in [*converted.lines()][-3]
    assert not any("source run by" in line for line in converted.lines())


def test_another_epsilon_is_absorbed_and_proven(tmp_path, monkeypatch):
    row = get_architecture("keras_resnet50", num_classes=3)
    keras = replace(row, stages=stages(1, 1, width=16), name="keras")
    weights = random_weights(keras, 0, "float32")
    write_npz(tmp_path / "net.npz", to_dialect(DIALECTS["keras-applications"], keras, weights))
    plain = replace(keras, conv_bias="none", bn_eps=1e-5, bn_decay=0.9)
    loaded = load_weights(tmp_path / "net.npz", architecture=plain)
    assert "epsilon 1.001e-05 instead of 1e-05" in loaded.report.folded[-1]
    proof = save_weights(tmp_path / "out.npz", loaded, "npz").proof
    assert proof is not None
    monkeypatch.setattr(loading, "epsilon_of", lambda reading: 1e-4)
    loaded = load_weights(tmp_path / "net.npz", architecture=plain)
    monkeypatch.undo()
    with pytest.raises(ProofError, match=r"running_var is not what was read"):
        save_weights(tmp_path / "wrong.npz", loaded, "npz")


def tiny_loaded(path: Path) -> Loaded:
    report = Report(str(path), "npz", "torchvision", "tiny", 10, 3, "float32", 1)
    return Loaded(TINY, random_weights(TINY, 0, "float32"), report)


@pytest.mark.parametrize("to", ["torch", "npz", "keras", "weights-h5"])
def test_a_file_with_exchanged_tensors_is_not_kept(to, monkeypatch, tmp_path):
    """Two norms of equal shape are exchanged on the way into the file."""
    loaded = tiny_loaded(tmp_path / "source")

    def exchanged(dialect, arch, weights, prefix=""):
        first, second = "layer1.0.bn1.weight", "layer1.0.bn2.weight"
        return to_dialect(
            dialect, arch, dict(weights) | {first: weights[second], second: weights[first]}, prefix
        )

    monkeypatch.setattr("resnet_parity.weights.targets.to_dialect", exchanged)
    out = tmp_path / f"out{TARGETS[to].suffix}"
    with pytest.raises(ProofError, match=r"read back, layer1.0.bn1.weight has other bits"):
        save_weights(out, loaded, to)
    assert not any(tmp_path.iterdir())


def test_a_file_that_its_library_does_not_open_is_not_kept(monkeypatch, tmp_path):
    """The message is not that the file cannot be written: the error is one of reading."""

    def missing(*_):
        raise FileNotFoundError(2, "No such file or directory", "model.pth")

    monkeypatch.setattr("resnet_parity.adapters.libraries.live.ResNetTorch.open", missing)
    with pytest.raises(ProofError, match=r"does not open out\.pth: .*No such file"):
        save_weights(tmp_path / "out.pth", tiny_loaded(tmp_path / "source"), "torch")
    assert not any(tmp_path.iterdir())


@pytest.mark.full
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_without_float64_is_compared_in_float32(backend, tmp_path):
    save_weights(tmp_path / "net.npz", tiny_loaded(tmp_path / "x"), "npz")
    arguments = ("convert", str(tmp_path / "net.npz"), "--to", "keras", "--json")
    result = command(*arguments, KERAS_BACKEND=backend)
    assert result.returncode == 0, result.stderr
    comparisons = json.loads(result.stdout)["proof"]["comparisons"]
    assert [each["dtype"] for each in comparisons] == ["float32", "float32"]


def test_activations_that_float32_cannot_hold_are_compared_in_float64(tmp_path):
    arch = get_architecture("resnet18", num_classes=3)
    weights = random_weights(arch, 0, "float32")
    for layer in ("layer1.0.bn1", "layer2.0.bn1", "layer3.0.bn1", "layer4.1.bn2"):
        weights[f"{layer}.weight"] *= np.float32(1e12)
    written = save_weights(tmp_path / "net.pth", weights, "torch", architecture=arch)
    assert written.proof is not None
    assert [each.dtype for each in written.proof.comparisons] == ["float64", "float64"]


def test_the_run_of_both_files_finds_what_the_tensors_do_not_show(monkeypatch, tmp_path):
    """The network that is written has another epsilon than the source."""
    loaded = tiny_loaded(tmp_path / "source")
    other = replace(loaded, architecture=replace(TINY, bn_eps=1e-3))
    monkeypatch.setattr(converting, "prove", lambda _, *rest: prove(loaded, *rest))
    from resnet_parity.weights.proof import prove

    with pytest.raises(ProofError, match="in float64 the error is"):
        save_weights(tmp_path / "out.keras", other, "keras")
    assert not any(tmp_path.iterdir())


def test_the_images_of_a_proof_hold_many_numbers_that_float32_holds():
    for size in sizes_of(TINY):
        images = images_of(TINY, size)
        assert images.shape == (2, 3, *size)
        assert np.unique(images).size > images.size / 2
        assert np.array_equal(images.astype("float32").astype("float64"), images)


def test_a_network_of_too_many_numbers_is_refused_before_they_are_read(monkeypatch, tmp_path):
    write_npz(tmp_path / "net.npz", in_dialect("torchvision", "resnet20"))
    count = parameter_count(get_architecture("resnet20"))
    monkeypatch.setattr(loading, "MAX_ELEMENTS", count - 1)
    with pytest.raises(ParityError, match=rf"net\.npz has more than {count - 1:,} numbers"):
        load_weights(tmp_path / "net.npz")


def test_a_file_whose_library_is_coarse_in_float32_alone_is_not_kept(monkeypatch, tmp_path):
    real = TorchLibrary.run

    def coarse(self, model, images):
        found = real(self, model, images)
        return found * np.float32(1.0001) if images.dtype == "float32" else found

    monkeypatch.setattr(TorchLibrary, "run", coarse)
    with pytest.raises(ProofError, match="in float32 the error is"):
        save_weights(tmp_path / "out.pth", tiny_loaded(tmp_path / "source"), "torch")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("to", "name", "dtype", "message"),
    [
        ("torch", "out.keras", "float32", "must end in .pth"),
        ("keras", "out.keras", "float16", "in float32 alone"),
        ("hf", "full", "float32", "exists already"),
        ("keras", "missing/out.keras", "float32", "there is no folder"),
        ("hf", "missing/out", "float32", "there is no folder"),
        ("kerashub", "out", "float32", "describes nothing like tiny"),
        ("keras-applications", "out", "float32", "builds nothing like tiny"),
        ("torch", "out.pth", "float64", "'float64' is not written"),
        ("nonsense", "out", "float32", "unknown format 'nonsense'"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_first(to, name, dtype, message, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ParityError, match=re.escape(message)):
        save_weights(tmp_path / name, tiny_loaded(tmp_path / "source"), to, dtype=dtype)
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


@pytest.mark.parametrize("to", ["torchvision", "timm", "hf", "kerashub", "keras-applications"])
def test_no_library_is_imported_for_a_network_that_it_does_not_have(to, monkeypatch, tmp_path):
    monkeypatch.setattr(type(TARGETS[to].library), "load", lambda self: pytest.fail("imported"))
    arch = replace(TINY, stem=replace(TINY.stem, kernel=5))
    weights = random_weights(arch, 0, "float32")
    with pytest.raises(ParityError, match="choose another format with --to"):
        save_weights(tmp_path / "out", weights, to, architecture=arch)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--to torch --out out.keras", "out.keras must end in .pth"),
        ("--to torch --out absent/out.pth", "there is no folder"),
        ("--to hf --out absent/out", "there is no folder"),
        ("--to hf --out locked/out", "permission denied"),
        ("--to torch --out locked/out.pth", "permission denied"),
        ("--to npz --dtype float16", "--to npz does not take --dtype"),
        ("--to hf --names hf", "--to hf does not take --names"),
        ("--to torch --names torchvison", "unknown dialect 'torchvison' (did you mean torchvision"),
        ("--to npz --names keras-hubb", "(did you mean keras-hub"),
    ],
)
def test_a_conversion_that_cannot_be_is_refused_before_the_file_is_read(
    options, message, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("locked").mkdir()
    access = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: "locked" not in str(p) and access(p, mode))
    assert main(["convert", "absent.pth", *options.split()]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("names", "changes", "dialect"),
    [
        ("timm", {}, "torchvision"),
        ("timm", {"preactivation": True}, "timm-v2"),
        ("transformers", {}, "hf"),
        ("HuggingFace", {"num_classes": 0}, "hf-body"),
        ("keras-hub", {"preactivation": True}, "kerashub-v2"),
        ("keras.applications", {}, "keras-applications"),
        ("pytorch", {}, "torchvision"),
    ],
)
def test_a_library_is_named_as_people_write_it(names, changes, dialect):
    assert TARGETS["safetensors"].names(replace(TINY, **changes), names).name == dialect


def test_every_alias_leads_to_a_dialect():
    assert not {*ALIASES} & {*DIALECTS} and {*ALIASES.values()} <= {*DIALECTS}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_smaller_dtype_says_what_it_costs(dtype, tmp_path):
    loaded = tiny_loaded(tmp_path / "source")
    converted = save_weights(tmp_path / "out.safetensors", loaded, "safetensors", dtype=dtype)
    rounding = converted.rounding
    assert rounding is not None
    large = replace(loaded, weights=dict(loaded.weights))
    large.weights["bn1.running_var"] = np.full_like(loaded.weights["bn1.running_var"], 2**15)
    path = tmp_path / "large.safetensors"
    assert save_weights(path, large, "safetensors", dtype=dtype, proven=False).rounding == rounding
    digits = {"float16": 11, "bfloat16": 8}[dtype]
    assert 2.0 ** -(digits + 3) < rounding < 2.0**-digits
    assert load_weights(tmp_path / "out.safetensors", architecture=TINY).report.dtype == dtype


CHAINS = {
    "torchvision": ("keras", "hf", "timm", "kerashub", "torchvision"),
    "keras.applications": ("torch", "keras-applications"),
}


@pytest.mark.parametrize(
    ("chain", "name"),
    [
        pytest.param("torchvision", "resnet18"),
        pytest.param("torchvision", "resnet50", marks=pytest.mark.full),
        pytest.param("keras.applications", "keras_resnet50v2", marks=pytest.mark.full),
        pytest.param("keras.applications", "keras_resnet50", marks=pytest.mark.full),
    ],
)
def test_a_chain_ends_where_it_began(chain, name, tmp_path):
    """Each step reads the file of the step before, by its own names, and is proven."""
    arch = get_architecture(name, num_classes=7)
    weights = random_weights(arch, 0, "float32")
    report = Report(str(tmp_path / "start"), "", "", name, 7, 3, "float32", len(weights))
    loaded = Loaded(arch, weights, report)
    for step, to in enumerate(CHAINS[chain]):
        path = tmp_path / f"{step}{TARGETS[to].suffix}"
        proof = save_weights(path, loaded, to).proof
        assert proof is not None and all(each.error <= each.limit for each in proof.comparisons)
        loaded = load_weights(path)
        assert loaded.architecture == arch
    assert_same(loaded.weights, weights)


def test_a_model_or_plain_weights_can_be_saved(model, tmp_path):
    weights = resnet_torch.get_weights(model, "resnet18")
    ours = resnet_torch.resnet18(num_classes=37, in_channels=1)
    resnet_torch.set_weights(ours, weights)
    twin = resnet_keras.resnet18(num_classes=37, in_channels=1)
    resnet_keras.set_weights(twin, weights)
    for number, (source, name) in enumerate(
        [(model, "resnet18"), (ours, None), (twin, None), (weights, "resnet18")]
    ):
        path = tmp_path / f"{number}.npz"
        save_weights(path, source, "npz", architecture=name)
        assert_same(load_weights(path).weights, weights)
    other: Any = copy.deepcopy(ours)
    other.relu = nn.SiLU()  # no tensor shows it
    with pytest.raises(ProofError, match="against the model in memory"):
        save_weights(tmp_path / "none.npz", other, "npz")
    with pytest.raises(ParityError, match="pass architecture="):
        save_weights(tmp_path / "none.npz", weights, "npz")
    with pytest.raises(ParityError, match=r"load_weights\(path\) returns, .*, not a str"):
        save_weights(tmp_path / "none.npz", "resnet18.pth", "npz")
    with pytest.raises(WeightsError, match="weights are NumPy arrays"):
        save_weights(tmp_path / "none.npz", {"fc.bias": 3}, "npz", architecture="resnet18")
    with pytest.raises(WeightsError, match=r"fc.bias is missing"):
        bad = {name: each for name, each in weights.items() if name != "fc.bias"}
        save_weights(tmp_path / "none.npz", bad, "npz", architecture="resnet18")
    assert not (tmp_path / "none.npz").exists()


def test_a_written_state_dict_has_the_names_and_counters_of_torchvision(model, tmp_path):
    path = tmp_path / "net.pth"
    save_weights(path, model, "torch", architecture="resnet18", proven=False)
    found = torch.load(path, weights_only=True)
    assert {*found} == {*model.state_dict()}
    assert found["layer1.0.bn1.num_batches_tracked"].dtype == torch.int64


def test_a_folder_has_a_card(tmp_path):
    arch = get_architecture("resnet18", num_classes=7)
    write_npz(
        tmp_path / "in.npz",
        to_dialect(DIALECTS["torchvision"], arch, random_weights(arch, 0, "float32")),
    )
    save_weights(tmp_path / "out", load_weights(tmp_path / "in.npz"), "torchvision")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "# resnet18, 7 classes, 3 image channels" in card
    assert re.search(r"SHA-256 of the source: `[0-9a-f]{64}`", card)
    assert "| 64x96 | float64 |" in card and "licence" in card
    loaded = load_weights(tmp_path / "out")
    save_weights(tmp_path / "again", loaded, "timm")
    digest = hashlib.sha256((tmp_path / "out" / "model.pth").read_bytes()).hexdigest()
    assert f"SHA-256 of the source: `{digest}`" in (tmp_path / "again" / "README.md").read_text()
    save_weights(tmp_path / "hf", loaded, "hf")
    save_weights(tmp_path / "more", load_weights(tmp_path / "hf"), "timm", proven=False)
    card = (tmp_path / "more" / "README.md").read_text()
    for name in ("config.json", "model.safetensors"):
        digest = hashlib.sha256((tmp_path / "hf" / name).read_bytes()).hexdigest()
        assert f"SHA-256 of `{name}`: `{digest}`" in card
    assert "Not proven" in card and "| float64 |" not in card


def test_a_card_shows_the_text_of_a_stranger_as_text_and_what_rounding_costs(tmp_path):
    source = "mine\n---\nlicense: mit\n---\n<script>`x`"
    arch = replace(get_architecture("resnet18", num_classes=2), source=source)
    weights = random_weights(arch, 0, "float32")
    save_weights(
        tmp_path / "out", weights, "timm", architecture=arch, dtype="bfloat16", proven=False
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.count("---\n") == 2 and card.count("license:") == 2 and "<script>" not in card
    assert "Rounded to bfloat16: the kernels changed by" in card


def test_kernels_of_zeros_round_to_zeros(tmp_path):
    weights = {k: np.zeros_like(v) for k, v in random_weights(TINY, 0, "float32").items()}
    weights |= {k: v + 1 for k, v in weights.items() if k.endswith("running_var")}
    path = tmp_path / "out.pth"
    assert (
        save_weights(path, weights, "torch", architecture=TINY, dtype="float16", proven=False)
    ).rounding == 0


def test_a_source_that_changed_after_it_was_loaded_is_not_hashed(state, tmp_path):
    path = tmp_path / "net.pth"
    torch.save(dict(state), path)
    loaded = load_weights(path, num_classes=3)
    torch.save(doubled(state), path)
    with pytest.raises(ParityError, match=r"net\.pth changed after it was loaded; load it again"):
        save_weights(tmp_path / "out", loaded, "torchvision", proven=False)
    path.unlink()
    with pytest.raises(ParityError, match=r"net\.pth cannot be read: No such file"):
        save_weights(tmp_path / "out", loaded, "torchvision", proven=False)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "to",
    [
        pytest.param(to, marks=[pytest.mark.full] if to == "keras-applications" else [])
        for to in TARGETS
        if to not in ("npz", "detectron2", "onnx")
    ],
)
def test_the_line_that_opens_a_format_gives_a_model_with_its_logits(to, tmp_path):
    name = "keras_resnet50" if to == "keras-applications" else "resnet18"
    arch = get_architecture(name, num_classes=7)
    weights = random_weights(arch, 0, "float32")
    path = tmp_path / f"out{TARGETS[to].suffix}"
    converted = save_weights(path, weights, to, architecture=arch, proven=False)
    line, _, described = converted.opening.partition(", where model is ")
    namespace: dict[str, Any] = {
        "model": resnet_keras.resnet18(num_classes=7)
        if to == "weights-h5"
        else torchvision.models.resnet18(num_classes=7)
    }
    assert line.startswith("model.") == bool(described)
    for module in ("torch", "safetensors.torch", "keras", "keras_hub", "timm", "transformers"):
        namespace[module.partition(".")[0]] = importlib.import_module(module.partition(".")[0])
        importlib.import_module(module)
    found = eval(line, namespace)
    model = namespace["model"] if described else found
    library: Any = TARGETS[to].library or Torchvision()
    images = images_of(arch, (224, 224))
    logits = library.run(library.in_dtype(model, "float64"), images)
    ours = ResNetTorch().build(arch, "float64")
    ResNetTorch().set_weights(ours, weights)
    expected = ResNetTorch().run(ours, images)
    assert relative_error(expected, logits) <= limit("float64", "taps")


def test_inspect_says_what_is_in_a_file(state, tmp_path, capsys):
    path = tmp_path / "net.pth"
    torch.save({"state_dict": {f"module.{n}": each for n, each in state.items()}, "epoch": 3}, path)
    assert main(["inspect", str(path)]) == 0
    text = capsys.readouterr().out
    assert "network: resnet18, 37 classes, 1 image channels" in text
    assert "at state_dict.module" in text and "epoch = 3" in text
    assert "stride in the 3x3 convolution" in text
    assert main(["inspect", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["architecture"] == "resnet18"
    torch.save({"a.weight": torch.ones(3)}, path)
    assert main(["inspect", str(path)]) == 2
    text = capsys.readouterr().out
    assert "    a.weight (3,)" in text and "holds no ResNet" in text and "lists all" not in text
    assert main(["inspect", str(path), "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["names"] == ["a.weight"]
    odd = {
        n: each.to(torch.int8) if each.is_floating_point() else each for n, each in state.items()
    }
    torch.save(odd, path)
    assert main(["inspect", str(path)]) == 2
    text = capsys.readouterr().out
    assert "network: resnet18" in text and "tensors are not floating-point" in text


def test_every_format_of_the_table_is_written(capsys):
    assert [*TARGETS] == [*FORMATS]
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    shown = capsys.readouterr().out
    for name, each in FORMATS.items():
        assert f"  {name:<20}{each.text} ({each.suffix or f'-{name}'})" in shown


def test_an_onnx_file_is_written_and_read_in_python(tmp_path):
    save_weights(tmp_path / "tiny.pth", tiny_loaded(tmp_path / "source"), "torch", proven=False)
    loaded, path = load_weights(tmp_path / "tiny.pth"), tmp_path / "out.onnx"
    converted = save_weights(path, loaded, "onnx")
    assert converted.checks and converted.proof is None
    assert [each.size for each in converted.reading] == [(32, 24), (25, 33)]
    again = load_weights(path, num_classes=3)
    assert again.original is not None
    assert again.original.report.format == "ONNX" and again.architecture.num_classes == 3
    refused: dict[str, dict[str, Any]] = {
        "--names is not used": {"names": "hf"},
        "in float32 alone": {"dtype": "float16"},
        "onnx is always proven": {"proven": False},
    }
    for message, options in refused.items():
        with pytest.raises(ParityError, match=message):
            save_weights(path, loaded, "onnx", **options)
    with pytest.raises(ParityError, match="does not take --prefix, --no-ema; leave that out"):
        load_weights(path, prefix="net", ema=False)
