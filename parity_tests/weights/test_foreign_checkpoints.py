"""Checkpoints that other libraries write, and what they state beside tensors."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import keras_hub
import numpy as np
import pytest
import timm
import torch
import transformers
from timm.models._hub import save_for_hf
from torch import nn

from resnet_spec import get_architecture, make_graph, stages

import resnet_keras
from parity_tests.support import ROOT, with_random_statistics
from parity_tests.weights.test_keras_graph import edited
from resnet_parity.adapters.libraries.keras_libraries import KerasHub
from resnet_parity.cli import main
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import limit
from resnet_parity.weights.converting import save_weights
from resnet_parity.weights.description import describe
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats import open_checkpoint
from resnet_parity.weights.formats.numpy_files import write_npz
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor
from resnet_parity.weights.loading import Choice, choose, load_weights
from resnet_parity.weights.naming import to_dialect
from resnet_parity.weights.remarks import remarks
from resnet_parity.weights.targets import TARGETS

V1 = replace(
    get_architecture("resnet50_v1", num_classes=5), stages=stages(1, 1, width=16), name="small_v1"
)
"""The stride in the 1x1 convolution, which no tensor shows."""


def checkpoint_of(state, **metadata) -> Checkpoint:
    """A state dict of which nothing but names and shapes is looked at."""
    tensors = {
        name: StoredTensor(tuple(each.shape), "float32", lambda: np.zeros(0))
        for name, each in state.items()
    }
    return Checkpoint(Path("net.pth"), "PyTorch", {"": tensors}, metadata)


def timm_state(name: str) -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return timm.create_model(name).state_dict()


@pytest.mark.parametrize(
    "to", ["torch", "safetensors", "npz", "keras", "weights-h5", "hf", "detectron2"]
)
def test_a_file_that_was_written_says_where_it_strides_and_that_it_is_not_proven(to, tmp_path):
    weights = random_weights(V1, 0, "float32")
    path = tmp_path / f"out{TARGETS[to].suffix}"
    save_weights(path, weights, to, architecture=V1, proven=False)
    loaded = load_weights(path)
    assert make_graph(loaded.architecture) == make_graph(V1)
    assert loaded.report.metadata["proven"] == "no, written with --no-prove"
    again = tmp_path / f"proven{TARGETS[to].suffix}"
    save_weights(again, loaded, to)
    assert "proven" not in open_checkpoint(again).metadata


def test_a_given_architecture_that_the_spec_contradicts_is_refused(tmp_path):
    v1 = get_architecture("resnet50_v1", num_classes=5)
    small = replace(v1, stages=stages(1, 1, width=16))
    save_weights(
        tmp_path / "v1.pth", random_weights(small, 0, "float32"), "torch", architecture=small
    )
    with pytest.raises(ParityError, match="the spec in its metadata is that of 'resnet50_v1'"):
        load_weights(tmp_path / "v1.pth", architecture=replace(small, stride_in_1x1=False))


def keras_file(folder: Path, edit=lambda config: None) -> Path:
    """A Keras model that is saved, whose config is then edited."""

    def edit_configs(layers):
        edit({name: each["config"] for name, each in layers.items()})

    return edited(folder, edit_configs, resnet_keras.create_model(V1))


def test_the_config_of_keras_decides_where_a_network_strides(tmp_path):
    found = load_weights(keras_file(tmp_path)).architecture
    assert make_graph(found) == make_graph(V1)
    assert found.stride_in_1x1


@pytest.mark.parametrize(
    ("layer", "setting", "value", "message"),
    [
        ("layer2_0_conv2", "strides", [3, 3], r"layer2.0.conv2 has strides \(3, 3\)"),
        ("conv1", "padding", "same", "conv1 has padding 'same'"),
        ("layer1_0_conv2", "dilation_rate", [2, 2], r"dilation_rate \(2, 2\)"),
        ("layer1_0_conv2", "groups", 2, "groups 2"),
        ("layer1_0_conv2", "activation", "relu", "layer1.0.conv2 has activation 'relu'"),
        ("bn1", "epsilon", 0.5, "several epsilons"),
    ],
)
def test_a_config_of_keras_that_no_row_agrees_with_is_refused(
    layer, setting, value, message, tmp_path
):
    path = keras_file(tmp_path, lambda layers: layers[layer].update({setting: value}))
    with pytest.raises(ParityError, match=message):
        load_weights(path)


def test_the_epsilon_of_a_keras_config_is_folded(tmp_path):
    def edit(layers):
        for settings in layers.values():
            if "epsilon" in settings:
                settings["epsilon"] = 1e-3

    loaded = load_weights(keras_file(tmp_path, edit))
    assert "epsilon 0.001 instead of 1e-05" in loaded.report.folded[-1]
    assert (loaded.weights["bn1.running_var"] == np.float32(1 + (1e-3 - 1e-5))).all()


def hugging_face(folder: Path, **options) -> nn.Module:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=16,
        hidden_sizes=[32, 64],
        depths=[1, 2],
        layer_type=options.pop("layer_type", "bottleneck"),
        id2label={0: "cat", 1: "dog", 2: "fish"},
        label2id={"cat": 0, "dog": 1, "fish": 2},
        **options,
    )
    model: nn.Module = transformers.ResNetForImageClassification(config)
    with_random_statistics(model).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"downsample_in_bottleneck": True},
        {"downsample_in_first_stage": True},
        {"layer_type": "basic", "downsample_in_first_stage": True},
    ],
)
def test_the_config_of_hugging_face_decides_where_a_network_strides(options, tmp_path, capfd):
    hugging_face(tmp_path / "in", **options)
    loaded = load_weights(tmp_path / "in")
    arch = loaded.architecture
    assert arch.stride_in_1x1 == options.get("downsample_in_bottleneck", False)
    assert (arch.stages[0].stride == 2) == options.get("downsample_in_first_stage", False)
    proof = save_weights(tmp_path / "out", loaded, "hf").proof
    assert proof is not None and "transformers" in proof.source and "transformers" in proof.target
    assert "Loading weights" not in capfd.readouterr().err  # the bar of transformers
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "cat", "1": "dog", "2": "fish"}
    assert loaded.report.labels == ("cat", "dog", "fish")
    assert load_weights(tmp_path / "in", num_classes=4).report.labels == ()


def small_timm(folder: Path, **options) -> None:
    model = timm.create_model("resnet18", num_classes=3, **options)
    save_for_hf(model, str(folder), safe_serialization=True)


def test_a_statement_leaves_nothing_to_assume(tmp_path):
    """The place of a statement is named, and the assumption of the dialect is left out."""
    hugging_face(tmp_path / "hf", downsample_in_bottleneck=True)
    small_timm(tmp_path / "timm")
    save_weights(
        tmp_path / "spec.npz",
        random_weights(V1, 0, "float32"),
        "npz",
        architecture=V1,
        proven=False,
    )
    stated = {
        tmp_path / "hf": "config.json: a ResNet of transformers, stride in the first 1x1",
        tmp_path / "timm": "config.json: timm's resnet18",
        tmp_path / "spec.npz": "the spec in its metadata: stride in the first 1x1 convolution, eps",
        keras_file(tmp_path): "the config of its Keras model: stride in the first 1x1 convolution",
    }
    for path, beginning in stated.items():
        found = describe(path)
        (line,) = found.remarks.stated
        assert line.startswith(beginning) and found.remarks.assumed == ()
        lines = [*found.lines()]
        assert f"stated by {line}" in lines and not any("cannot say" in each for each in lines)
        report = load_weights(path).report
        assert (report.stated, report.assumptions) == ((line,), ())


def test_a_stated_or_given_name_decides_between_equal_tensors(tmp_path):
    path = tmp_path / "net.pth"
    weights = random_weights(get_architecture("resnet50", num_classes=3), 0, "float32")
    state = {name: torch.from_numpy(each) for name, each in weights.items()}
    torch.save({"state_dict": state, "arch": "resnet50"}, path)
    found = describe(path).remarks
    assert found.stated == ("arch: resnet50",)
    (line,) = found.assumed
    assert "stride in the 3x3 convolution" in line
    torch.save(state, path)
    assert len(describe(path).remarks.assumed) == 2
    given = describe(path, architecture="resnet50_v1").remarks.assumed
    assert given == ("resnet50_v1, as you say: stride in the first 1x1 convolution, epsilon 1e-5",)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
@pytest.mark.parametrize("named", ["folder", "index"])
def test_shards_are_converted(kind, named, tmp_path):
    """The older kind is written by hand, since transformers writes it no more."""
    model = hugging_face(tmp_path / "net", downsample_in_bottleneck=True)
    folder, index = tmp_path / "net", tmp_path / "net" / f"model.{kind}.index.json"
    (folder / "model.safetensors").unlink()
    if kind == "safetensors":
        model.save_pretrained(folder, max_shard_size="10KB")  # type: ignore
    else:
        items = [*model.state_dict().items()]
        parts = {"1.bin": dict(items[::2]), "2.bin": dict(items[1::2])}
        for name, part in parts.items():
            torch.save(part, folder / name)
        places = {name: file for file, part in parts.items() for name in part}
        index.write_text(json.dumps({"weight_map": places}))
    source = folder if named == "folder" else index
    assert main(["convert", str(source), "--to", "npz", "--no-prove"]) == 0
    out = tmp_path / "net.npz" if named == "folder" else folder / "model.npz"
    loaded = load_weights(out)
    assert loaded.architecture.stride_in_1x1
    weights = loaded.weights["conv1.weight"]
    stem = model.state_dict()["resnet.embedder.embedder.convolution.weight"]
    assert weights.tobytes() == stem.numpy().tobytes()
    assert describe(source).remarks.stated[0].startswith("config.json: a ResNet of transformers")


def test_preprocessing_that_a_config_states_is_reported(tmp_path):
    hugging_face(tmp_path / "hf")
    processor = {"image_mean": [0.5, 0.5, 0.5], "rescale_factor": 1 / 255}
    (tmp_path / "hf" / "preprocessor_config.json").write_text(json.dumps(processor))
    small_timm(tmp_path / "timm")
    (line,) = load_weights(tmp_path / "hf").report.aside
    assert line == (
        "the preprocessing in preprocessor_config.json: image_mean (0.5, 0.5, 0.5), "
        "rescale_factor 0.00392157"
    )
    (line,) = load_weights(tmp_path / "timm").report.aside
    assert "config.json: mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)" in line


def test_another_pool_of_timm_is_refused(tmp_path):
    small_timm(tmp_path, global_pool="max")
    with pytest.raises(ParityError, match="global_pool 'max'; every row averages"):
        load_weights(tmp_path)


def backbone(block: str, strides=(1, 2), **options) -> keras.Model:
    """A small one of KerasHub, with a deep stem if its name ends in vd."""
    is_deep = block.endswith("vd")
    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[32, 32, 64] if is_deep else [64],
        input_conv_kernel_sizes=[3] * 3 if is_deep else [7],
        stackwise_num_filters=[64, 128],
        stackwise_num_blocks=[2, 1],
        stackwise_num_strides=list(strides),
        block_type=block,
        image_shape=(None, None, 3),
        **options,
    )


@pytest.mark.parametrize("saved", ["preset", "net.keras", "net.weights.h5"])
def test_a_classifier_of_kerashub_is_loaded_with_its_head(saved, tmp_path):
    model = keras_hub.models.ResNetImageClassifier(
        backbone=backbone("bottleneck_block_vd"), num_classes=5
    )
    path = tmp_path / saved
    if saved == "preset":
        model.save_to_preset(str(path))
    elif saved == "net.keras":
        model.save(path)
    else:
        model.save_weights(path)
    loaded = load_weights(path)
    assert (loaded.architecture.num_classes, loaded.report.left_over) == (5, ())
    is_stated = loaded.report.stated[:1] == (
        "its config: a ResNetBackbone of KerasHub, stride in the 3x3 convolution",
    )
    assert is_stated == (saved != "net.weights.h5")
    images = np.random.default_rng(0).normal(size=(1, 3, 33, 29))
    ours = resnet_keras.create_model(loaded.architecture)
    resnet_keras.set_weights(ours, loaded.weights)
    expected, found = (
        KerasHub().run(KerasHub().in_dtype(each, "float64"), images) for each in (model, ours)
    )
    error = relative_error(expected, found)
    assert error <= limit("float64", "taps")


@pytest.mark.full
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_the_import_of_kerashub_is_silent(backend):
    code = (
        "from resnet_parity.adapters.libraries.keras_libraries import KerasHub; KerasHub().load()"
    )
    environment = {name: each for name, each in os.environ.items() if "LOG" not in name}
    environment |= {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert run.stderr == ""


def test_a_config_of_kerashub_that_no_row_agrees_with_is_refused(tmp_path):
    backbone("bottleneck_block", strides=(1, 3)).save_to_preset(str(tmp_path))
    with pytest.raises(ParityError, match=r"stackwise_num_strides \(1, 3\), not \(1, 2\)"):
        load_weights(tmp_path)


@pytest.mark.parametrize("network", ["KerasHub", "resnet18", "resnet34"])
def test_a_projection_in_the_first_block_is_refused_by_name(network, tmp_path):
    if network == "KerasHub":
        path = tmp_path / "net.keras"
        backbone("basic_block_vd").save(path)
        layer = "stack0_block0_0_conv"
    else:
        arch, path = get_architecture(network), tmp_path / "net.npz"
        tensors = to_dialect(DIALECTS["paddle"], arch, random_weights(arch, 0, "float32"))
        tensors["blocks.0.short.conv.weight"] = np.ones((64, 64, 1, 1), "float32")
        for leaf in ("weight", "bias", "_mean", "_variance"):
            tensors[f"blocks.0.short.bn.{leaf}"] = np.ones(64, "float32")
        write_npz(path, tensors)
        layer = "blocks.0.short.conv"
    with pytest.raises(ParityError, match=rf"its first block has a projection \({layer}\)"):
        load_weights(path)


@pytest.mark.parametrize("layer", ["x", "y"])
@pytest.mark.parametrize("kind", ["RegNetModel", "RegNetForImageClassification"])
def test_a_regnet_of_transformers_is_refused_by_name(kind, layer, tmp_path):
    config = transformers.RegNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=8, layer_type=layer
    )
    getattr(transformers, kind)(config).save_pretrained(tmp_path)
    with pytest.raises(ParityError, match="this is a RegNet"):
        load_weights(tmp_path)


def test_another_activation_of_hugging_face_is_refused(tmp_path):
    hugging_face(tmp_path, hidden_act="gelu")
    with pytest.raises(ParityError, match=r"config\.json says hidden_act 'gelu'"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnetrs50", "maxpool.0.weight belongs to no layer of it"),
        ("resnet50_gn", "its norms have no running statistics"),
        ("ecaresnet26t", "ECA-ResNet"),
        ("skresnet18", "SK-ResNet"),
        ("res2net50_14w_8s", "Res2Net"),
        ("resnest14d", "ResNeSt"),
        ("legacy_seresnet18", "SENet of Cadene"),
        ("resnetv2_50x1_bit", "its norms have no running statistics"),
    ],
)
def test_a_relative_in_timm_is_refused_by_name(name, message):
    with pytest.raises(ParityError, match=message):
        choose(checkpoint_of(timm_state(name)))


def test_what_a_state_dict_cannot_say_is_assumed_in_words_or_refused():
    """timm's resnetaa50 has the tensors of resnet50."""
    state = timm_state("resnetaa50")
    choice: Choice = choose(checkpoint_of(state))
    found = remarks(Path("net.pth"), choice.reading, {}, is_given=False)
    assert any("resnetaa" in line for line in found.assumed) and not found.stated
    with pytest.raises(ParityError, match="'resnetaa50', which blurs or averages before"):
        choose(checkpoint_of(state, arch="resnetaa50"))
    assert choose(checkpoint_of(state, arch="resnet50")).reading.architecture.name == "resnet50"
    named = choose(checkpoint_of(state, architecture="resnet50_v1")).reading
    assert (named.architecture.name, named.others) == ("resnet50_v1", ("resnet50",))


