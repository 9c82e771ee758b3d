"""The mutants of training: Keras implementations that train by a slightly different rule.

`lockstep` must detect each, at the step and in the kind of quantity that the table gives. Some are
rules of real frameworks: stock Keras' variance, its folded learning rate, its decay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import keras
import pytest

from resnet_spec import Recipe

from resnet_keras.optimizer import CoupledSGD
from resnet_parity.adapters.keras import training_state as training_state

PLAIN = Recipe(0.05, weight_decay=0.0)
"""Momentum and nothing else: a recipe under which many mutants are correct."""

FULL = Recipe(
    0.05,
    nesterov=True,
    weight_decay=1e-2,
    decay_all=False,
    label_smoothing=0.1,
    schedule="step",
    period=2,
)
"""Every part of the rule at once; the learning rate changes after the second step."""


@dataclass(frozen=True)
class TrainingMutant:
    """A defect: how it is planted, and the kind of quantity in which it shows first.

    `diverges_at` is the step, from 0, after which it shows. `hidden_from` is a recipe under which
    the mutant is correct.
    """

    name: str
    plant: Callable[[pytest.MonkeyPatch], None]
    kind: str
    diverges_at: int = 0
    hidden_from: Recipe | None = None


def _with_recipe(part: str, change: Callable[[Recipe], Recipe]):
    """A part of the implementation that follows a changed recipe."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = getattr(training_state, part)
        patch.setattr(training_state, part, lambda model, recipe: right(model, change(recipe)))

    return plant


def _with_update(update: Callable[..., None]):
    """An optimiser with a different rule."""
    return lambda patch: patch.setattr(CoupledSGD, "update_step", update)


def _biased(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(training_state, "for_training", lambda model: model)


def _with_norm_momentum(change: Callable[[float], float]):
    def plant(patch: pytest.MonkeyPatch) -> None:
        right = training_state.for_training

        def for_training(model: keras.Model) -> keras.Model:
            model = right(model)
            for layer in model.layers:
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.momentum = change(layer.momentum)
            return model

        patch.setattr(training_state, "for_training", for_training)

    return plant


def _decoupled(self, gradient, variable, learning_rate):
    l2, self.l2 = self.l2, 0.0
    if self.decay_all or len(variable.shape) > 1:
        self.assign_sub(variable, learning_rate * l2 * variable)
    right_update(self, gradient, variable, learning_rate)
    self.l2 = l2


def _dampened(self, gradient, variable, learning_rate):
    right_update(self, (1 - self.momentum) * gradient, variable, learning_rate)


def _folded(patch: pytest.MonkeyPatch) -> None:
    """Keras' own rule; its buffers are converted as if the learning rate had never changed."""

    def update_step(self, gradient, variable, learning_rate):
        if self.decay_all or len(variable.shape) > 1:
            gradient = gradient + self.l2 * variable
        buffer = self.momentums[self._get_variable_index(variable)]
        scaled = learning_rate * gradient
        self.assign(buffer, self.momentum * buffer - scaled)
        self.assign_add(variable, self.momentum * buffer - scaled if self.nesterov else buffer)

    def get_momentum(model, optimizer):
        rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
        return {name: -value / rate for name, value in right_momentum(model, optimizer).items()}

    patch.setattr(CoupledSGD, "update_step", update_step)
    patch.setattr(training_state, "get_momentum", get_momentum)


def _summed(patch: pytest.MonkeyPatch) -> None:
    right = training_state.cross_entropy

    def cross_entropy(model, recipe):
        loss = right(model, recipe)
        loss.reduction = "sum"
        return loss

    patch.setattr(training_state, "cross_entropy", cross_entropy)


right_update, right_momentum = CoupledSGD.update_step, training_state.get_momentum
CLASSES = 10
LOSS, WEIGHTS, STATISTICS, BUFFERS = (
    "loss",
    "weights",
    "running statistics",
    "momentum buffers",
)

TRAINING_MUTANTS = (
    TrainingMutant("biased variance", _biased, STATISTICS),
    TrainingMutant("inverted momentum", _with_norm_momentum(lambda m: 1 - m), STATISTICS),
    TrainingMutant("frozen statistics", _with_norm_momentum(lambda m: 1.0), STATISTICS),
    TrainingMutant("decoupled decay", _with_update(_decoupled), BUFFERS, hidden_from=PLAIN),
    TrainingMutant(
        "learning rate folded into the buffer", _folded, BUFFERS, diverges_at=2, hidden_from=PLAIN
    ),
    TrainingMutant(
        "dropped Nesterov",
        _with_recipe("sgd", lambda recipe: replace(recipe, nesterov=False)),
        WEIGHTS,
        hidden_from=PLAIN,
    ),
    TrainingMutant(
        "smoothing over the other classes alone",
        _with_recipe(
            "cross_entropy",
            lambda r: replace(r, label_smoothing=r.label_smoothing * CLASSES / (CLASSES - 1)),
        ),
        LOSS,
        hidden_from=PLAIN,
    ),
    TrainingMutant(
        "decay of exempt norms",
        _with_recipe("sgd", lambda recipe: replace(recipe, decay_all=True)),
        BUFFERS,
        hidden_from=PLAIN,
    ),
    TrainingMutant(
        "decay twice as strong, as of a penalty on squares",
        _with_recipe("sgd", lambda recipe: replace(recipe, weight_decay=2 * recipe.weight_decay)),
        BUFFERS,
        hidden_from=PLAIN,
    ),
    TrainingMutant("dampened buffer", _with_update(_dampened), BUFFERS),
    TrainingMutant("loss summed over the batch", _summed, LOSS),
)
