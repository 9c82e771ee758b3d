"""Stochastic gradient descent by the rule of `resnet_spec.recipe` in Keras."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from resnet_spec import Parameter, Recipe, WeightsError, shape_problems

from resnet_keras.contexts import floatx
from resnet_keras.weights import architecture_of, variables_of


@keras.saving.register_keras_serializable("resnet_keras")
class CoupledSGD(keras.optimizers.SGD):
    """The stock optimiser with the update rule of `resnet_spec.recipe`."""

    def __init__(self, *args: Any, l2: float = 0.0, decay_all: bool = True, **options: Any):
        super().__init__(*args, **options)
        self.l2, self.decay_all = l2, decay_all

    def update_step(self, gradient, variable, learning_rate):
        if self.decay_all or len(variable.shape) > 1:
            gradient = gradient + self.l2 * variable
        if self.momentum:
            buffer = self.momentums[self._get_variable_index(variable)]
            self.assign(buffer, self.momentum * buffer + gradient)
            gradient = gradient + self.momentum * buffer if self.nesterov else buffer
        self.assign_sub(variable, learning_rate * gradient)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"l2": self.l2, "decay_all": self.decay_all}


def sgd(model: keras.Model, recipe: Recipe) -> CoupledSGD:
    """The optimiser of a model by the rule of `resnet_spec.recipe`."""
    # DIFFERS(momentum-buffer): torch's buffer holds gradients, Keras' holds them times the rate.
    # DIFFERS(weight-decay): torch's decay is part of the gradient, Keras' is applied apart from it.
    with floatx(model):
        optimizer = CoupledSGD(
            recipe.learning_rate_at(0),
            recipe.momentum,
            recipe.nesterov,
            l2=recipe.weight_decay,
            decay_all=recipe.decay_all,
        )
        optimizer.build(model.trainable_variables)
    return optimizer


def get_momentum(model: keras.Model, optimizer: CoupledSGD) -> dict[str, np.ndarray]:
    """The momentum buffer of each trained tensor, by canonical name and in canonical layout.

    Buffers are zero before the first step. Without momentum there are none.
    """
    arrays = {p: ops.convert_to_numpy(value) for p, value in _buffers(model, optimizer).items()}
    return {p.name: np.einsum(p.to_torch, array).copy() for p, array in arrays.items()}


def set_momentum(
    model: keras.Model, optimizer: CoupledSGD, buffers: Mapping[str, np.ndarray]
) -> None:
    """Set every buffer, or none if an error is raised; `buffers` are as from `get_momentum`.

    Raises `resnet_spec.WeightsError` that names every missing, extra or mis-shaped buffer.
    """
    own = _buffers(model, optimizer)
    expected = {p.name: p.shape for p in own}
    problems = shape_problems(expected, {name: each.shape for name, each in buffers.items()})
    if problems:
        raise WeightsError("the buffers do not fit the optimiser, nothing was set", problems)
    for p, buffer in own.items():
        buffer.assign(np.einsum(p.to_keras, buffers[p.name]))


def _buffers(model: keras.Model, optimizer: CoupledSGD) -> dict[Parameter, keras.Variable]:
    """The optimiser's buffer for each trained tensor."""
    if not optimizer.momentum:
        return {}
    of = {id(v): m for v, m in zip(model.trainable_variables, optimizer.momentums, strict=True)}
    variables = variables_of(model, architecture_of(model))
    return {p: of[id(value)] for p, value in variables.items() if id(value) in of}
