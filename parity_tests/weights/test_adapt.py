"""Adapted weights: timm's rule for the stem, a new head, or no head."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from timm.models._manipulate import adapt_input_conv

from resnet_spec import WeightsError, get_architecture

import resnet_keras
import resnet_torch
from parity_tests.support import SMALL, TINY, random
from resnet_parity.weights.adapt import adapt_weights


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    return dict(random(TINY.name, "float32").weights)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6, 7, 12])
@pytest.mark.parametrize("name", ["resnet18", "resnet50d"])
def test_the_stem_follows_timms_rule(channels, name):
    weights = resnet_torch.get_weights(resnet_torch.create_model(name))
    stem = next(iter(weights))
    adapted = adapt_weights(weights, get_architecture(name, in_channels=channels))
    theirs = adapt_input_conv(channels, torch.from_numpy(weights[stem])).numpy()
    np.testing.assert_array_equal(adapted.weights[stem], theirs)
    assert len(adapted.changes) == 1
    words = "summed over its 3 channels into one" if channels == 1 else f"scaled by 3/{channels}"
    assert adapted.changes[0].startswith(f"{stem}: ")
    assert words in adapted.changes[0]


def test_the_adapted_weights_fit_both_implementations_and_are_equal(weights):
    arch = get_architecture(TINY, in_channels=4, num_classes=7)
    adapted = adapt_weights(weights, arch)
    assert len(adapted.changes) == 2
    assert "for 7 classes instead of 10 (seed 0)" in adapted.changes[1]
    for framework in (resnet_torch, resnet_keras):
        model = framework.create_model(arch)
        framework.set_weights(model, adapted.weights)
        for name, value in framework.get_weights(model).items():
            np.testing.assert_array_equal(value, adapted.weights[name])


def test_a_new_head_is_drawn_from_its_seed(weights):
    arch = get_architecture(TINY, num_classes=200)
    first, again = (adapt_weights(weights, arch, seed=1).weights for _ in range(2))
    other = adapt_weights(weights, arch, seed=2).weights
    bound = 1 / np.sqrt(32)
    for name in ("fc.weight", "fc.bias"):
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != other[name]).any()
        assert 0.9 * bound < np.abs(first[name]).max() <= bound
        assert first[name].dtype == "float32"
    np.testing.assert_array_equal(first["layer1.0.conv1.weight"], weights["layer1.0.conv1.weight"])


def test_tensors_that_a_shorter_net_lacks_are_left_out(weights):
    headless = adapt_weights(weights, get_architecture(TINY, num_classes=0))
    assert headless.changes == ("fc: left out, because this network has none",)
    assert set(weights) - set(headless.weights) == {"fc.weight", "fc.bias"}
    arch = get_architecture(TINY, features_only=True, out_indices=(1,))
    backbone = adapt_weights(weights, arch)
    assert backbone.changes == (
        "layer2: left out, because this network has none",
        "fc: left out, because this network has none",
    )
    resnet_keras.set_weights(resnet_keras.create_model(arch), backbone.weights)


def test_a_head_can_be_added(weights):
    headless = adapt_weights(weights, get_architecture(TINY, num_classes=0)).weights
    again = adapt_weights(headless, TINY)
    assert again.changes == ("fc: re-initialised, for 10 classes instead of none (seed 0)",)
    resnet_torch.set_weights(resnet_torch.create_model(TINY), again.weights)


def test_weights_that_fit_are_kept_and_the_input_is_not_modified(weights):
    before = {name: value.copy() for name, value in weights.items()}
    same = adapt_weights(weights | {"bn1.num_batches_tracked": np.array(3)}, TINY)
    assert same.changes == ()
    adapt_weights(weights, get_architecture(TINY, in_channels=1, num_classes=3))
    for name, value in before.items():
        np.testing.assert_array_equal(same.weights[name], value)
        np.testing.assert_array_equal(weights[name], value)


def test_a_head_that_does_not_fit_is_refused_and_not_replaced(weights):
    """A head in Keras' layout, or for other features, is a mistake that a new head would hide."""
    for wrong in (weights["fc.weight"].T.copy(), weights["fc.weight"][:, :16].copy()):
        with pytest.raises(WeightsError, match=r"fc.weight has shape"):
            adapt_weights(weights | {"fc.weight": wrong}, TINY)


def test_step_counters_do_not_decide_the_dtype(weights):
    first = {"bn1.num_batches_tracked": np.array(3), **weights}
    adapted = adapt_weights(first, get_architecture(TINY, num_classes=7))
    assert adapted.weights["fc.weight"].dtype == "float32"


def test_all_other_differences_are_refused(weights):
    with pytest.raises(WeightsError, match=r"layer1.0.conv3.weight is missing"):
        adapt_weights(weights, SMALL)
    state = resnet_torch.create_model(TINY).state_dict()
    for given, message in ((state, "found Tensor"), (None, "this is a NoneType")):
        with pytest.raises(WeightsError, match=message):
            adapt_weights(given, TINY)  # pyright: ignore[reportArgumentType]
    del weights["layer1.0.bn1.weight"]
    weights["layer9.weight"] = np.zeros(3, "float32")
    with pytest.raises(WeightsError) as caught:
        adapt_weights(weights, TINY)
    assert len(caught.value.problems) == 2
    with pytest.raises(WeightsError, match=r"conv1.weight is missing"):
        adapt_weights({}, TINY)
