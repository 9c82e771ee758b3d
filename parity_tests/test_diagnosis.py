"""The doctor names each planted fault, all of them at once, and none that is not there."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import resnet_keras
import resnet_torch
from parity_tests import patients
from parity_tests.patients import healthy_keras, healthy_torch, keras_with, spoilt, torch_with
from parity_tests.support import EVERYTHING, KINDS, SMALL, TINY, USERS, command
from resnet_parity import cli
from resnet_parity.diagnosis.causes import CAUSES
from resnet_parity.diagnosis.doctor import Diagnosis, diagnose
from resnet_parity.diagnosis.loading import Patient, check_name, examined, load
from resnet_parity.errors import ParityError


def examine(a: Callable[[], Any], b: Callable[[], Any], **options: Any) -> Diagnosis:
    return diagnose(examined("a", a()), examined("b", b()), **options)


def named(diagnosis: Diagnosis) -> list[str]:
    return [finding.cause for finding in diagnosis.findings]


# Every cause, planted: (the causes that must be named, in order, and no other; the patient).
IN_KERAS: dict[str, tuple[list[str], Callable[[], keras.Model]]] = {
    "same": (["same-padding"], keras_with(conv=patients.same_conv)),
    "no padding": (["padding"], keras_with(conv=patients.lacking_conv)),
    "same pool": (["same-pool"], keras_with(pool=patients.same_pool)),
    "bare pool": (["pool-padding"], keras_with(pool=patients.bare_pool)),
    "small pool": (["pool-size", "pool-padding"], keras_with(pool=patients.small_pool)),
    "eps": (["eps"], keras_with(eps=1e-3)),
    "eps a little": (["eps"], keras_with(eps=1.001e-5)),
    "momentum": (["momentum"], keras_with(decay=0.99)),
    "momentum inverted": (["momentum-inverted"], keras_with(decay=0.1)),
    "1x1": (["stride-1x1"], keras_with(strides=((1, 1, 1), (2, 1, 2)))),
    "extra stride": (["extra-stride"], keras_with(strides=((2, 1, 2), (1, 2, 2)))),
    "missing stride": (["missing-stride"], keras_with(strides=((1, 1, 1), (1, 1, 1)))),
    "dilation": (["padding", "dilation"], keras_with(conv=patients.dilated_conv)),
    "bias": (["conv-bias"], keras_with(conv=patients.biased_conv)),
    "training": (["training-mode"], keras_with(norm=patients.training_norm)),
    "softmax": (["softmax"], keras_with(head="softmax")),
    "rescaled": (["preprocessing"], keras_with(prepare=patients.rescaled)),
    "caffe": (["preprocessing"], keras_with(prepare=patients.caffe)),
    "bgr input": (["bgr"], keras_with(prepare=patients.reversed_colours)),
    "relu first": (["block-order"], keras_with(block=patients.relu_before_norm)),
    "relu before the sum": (["block-order"], keras_with(block=patients.relu_before_add)),
    "no relu": (["missing-layer"], keras_with(block=patients.no_relu)),
    "leaky": (["activation"], keras_with(relu=patients.leaky)),
    "bgr kernel": (["bgr"], spoilt(conv_weight=lambda k: k[:, :, ::-1])),
    "height and width": (
        ["kernel-layout"],
        spoilt(block1_conv2_weight=lambda k: k.transpose(1, 0, 2, 3)),
    ),
    "in and out": (
        ["kernel-layout"],
        spoilt(block1_conv2_weight=lambda k: k.transpose(0, 1, 3, 2)),
    ),
    "reshaped": (
        ["kernel-layout"],
        spoilt(block1_conv1_weight=lambda k: k.transpose(3, 2, 0, 1).reshape(k.shape)),
    ),
    "turned round": (["kernel-layout"], spoilt(conv_weight=lambda k: k[::-1, ::-1])),
    "dense": (["dense-layout"], spoilt(fc_weight=lambda k: k.T)),
    "weights": (["weights"], spoilt(block2_bn3_running_mean=lambda mean: mean + 1)),
}


@pytest.mark.parametrize("fault", IN_KERAS)
def test_a_fault_in_keras_is_named(fault):
    causes, patient = IN_KERAS[fault]
    diagnosis = examine(healthy_torch, patient)
    assert named(diagnosis) == causes
    assert not diagnosis.same
    for finding in diagnosis.findings:
        assert "{" not in finding.what + finding.mend("keras") + finding.mend("torch")


def _swapped_norm(model: nn.Module) -> None:
    norm = model.get_submodule("block1.bn2")
    norm.weight.data, norm.bias.data = norm.bias.data, norm.weight.data  # type: ignore


def _set(path: str, **numbers: Any) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        for name, value in numbers.items():
            setattr(model.get_submodule(path), name, value)

    return change


def _strides(model: nn.Module) -> None:
    model.get_submodule("block2.conv1").stride = (2, 2)  # type: ignore
    model.get_submodule("block2.conv2").stride = (1, 1)  # type: ignore


def _exchanged(model: nn.Module) -> None:
    first, second = (model.get_submodule(f"block2.{name}") for name in ("bn1", "bn2"))
    for mine, theirs in zip(first.buffers(), second.buffers(), strict=True):
        mine_was = mine.clone()
        mine.copy_(theirs)
        theirs.copy_(mine_was)
    first.weight, second.weight = second.weight, first.weight
    first.bias, second.bias = second.bias, first.bias


class Frozen(nn.BatchNorm2d):
    """A norm that never leaves training mode."""

    def train(self, mode: bool = True):
        return super().train(True)


def _always_training(model: nn.Module) -> None:
    norm = Frozen(8)
    norm.load_state_dict(model.get_submodule("block1.bn2").state_dict())
    model.block1.bn2 = norm  # type: ignore


class ZeroPool(nn.Module):
    def forward(self, x):
        return torch.nn.functional.max_pool2d(torch.nn.functional.pad(x, (1, 1, 1, 1)), 3, 2)


def _zero_pool(model: nn.Module) -> None:
    model.pool = ZeroPool()


IN_TORCH: dict[str, tuple[list[str], Callable[[nn.Module], None]]] = {
    "eps": (["eps"], _set("bn", eps=1e-3)),
    "momentum": (["momentum-inverted"], _set("bn", momentum=0.9)),
    "stride": (["stride-1x1"], _strides),
    "padding": (["padding"], _set("conv", padding=(2, 2))),
    "ceil": (["number"], lambda m: m.pool.__init__(3, 2, 0, ceil_mode=True)),
    "gamma and beta": (["gamma-beta"], _swapped_norm),
    "two norms": (["swapped-layers"], _exchanged),
    "training": (["training-mode"], _always_training),
    "no relu": (["missing-layer"], lambda m: setattr(m.block1, "bn2", nn.Identity())),
    "a sigmoid at the end": (
        ["extra-layer"],
        lambda m: setattr(m, "fc", nn.Sequential(m.fc, nn.Sigmoid())),
    ),
    "gelu": (["extra-layer"], lambda m: setattr(m, "pool", nn.Sequential(m.pool, nn.GELU()))),
}


@pytest.mark.parametrize("fault", IN_TORCH)
def test_a_fault_in_torch_is_named(fault):
    causes, change = IN_TORCH[fault]
    assert named(examine(healthy_torch, torch_with(change))) == causes
