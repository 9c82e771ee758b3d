"""Recipes, and how both implementations train by them."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import torch

from resnet_spec import Recipe, RecipeError, WeightsError, named_recipe

import resnet_keras
import resnet_keras.optimizer
import resnet_keras.training
import resnet_torch
import resnet_torch.optimizer
import resnet_torch.training
from parity_tests.support import TINY
from resnet_keras.training import BatchNormalization
from resnet_parity.compare import relative_error
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import least_noise_floor, limit

FRAMEWORKS = [resnet_torch, resnet_keras]
GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"momentum": 1.0}, "momentum must lie in"),
        ({"momentum": 0}, "momentum must be a float, not 0"),
        ({"nesterov": True, "momentum": 0.0}, "nesterov looks ahead"),
        ({"weight_decay": -0.1}, "weight_decay must lie in"),
        ({"label_smoothing": 1.0}, "label_smoothing must lie in"),
        ({"ema": 1.0}, "ema must lie in"),
        ({"learning_rate": math.inf}, "learning_rate must be positive"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"schedule": "exponential"}, "schedule must be one of constant, step, cosine"),
        ({"period": 0}, "period must be at least 1"),
        ({"warmup": -1}, "warmup must be at least 0 steps"),
        ({"decay_all": 1}, "decay_all must be True or False"),
    ],
)
def test_an_invalid_recipe(fields: dict[str, Any], message: str):
    with pytest.raises(RecipeError, match=message):
        Recipe(**fields)


def test_all_problems_of_a_recipe_are_reported_at_once():
    with pytest.raises(RecipeError, match=r"(?s)momentum.*period"):
        Recipe(momentum=2.0, period=-1)


def test_learning_rates():
    assert Recipe(0.5).learning_rate_at(10**6) == 0.5
    step = Recipe(0.5, schedule="step", period=3)
    assert [step.learning_rate_at(i) for i in (0, 2, 3, 6)] == [0.5, 0.5, 0.05, 0.005]
    cosine = Recipe(0.5, schedule="cosine", period=4)
    rates = np.array([cosine.learning_rate_at(i) for i in (0, 2, 4, 9)])
    assert np.abs(rates - [0.5, 0.25, 0, 0]).max() < least_noise_floor()


def test_a_warmup_comes_before_the_schedule():
    recipe = Recipe(0.5, schedule="step", period=2, warmup=4)
    rates = [recipe.learning_rate_at(step) for step in range(8)]
    assert rates == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5, 0.05, 0.05]


def test_named_recipes():
    paper = named_recipe("paper", epochs=90, steps=10, batch=256)
    assert paper == Recipe(schedule="step", period=300)
    assert named_recipe("paper", epochs=1, steps=1, batch=64) == Recipe(
        0.1 * 64 / 256, schedule="step", period=1
    )
    tricks = named_recipe("bag-of-tricks", epochs=120, steps=10, batch=256)
    assert (tricks.warmup, tricks.period, tricks.decay_all) == (50, 1150, False)
    assert tricks.learning_rate_at(50) == tricks.learning_rate == paper.learning_rate
    assert named_recipe("bag-of-tricks", epochs=10, steps=10, batch=256).warmup == 10
    tuning = named_recipe("fine-tune", epochs=2, steps=3, batch=512)
    assert (tuning.learning_rate, tuning.period, tuning.nesterov) == (0.02, 6, True)
    with pytest.raises(RecipeError, match="unknown recipe 'quick'"):
        named_recipe("quick", epochs=1, steps=1, batch=2)  # pyright: ignore[reportArgumentType]


def test_which_tensors_are_decayed():
    assert Recipe().decays((64,))
    assert Recipe(decay_all=False).decays((10, 64))
    assert not Recipe(decay_all=False).decays((64,))


def trained(framework):
    """A model of that framework and its optimiser, after one step."""
    dtype: Any = torch.float32 if framework is resnet_torch else "float32"
    model = framework.create_model(TINY, dtype=dtype)
    framework.set_weights(model, random_weights(TINY, 0, "float32"))
    model = framework.training.for_training(model)
    recipe = Recipe(0.05)
    optimizer = framework.optimizer.sgd(model, recipe)
    images = GENERATOR.normal(size=(4, 3, 32, 48)).astype("float32")
    images = images if framework is resnet_torch else np.einsum("nchw->nhwc", images)
    loss = framework.training.cross_entropy(model, recipe)
    framework.training.train_step(model, optimizer, loss, images, np.array([1, 2, 3, 9]), 0.05)
    return model, optimizer


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.__name__)
def test_momentum_is_read_and_set(framework):
    model, optimizer = trained(framework)
    buffers = framework.optimizer.get_momentum(model, optimizer)
    names = [name for name in framework.get_weights(model) if "running" not in name]
    assert list(buffers) == names
    assert all(buffer.any() for buffer in buffers.values())
    doubled = {name: 2 * buffer for name, buffer in buffers.items()}
    framework.optimizer.set_momentum(model, optimizer, doubled)
    again = framework.optimizer.get_momentum(model, optimizer)
    for name, buffer in again.items():
        np.testing.assert_array_equal(buffer, doubled[name])
    wrong = {name: buffer for name, buffer in buffers.items() if name != "fc.bias"}
    wrong |= {"fc.weight": buffers["fc.weight"].T, "surplus": np.zeros(1)}
    with pytest.raises(WeightsError, match=r"(?s)3 problems.*fc.bias.*fc.weight.*surplus"):
        framework.optimizer.set_momentum(model, optimizer, wrong)
    for name, buffer in framework.optimizer.get_momentum(model, optimizer).items():
        np.testing.assert_array_equal(buffer, again[name])


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.__name__)
def test_buffers_are_zero_before_the_first_step_and_absent_without_momentum(framework):
    model = framework.training.for_training(framework.create_model(TINY))
    fresh = framework.optimizer.get_momentum(model, framework.optimizer.sgd(model, Recipe()))
    assert fresh
    assert not any(buffer.any() for buffer in fresh.values())
    none = framework.optimizer.sgd(model, Recipe(momentum=0.0))
    assert framework.optimizer.get_momentum(model, none) == {}
    framework.optimizer.set_momentum(model, none, {})


def test_saved_models_have_stock_layers(tmp_path):
    """Training replaces the norms of a copy, whose weights fit the original model."""
    stock = resnet_keras.create_model(TINY, dtype="float32")
    before = resnet_keras.get_weights(stock)
    model, _ = trained(resnet_keras)
    assert [layer.name for layer in model.layers] == [layer.name for layer in stock.layers]
    resnet_keras.set_weights(stock, resnet_keras.get_weights(model))
    assert all(type(layer).__module__.startswith("keras.") for layer in stock.layers)
    images = GENERATOR.normal(size=(2, 32, 48, 3)).astype("float32")
    np.testing.assert_array_equal(stock(images, training=False), model(images, training=False))
    resnet_keras.set_weights(stock, before)
    path = tmp_path / "checkpoint.keras"  # for this project, in the middle of training
    model.save(path)
    loaded: Any = keras.models.load_model(path)
    np.testing.assert_array_equal(loaded(images, training=False), model(images, training=False))
    assert isinstance(loaded.optimizer, resnet_keras.optimizer.CoupledSGD)
    assert loaded.optimizer.l2 == Recipe().weight_decay


def test_keras_fit_trains():
    """Keras' own loop and callbacks work with this model, optimiser and loss."""
    model = resnet_keras.training.for_training(resnet_keras.create_model(TINY, dtype="float32"))
    recipe = Recipe(0.05, nesterov=True, label_smoothing=0.1)
    optimizer = resnet_keras.optimizer.sgd(model, recipe)
    model.compile(optimizer, resnet_keras.training.cross_entropy(model, recipe))
    images = GENERATOR.normal(size=(8, 32, 48, 3)).astype("float32")
    labels = keras.utils.to_categorical(np.arange(8) % 10, 10)
    rate = keras.callbacks.LearningRateScheduler(recipe.learning_rate_at)
    model.fit(images, labels, batch_size=4, epochs=1, verbose=0, callbacks=[rate])
    assert keras.config.floatx() == "float32"


