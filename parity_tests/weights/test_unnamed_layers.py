"""Files that do not name their layers, and classifiers with names of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from resnet_spec import ARCHITECTURES, Architecture, get_architecture

import resnet_keras
import resnet_torch
from parity_tests.support import with_random_statistics
from resnet_parity.errors import ParityError
from resnet_parity.probes import random_weights
from resnet_parity.weights.converting import save_weights
from resnet_parity.weights.loading import load_weights

SPREAD = ("resnet18", "resnet50", "resnet50d", "seresnet50", "resnet20", "resnetv2_50d")


def save_by_order(path: Path, model: keras.Model) -> None:
    """Save weights as Keras did before 3.6: no layer has a name."""
    model.save_weights(path)
    with h5py.File(path, "r+") as file:
        file.visititems(lambda _, each: each.attrs.pop("name", None) and None)


def fill(model: keras.Model) -> None:
    draw = np.random.default_rng(5)
    for variable in model.weights:
        variable.assign(draw.uniform(0.5, 1.5, variable.shape) / max(variable.shape))


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    wrong = [name for name, array in expected.items() if found[name].tobytes() != array.tobytes()]
    assert not wrong


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in SPREAD else pytest.mark.full) for n in ARCHITECTURES],
)
def test_numbered_layers_are_found_by_their_order(name, tmp_path):
    """All norms of a stage have equal shapes: only the right order gives each its numbers."""
    arch = get_architecture(name, num_classes=7)
    weights = random_weights(arch, 0, "float32")
    save_by_order(tmp_path / "old.weights.h5", with_weights(arch, weights))
    loaded = load_weights(tmp_path / "old.weights.h5", architecture=name)
    assert_same(loaded.weights, weights)
    assert "numbers its layers" in " ".join(loaded.report.assumptions)


def with_weights(arch: Architecture, weights: dict[str, np.ndarray]) -> keras.Model:
    model = resnet_keras.create_model(arch)
    resnet_keras.set_weights(model, weights)
    return model


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (keras.applications.ResNet50, "keras_resnet50"),
        (keras.applications.ResNet50V2, "keras_resnet50v2"),
    ],
)
def test_an_old_file_of_keras_applications_needs_no_option(make, name, tmp_path):
    model = make(weights=None, classes=7, input_shape=(64, 64, 3), classifier_activation=None)
    fill(model)
    save_by_order(tmp_path / "old.weights.h5", model)
    model.save(tmp_path / "new.keras")
    found, expected = (load_weights(tmp_path / file) for file in ("old.weights.h5", "new.keras"))
    assert found.architecture == expected.architecture == get_architecture(name, num_classes=7)
    assert_same(found.weights, expected.weights)


def test_an_order_that_shapes_do_not_show_is_refused(tmp_path):
    """In one stage alone, the projection and the last convolution have one shape."""
    arch = replace(get_architecture("resnet50", num_classes=3), name="short")
    arch = replace(arch, stages=(replace(arch.stages[0], blocks=1),))
    save_by_order(tmp_path / "old.weights.h5", resnet_keras.create_model(arch))
    with pytest.raises(ParityError, match=r"old\.weights\.h5 .* in one order alone"):
        load_weights(tmp_path / "old.weights.h5", architecture=arch)


@pytest.mark.parametrize(
    ("name", "candidates"),
    [
        ("resnet18", r"resnet18"),
        ("resnet50c", r"resnet50c and resnet50d"),
        pytest.param("resnetv2_110", r"resnet110 and resnetv2_110", marks=pytest.mark.full),
    ],
)
def test_numbered_layers_of_anyone_need_the_architecture(name, candidates, tmp_path):
    """Neither epsilon nor padding is in the file: it may be a tutorial's, which pads by SAME."""
    save_by_order(tmp_path / "old.weights.h5", resnet_keras.create_model(name))
    message = rf"shapes fit {candidates}, but the file says neither .* add --architecture \w+"
    with pytest.raises(ParityError, match=message):
        load_weights(tmp_path / "old.weights.h5")


def test_numbered_layers_with_the_order_of_a_tutorial_are_not_keras_applications(tmp_path):
    """It has the shapes and the biases of ResNet50, but its shortcuts come last."""
    arch = replace(get_architecture("resnet50", num_classes=3), conv_bias="all")
    save_by_order(tmp_path / "old.weights.h5", resnet_keras.create_model(arch))
    with pytest.raises(ParityError, match="but the file says neither epsilon nor padding"):
        load_weights(tmp_path / "old.weights.h5")


