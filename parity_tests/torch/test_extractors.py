"""The tools with which people look into a PyTorch model see what the model computes, bitwise."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint_sequential
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor

import resnet_torch
from parity_tests.support import (
    ALL_NAMES,
    EVERYTHING,
    KINDS,
    SMALL,
    find,
    light,
)
from resnet_parity.probes import random_weights

Maps = dict[str, Tensor]

IMAGES = (2, 3, 48, 40)
TESTED = [arch.name for arch in (SMALL, *KINDS, EVERYTHING)]
QUICK = [*TESTED, "resnet18", "resnetv2_18", "plain20"]


@pytest.fixture(scope="module", params=light([*TESTED, *ALL_NAMES], QUICK))
def built(request) -> resnet_torch.ResNet:
    model = resnet_torch.create_model(find(request.param), num_classes=5)
    assert isinstance(model, resnet_torch.ResNet)
    # Random statistics that keep even resnet1202 in range.
    resnet_torch.set_weights(model, random_weights(model.architecture, 0, "float32"))
    return model.eval()


@pytest.fixture
def model(built) -> Iterator[resnet_torch.ResNet]:
    """A model without hooks."""
    yield built
    unhook(built)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(IMAGES, generator=torch.Generator().manual_seed(0))


def unhook(model: nn.Module) -> None:
    for module in model.modules():
        module._forward_hooks.clear()
        module._backward_hooks.clear()


def twin(model: resnet_torch.ResNet, **options) -> resnet_torch.ResNet:
    """The same network with another head, and the same weights where it has them."""
    other = resnet_torch.create_model(model.architecture, **options).eval()
    state = model.state_dict()
    other.load_state_dict({name: state[name] for name in other.state_dict()})
    return other


def body(model: resnet_torch.ResNet) -> nn.Sequential:
    """The commonest way to get features."""
    return nn.Sequential(*list(model.children())[:-1])


def hooked(model: nn.Module, images: Tensor) -> Maps:
    """The outputs of the children; their copies are made at once, so nothing can overwrite them."""
    maps: Maps = {}

    def hook(name: str):
        return lambda _, inputs, output: maps.update({name: output.clone()})

    for name, child in model.named_children():
        child.register_forward_hook(hook(name))
    model(images)
    unhook(model)
    return maps


def chained(model: resnet_torch.ResNet, images: Tensor) -> Maps:
    x, maps = images, {}
    for name, child in list(model.named_children())[:-1]:
        x = maps[name] = child(x)
    assert torch.equal(x, body(model)(images))
    return maps


def layer_getter(model: resnet_torch.ResNet, images: Tensor) -> Maps:
    names = [name for name, _ in model.named_children() if name != "fc"]
    return IntermediateLayerGetter(model, {name: name for name in names})(images)


def fx_extractor(model: resnet_torch.ResNet, images: Tensor) -> Maps:
    names = [name for name, _ in model.named_children()]
    return create_feature_extractor(model, names)(images)


def features_only(model: resnet_torch.ResNet, images: Tensor) -> Maps:
    """The feature maps of the stem, before its pool, and of the stages."""
    backbone = twin(model, features_only=True)
    stem, *stages = backbone(images)
    name = "conv1" if model.architecture.preactivation else "relu"
    (last,) = twin(model, features_only=True, out_indices=(-1,))(images)
    assert torch.equal(last, stages[-1])
    return {name: stem, **dict(zip(model.stages, stages, strict=True))}


def without_classes(model: resnet_torch.ResNet, images: Tensor) -> Maps:
    return {"avgpool": twin(model, num_classes=0)(images)[..., None, None]}


def checkpointed(model: resnet_torch.ResNet, images: Tensor) -> Maps:
    """Checkpoints free what a segment computed, and compute it again for the gradients."""
    return {"avgpool": checkpoint_sequential(body(model), 3, images, use_reentrant=False)}


TOOLS: tuple[Callable[[resnet_torch.ResNet, Tensor], Maps], ...] = (
    *(chained, layer_getter, fx_extractor, features_only, without_classes, checkpointed),
)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.__name__)
def test_a_tool_returns_the_maps_that_hooks_see(model, images, tool):
    with torch.no_grad():
        expected = hooked(model, images)
        found = tool(model, images)
    assert found
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


@torch.inference_mode()
def test_nothing_overwrites_what_a_module_returned(model, images):
    """So a forward hook may keep a tensor without a copy."""
    kept: list[tuple[str, Tensor, Tensor]] = []
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda _, inputs, output, name=name: kept.append((name, output, output.clone()))
        )
    model(images)
    assert len(kept) > 20
    assert [name for name, value, then in kept if not torch.equal(value, then)] == []


def gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    """The gradients of the sum of the logits, for the images and every parameter."""
    images = images.clone().requires_grad_()
    return list(torch.autograd.grad(model(images).sum(), [images, *model.parameters()]))


def test_a_gradient_monitor_sees_every_module_and_changes_nothing(model, images):
    """Full backward hooks on all modules: norms, ReLUs, blocks, stages, the model."""
    expected = gradients(model, images)
    seen: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        module.register_full_backward_hook(
            lambda _, inputs, outputs, name=name: seen.update({name: outputs[0]})
        )
    assert all(map(torch.equal, gradients(model, images), expected))
    assert set(seen) == {name for name, _ in model.named_modules()}
    norms = [name for name, each in model.named_modules() if isinstance(each, nn.BatchNorm2d)]
    assert all(seen[name].any() for name in norms)


def test_grad_cam(model, images):
    """The map of the last stage and its gradient; both hooks are on the last block."""
    *_, block = model.get_submodule(model.stages[-1])
    seen: list[Tensor] = []
    block.register_forward_hook(lambda _, inputs, output: seen.append(output))
    block.register_full_backward_hook(lambda _, inputs, outputs: seen.append(outputs[0]))
    model(images)[:, 2].sum().backward()
    found, gradient = seen
    with torch.no_grad():
        features = chained(model, images)[model.stages[-1]]
    assert torch.equal(found, features)
    names = [name for name, _ in model.named_children()]
    *head, fc = list(model.children())[names.index(model.stages[-1]) + 1 :]
    x = features.requires_grad_()
    logits = fc(nn.Sequential(*head)(x).flatten(1))
    assert torch.equal(gradient, torch.autograd.grad(logits[:, 2].sum(), x)[0])


class GuidedReLU(nn.Module):
    """Guided backpropagation (Springenberg et al. 2015) without hooks."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(context, x):
            context.save_for_backward(x)
            return x.relu()

        @staticmethod
        def backward(context, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
            (x,) = context.saved_tensors
            return (gradient * (x > 0)).relu()

    def forward(self, x: Tensor) -> Tensor:
        return self.Function.apply(x)  # pyright: ignore[reportReturnType]


def test_guided_backpropagation(model, images):
    """Full backward hooks on ReLUs that change the gradient."""
    guided = copy.deepcopy(model)
    for module in list(guided.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, GuidedReLU())
    plain, *_ = gradients(model, images)
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    for module in relus:
        module.register_full_backward_hook(lambda _, inputs, outputs: (inputs[0].relu(),))
    found, *_ = gradients(model, images)
    assert torch.equal(found, gradients(guided, images)[0])
    assert not torch.equal(found, plain)


def test_checkpoints_have_the_gradients_of_the_model(model, images):
    class Checkpointed(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:
            return checkpoint_sequential(self, 4, input, use_reentrant=False)

    checkpointed = Checkpointed(*body(model), nn.Flatten(), model.fc)
    assert all(map(torch.equal, gradients(checkpointed, images), gradients(model, images)))
