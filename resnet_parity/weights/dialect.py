"""Shared by the readers of other libraries' weights: from their tensor names to the canonical ones.

A dialect is a library's own naming. Each reader makes a table from the plan: one name per tensor of
the architecture. A tensor that the table does not name is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_spec import (
    Architecture,
    Parameter,
    WeightsError,
    get_architecture,
    shape_problems,
)
from resnet_spec.state_dict import prefix_problem, with_sizes_of
from resnet_spec.weights import as_code, fitting_architecture

Read = Callable[[Any, Parameter], np.ndarray]
"""Makes a canonical array of a library's variable or tensor."""


def to_canonical(
    architecture: str | Architecture,
    naming: Callable[[Architecture], dict[str, Parameter]],
    found: Mapping[str, Any],
    read: Read,
    hint: str,
) -> dict[str, np.ndarray]:
    """Copies of `found`, which is named in the dialect, by canonical name.

    `naming` makes the dialect of an architecture. The name of an architecture means the row with
    the classes and the image channels of the tensors.

    Raises `WeightsError` that names every tensor that is missing, left over or of another shape.
    """
    arch = get_architecture(architecture)
    summary = f"the weights are not those of a {arch.name!r}; {hint}"
    if problem := prefix_problem(found, naming(arch), "state"):
        raise WeightsError(summary, [problem])
    whole = naming(replace(arch, num_classes=arch.num_classes or 1, out_indices=None))
    arrays = {
        name: np.array(read(value, whole[name]), order="C") if name in whole else np.empty(0)
        for name, value in found.items()
    }
    names = {name: parameter.name for name, parameter in whole.items()}
    shapes = {names.get(name, name): array.shape for name, array in arrays.items()}
    if isinstance(architecture, str):
        arch = with_sizes_of(arch, shapes)
    dialect = naming(arch)
    expected = {name: parameter.shape for name, parameter in dialect.items()}
    problems = shape_problems(expected, {name: array.shape for name, array in arrays.items()})
    if problems:
        theirs = fitting_architecture(arch, shapes)
        fix = f"to read them as they are, pass {as_code(theirs)}" if theirs else ""
        raise WeightsError(summary, problems, fix)
    return {parameter.name: arrays[name] for name, parameter in dialect.items()}
