"""The Keras adapter for runs: start, train for epochs, read and set all that a run needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from resnet_spec import Architecture, Batches, Recipe, ema_name

from resnet_keras import fit as loop
from resnet_keras.contexts import dtype_policy, functional
from resnet_keras.inference import prepare
from resnet_keras.model import create_model
from resnet_keras.optimizer import get_ema, set_ema, sgd
from resnet_keras.training import cross_entropy, for_training, freeze_backbone
from resnet_keras.weights import set_weights
from resnet_parity.adapters.keras import training_state
from resnet_parity.adapters.keras.devices import devices as devices
from resnet_parity.adapters.keras.devices import largest as largest
from resnet_parity.adapters.keras.devices import processes as processes
from resnet_parity.adapters.keras.devices import shared
from resnet_parity.adapters.keras.gradients import recorded
from resnet_parity.adapters.keras.modes import modes
from resnet_parity.adapters.protocol import EMA_STEPS, LOSS_SCALE, split_state


@dataclass(frozen=True)
class Run:
    """A training state, and the optimiser that scales a float16 loss, if there is one."""

    recipe: Recipe
    training_state: training_state.TrainingState
    scaler: keras.optimizers.LossScaleOptimizer | None


def start(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    recipe: Recipe,
    dtype: str,
    *,
    frozen: bool = False,
    synchronized: bool = False,
) -> Run:
    """Build a model with these weights; bfloat16 and float16 mean mixed precision.

    With `frozen`, only the classifier is trained; with `synchronized`, norms take the statistics of
    the whole batch on all devices.
    """
    is_mixed = dtype in ("bfloat16", "float16")
    model = create_model(architecture, dtype=f"mixed_{dtype}" if is_mixed else dtype)
    kind = "float32" if is_mixed else dtype
    set_weights(model, {name: array.astype(kind) for name, array in weights.items()})
    model = for_training(model, synchronized=synchronized)
    model = freeze_backbone(model) if frozen else model
    parts = model, sgd(model, recipe), cross_entropy(model, recipe)
    scaler = None
    if dtype == "float16":
        scaler = keras.optimizers.LossScaleOptimizer(parts[1], initial_scale=2.0**15)
        scaler.build(model.trainable_variables)
    return Run(recipe, parts, scaler)


def fit(run: Run, train: Batches, val: Batches, **options: Any) -> None:
    """Train for epochs; the options are those of `resnet_keras.fit.fit`."""
    model, optimizer, loss = run.training_state
    loop.fit(model, run.scaler or optimizer, loss, run.recipe, train, shared(val), **options)


def get_state(run: Run) -> dict[str, np.ndarray]:
    """Every weight, statistic, momentum buffer and average, and the loss scale with its steps."""
    state = training_state.get_state(run.training_state)
    if run.scaler:
        found = run.scaler.dynamic_scale, run.scaler.step_counter
        state[LOSS_SCALE] = np.array([float(keras.ops.convert_to_numpy(each)) for each in found])
    model, optimizer, _ = run.training_state
    if optimizer.use_ema:
        state |= {ema_name(name): value for name, value in get_ema(model, optimizer).items()}
        state[EMA_STEPS] = np.array([int(keras.ops.convert_to_numpy(optimizer.iterations))])
    return state


def set_state(run: Run, state: Mapping[str, np.ndarray]) -> None:
    """Set everything that `get_state` returns."""
    tensors, averages, steps_of_ema = split_state(state)
    training_state.set_state(run.training_state, tensors)
    if run.scaler and LOSS_SCALE in state:
        scale, steps = state[LOSS_SCALE]
        run.scaler.dynamic_scale.assign(scale)
        run.scaler.step_counter.assign(int(steps))
    model, optimizer, _ = run.training_state
    if optimizer.use_ema:
        set_ema(model, optimizer, averages, steps_of_ema)


def classifier(
    architecture: Architecture, weights: Mapping[str, np.ndarray]
) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images (N, H, W, C) to logits (N, classes), in float32."""
    model = create_model(architecture, dtype="float32")
    set_weights(model, weights)
    copy = prepare(model)
    return lambda images: np.asarray(copy.predict_on_batch(images))


def explainer(
    architecture: Architecture, weights: Mapping[str, np.ndarray]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function from images (N, H, W, C) and classes (N,) to Grad-CAM maps (N, h, w), in float64.

    The last feature map (N, h, w, C) is summed over its channels, each weighted by the mean
    gradient of the logit of the class; what is negative becomes zero (Selvaraju et al. 2016,
    arXiv:1610.02391, equations 1 and 2).
    """
    model = create_model(architecture, dtype="float64")
    set_weights(model, {name: array.astype("float64") for name, array in weights.items()})
    last = model.get_layer("avgpool").input
    with dtype_policy("float64"):
        body, head = functional(model.input, last), functional(last, model.output)
    mode = "eager" if "eager" in modes() else modes()[0]

    def explain(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        features = np.asarray(body.predict_on_batch(images.astype("float64")))
        chosen = np.eye(architecture.num_classes)[classes]
        gradient, _ = recorded(head, features, [chosen], mode, by_batch=False)
        importance = gradient.mean(axis=(1, 2), keepdims=True)
        return np.maximum((importance * features).sum(axis=-1), 0)

    return explain