def test_layers_around_a_network_of_keras_are_reported(tmp_path):
    body = resnet_keras.create_model(replace(V1, num_classes=0))
    model = keras.Sequential(
        [
            keras.layers.Input((32, 48, 3)),
            keras.layers.Rescaling(1 / 127.5, -1, name="rescaling"),
            body,
            keras.layers.Dense(3, activation="softmax", name="scores"),
        ]
    )
    model.save(tmp_path / "net.keras")
    report = load_weights(tmp_path / "net.keras").report
    assert report.left_over == () and report.num_classes == 3
    assert report.aside == (
        "1 layer of the model: rescaling (Rescaling scale 0.00784314, offset -1)",
        "the softmax of scores: the network returns logits",
    )


def test_the_softmax_of_a_keras_head_is_reported(tmp_path):
    path = keras_file(tmp_path, lambda layers: layers["fc"].update(activation="softmax"))
    assert load_weights(path).report.aside == ("the softmax of fc: the network returns logits",)


def test_weights_without_the_names_of_layers_are_refused(tmp_path):
    """Keras 3 did not write names at first."""
    resnet_keras.create_model(V1).save_weights(tmp_path / "old.weights.h5")
    with h5py.File(tmp_path / "old.weights.h5", "a") as file:
        file.visititems(lambda name, item: item.attrs.clear())
    with pytest.raises(ParityError, match="does not say what its layers are called"):
        load_weights(tmp_path / "old.weights.h5")


