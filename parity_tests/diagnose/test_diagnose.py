"""The diagnosis finds each planted fault, several at once, and none that is not there."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import resnet_keras
import resnet_torch
from parity_tests.diagnose import faulty_models
from parity_tests.diagnose.faulty_models import (
    correct_keras,
    correct_torch,
    keras_with,
    keras_with_tensors,
    torch_with,
    untrained_keras_with,
)
from parity_tests.support import (
    EVERYTHING,
    KINDS,
    SMALL,
    TINY,
    USERS,
    command,
    light,
    python,
    with_random_statistics,
)
from resnet_parity import cli
from resnet_parity.cli.options import console
from resnet_parity.diagnose import structure, user_code
from resnet_parity.diagnose.diagnosis import IMAGE_RANGE, Diagnosis, diagnose
from resnet_parity.diagnose.faults import FAULTS
from resnet_parity.diagnose.loading import LoadedModel, check_name, load, loading_text, wrap_model
from resnet_parity.diagnose.record import RecordedStep
from resnet_parity.errors import ParityError
from resnet_parity.probes import default_size
from resnet_parity.reports.diagnose import print_diagnosis


def run_diagnosis(a: Callable[[], Any], b: Callable[[], Any], **options: Any) -> Diagnosis:
    options = {"sizes": [(32, 48)]} | options
    return diagnose(wrap_model("a", a()), wrap_model("b", b()), **options)


def fault_ids(diagnosis: Diagnosis) -> list[str]:
    return [finding.fault for finding in diagnosis.findings]


def faults_between(a: Callable[[], Any], b: Callable[[], Any], **options: Any) -> list[str]:
    return fault_ids(run_diagnosis(a, b, **options))


# Planted faults: name -> (the ids of exactly the faults to find, in order; the faulty model).
IN_KERAS: dict[str, tuple[list[str], Callable[[], keras.Model]]] = {
    "same": (["same-padding"], keras_with(conv=faulty_models.same_conv)),
    "too little padding": (["padding"], keras_with(conv=faulty_models.underpadded_conv)),
    "same pool": (["same-pool"], keras_with(pool=faulty_models.same_pool)),
    "unpadded pool": (["pool-padding"], keras_with(pool=faulty_models.unpadded_pool)),
    "small pool": (["pool-size", "pool-padding"], keras_with(pool=faulty_models.small_pool)),
    "eps": (["eps"], keras_with(eps=1e-3)),
    "slightly wrong eps": (["eps"], keras_with(eps=1.001e-5)),
    "momentum": (["momentum"], keras_with(decay=0.99)),
    "momentum inverted": (["momentum-inverted"], keras_with(decay=0.1)),
    "stride on the 1x1": (["stride-1x1"], keras_with(strides=((1, 1, 1), (2, 1, 2)))),
    "extra stride": (["extra-stride"], keras_with(strides=((2, 1, 2), (1, 2, 2)))),
    "missing stride": (["missing-stride"], keras_with(strides=((1, 1, 1), (1, 1, 1)))),
    "dilation": (["dilation", "padding"], keras_with(conv=faulty_models.dilated_conv)),
    "bias": (["conv-bias"], keras_with(conv=faulty_models.biased_conv)),
    "training": (["training-mode"], keras_with(norm=faulty_models.training_norm)),
    "softmax": (["softmax"], keras_with(head="softmax")),
    "rescaled": (["preprocessing"], keras_with(preprocess=faulty_models.rescaled_preprocessing)),
    "caffe": (["preprocessing"], keras_with(preprocess=faulty_models.caffe_preprocessing)),
    "bgr input": (["bgr"], keras_with(preprocess=faulty_models.reversed_colours)),
    "relu before the norm": (["block-order"], keras_with(block=faulty_models.relu_before_norm)),
    "relu before the sum": (["block-order"], keras_with(block=faulty_models.relu_before_add)),
    "no relu": (["missing-layer"], keras_with(block=faulty_models.without_last_relu)),
    "no relu in the stem": (
        ["missing-layer"],
        keras_with(relu=faulty_models.relu_after_the_stem),
    ),
    "no norm in the shortcut": (
        ["missing-layer"],
        untrained_keras_with(norm=faulty_models.no_norm_of_the_shortcut),
    ),
    "no gamma, no beta": (
        ["affine"],
        untrained_keras_with(norm=faulty_models.norm_without_affine),
    ),
    "no classifier": (["missing-layer"], untrained_keras_with(end=faulty_models.without_head)),
    "training, untrained": (
        ["training-mode"],
        untrained_keras_with(norm=faulty_models.training_norm),
    ),
    "negative variance": (
        ["negative-variance"],
        keras_with_tensors(block1_bn2_running_var=faulty_models.with_negative_variance),
    ),
    "leaky": (["activation"], keras_with(relu=faulty_models.leaky_relu)),
    "bgr kernel": (["bgr"], keras_with_tensors(conv_weight=lambda k: k[:, :, ::-1])),
    "height and width": (
        ["kernel-layout"],
        keras_with_tensors(block1_conv2_weight=lambda k: k.transpose(1, 0, 2, 3)),
    ),
    "in and out": (
        ["kernel-layout"],
        keras_with_tensors(block1_conv2_weight=lambda k: k.transpose(0, 1, 3, 2)),
    ),
    "reshape": (
        ["kernel-layout"],
        keras_with_tensors(block1_conv1_weight=lambda k: k.transpose(3, 2, 0, 1).reshape(k.shape)),
    ),
    "flipped": (["kernel-layout"], keras_with_tensors(conv_weight=lambda k: k[::-1, ::-1])),
    "dense": (["dense-layout"], keras_with_tensors(fc_weight=lambda k: k.T)),
    "weights": (["weights"], keras_with_tensors(block2_bn3_running_mean=lambda mean: mean + 1)),
}


@pytest.mark.parametrize("fault", IN_KERAS)
def test_a_fault_in_keras_is_found(fault):
    faults, faulty = IN_KERAS[fault]
    diagnosis = run_diagnosis(correct_torch, faulty)
    assert fault_ids(diagnosis) == faults
    assert not diagnosis.same
    for finding in diagnosis.findings:
        assert "{" not in finding.what + finding.fix("keras") + finding.fix("torch")


def _swap_gamma_and_beta(model: nn.Module) -> None:
    norm = model.get_submodule("block1.bn2")
    norm.weight.data, norm.bias.data = norm.bias.data, norm.weight.data  # type: ignore


def _swap_statistics(model: nn.Module) -> None:
    norm = model.get_submodule("block1.bn2")
    norm.running_mean, norm.running_var = norm.running_var, norm.running_mean  # type: ignore


def _overflow(model: nn.Module) -> None:
    for name, factor in (("block1.conv1", 1e30), ("block1.conv2", 1e38)):
        model.get_submodule(name).weight.data *= factor  # type: ignore


def _set(path: str, **numbers: Any) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        for name, value in numbers.items():
            setattr(model.get_submodule(path), name, value)

    return change


def _move_stride(model: nn.Module) -> None:
    model.get_submodule("block2.conv1").stride = (2, 2)  # type: ignore
    model.get_submodule("block2.conv2").stride = (1, 1)  # type: ignore


def _swap_norms(model: nn.Module) -> None:
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


def _pad_pool_with_zeros(model: nn.Module) -> None:
    model.pool = ZeroPool()


def _no_affine(model: nn.Module) -> None:
    norm = nn.BatchNorm2d(8, affine=False)
    norm.load_state_dict(model.get_submodule("block1.bn2").state_dict(), strict=False)
    model.block1.bn2 = norm  # type: ignore


def _without_statistics(model: nn.Module) -> None:
    old, new = model.get_submodule("block1.bn2"), nn.BatchNorm2d(8, track_running_stats=False)
    new.load_state_dict(dict(old.named_parameters()))
    model.block1.bn2 = new  # type: ignore


class Scaled(nn.Module):
    """The output of a module, slightly too large."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * 1.00005


