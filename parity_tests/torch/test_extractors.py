"""The tools with which people take features from a PyTorch model see what the model computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor

import resnet_torch
from parity_tests.support import ALL_NAMES, light, with_random_statistics

IMAGES = (2, 3, 48, 40)
QUICK = (
    *("resnet18", "resnet20", "plain20", "resnet18d", "seresnet18", "resnetv2_18"),
    *("resnetv2_18_small", "keras_resnet50v2"),
)


@pytest.fixture(params=light(ALL_NAMES, QUICK))
def model(request) -> resnet_torch.ResNet:
    torch.manual_seed(0)
    model = with_random_statistics(resnet_torch.create_model(request.param, num_classes=5))
    assert isinstance(model, resnet_torch.ResNet)
    return model.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(0))


def twin(model: resnet_torch.ResNet, **options) -> resnet_torch.ResNet:
    """The same network with another head, and the same weights where it has them."""
    other = resnet_torch.create_model(model.architecture.name, **options).eval()
    state = model.state_dict()
    other.load_state_dict({name: state[name] for name in other.state_dict()})
    return other


@torch.inference_mode()
def test_chained_children_are_the_network_without_its_head(model, images):
    """The commonest way to get features."""
    body = nn.Sequential(*list(model.children())[:-1])
    assert torch.equal(body(images), twin(model, num_classes=0)(images))
    assert torch.equal(nn.Sequential(*model.children())(images), model(images))


@torch.inference_mode()
def test_extractors_return_the_maps_of_features_only(model, images):
    names = {stage: stage for stage in model.stages}
    maps = twin(model, features_only=True)(images)[1:]
    for extractor in (
        IntermediateLayerGetter(model, names),
        create_feature_extractor(model, names),
    ):
        found = extractor(images)
        assert list(found) == list(names)
        for expected, value in zip(maps, found.values(), strict=True):
            assert torch.equal(value, expected)


@torch.inference_mode()
def test_nothing_overwrites_what_a_module_returned(model, images):
    """So a forward hook may keep a tensor without a copy."""
    kept: dict[str, torch.Tensor] = {}
    copies: dict[str, torch.Tensor] = {}

    def hook(name: str):
        def keep(module, inputs, output):
            kept[name], copies[name] = output, output.clone()

        return keep

    for name, module in model.named_modules():
        module.register_forward_hook(hook(name))
    model(images)
    assert len(kept) > 20
    assert [name for name, value in kept.items() if not torch.equal(value, copies[name])] == []


def test_full_backward_hooks_work_on_every_module(model, images):
    """Grad-CAM, guided backpropagation and gradient monitors register them."""
    seen: set[str] = set()
    modules = {name: module for name, module in model.named_modules() if name}
    for name, module in modules.items():
        module.register_full_backward_hook(lambda *_, name=name: seen.add(name))
    model(images.requires_grad_()).sum().backward()
    empty = {
        name
        for name, module in modules.items()
        if isinstance(module, nn.Sequential) and not len(module)
    }
    assert seen >= set(modules) - empty
