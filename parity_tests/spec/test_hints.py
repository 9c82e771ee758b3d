"""A name or an option of another library, or a misspelt one, is answered with ours."""

from __future__ import annotations

import inspect
from dataclasses import fields

import keras
import pytest
import timm
import torchvision
from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2

from resnet_spec import ARCHITECTURES, Architecture, ArchitectureError, get_architecture

import resnet_keras
import resnet_torch

NEAREST = {
    "renset50": {"resnet50"},
    "RESNET50": {"resnet50"},
    "ResNet50": {"resnet50", "keras_resnet50"},
    "microsoft/resnet-50": {"resnet50"},
    "resnet50.a1_in1k": {"resnet50"},
    "resnet_50_imagenet": {"resnet50"},
    "resnet50_v1.5": {"resnet50"},
    "resnet50_v1d": {"resnet50d"},
    "resnet21": {"resnet18", "resnet20"},
    "resnet200": {"resnet152"},
    "resnet5": {"resnet50", "resnet56"},
    "resnet15": {"resnet152"},
    "seresnet5": {"seresnet50"},
    "resnet1001": {"resnet1202"},
    "resnext50": {"resnext50_32x4d"},
    "wrn50": {"wide_resnet50_2"},
    "se_resnet50": {"seresnet50"},
    "plain50": {"plain56", "plain44"},
    "resnet152v2": {"resnetv2_152", "keras_resnet152v2"},
    "resnet50_v2": {"resnetv2_50", "keras_resnet50v2"},
    "ResNet101V2": {"resnetv2_101", "keras_resnet101v2"},
    "resnet_v2_50": {"resnetv2_50", "keras_resnet50v2"},
    "PreActResNet18": {"resnetv2_18"},
}


def complaint(name: str, **options) -> str:
    with pytest.raises(ArchitectureError) as caught:
        get_architecture(name, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", NEAREST)
def test_a_name_suggests_the_nearest_rows(name):
    question = complaint(name).partition("did you mean ")[2].partition("?")[0]
    suggested = question.split(" or ")
    assert NEAREST[name] <= set(suggested) <= set(ARCHITECTURES)
    assert len(suggested) <= 3
    if "v2" in name.lower() or "PreAct" in name:
        assert all(ARCHITECTURES[each].preactivation for each in suggested)


@pytest.mark.parametrize("name", ["nothing", "vgg16", "mobilenet_v2", ""])
def test_a_name_like_no_row_suggests_nothing(name):
    assert complaint(name) == (
        f"unknown architecture {name!r}; `resnet-parity list` shows them all"
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_row_is_nearest_to_its_own_name(name):
    """In capitals, and with another separator, as people write names from memory."""
    assert name in complaint(name.upper())
    assert name in complaint(f"timm/{name}.in1k")


def options_of(*functions) -> set[str]:
    names = {name for function in functions for name in inspect.signature(function).parameters}
    return names - {"self", "kwargs", "model_name"}


def test_every_option_of_other_libraries_is_ours_or_has_an_answer():
    theirs = options_of(
        torchvision.models.ResNet,
        torchvision.models.resnet50,
        timm.create_model,
        ResNet,
        ResNetV2,
        keras.applications.ResNet50,
        keras.applications.ResNet50V2,
    )
    ours = {field.name for field in fields(Architecture)} | options_of(
        resnet_torch.create_model, resnet_keras.create_model
    )
    assert len(theirs - ours) > 30
    for name in theirs - ours:
        message = complaint("resnet50", **{name: True})
        assert message.startswith(f"an architecture has no field {name!r}: ")
        assert "its fields are" not in message


ANSWERS = {
    "pretrained": "set_weights(model, resnet_torch.get_weights(theirs, NAME))",
    "weights": "set_weights(model, from_keras_applications(theirs, NAME))",
    "replace_stride_with_dilation": "output_stride=8 for [False, True, True]",
    "norm_layer": "write bn_eps=",
    "include_top": "write num_classes=0",
    "classes": "write num_classes=",
    "input_shape": "write in_channels=",
    "in_chans": "write in_channels=",
    "global_pool": "features_only=True",
    "pooling": "num_classes=0",
    "drop_rate": "no dropout",
    "layers": "write stages=resnet_spec.stages(3, 4, 6, 3)",
}


@pytest.mark.parametrize("option", ANSWERS)
def test_the_answer_names_our_option(option):
    assert ANSWERS[option] in complaint("resnet18", **{option: None})


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("classes", "num_classes", 37),
        ("in_chans", "in_channels", 4),
        ("epsilon", "bn_eps", 0.002),
        ("zero_init_last", "zero_init_residual", False),
        ("cardinality", "groups", 32),
        ("base_width", "width_per_group", 8),
    ],
)
def test_an_option_with_another_name_is_answered_with_its_own_value(option, field, value):
    assert complaint("resnet50", **{option: value}).endswith(f": write {field}={value}")
    assert getattr(get_architecture("resnet50", **{field: value}), field) == value


@pytest.mark.parametrize("package", [resnet_torch, resnet_keras])
def test_both_packages_answer_all_options_at_once(package):
    with pytest.raises(ArchitectureError) as caught:
        package.resnet18(pretrained=True, in_chans=1, num_clases=3)
    lines = str(caught.value).splitlines()
    assert ["pretrained" in lines[0], "in_channels" in lines[1]] == [True, True]
    assert "did you mean num_classes" in lines[2]


def test_what_the_answers_name_can_be_written():
    assert get_architecture("resnet50", output_stride=8).reduction == 8
    assert get_architecture("resnet50", num_classes=0).num_classes == 0
    assert get_architecture("resnet50", features_only=True, out_indices=(4,)).out_indices == (4,)