IN_TORCH: dict[str, tuple[list[str], Callable[[nn.Module], None]]] = {
    "eps": (["eps"], _set("bn", eps=1e-3)),
    "momentum": (["momentum-inverted"], _set("bn", momentum=0.9)),
    "stride": (["stride-1x1"], _move_stride),
    "padding": (["padding"], _set("conv", padding=(2, 2))),
    "ceil": (
        ["setting", "pool-padding"],
        lambda m: setattr(m, "pool", nn.MaxPool2d(3, 2, ceil_mode=True)),
    ),
    "gamma and beta": (["gamma-beta"], _swap_gamma_and_beta),
    "two norms": (["swapped-layers"] * 2, _swap_norms),
    "training": (["training-mode"], _always_training),
    "shared": (
        ["shared-layer"],
        lambda m: setattr(m.block1, "bn2", m.get_submodule("block1.bn1")),
    ),
    "no statistics": (["training-mode"], _without_statistics),
    "no gamma, no beta": (["affine"], _no_affine),
    "scaled": (["rescaled"], lambda m: setattr(m, "fc", Scaled(m.get_submodule("fc")))),
    "no bias": (
        ["conv-bias"],
        lambda m: m.get_submodule("fc").register_parameter("bias", None),
    ),
    "no norm": (["missing-layer"], lambda m: setattr(m.block1, "bn2", nn.Identity())),
    "no norm in the shortcut": (
        ["missing-layer"],
        lambda m: setattr(m.block2, "bn4", nn.Identity()),
    ),
    "mean and variance": (["negative-variance"], _swap_statistics),
    "too large": (["weights", "not-finite"], _overflow),
    "a sigmoid at the end": (
        ["extra-layer"],
        lambda m: setattr(m, "fc", nn.Sequential(m.get_submodule("fc"), nn.Sigmoid())),
    ),
    "gelu": (
        ["extra-layer"],
        lambda m: setattr(m, "pool", nn.Sequential(m.get_submodule("pool"), nn.GELU())),
    ),
}


@pytest.mark.parametrize("fault", IN_TORCH)
def test_a_fault_in_torch_is_found(fault):
    faults, change = IN_TORCH[fault]
    assert faults_between(correct_torch, torch_with(change)) == faults


# Layout: one axis mistaken for another.


def flattened_torch() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 4, 7))


