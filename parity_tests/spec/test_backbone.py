"""Backbones: feature maps, dilation instead of stride, no head, in both implementations."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import timm
import torch
import torchvision

from resnet_spec import get_architecture, outputs

import resnet_keras
import resnet_torch
from parity_tests.support import EVERYTHING, SMALL, TINY, light, quick_engines
from parity_tests.weights.test_libraries import randomised
from resnet_parity.checks import run_check
from resnet_parity.compare import relative_error
from resnet_parity.probes import exact_probe, random_probe
from resnet_parity.tolerances import limit
from resnet_parity.weights.libraries import from_timm

ARCHITECTURES = [
    get_architecture("resnet50", features_only=True),
    get_architecture("resnet18", features_only=True, out_indices=(0, 2), output_stride=4),
    get_architecture("resnet50", output_stride=8),
    get_architecture("resnet50", output_stride=16, num_classes=0),
    get_architecture("resnet18", output_stride=8),
    get_architecture("resnet50d", output_stride=8),
    get_architecture("resnet50_v1", output_stride=8),
    get_architecture("resnetv2_50", features_only=True, output_stride=16),
    get_architecture("keras_resnet50v2", output_stride=8, num_classes=0),
    get_architecture("seresnet50", features_only=True, out_indices=(4,), output_stride=8),
    get_architecture("resnet20", features_only=True, output_stride=1),
    get_architecture("resnetv2_50", features_only=True, out_indices=(0,)),
]

QUICK = [arch for arch in ARCHITECTURES if arch.name == "resnet18" and arch.out_indices]


def title(arch) -> str:
    return f"{arch.name}-{arch.output_stride}-{arch.num_classes}-{arch.out_indices}"


@pytest.mark.parametrize("arch", light(ARCHITECTURES, QUICK), ids=title)
def test_exact_at_every_level(arch):
    probe = exact_probe(arch, 0, "float32")
    assert set(outputs(arch)) <= set(probe.expected)
    for verdict in run_check("exact", probe, quick_engines("exact", "float32")):
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.divergence}"


@pytest.mark.parametrize("arch", light(ARCHITECTURES[:6], QUICK), ids=title)
def test_float64_at_every_level(arch):
    for verdict in run_check(
        "float64", random_probe(arch, 0, "float64"), quick_engines("float64", "float64")
    ):
        assert verdict.status == "pass", f"{verdict.engine}: {verdict.divergence}"


@pytest.mark.parametrize("arch", [SMALL, TINY, EVERYTHING], ids=lambda arch: arch.name)
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_dilation_keeps_the_values_that_the_stride_would_have_kept(arch, preactivation, last):
    """Every n-th cell of the dilated map is a cell of the strided map, bit for bit."""
    given = {"preactivation": preactivation, "stride_in_last_block": last, "features_only": True}
    strided = get_architecture(arch, output_stride=None, se=None, **given)
    dilated = get_architecture(arch, output_stride=strided.strides[0], se=None, **given)
    probe = exact_probe(strided, 0, "float32", (64, 128))
    images = torch.from_numpy(probe.images)
    maps = []
    for each in (strided, dilated):
        model = resnet_torch.create_model(each).eval()
        resnet_torch.set_weights(model, probe.weights)
        with torch.no_grad():
            maps.append(model(images))
    ratios = []
    for small, large in zip(*maps, strict=True):
        ratios.append(large.shape[2] // small.shape[2])
        assert torch.equal(small, large[:, :, :: ratios[-1], :: ratios[-1]])
    assert ratios[-1] > 1


@pytest.mark.parametrize("stride", [8, 16])
@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_dilation_is_torchvisions(name, stride):
    torch.manual_seed(0)
    replaced = [False, stride == 8, True]
    theirs = getattr(torchvision.models, name)(replace_stride_with_dilation=replaced).eval()
    ours = resnet_torch.create_model(name, output_stride=stride).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


CUT = [
    (name, stride)
    for name in ("resnet18", "resnet50d", "seresnet18", "resnetv2_50")
    for stride in (8, 16, 32)
]
FEW = [("resnet18", 8), ("seresnet18", 16), ("resnetv2_50", 32)]


@pytest.mark.parametrize(("name", "stride"), light(CUT, FEW))
def test_feature_maps_are_timms(name, stride):
    options = {"features_only": True, "out_indices": (0, 2, 4)}
    theirs = randomised(name, output_stride=stride, **options).double()
    arch = get_architecture(name, output_stride=stride, **options)
    whole = timm.create_model(name, output_stride=stride)
    state = _with_names_of(theirs, whole)
    weights = from_timm(state, arch)
    images = np.random.default_rng(1).normal(size=(2, 3, 65, 96))
    with torch.no_grad():
        expected = [each.numpy() for each in theirs(torch.from_numpy(images))]
    torch_model = resnet_torch.create_model(arch, dtype=torch.float64).eval()
    keras_model = resnet_keras.create_model(arch, dtype="float64")
    resnet_torch.set_weights(torch_model, weights)
    resnet_keras.set_weights(keras_model, weights)
    with torch.no_grad():
        ours = [each.numpy() for each in torch_model(torch.from_numpy(images))]
    keras_maps = keras_model(np.einsum("nchw->nhwc", images), training=False)
    for ours_map, keras_map, their_map in zip(ours, keras_maps, expected, strict=True):
        keras_map = np.einsum("nhwc->nchw", keras.ops.convert_to_numpy(keras_map))
        assert relative_error(their_map, ours_map) <= limit("float64", "taps")
        assert relative_error(their_map, keras_map) <= limit("float64", "taps")
    info: Any = theirs.feature_info
    assert [feature.channels for feature in torch_model.feature_info] == info.channels()
    assert [feature.reduction for feature in torch_model.feature_info] == info.reduction()


def _with_names_of(backbone: torch.nn.Module, whole: torch.nn.Module) -> dict:
    """The backbone's tensors by their names in the whole network; timm joins some with `_`."""
    names = {key.replace(".", "_"): key for key in whole.state_dict()}
    return {names[key.replace(".", "_")]: value for key, value in backbone.state_dict().items()}


def test_feature_info_describes_the_feature_maps():
    for framework in (resnet_torch, resnet_keras):
        model = framework.resnet50(features_only=True, out_indices=(1, 3), output_stride=8)
        assert [(f.channels, f.reduction) for f in model.feature_info] == [(256, 4), (1024, 8)]
        assert [f.name for f in model.feature_info] == ["layer1.2", "layer3.5"]
        assert framework.create_model(TINY).feature_info == ()


def test_without_classes_a_model_returns_pooled_features():
    images = np.random.default_rng(0).normal(size=(2, 3, 64, 96)).astype("float32")
    model = resnet_torch.resnet18(num_classes=0).eval()
    keras_model = resnet_keras.resnet18(num_classes=0)
    resnet_keras.set_weights(keras_model, resnet_torch.get_weights(model))
    assert model(torch.from_numpy(images)).shape == (2, 512)
    assert keras_model(np.einsum("nchw->nhwc", images)).shape == (2, 512)
    assert not any(name.startswith("fc") for name in resnet_keras.get_weights(keras_model))
