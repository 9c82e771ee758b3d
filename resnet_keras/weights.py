"""Get and set the weights of a Keras model, by canonical name and in canonical layout."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from resnet_spec import (
    Architecture,
    Parameter,
    WeightsError,
    architecture_of,
    check_model,
    check_weights,
    parameters,
)


def get_weights(
    model: keras.Model, architecture: str | Architecture | None = None
) -> dict[str, np.ndarray]:
    """A copy of every tensor of the model: kernels (out, in, H, W), dense kernels (out, in).

    `architecture` is needed only for a model that this package did not build. A name means the row
    with the classes and the image channels that the model has.

    Raises `resnet_spec.WeightsError` if the model's tensors are not those of the architecture.
    """
    variables = variables_of(model, _architecture(model, architecture))
    # DIFFERS(kernel-layout): torch keeps a kernel as (out, in, H, W), Keras as (H, W, in, out).
    arrays = {p: keras.ops.convert_to_numpy(value) for p, value in variables.items()}
    return {p.name: np.einsum(p.to_torch, array).copy() for p, array in arrays.items()}


def set_weights(
    model: keras.Model,
    weights: Mapping[str, np.ndarray],
    architecture: str | Architecture | None = None,
) -> None:
    """Set every tensor of the model, or none if an error is raised.

    The model and `architecture` are as in `get_weights`.

    Raises `resnet_spec.WeightsError` that names every missing, extra, mis-shaped, mis-typed or
    non-finite tensor, and every negative variance.
    """
    arch = _architecture(model, architecture)
    variables = variables_of(model, arch)
    dtypes = {p.name: str(value.dtype) for p, value in variables.items()}
    check_weights(arch, weights, dtypes)
    # DIFFERS(kernel-layout): torch keeps a kernel as (out, in, H, W), Keras as (H, W, in, out).
    for p, value in variables.items():
        value.assign(np.einsum(p.to_keras, weights[p.name]))


def variables_of(model: keras.Model, arch: Architecture) -> dict[Parameter, keras.Variable]:
    """The variable of the model for each parameter of the architecture, one to one."""
    found = _tensors(model)
    expected = {p.keras_name: p.keras_shape for p in parameters(arch)}
    check_model(arch, expected, {name: tuple(value.shape) for name, value in found.items()})
    return {p: found[p.keras_name] for p in parameters(arch)}


def _architecture(model: keras.Model, architecture: str | Architecture | None) -> Architecture:
    """The architecture of the model, with the sizes of its first and last layer."""
    shapes = {name: tuple(value.shape) for name, value in _tensors(model).items()}
    return architecture_of(model, architecture, shapes)


def _tensors(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of the model, as `layer/variable`."""
    if not isinstance(model, keras.Model):
        raise WeightsError("this is not a Keras model", [f"it is a {type(model).__name__}"])
    return {f"{each.name}/{value.name}": value for each in model.layers for value in each.variables}