def flattened_keras() -> keras.Model:
    model = keras.Sequential(
        [
            keras.Input((8, 6, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", name="0"),
            keras.layers.Flatten(),
            keras.layers.Dense(7, name="3"),
        ]
    )
    state = {name: value.numpy() for name, value in flattened_torch().state_dict().items()}
    model.get_layer("0").set_weights([state["0.weight"].transpose(2, 3, 1, 0), state["0.bias"]])
    model.get_layer("3").set_weights([state["3.weight"].T, state["3.bias"]])
    return model


def norm_over_height() -> keras.Model:
    image = keras.Input((32, 48, 3))
    x = keras.layers.BatchNormalization(axis=1)(keras.layers.Conv2D(4, 1)(image))
    return keras.Model(image, keras.layers.GlobalAveragePooling2D()(x))


class Reshaped(nn.Module):
    """Reads the memory of an NCHW tensor as NHWC."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image):
        batch, channels, height, width = image.shape
        return self.net(image.reshape(batch, height, width, channels).permute(0, 3, 1, 2))


def norm_over_channels() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


@pytest.mark.parametrize(
    ("a", "b", "faults"),
    [
        (flattened_torch, flattened_keras, ["layout"]),
        (correct_torch, lambda: Reshaped(correct_torch()), ["layout"]),
        (norm_over_channels, norm_over_height, ["layout"]),
    ],
)
def test_a_mistaken_axis_is_found(a, b, faults):
    found = [
        fault
        for fault in fault_ids(
            run_diagnosis(a, b, sizes=[(8, 6) if a is flattened_torch else (32, 48)])
        )
        if not fault.startswith(("momentum", "eps"))
    ]
    assert found == faults


def folded(gamma: float = 1.0) -> Callable[[], nn.Module]:
    """The correct model with its first norm folded into the convolution."""

    def build() -> nn.Module:
        model = correct_torch()
        conv, norm = model.get_submodule("conv"), model.get_submodule("bn")
        model.conv = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)  # type: ignore
        model.conv.weight.data *= gamma  # type: ignore
        model.bn = nn.Identity()
        return model

    return build


def test_a_folded_norm_is_a_fault_only_if_it_is_folded_wrong():
    assert run_diagnosis(correct_torch, folded()).same
    assert run_diagnosis(folded(), correct_torch).same
    assert faults_between(correct_torch, folded(1.01)) == ["folding"]


class Unbiased(keras.layers.BatchNormalization):
    """Tracks n / (n - 1) times the variance of a batch."""

    def call(self, inputs, training=None, mask=None):
        before = keras.ops.copy(self.moving_variance.value)
        result = super().call(inputs, training=training)
        if training:
            count = inputs.shape[0] * inputs.shape[1] * inputs.shape[2]
            step = self.moving_variance - self.momentum * before
            self.moving_variance.assign(self.momentum * before + step * count / (count - 1))
        return result


def unbiased_norm(self, x, name: str):
    return Unbiased(epsilon=self.eps, momentum=self.decay, name=name)(x)


def test_the_biased_variance_is_a_fault_only_with_training():
    """PyTorch's is unbiased and Keras' biased; without `training`, that is a remark."""
    diagnosis = run_diagnosis(correct_torch, correct_keras)
    assert diagnosis.same
    assert "unbiased" in diagnosis.remarks[0]
    assert faults_between(correct_torch, correct_keras, training=True) == ["biased-variance"]
    unbiased = keras_with(norm=unbiased_norm)
    assert run_diagnosis(correct_torch, unbiased, training=True).same
    assert faults_between(unbiased, correct_keras) == ["biased-variance"]


# Several faults, and none.


def test_all_faults_are_found_in_execution_order():
    changes: dict[str, Any] = {"conv": faulty_models.same_conv, "pool": faulty_models.same_pool}
    faulty = keras_with(
        **changes, eps=1e-3, decay=0.99, strides=((1, 1, 1), (2, 1, 2)), head="softmax"
    )
    diagnosis = run_diagnosis(correct_torch, faulty)
    assert fault_ids(diagnosis) == [
        "same-padding",
        "eps",
        "momentum",
        "same-pool",
        "stride-1x1",
        "softmax",
    ]
    eps = diagnosis.findings[1]
    assert len(eps.places) == 9
    assert eps.places[0] == ("bn (BatchNorm2d)", "bn (BatchNormalization)")
    assert diagnosis.worst.divergence is not None
    assert diagnosis.worst.divergence.place_b == "conv (Conv2D)"


def test_several_faults_of_weights_are_found():
    faulty = keras_with_tensors(
        conv_weight=lambda k: k[:, :, ::-1],
        fc_weight=lambda k: k.T,
        block1_bn2_running_var=lambda variance: 2 * variance,
    )
    assert faults_between(correct_torch, faulty) == ["bgr", "weights", "dense-layout"]


def registry_model(package: Any, framework: str, arch: Any) -> LoadedModel:
    return LoadedModel(
        arch.name, framework, package.create_model(arch), arch.in_channels, from_registry=True
    )


@pytest.mark.parametrize(
    "arch",
    light([TINY, SMALL, *KINDS, EVERYTHING, *USERS], [TINY, SMALL, *KINDS[1:5], USERS[3]]),
    ids=lambda arch: arch.name,
)
def test_no_false_alarm(arch):
    a, b = registry_model(resnet_torch, "torch", arch), registry_model(resnet_keras, "keras", arch)
    diagnosis = diagnose(a, b, sizes=[default_size(arch, "random")])
    assert (fault_ids(diagnosis), diagnosis.same) == ([], True)
    assert diagnosis.aligned == max(diagnosis.layers)


def test_no_false_alarm_in_one_framework_or_with_a_and_b_exchanged():
    for a, b in (
        (correct_torch, correct_torch),
        (correct_keras, correct_keras),
        (correct_keras, correct_torch),
        (correct_torch, faulty_models.untrained_keras),
        (faulty_models.untrained_keras, correct_torch),
        (faulty_models.Normalised, keras_with(preprocess=faulty_models.normalised_preprocessing)),
    ):
        assert run_diagnosis(a, b).same


def test_torchvision_and_the_keras_implementation_are_the_same():
    a = wrap_model("torchvision", faulty_models.torchvision_resnet18())
    assert diagnose(a, load("keras:resnet18", "keras", 0), sizes=[(32, 64)]).same


@pytest.mark.full
def test_keras_applications_and_its_architecture_are_the_same():
    a = wrap_model("keras.applications", faulty_models.keras_applications_resnet50())
    assert diagnose(a, load("torch:keras_resnet50", "torch", 0)).same


def test_a_tutorials_resnet50_against_torchvisions():
    """Finds every difference between them, in order, and no other."""
    diagnosis = run_diagnosis(
        faulty_models.torchvision_resnet50, faulty_models.tutorial_resnet50, sizes=[(32, 64)]
    )
    found = [(finding.fault, len(finding.places)) for finding in diagnosis.findings]
    assert found == [
        ("same-padding", 1),
        ("conv-bias", 53),
        ("eps", 53),
        ("momentum", 53),
        ("same-pool", 1),
        ("extra-stride", 2),
        ("stride-1x1", 3),
        ("softmax", 1),
    ]


class TwoBranches(nn.Module):
    """Two branches; the second starts at the image or after the first convolution."""

    def __init__(self, *, late: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.third, self.late = nn.Conv2d(3, 3, 3, padding=1), late

    def forward(self, image):
        x = self.first(image)
        return self.second(torch.relu(x)) + self.third(x if self.late else image)


def sequence(*others: nn.Module, kernel: int = 3, seed: int = 0) -> Callable[[], nn.Module]:
    """A convolution, then other layers."""

    def build() -> nn.Module:
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(3, 4, kernel, padding=kernel // 2), *others)

    return build


def sequence_after(first: nn.Module) -> Callable[[], nn.Module]:
    """A convolution after another layer."""
    return lambda: nn.Sequential(first, sequence()())


IN_SEQUENCES: dict[str, tuple[list[str], Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "in place": (
        ["in-place"],
        lambda: faulty_models.Preactivation(inplace=False),
        lambda: faulty_models.Preactivation(inplace=True),
    ),
    "in place in A": (
        ["in-place"],
        lambda: faulty_models.Preactivation(inplace=True),
        lambda: faulty_models.Preactivation(inplace=False),
    ),
    "in place, by position": (
        ["in-place"],
        lambda: faulty_models.Preactivation(inplace=False),
        lambda: faulty_models.Preactivation(inplace=False, positional=True),
    ),
    "the first block of a dilated stage": (
        ["dilation", "padding"],
        lambda: faulty_models.DilatedStage(1),
        lambda: faulty_models.DilatedStage(2),
    ),
    "wiring": (["wiring"], lambda: TwoBranches(late=False), lambda: TwoBranches(late=True)),
    "border": (
        ["pool-border"],
        sequence(nn.MaxPool2d(3, 2, 1)),
        sequence(nn.ZeroPad2d(1), nn.MaxPool2d(3, 2)),
    ),
    "average": (
        ["pool-average"],
        sequence(nn.AvgPool2d(3, 2, 1)),
        sequence(nn.AvgPool2d(3, 2, 1, count_include_pad=False)),
    ),
    "kernel": (["layer-shape"], sequence(nn.ReLU()), sequence(nn.ReLU(), kernel=1)),
    "pool before norm": (  # the order matters only if a gamma is negative
        ["block-order"],
        sequence(nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        sequence(nn.MaxPool2d(3, 2, 1), nn.BatchNorm2d(4), nn.ReLU()),
    ),
    "affine, kernels not copied": (
        ["affine"],
        sequence(nn.BatchNorm2d(4, affine=False), seed=1),
        sequence(nn.BatchNorm2d(4)),
    ),
    "affine": (["affine"], sequence(nn.BatchNorm2d(4, affine=False)), sequence(nn.BatchNorm2d(4))),
    "an extra norm": (
        ["extra-layer"],
        sequence(nn.BatchNorm2d(4)),
        sequence(nn.BatchNorm2d(4), nn.BatchNorm2d(4, eps=0.0)),
    ),
    "an upper limit": (["extra-layer"], sequence(), sequence_after(nn.Hardtanh())),
}


@pytest.mark.parametrize("fault", IN_SEQUENCES)
def test_a_fault_in_a_sequence_of_layers_is_found(fault):
    faults, a, b = IN_SEQUENCES[fault]
    diagnosis = run_diagnosis(a, b)
    assert (fault_ids(diagnosis), diagnosis.diverges) == (faults, True)


# NaN and infinity.


def negative_torch() -> nn.Module:
    model = correct_torch()
    model.get_submodule("block1.bn2").running_var[3] = -0.12  # type: ignore
    return model


negative_keras = IN_KERAS["negative variance"][1]


@pytest.mark.parametrize(
    ("a", "b", "texts"),
    [
        (negative_torch, negative_keras, ["-0.12", "-0.12"]),
        (negative_torch, negative_torch, ["-0.12", "-0.12"]),
        (negative_torch, correct_keras, ["-0.12", "1.03159"]),
        (correct_torch, negative_keras, ["1.03159", "-0.12"]),
    ],
)
def test_a_negative_variance_is_named_and_nothing_after_it_is_compared(a, b, texts, capsys):
    """B also has faults in the last block; they come after the NaN."""

    def faulty() -> Any:
        model = b()
        if isinstance(model, nn.Module):
            model.get_submodule("block2.bn1").eps = 0.1  # type: ignore
        return model

    found = run_diagnosis(a, faulty)
    (finding,) = found.findings
    assert finding.fault == "negative-variance"
    assert [finding.a, finding.b] == [f"{text} in channel 3" for text in texts]
    assert finding.place_a == "block1.bn2 (BatchNorm2d)"
    assert (found.aligned, found.same) == (30, False)
    print_diagnosis(console(), found)
    assert "an output holds NaN or infinity" in capsys.readouterr().out


def test_an_overflow_in_both_models_is_named():
    overflow = torch_with(_overflow)
    (finding,) = run_diagnosis(overflow, overflow).findings
    assert (finding.fault, finding.place_b) == ("not-finite", "block1.conv2 (Conv2d)")
    assert (finding.a, finding.b) == ("NaN or infinity", "NaN or infinity")


def test_a_swap_of_mean_and_variance_is_named():
    (finding,) = run_diagnosis(correct_torch, torch_with(_swap_statistics)).findings
    assert finding.b.endswith(", which is A's running mean")


# Several image sizes.


@pytest.mark.parametrize(
    ("a", "b", "faults"),
    [
        (
            lambda: faulty_models.ShortcutD(ceil=True),
            lambda: faulty_models.ShortcutD(ceil=False),
            [("pool-average", 65)],
        ),
        (  # A itself does not run at odd sizes; the last norm cannot be compared there
            lambda: faulty_models.ShortcutD(ceil=False),
            lambda: faulty_models.ShortcutD(ceil=True, eps=1e-2),
            [("eps", None), ("pool-average", 65)],
        ),
        (
            torch_with(lambda m: setattr(m, "pool", nn.MaxPool2d(3, 2, ceil_mode=True))),
            keras_with(pool=faulty_models.same_pool),
            [("same-pool", 65)],
        ),
        (correct_torch, keras_with(pool=faulty_models.same_pool), [("same-pool", 64)]),
        (correct_torch, keras_with(eps=1e-3), [("eps", None)]),
        (faulty_models.PaddedBySize, keras_with(conv=faulty_models.same_first_conv), []),
    ],
)
def test_two_sizes_are_compared_and_a_fault_says_at_which_it_shows(a, b, faults, capsys):
    found = run_diagnosis(a, b, sizes=())
    shown = [(each.fault, each.sizes[0][0] if each.sizes else None) for each in found.findings]
    assert shown == faults
    sizes = [probe.size for probe in found.probes]
    assert sizes == [(64, 96), (65, 97)]
    parting = [probe.size[0] for probe in found.probes if probe.diverges]
    assert parting == [size for _, size in faults if size] or faults[:1] == [("eps", None)]
    print_diagnosis(console(), found)
    printed = capsys.readouterr().out
    assert "images of 64x96 and 65x97" in printed
    for _, size in faults:
        assert size is None or f"at {size}x{size + 32} only" in printed


def test_a_size_that_neither_model_takes_is_not_compared():
    fixed = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Flatten(), nn.Linear(4 * 32 * 48, 5))
    found = run_diagnosis(lambda: fixed, lambda: fixed, sizes=())
    assert (found.same, [probe.size for probe in found.probes]) == (True, [(64, 96)])
    assert any(note.startswith("neither model runs on 65x97") for note in found.notes)


# Weights that were never copied.


def own_weights(seed: int, **options: Any) -> Callable[[], nn.Module]:
    """A model with its own random kernels, without norms or with random statistics."""

    def build() -> nn.Module:
        torch.manual_seed(seed)
        norm = nn.BatchNorm2d(8, **options) if options else nn.Identity()
        model = nn.Sequential(nn.Conv2d(3, 8, 3), norm, nn.ReLU(), nn.Conv2d(8, 8, 3))
        return with_random_statistics(model).eval()

    return build


def test_models_with_other_random_numbers_are_found():
    (finding,) = run_diagnosis(own_weights(0), own_weights(1)).findings
    assert finding.fault == "unrelated-weights"
    assert finding.b == "both models were created with different random numbers"
    assert "--copy-weights" in finding.fix("torch")
    (finding, eps) = run_diagnosis(own_weights(0, eps=1e-5), own_weights(1, eps=1e-3)).findings
    assert finding.b.endswith("with different random numbers, or trained apart")
    assert eps.fault == "eps"

    def trained_on() -> nn.Module:
        model = own_weights(0)()
        for weight in model.parameters():
            weight.data += 0.5 * weight.data.std() * torch.randn_like(weight)
        return model

    assert faults_between(own_weights(0), trained_on) == ["weights"]


def test_weights_can_be_copied():
    def faults(first: int, second: int, **options: Any) -> list[str]:
        a, b = own_weights(first, eps=1e-5), own_weights(second, eps=1e-3)
        return faults_between(a, b, copy_weights=True, **options)

    assert faults(0, 1) == ["eps"]
    assert run_diagnosis(own_weights(0), own_weights(1), copy_weights=True).same


# Wrapped and lazily built models.


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, AveragedModel])
def test_a_wrapped_model_is_unwrapped(wrap):
    inner = torch_with(_set("block1.bn1", eps=1e-3))
    (finding,) = run_diagnosis(correct_torch, lambda: wrap(inner())).findings
    assert finding.places == (("block1.bn1 (BatchNorm2d)", "block1.bn1 (BatchNorm2d)"),)


def test_a_compiled_part_runs_uncompiled():
    def compiled() -> nn.Module:
        model: Any = torch_with(_set("block1.bn1", eps=1e-3))()
        model.block1 = torch.compile(model.block1)
        model.compile()
        return model

    (finding,) = run_diagnosis(correct_torch, compiled).findings
    assert finding.place_b == "block1.bn1 (BatchNorm2d)"


@pytest.mark.parametrize("lazy", [faulty_models.LazyNet, faulty_models.lazy_sequence])
def test_a_lazily_built_keras_model_is_recorded_layer_by_layer(lazy):
    def faulty() -> keras.Model:
        model = lazy()
        block = next(layer for layer in model.layers if hasattr(layer, "project"))
        block.norms[1].epsilon = 1e-3
        return model

    found = run_diagnosis(faulty_models.OneBlock, lazy, sizes=())
    assert (fault_ids(found), found.same, found.aligned) == ([], True, 11)
    (finding,) = run_diagnosis(faulty_models.OneBlock, faulty).findings
    assert (finding.fault, finding.place_a) == ("eps", "bn2 (BatchNorm2d)")


def test_a_body_of_children_is_compared_with_a_keras_body():
    """`children()[:-1]` loses the functions of `forward`, but not torchvision's layers."""

    def body(model: nn.Module) -> nn.Module:
        return nn.Sequential(*list(model.children())[:-1])

    found = run_diagnosis(
        lambda: body(faulty_models.torchvision_resnet18()),
        lambda: resnet_keras.create_model("resnet18", num_classes=0),
    )
    assert found.same
    assert "A returns (N, 512, 1, 1), B returns (N, 512)" in found.remarks[-1]
    faults = run_diagnosis(correct_torch, lambda: body(correct_torch())).findings
    assert [(each.fault, each.a) for each in faults] == [
        ("missing-layer", "a relu"),
        ("missing-layer", "a global-average, a dense"),
    ]


def test_tracing_leaves_the_running_statistics():
    """Also those of norms in training mode."""
    for model in (torch_with(_always_training)(), IN_KERAS["training"][1]()):
        kept = [each.numpy().copy() for each in _statistics(model)]
        run_diagnosis(correct_torch, lambda model=model: model)
        for value, each in zip(kept, _statistics(model), strict=True):
            assert (each.numpy() == value).all()


def _statistics(model: Any) -> list[Any]:
    if isinstance(model, keras.Model):
        return [each.value for each in model.non_trainable_weights]
    return [each for each in model.buffers() if each.dtype.is_floating_point]


def test_different_preprocessing_is_found():
    caffe = keras_with(preprocess=faulty_models.caffe_preprocessing)
    assert faults_between(faulty_models.Normalised, caffe) == ["bgr", "preprocessing"]
    assert faults_between(faulty_models.Normalised, correct_keras) == ["preprocessing"]
    assert "nothing" in run_diagnosis(faulty_models.Normalised, correct_keras).findings[0].what


class Untranslatable(nn.Module):
    """Uses functions that have no translation."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.net, self.power = correct_torch(), power

    def forward(self, image):
        return torch.sinh(self.net(torch.pow(image, self.power)))


def test_an_untranslatable_operation_is_run_and_compared():
    assert run_diagnosis(lambda: Untranslatable(2.0), lambda: Untranslatable(2.0)).same
    assert faults_between(lambda: Untranslatable(2.0), lambda: Untranslatable(3.0)) == [
        "different-layer"
    ]


def test_layers_are_listed_with_articles_and_counts():
    steps = [RecordedStep(kind, "somewhere") for kind in ("conv", "add", "conv", "relu")]
    assert structure._format_steps(steps) == "2 conv, an add, a relu"


def test_without_a_known_fault_only_the_first_difference_is_printed(capsys):
    diagnosis = run_diagnosis(correct_torch, keras_with(eps=1e-3))
    print_diagnosis(console(), replace(diagnosis, findings=()))
    printed = capsys.readouterr().out
    assert "no known fault explains it" in printed
    assert "first differ at bn (BatchNorm2d) / bn (BatchNormalization)" in printed
    assert not replace(diagnosis, findings=()).same


def test_every_fault_of_the_catalogue_is_planted():
    tables = (IN_KERAS, IN_TORCH, IN_SEQUENCES)
    planted = {fault for table in tables for faults, *_ in table.values() for fault in faults}
    elsewhere = {"layout", "folding", "biased-variance", "different-layer", "unrelated-weights"}
    assert planted | elsewhere == set(FAULTS)


# How models are named, and which are refused.


@pytest.fixture
def user_module(tmp_path, monkeypatch):
    """A folder with a user's module, as the current folder."""
    (tmp_path / "theirs_parity.py").write_text(
        "import os, subprocess, sys, time\n"
        "import torch\n"
        "from torch import nn\n"
        "def net(): torch.manual_seed(0); return nn.Sequential(nn.Conv2d(3, 4, 3))\n"
        "def other(): model = net(); model[0].padding = (1, 1); return model\n"
        "def broken(): raise RuntimeError('out of order\\nat all')\n"
        "def number(): return 3\n"
        "def diverged(): model = net(); model[0].bias.data[1] = torch.nan; return model\n"
        "def lazy(): return nn.Sequential(nn.LazyConv2d(4, 3))\n"
        "class Through(nn.Conv2d):\n"
        "    def forward(self, image): return torch.from_numpy(super().forward(image).numpy())\n"
        "def through(): return Through(3, 4, 3)\n"
        "def infinite():\n"
        "    import keras\n"
        "    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Dense(3)])\n"
        "    model.weights[0].assign(model.weights[0] + float('inf'))\n"
        "    return model\n"
        "def gray(): return nn.Conv2d(1, 4, 3)\n"
        "def exits(): sys.exit(0)\n"
        "def ends(): os._exit(0)\n"
        "class Odd(BaseException):\n"
        "    def __str__(self): raise ValueError\n"
        "def odd(): raise Odd\n"
        "class Leaves(nn.Conv2d):\n"
        "    def forward(self, image): sys.exit(0)\n"
        "def leaves(): return Leaves(3, 4, 3)\n"
        "def loud():\n"
        "    print('called'); os.write(1, b'raw'); subprocess.run(['echo', 'child']); os.fork()\n"
        "    return net()\n"
        "def slow(): time.sleep(0.2); return net()\n"
        "def picky(): return nn.Sequential(nn.Flatten(), nn.Linear(7, 7), nn.Conv2d(3, 1, 1))\n"
    )
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("theirs_parity", None)


def test_an_untrained_model_is_filled_with_random_numbers():
    """Initial biases and norms would hide faults, whether the model is A or B."""
    other = load("keras:resnet20", "keras", 0)

    def biased() -> nn.Module:
        model: Any = resnet_torch.create_model("resnet20")
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
        return model

    for a, b in ((wrap_model("a", biased()), other), (other, wrap_model("b", biased()))):
        found = diagnose(a, b, sizes=[(32, 64)])
        assert (fault_ids(found), found.diverges) == (["conv-bias"], True)
    assert "norms and biases that B alone has are filled with random numbers" in found.notes


def test_a_max_pool_on_the_wrong_side_of_its_norm_is_found():
    """Only negative gammas show it, so some of an architecture's gammas are made negative."""
    model: Any = resnet_torch.create_model("resnet18")
    model.bn1, model.maxpool = nn.Sequential(model.maxpool, model.bn1), nn.Identity()
    found = diagnose(load("torch:resnet18", "torch", 0), wrap_model("b", model), sizes=[(32, 64)])
    assert (fault_ids(found), found.diverges) == (["block-order"], True)
    assert found.notes[0].startswith("every fourth gamma of A is made negative")


def test_the_verdict_states_what_is_proven(capsys):
    """A fault counts even if the outputs agree."""

    def verdict(a: Callable[[], Any], b: Callable[[], Any]) -> str:
        print_diagnosis(console(), run_diagnosis(a, b))
        return capsys.readouterr().out

    scaled = torch_with(IN_TORCH["scaled"][1])
    assert "the outputs agree to 1e-04, but 1 fault is proven" in verdict(correct_torch, scaled)
    stride = torch_with(_move_stride)
    assert "not the same function: 1 fault is proven" in verdict(correct_torch, stride)
    inverted = torch_with(IN_TORCH["momentum"][1])
    assert "the same function in evaluation mode, but 1 fault" in verdict(correct_torch, inverted)
    assert "the same function: outputs" in verdict(correct_torch, correct_torch)
    norm: Any = with_random_statistics(nn.BatchNorm2d(4))
    norm.weight.data.abs_()
    positive = sequence(norm, nn.MaxPool2d(2)), sequence(nn.MaxPool2d(2), norm)
    assert "the outputs agree to 1e-12, but 1 fault is proven" in verdict(*positive)
    same = verdict(faulty_models.Normalised, faulty_models.Normalised)
    assert "the same function, as far as float32 can tell: outputs" in same


def test_two_architectures_are_referred_to_compare():
    first, second = load("torch:resnet20", "torch", 0), load("torch:resnet32", "torch", 0)
    found = diagnose(first, second, sizes=[(32, 32)])
    assert "`resnet-parity compare resnet20 resnet32`" in found.notes[0]


def small_net(
    norm: nn.Module, *, bias: bool = False, seed: int = 0, linear: bool = True
) -> nn.Module:
    """A convolution, a norm and a classifier, whose biases are zero or missing."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=bias), norm, nn.AdaptiveAvgPool2d(1))
    model.extend([nn.Flatten(), nn.Linear(4, 5, bias=linear)])
    for name, parameter in model.named_parameters():
        if name in ("0.bias", "4.bias"):
            nn.init.zeros_(parameter)
    return model


def with_gamma(value: float, **options: Any) -> nn.Module:
    norm = nn.BatchNorm2d(4, **options)
    nn.init.constant_(norm.weight, value)
    return norm


def untracked(seed: int, **options: Any) -> nn.Module:
    """A model whose norm has no running statistics."""
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(4, track_running_stats=False, **options)
    nn.init.uniform_(norm.weight, 0.5, 2.0)
    return small_net(norm, seed=seed)


def with_equal_kernels(*models: nn.Module) -> list[Callable[[], nn.Module]]:
    """The models, all with the first one's kernels."""
    kernels = {name: models[0].state_dict()[name] for name in ("0.weight", "4.weight")}
    for model in models[1:]:
        model.load_state_dict(kernels, strict=False)
    return [lambda model=model: model for model in models]


@pytest.mark.parametrize("copied", [True, False])
def test_initial_zeros_hide_no_fault(copied):
    """Zero biases of convolutions and classifiers, zero gammas, kernels copied or not."""

    def faults(one: nn.Module, other: nn.Module) -> list[str]:
        a, b = with_equal_kernels(one, other) if copied else (lambda: one, lambda: other)
        return faults_between(a, b)

    norm = nn.BatchNorm2d
    assert faults(small_net(norm(4)), small_net(norm(4), bias=True, seed=1)) == ["conv-bias"]
    assert faults(small_net(norm(4), bias=True), small_net(norm(4), seed=1)) == ["conv-bias"]
    assert faults(small_net(norm(4)), small_net(norm(4), linear=False, seed=1)) == ["conv-bias"]
    zeros = small_net(with_gamma(0.0)), small_net(with_gamma(0.0, eps=1e-1), seed=1)
    assert faults(*zeros) == ["eps"]
    assert faults(small_net(norm(4), bias=True), small_net(norm(4), bias=True, seed=1)) == []


def test_different_initial_values_are_found():
    a, b = with_equal_kernels(small_net(with_gamma(0.0)), small_net(with_gamma(1.0), seed=1))
    assert faults_between(a, b) == ["weights"]


def test_norms_without_running_statistics_do_not_count_as_untrained():
    """Nor does their momentum count."""
    assert "unrelated-weights" in faults_between(lambda: untracked(0), lambda: untracked(1))
    assert run_diagnosis(lambda: untracked(0), lambda: untracked(0, momentum=0.01)).same


class Twice(nn.Module):
    """Uses one convolution in two places."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        return self.conv(torch.relu(self.conv(image)))


def test_a_layer_that_both_models_use_twice_is_not_a_shared_layer_fault():
    assert faults_between(lambda: Twice(0), lambda: Twice(1)) == ["unrelated-weights"]


class BgrMinusMean(nn.Module):
    """Reverses the colour channels and subtracts a mean."""

    def __init__(self, mean: float) -> None:
        super().__init__()
        self.net, self.mean = correct_torch(), mean

    def forward(self, image):
        return self.net(image.flip(1) - self.mean)


def test_a_rescaling_after_a_channel_reversal_is_preprocessing():
    found = run_diagnosis(lambda: BgrMinusMean(0.5), lambda: BgrMinusMean(0.25))
    assert fault_ids(found) == ["preprocessing"]


class InfiniteBuffer(nn.Module):
    """Has extra state that is not a tensor, and an infinity on purpose."""

    def __init__(self) -> None:
        super().__init__()
        self.net = correct_torch()
        self.lowest: torch.Tensor
        self.register_buffer("lowest", torch.tensor(-torch.inf))

    def get_extra_state(self):
        return {"made": "by hand"}

    def set_extra_state(self, state):
        del state

    def forward(self, image):
        return torch.maximum(self.net(image), self.lowest)


def test_infinity_in_a_buffer_is_allowed():
    assert run_diagnosis(InfiniteBuffer, InfiniteBuffer).same


class AssertsOnImage(nn.Module):
    """Reads its image in an assertion, which changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = correct_torch()

    def forward(self, image):
        assert image.mean() > -IMAGE_RANGE
        return self.net(image)


def test_a_model_may_read_its_tensors():
    assert run_diagnosis(correct_torch, AssertsOnImage).same


def test_the_command_prints_text_and_json(user_module, capsys):
    arguments = ["diagnose", "theirs_parity:net", "theirs_parity:other"]
    assert cli.main([*arguments, "--json", "--size", "8x12"]) == 1
    data = json.loads(capsys.readouterr().out)
    (finding,) = data["findings"]
    assert (finding["fault"], data["same"]) == ("padding", False)
    (probe,) = data["sizes"]
    assert (probe["size"], probe["error"], finding["sizes"]) == ([8, 12], None, [[8, 12]])
    assert finding["places"] == [{"a": "0 (Conv2d)", "b": "0 (Conv2d)"}]
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert "1. the convolution pads differently: A pads 0 on every side, B pads 1" in printed.out
    assert "1 fault is proven" in printed.out
    assert "..." in printed.err
    assert cli.main(["diagnose", "theirs_parity:net", "theirs_parity:net"]) == 0
    assert "the same function" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet5", "unknown architecture 'resnet5'"),
        ("keras:nothing", "unknown architecture 'nothing'"),
        ("nowhere_at_all:net", "No module named 'nowhere_at_all'; the module must be importable"),
        ("theirs_parity:missing", "module 'theirs_parity' has no attribute 'missing' (/"),
        ("theirs_parity.py:net", "names a file; write its module: theirs_parity:net"),
        ("theirs_parity:nn", "theirs_parity:nn is a module, not a callable or a model"),
        ("theirs_parity:broken", "theirs_parity:broken raised RuntimeError: out of order"),
        ("theirs_parity:exits", "ends the process (exit code 0); put what a script does under"),
        ("theirs_parity:ends", "ends the process (exit code 0); put what a script does under"),
        ("theirs_parity:odd", "theirs_parity:odd raised Odd: Odd"),
        ("theirs_parity:leaves", "ends the process (exit code 0)"),
        ("theirs_parity:diverged", "holds NaN or infinity in 0.bias: did training diverge?"),
        ("theirs_parity:infinite", "holds NaN or infinity in "),
        ("theirs_parity:lazy", "has lazy layers; run it once on an image"),
        ("theirs_parity:through", "cannot be followed back to the images"),
        ("theirs_parity:number", "returns a int, not a torch.nn.Module or a keras.Model"),
        ("theirs_parity:gray", "takes images of 3 channels, theirs_parity:gray of 1"),
        ("theirs_parity:picky", "cannot be run on images of 64x96"),
        ("gone.keras", "gone.keras does not exist"),
        ("net.h5", "make a model of them: resnet-parity convert net.h5 --to keras"),
        ("model_best.pth.tar", "resnet-parity convert model_best.pth.tar --to keras"),
        (":net", "does not name a model; write NAME"),
    ],
)
def test_a_users_mistake_is_reported_in_one_message(user_module, capsys, model, message):
    assert cli.main(["diagnose", "theirs_parity:net", model]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_module_in_the_current_folder_replaces_no_other_and_prints_nothing_to_stdout(user_module):
    """Its processes and the fork of its own end before the result is printed."""
    (user_module / "torch.py").write_text("raise RuntimeError('the wrong torch')")
    arguments = ("diagnose", "theirs_parity:net", "theirs_parity:loud", "--json", "--size", "8x12")
    # -P, as the installed command: `python -m` itself puts the current folder first.
    result = python("-P", "-m", "resnet_parity", *arguments, cwd=user_module)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["same"] is True
    for text in ("called", "raw", "child", "importing and calling theirs_parity:net ..."):
        assert text in result.stderr


def test_a_model_may_be_named_that_is_no_callable(user_module, capsys):
    with (user_module / "theirs_parity.py").open("a") as file:
        file.write("whole = net()\n")
    arguments = ["diagnose", "theirs_parity:net", "theirs_parity:whole", "--size", "8x12"]
    assert cli.main(arguments) == 0, capsys.readouterr().err


def test_a_callable_that_takes_long_is_named(user_module, capsys, monkeypatch):
    monkeypatch.setattr(user_code, "PATIENCE", 0.05)
    assert load("theirs_parity:slow", "torch", 0).framework == "torch"
    assert "theirs_parity:slow still runs; Ctrl-C ends it" in capsys.readouterr().err


def test_progress_says_what_is_imported(monkeypatch):
    assert loading_text("torch:resnet20", "keras") == "loading torch:resnet20"
    assert loading_text("own:net", "keras") == "importing and calling own:net"
    monkeypatch.delitem(sys.modules, "keras")
    assert loading_text("resnet20", "keras") == "importing Keras and its backend, loading resnet20"
    monkeypatch.setattr(sys, "pycache_prefix", "/nowhere")
    assert "Keras and its backend for the first time" in loading_text("net.keras", "torch")


def test_a_keras_file_is_loaded_without_running_its_code(user_module, capsys):
    correct_keras().save("correct.keras")
    assert diagnose(load("correct.keras", "keras", 0), wrap_model("b", correct_torch())).same
    image = keras.Input((8, 8, 3))
    keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image)).save("lambda.keras")
    keras.Model(image, Unbiased()(image)).save("custom.keras")
    for name, message in {
        "lambda": r"holds keras.layers.Lambda at config.layers\[1\], which would run code",
        "custom": r"Unbiased at config.layers\[1\], which is none of Keras' own layers",
    }.items():
        with pytest.raises(ParityError, match=message):
            check_name(f"{name}.keras", "keras")