class Wrapped(nn.Module):
    """A body and a classifier beside it, as in a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = torchvision.models.resnet18()
        self.backbone.fc = nn.Identity()  # type: ignore[assignment]
        self.classifier = nn.Linear(512, 6)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.backbone(images))


def with_dropout() -> nn.Module:
    model = torchvision.models.resnet18()
    model.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 6))  # type: ignore[assignment]
    return model


def sequential() -> nn.Module:
    body = [*torchvision.models.resnet18().children()][:-1]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(512, 6))


@pytest.mark.parametrize("make", [Wrapped, with_dropout, sequential])
def test_the_only_dense_layer_beside_a_body_is_its_classifier(make, tmp_path):
    model = with_random_statistics(make()).eval()
    torch.save({"state_dict": model.state_dict()}, tmp_path / "net.ckpt")
    loaded = load_weights(tmp_path / "net.ckpt")
    assert loaded.architecture == get_architecture("resnet18", num_classes=6)
    assert loaded.report.left_over == ()
    ours = resnet_torch.create_model(loaded.architecture).eval()
    resnet_torch.set_weights(ours, loaded.weights)
    images = torch.linspace(-1, 1, 2 * 3 * 64 * 65).reshape(2, 3, 64, 65)
    with torch.inference_mode():
        assert torch.equal(ours(images), model(images))
    written = save_weights(tmp_path / "net.npz", loaded, "npz")
    assert written.proof is not None
    assert load_weights(tmp_path / "net.ckpt", drop_head=True).architecture.num_classes == 0


def hidden_layer() -> nn.Module:
    model = torchvision.models.resnet18()
    model.fc = nn.Sequential(nn.Linear(512, 8), nn.ReLU(), nn.Linear(8, 3))  # type: ignore
    return model


def other_width() -> nn.Module:
    model = torchvision.models.resnet18()
    model.fc = nn.Sequential(nn.Flatten(), nn.Linear(2048, 3))  # type: ignore
    return model


def second_norm() -> nn.Module:
    model = torchvision.models.resnet18()
    model.fc = nn.Sequential(nn.BatchNorm1d(512), nn.Linear(512, 3))  # type: ignore
    return model


def other_name() -> nn.Module:
    model = Wrapped()
    model.projection = model.classifier
    del model.classifier
    return model


def pointwise() -> nn.Module:
    model = Wrapped()
    model.classifier = nn.Conv2d(512, 6, 1)  # type: ignore[assignment]
    return model


def beside_a_scalar() -> nn.Module:
    model = Wrapped()
    model.alpha = nn.Parameter(torch.zeros(()))
    return model


@pytest.mark.parametrize(
    "make", [hidden_layer, other_width, second_norm, other_name, pointwise, beside_a_scalar]
)
def test_layers_that_are_no_classifier_are_left_over(make, tmp_path):
    torch.save(make().state_dict(), tmp_path / "net.pth")
    loaded = load_weights(tmp_path / "net.pth")
    assert loaded.architecture.num_classes == 0
    assert any(name.endswith(".weight") for name in loaded.report.left_over)


def tuned(*between: keras.layers.Layer) -> keras.Model:
    body = keras.applications.ResNet50(
        weights=None, include_top=False, input_shape=(64, 64, 3), name="body"
    )
    model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Rescaling(1 / 255), body])
    for layer in (*between, keras.layers.Dense(5, "softmax", name="my_classes")):
        model.add(layer)
    fill(model)
    return model


@pytest.mark.parametrize("suffix", [".keras", ".h5", ".weights.h5", "old.weights.h5"])
@pytest.mark.filterwarnings("ignore")
def test_a_dense_layer_after_a_nested_body_is_its_classifier(suffix, tmp_path):
    model = tuned(keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(0.2))
    path = tmp_path / f"net{suffix}"
    if suffix == "old.weights.h5":
        save_by_order(path, model)
    else:
        (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    loaded = load_weights(path)
    assert loaded.architecture == get_architecture("keras_resnet50", num_classes=5)
    assert loaded.report.left_over == ()
    kernel = model.get_layer("my_classes").weights[0].numpy()
    assert loaded.weights["fc.weight"].tobytes() == np.ascontiguousarray(kernel.T).tobytes()


def test_a_dense_layer_after_another_pool_is_left_over(tmp_path):
    tuned(keras.layers.GlobalMaxPooling2D()).save(tmp_path / "net.keras")
    loaded = load_weights(tmp_path / "net.keras")
    assert loaded.architecture.num_classes == 0
    assert loaded.report.left_over == ("my_classes/kernel", "my_classes/bias")
