"""The PyTorch implementation: equal to torchvision bit for bit, and an idiomatic module."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision
from torch import nn

from resnet_spec import (
    ARCHITECTURES,
    DEEP_STEM,
    ArchitectureError,
    SqueezeRatio,
    make_plan,
)

import resnet_torch
from parity_tests.support import (
    ONE_OF_EACH_KIND,
    SMALL,
    TINY,
    TORCHVISION,
    USERS,
    light,
    with_random_statistics,
)


def randomised(name: str) -> nn.Module:
    """torchvision's model with random statistics, as after training."""
    torch.manual_seed(0)
    return with_random_statistics(getattr(torchvision.models, name)())


@pytest.mark.parametrize("name", light(TORCHVISION, ["resnet18", "resnet50", "resnext50_32x4d"]))
def test_torchvisions_state_dict_gives_torchvisions_bits(name):
    theirs = randomised(name)
    ours = getattr(resnet_torch, name)()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(ours.eval()(images), theirs.eval()(images))
        assert torch.equal(ours.train()(images), theirs.train()(images))
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        assert torch.equal(value, state[key]), key  # the running statistics after a step


def test_training_gives_torchvisions_gradients():
    theirs = randomised("resnet18").train()
    ours = resnet_torch.resnet18()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    images, labels = torch.randn(2, 3, 64, 96), torch.tensor([3, 7])
    for model in (ours, theirs):
        nn.functional.cross_entropy(model(images), labels).backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        ours_grad, theirs_grad = parameter.grad, gradients[name].grad
        assert ours_grad is not None
        assert theirs_grad is not None
        assert torch.equal(ours_grad, theirs_grad), name


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_channels_last_stays_through_every_convolution(name):
    model = getattr(resnet_torch, name)().eval().to(memory_format=torch.channels_last)
    seen = []

    def check(module, inputs, output):
        seen.append(output.is_contiguous(memory_format=torch.channels_last))

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(check)
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 96).to(memory_format=torch.channels_last))
    convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    assert len(seen) == convolutions
    assert all(seen)


COMPILED = [
    TINY,
    SMALL,
    USERS[0],
    replace(SMALL, preactivation=True, se=SqueezeRatio(), stem=DEEP_STEM, avg_down=True),
    replace(TINY, shortcut="A", num_classes=0, output_stride=4),
    replace(SMALL, residual=False, out_indices=(0, 1)),
]


@pytest.mark.parametrize("arch", light(COMPILED, COMPILED[3:]), ids=lambda arch: arch.name)
def test_compiles_as_one_graph(arch):
    """`fullgraph` forbids a graph break; the backend `aot_eager` changes no bit."""
    model = resnet_torch.create_model(arch).eval()
    images = torch.randn(2, arch.in_channels, 64, 96)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        ours, theirs = compiled(images), model(images)
    if isinstance(theirs, torch.Tensor):
        ours, theirs = [ours], [theirs]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


EXPORTED = ["resnet18", "resnet50", "keras_resnet50v2", "seresnet18"]


@pytest.mark.parametrize("name", light(EXPORTED, EXPORTED[:1]))
def test_exports(name):
    model = getattr(resnet_torch, name)().eval()
    images = torch.randn(2, 3, 64, 96)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(model, (images,), dynamic_shapes={"image": {0: batch}})
    with torch.no_grad():
        for count in (2, 3):
            other = torch.randn(count, 3, 64, 96)
            assert torch.equal(program.module()(other), model(other))


def test_dtype_and_overrides():
    model = resnet_torch.resnet18(num_classes=7, in_channels=5, dtype=torch.float64)
    assert {value.dtype for value in model.parameters()} == {torch.float64}
    assert model(torch.randn(2, 5, 32, 48, dtype=torch.float64)).shape == (2, 7)
    assert model.architecture == resnet_torch.create_model(model.architecture).architecture


def test_zero_init_residual():
    model = resnet_torch.resnet50(zero_init_residual=True)
    weights = resnet_torch.get_weights(model)
    for block in make_plan(model.architecture).blocks:
        assert not weights[f"{block.name}.bn3.weight"].any()
        assert weights[f"{block.name}.bn2.weight"].all()


def test_a_bad_name_is_refused():
    with pytest.raises(ArchitectureError, match="did you mean"):
        resnet_torch.create_model("resnet51")


def test_one_function_per_row():
    for name, arch in ARCHITECTURES.items():
        with torch.device("meta"):
            assert getattr(resnet_torch, name)().architecture == arch
