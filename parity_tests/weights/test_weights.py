"""Weights travel between the implementations complete, unchanged and strictly checked."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
import torchvision

from resnet_spec import ArchitectureError, WeightsError

import resnet_keras
import resnet_torch
from parity_tests.support import ONE_OF_EACH_KIND, SMALL, TINY, TORCHVISION, light, random

FRAMEWORKS = [resnet_torch, resnet_keras]
BOTH_FRAMEWORKS = pytest.mark.parametrize(
    "framework", FRAMEWORKS, ids=lambda framework: framework.__name__
)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return dict(random(TINY.name, "float32").weights)


QUICK = ["resnet18", "resnext50_32x4d", "resnet34_a", "keras_resnet50v2", "seresnet50"]


@pytest.mark.parametrize("name", light(sorted({*TORCHVISION, *ONE_OF_EACH_KIND}), QUICK))
def test_torch_keras_torch_is_the_identity(name):
    torch_model, keras_model = (framework.create_model(name) for framework in FRAMEWORKS)
    generator = np.random.default_rng(0)
    weights = resnet_torch.get_weights(torch_model)
    for key, value in weights.items():
        if value.ndim == 1:  # norms start as ones and zeros, which any mix-up would keep
            weights[key] = generator.random(value.shape, "float32")
    resnet_torch.set_weights(torch_model, weights)
    resnet_keras.set_weights(keras_model, resnet_torch.get_weights(torch_model))
    with torch.no_grad():
        for value in torch_model.state_dict().values():
            value.fill_(7)
    resnet_torch.set_weights(torch_model, resnet_keras.get_weights(keras_model))
    final = resnet_torch.get_weights(torch_model)
    assert list(final) == list(weights)
    for key, value in weights.items():
        assert final[key].tobytes() == value.tobytes(), key


@BOTH_FRAMEWORKS
def test_get_weights_returns_copies(framework: ModuleType, weights):
    model = framework.create_model(TINY)
    framework.set_weights(model, weights)
    for value in framework.get_weights(model).values():
        assert value.flags.c_contiguous
        value.fill(7)
    np.testing.assert_array_equal(framework.get_weights(model)["fc.weight"], weights["fc.weight"])


@BOTH_FRAMEWORKS
def test_set_weights_does_not_modify_its_input(framework: ModuleType, weights):
    before = {name: value.copy() for name, value in weights.items()}
    for value in weights.values():
        value.flags.writeable = False
    model = framework.create_model(TINY)
    framework.set_weights(model, weights)
    for value in model.parameters() if framework is resnet_torch else ():
        value.data.fill_(7)
    assert list(weights) == list(before)
    for name, value in before.items():
        np.testing.assert_array_equal(weights[name], value)


def spoilt(kind: str, weights: dict[str, np.ndarray]) -> str:
    """Spoil the weights in one way; return a pattern that the error must match."""
    if kind == "missing":
        del weights["layer1.0.conv2.weight"]
        return "layer1.0.conv2.weight is missing"
    if kind == "extra":
        weights["layer9.0.conv1.weight"] = np.zeros(3, "float32")
        return "layer9.0.conv1.weight is not a tensor of this architecture"
    if kind == "shape":
        weights["fc.weight"] = weights["fc.weight"].T.copy()
        return r"fc.weight has shape \(32, 10\), expected \(10, 32\)"
    if kind == "dtype":
        weights["fc.bias"] = weights["fc.bias"].astype("float64")
        return "fc.bias is float64, the model is float32"
    if kind == "not an array":
        weights["fc.bias"] = [0.0] * 10  # type: ignore[assignment]
        return "weights are NumPy arrays"
    name = "bn1.running_var" if kind == "negative variance" else "layer2.0.bn2.running_mean"
    weights[name] = weights[name].copy()
    weights[name][3] = {"nan": np.nan, "infinite": -np.inf, "negative variance": -0.5}[kind]
    return f"{name} holds " + ("a negative variance" if kind[:3] == "neg" else "values that are")


KINDS = ["missing", "extra", "shape", "dtype", "not an array", "nan", "infinite"]


@BOTH_FRAMEWORKS
@pytest.mark.parametrize("kind", [*KINDS, "negative variance"])
def test_spoilt_weights_are_refused_and_nothing_is_set(framework: ModuleType, kind, weights):
    model = framework.create_model(TINY)
    before = framework.get_weights(model)
    message = spoilt(kind, weights)
    with pytest.raises(WeightsError, match=message):
        framework.set_weights(model, weights)
    for name, value in framework.get_weights(model).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


@BOTH_FRAMEWORKS
def test_all_problems_are_named_in_one_error(framework: ModuleType, weights):
    messages = [spoilt(kind, weights) for kind in ("missing", "extra", "shape", "nan")]
    with pytest.raises(WeightsError) as caught:
        framework.set_weights(framework.create_model(TINY), weights)
    assert len(caught.value.problems) == len(messages)


@BOTH_FRAMEWORKS
@pytest.mark.parametrize("weights", [None, [1, 2], "weights"])
def test_anything_but_a_mapping_is_refused(framework: ModuleType, weights):
    with pytest.raises(WeightsError, match="a mapping of names to arrays"):
        framework.set_weights(framework.create_model(TINY), weights)


@BOTH_FRAMEWORKS
def test_a_state_dict_of_tensors_is_refused_with_the_fix(framework: ModuleType):
    state = resnet_torch.create_model(TINY).state_dict()
    with pytest.raises(WeightsError, match="found Tensor; convert them: weights = "):
        framework.set_weights(framework.create_model(TINY), state)


def test_two_names_for_one_tensor_are_refused():
    model = resnet_torch.create_model(SMALL)
    stage = model.get_submodule("layer1")
    stage.add_module("1", stage.get_submodule("2"))
    with pytest.raises(WeightsError, match="two of its tensors are one"):
        resnet_torch.get_weights(model)


def test_each_tensor_has_its_own_dtype(weights):
    """Half-precision convolutions between float32 norms, as mixed models have them."""
    model = resnet_torch.create_model(TINY)
    model.conv1.half()
    with pytest.raises(WeightsError, match=r"conv1\.weight is float32, the model is float16"):
        resnet_torch.set_weights(model, weights)
    resnet_torch.set_weights(model, resnet_torch.get_weights(model))


def test_bfloat16_is_refused_with_the_fix():
    model = resnet_torch.create_model(TINY, dtype=torch.bfloat16)
    with pytest.raises(WeightsError, match=r"model.float\(\)"):
        resnet_torch.get_weights(model)


@BOTH_FRAMEWORKS
def test_the_step_counter_of_torch_is_ignored(framework: ModuleType, weights):
    weights["bn1.num_batches_tracked"] = np.array(3)
    framework.set_weights(framework.create_model(TINY), weights)
    weights["conv1.num_batches_tracked"] = np.array(3)
    with pytest.raises(WeightsError, match=r"conv1\.num_batches_tracked is not a tensor"):
        framework.set_weights(framework.create_model(TINY), weights)


@BOTH_FRAMEWORKS
def test_a_model_of_another_architecture_is_refused(framework: ModuleType, weights):
    model = framework.create_model(SMALL)
    with pytest.raises(WeightsError, match="the model is not a 'tiny'"):
        framework.set_weights(model, weights, architecture=TINY)
    with pytest.raises(WeightsError, match="the model is not a 'tiny'"):
        framework.get_weights(model, architecture=TINY)


def test_a_model_of_the_other_implementation_is_refused(weights):
    keras_model, torch_model = resnet_keras.create_model(TINY), resnet_torch.create_model(TINY)
    with pytest.raises(WeightsError, match="this is not a PyTorch module"):
        resnet_torch.set_weights(keras_model, weights)
    with pytest.raises(WeightsError, match="this is not a Keras model"):
        resnet_keras.set_weights(torch_model, weights)


def test_a_model_of_another_library_needs_a_name():
    other = torchvision.models.resnet18()
    with pytest.raises(ArchitectureError, match="pass architecture="):
        resnet_torch.get_weights(other)
    weights = resnet_torch.get_weights(other, "resnet18")
    resnet_keras.set_weights(resnet_keras.resnet18(), weights)


def test_float64_weights_need_a_float64_model(weights):
    wide = {name: value.astype("float64") for name, value in weights.items()}
    with pytest.raises(WeightsError, match="float64, the model is float32"):
        resnet_torch.set_weights(resnet_torch.create_model(TINY), wide)
    resnet_torch.set_weights(resnet_torch.create_model(TINY, dtype=torch.float64), wide)
    resnet_keras.set_weights(resnet_keras.create_model(TINY, dtype="float64"), wide)
