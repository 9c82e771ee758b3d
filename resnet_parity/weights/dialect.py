"""Shared by the readers of other libraries' weights: from their tensor names to the canonical ones.

A dialect is a library's own naming. Each reader makes a table from the plan: one name per tensor of
the architecture. A tensor that the table does not name is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from resnet_spec import (
    Architecture,
    Parameter,
    WeightsError,
    layer_parameters,
    make_plan,
    shape_problems,
)

LayerNames = Iterator[tuple[str, str]]
"""(canonical name, name in the dialect) of every layer that holds weights."""

Read = Callable[[Any, Parameter], np.ndarray]
"""Makes a canonical array of a library's variable or tensor."""


def tensors(arch: Architecture) -> Iterator[tuple[str, Parameter]]:
    """Every tensor of the architecture, with the name of its layer."""
    for layer in make_plan(arch).layers:
        yield from ((layer.name, parameter) for parameter in layer_parameters(layer))


def to_canonical(
    arch: Architecture,
    dialect: Mapping[str, Parameter],
    found: Mapping[str, Any],
    read: Read,
    hint: str,
) -> dict[str, np.ndarray]:
    """Copies of `found`, which is named in the dialect, by canonical name.

    Raises `WeightsError` that names every tensor that is missing, left over or of another shape.
    """
    arrays = {
        name: np.array(read(value, dialect[name]), order="C") if name in dialect else np.empty(0)
        for name, value in found.items()
    }
    expected = {name: parameter.shape for name, parameter in dialect.items()}
    problems = shape_problems(expected, {name: array.shape for name, array in arrays.items()})
    if problems:
        raise WeightsError(f"the weights are not those of a {arch.name!r}; {hint}", problems)
    return {parameter.name: arrays[name] for name, parameter in dialect.items()}