PHOTOS = io.BytesIO()
with zipfile.ZipFile(PHOTOS, "w") as archive:
    archive.writestr("photo.png", b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        ("Grüße\n".encode(), "is text, and no checkpoint; readable are files of PyTorch"),
        (b'{"model_type": "resnet"}', "is text in JSON, and no checkpoint"),
        (b"\x89PNG\r\n\x1a\n" + bytes(9), "is a PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "is a JPEG image"),
        (b"%PDF-1.7\n" + bytes(9), "is a PDF document"),
        (bytes(range(200, 240)), "is of no known format"),
        (PHOTOS.getvalue(), "is a zip archive, but not of torch.save: it holds photo.png"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_called_by_its_kind(content, what, tmp_path, capsys):
    for name in ("file", "file.dat", "file.pth", "file.h5", "file.bin"):
        path = tmp_path / name
        path.write_bytes(content)
        for command in (["inspect"], ["convert", "--to", "npz"]):
            assert main([command[0], str(path), *command[1:]]) == 2
            error = capsys.readouterr().err
            assert f"{path} {what}" in error and "ONNX file" not in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 0}, "in_channels must be at least 1"),
        ({"num_classes": -1}, "num_classes must be at least 0"),
        ({"drop_head": True, "num_classes": 5}, "cannot be left out and have 5 classes"),
        (
            {"architecture": "resnet18"},
            "'resnet18', as you say: the tensors are those of .*; leave --architecture out",
        ),
        ({"architecture": "resnet1"}, "unknown architecture 'resnet1'"),
    ],
)
def test_an_option_that_does_not_fit_the_file_is_refused(options, message, tmp_path):
    path = tmp_path / "net.npz"
    save_weights(path, random_weights(V1, 0, "float32"), "npz", architecture=V1, proven=False)
    with pytest.raises(ParityError, match=message):
        load_weights(path, **options)