def norm(x: np.ndarray, policy: str = "float32") -> tuple[np.ndarray, BatchNormalization]:
    layer = BatchNormalization(momentum=0.5, epsilon=1e-5, dtype=policy)
    return np.asarray(layer(x, training=True)), layer


def test_the_fused_norm_is_the_unfused_one(monkeypatch):
    x = (3 + 2 * GENERATOR.normal(size=(4, 5, 6, 7))).astype("float32")
    calls = []
    fused = resnet_keras.training._fused
    monkeypatch.setattr(
        resnet_keras.training, "_fused", lambda *given: calls.append(1) or fused(*given)
    )
    (ours, layer), (exact, wide) = norm(x), norm(x.astype("float64"), "float64")
    assert len(calls) == 1, "only float32 is fused"
    close = limit("float32", "noise floor of taps")
    assert relative_error(exact, ours) < close
    expected = 0.5 + 0.5 * x.astype("float64").var(axis=(0, 1, 2), ddof=1)
    assert relative_error(expected, np.asarray(layer.moving_variance)) < close
    assert relative_error(expected, np.asarray(wide.moving_variance)) < limit("float64", "taps")


def test_a_norm_in_mixed_precision_keeps_statistics_in_float32():
    x = GENERATOR.normal(size=(4, 5, 6, 7)).astype("float32")
    output, layer = norm(x, "mixed_bfloat16")
    assert output.dtype.name == "bfloat16"
    assert layer.moving_variance.dtype == "float32"


@pytest.mark.parametrize("policy", ["float32", "float64"])
def test_a_single_value_has_variance_zero(policy):
    _, layer = norm(np.full((1, 1, 1, 3), 2, policy), policy)
    np.testing.assert_array_equal(layer.moving_variance, np.full(3, 0.5))


def test_a_frozen_norm_is_the_stock_layer():
    x = GENERATOR.normal(size=(4, 5, 6, 7)).astype("float32")
    _, layer = norm(x)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))


def test_reading_the_momentum_of_a_fresh_optimizer_writes_nothing():
    model = resnet_torch.create_model(TINY)
    optimizer = resnet_torch.optimizer.sgd(model, Recipe())
    assert not any(
        value.any() for value in resnet_torch.optimizer.get_momentum(model, optimizer).values()
    )
    assert not optimizer.state


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_labels_may_be_any_integers(dtype):
    recipe, model = Recipe(), resnet_torch.create_model(TINY)
    step = resnet_torch.training.train_step
    parts = (
        resnet_torch.optimizer.sgd(model, recipe),
        resnet_torch.training.cross_entropy(model, recipe),
    )
    images = np.ones((2, 3, 32, 48), "float32")
    assert math.isfinite(step(model, *parts, images, np.arange(2, dtype=dtype), 0.5))
