"""Stochastic gradient descent by the rule of `resnet_spec.recipe` in Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from resnet_spec import Parameter, Recipe, WeightsError, shape_problems

from resnet_keras.contexts import floatx
from resnet_keras.weights import architecture_of, variables_of

Variables = Mapping[Parameter, keras.Variable]


@keras.saving.register_keras_serializable("resnet_keras")
class CoupledSGD(keras.optimizers.SGD):
    """The stock optimiser with the update rule of `resnet_spec.recipe`."""

    def __init__(self, *args: Any, l2: float = 0.0, decay_all: bool = True, **options: Any):
        super().__init__(*args, **options)
        self.l2, self.decay_all = l2, decay_all

    @property
    def averages(self) -> list[keras.Variable]:
        """The moving averages of the trained variables; none without `use_ema`."""
        return self._model_variables_moving_average if self.use_ema else []

    def finalize_variable_values(self, var_list):
        """Leave the weights: the stock optimiser ends `fit` with the averages in their place."""

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
            use_ema=recipe.ema > 0,
            ema_momentum=recipe.ema,
        )
        optimizer.build(model.trainable_variables)
    for average, value in zip(optimizer.averages, model.trainable_variables, strict=False):
        average.assign(ops.copy(value))  # jax may not share a buffer
    return optimizer


def get_momentum(model: keras.Model, optimizer: CoupledSGD) -> dict[str, np.ndarray]:
    """The momentum buffer of each trained tensor, by canonical name and in canonical layout.

    Buffers are zero before the first step. Without momentum there are none.
    """
    return _arrays(_buffers(model, optimizer))


def set_momentum(
    model: keras.Model, optimizer: CoupledSGD, buffers: Mapping[str, np.ndarray]
) -> None:
    """Set every buffer, or none if an error is raised; `buffers` are as from `get_momentum`.

    Raises `resnet_spec.WeightsError` that names every missing, extra or mis-shaped buffer.
    """
    _fill(_buffers(model, optimizer), buffers, "buffers")


def get_ema(model: keras.Model, optimizer: CoupledSGD) -> dict[str, np.ndarray]:
    """The average of each trained tensor, by canonical name and in canonical layout."""
    return _arrays(_by_parameter(model, optimizer.averages))


def set_ema(
    model: keras.Model, optimizer: CoupledSGD, values: Mapping[str, np.ndarray], steps: int
) -> None:
    """Set every average over `steps`, or none if an error is raised; `values` as from `get_ema`.

    Raises `resnet_spec.WeightsError` that names every missing, extra or mis-shaped average.
    """
    _fill(_by_parameter(model, optimizer.averages), values, "averages")
    optimizer.iterations.assign(steps)


def _fill(own: Variables, values: Mapping[str, np.ndarray], kind: str) -> None:
    """Set every variable, or none if `WeightsError` is raised."""
    expected = {p.name: p.shape for p in own}
    problems = shape_problems(expected, {name: each.shape for name, each in values.items()})
    if problems:
        raise WeightsError(f"the {kind} do not fit the optimiser, nothing was set", problems)
    for p, each in own.items():
        each.assign(np.einsum(p.to_keras, values[p.name]))


def _buffers(model: keras.Model, optimizer: CoupledSGD) -> Variables:
    """The optimiser's buffer for each trained tensor; none without momentum."""
    return _by_parameter(model, optimizer.momentums if optimizer.momentum else [])


def _by_parameter(model: keras.Model, variables: Sequence[keras.Variable]) -> Variables:
    """The optimiser's variables, if it has them, by the tensor to which each belongs."""
    of = {id(v): own for v, own in zip(model.trainable_variables, variables, strict=False)}
    found = variables_of(model, architecture_of(model))
    return {p: of[id(value)] for p, value in found.items() if id(value) in of}


def _arrays(own: Variables) -> dict[str, np.ndarray]:
    """The values in canonical layout, by canonical name."""
    arrays = {p: ops.convert_to_numpy(value) for p, value in own.items()}
    return {p.name: np.einsum(p.to_torch, array).copy() for p, array in arrays.items()}