BLOCKER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError(f"{{name}} is forbidden here")
sys.meta_path.insert(0, Blocker())
from resnet_parity import cli
sys.exit(cli.main({arguments!r}))
"""


@pytest.mark.parametrize(
    ("framework", "forbidden"),
    [
        ("torch", ("keras", "tensorflow")),
        pytest.param("keras", ("torch", "jax"), marks=pytest.mark.full),
    ],
)
def test_two_models_of_one_framework_need_no_other_framework(framework, forbidden):
    arguments = [
        "diagnose",
        f"{framework}:resnet20",
        f"{framework}:resnet20",
        "--size",
        "16x32",
        "--json",
    ]
    result = python("-c", BLOCKER.format(forbidden=forbidden, arguments=arguments))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["same"] is True


@pytest.mark.parametrize(
    "model",
    [
        "parity_tests.diagnose.faulty_models:correct_keras",
        pytest.param("keras:resnet20", marks=pytest.mark.full),
    ],
)
def test_keras_on_torch_can_be_diagnosed(model):
    """On the torch backend, a Keras model is a torch.nn.Module too."""
    other = (
        "torch:resnet20"
        if model == "keras:resnet20"
        else "parity_tests.diagnose.faulty_models:correct_torch"
    )
    arguments = ("diagnose", other, model, "--size", "16x32")
    result = command(*arguments, KERAS_BACKEND="torch")
    assert (result.returncode, "the same function" in result.stdout) == (0, True), result.stderr
