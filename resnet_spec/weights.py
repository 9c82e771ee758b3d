"""Validation of weights, and of the model that takes them, for both implementations.

It uses only `shape`, `dtype`, `min()` and `max()` of an array, so it does not import NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.layers import Norm
from resnet_spec.plan import make_plan
from resnet_spec.registry import get_architecture
from resnet_spec.tensors import Parameter, parameters
from resnet_spec.text import printable

IGNORED_LEAF = "num_batches_tracked"
"""The step counter of a torch norm; no other extra key is accepted."""

Shape = tuple[int, ...]

_SHOWN = 8


class Array(Protocol):
    """The members of an array that are used here."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def min(self) -> Any: ...
    def max(self) -> Any: ...


class WeightsError(ValueError):
    """Weights or a model that do not fit an architecture; `problems` has one line per tensor."""

    def __init__(self, summary: str, problems: list[str]) -> None:
        self.problems = problems
        shown = [f"  - {printable(problem)}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"  - ... and {len(problems) - _SHOWN} more")
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{summary} ({count}):", *shown]))


def architecture_of(model: object, architecture: str | Architecture | None) -> Architecture:
    """The given architecture, or the `architecture` attribute of a model of this project.

    Raises `ArchitectureError` when there is neither.
    """
    chosen = architecture or getattr(model, "architecture", None)
    if chosen is None:
        raise ArchitectureError(
            "the model does not say which architecture it is (a loaded one never does); "
            "pass architecture=, a name of the registry or an Architecture"
        )
    return get_architecture(chosen)


def check_model(
    arch: Architecture, expected: Mapping[str, Shape], found: Mapping[str, Shape]
) -> None:
    """Check that a model holds exactly the tensors of `arch`, named as in its framework.

    Raises `WeightsError` that names every tensor which is missing, extra or mis-shaped.
    """
    counters = step_counters(arch)
    problems = shape_problems(expected, {n: s for n, s in found.items() if n not in counters})
    if problems:
        raise WeightsError(f"the model is not a {arch.name!r}", problems)


def shape_problems(expected: Mapping[str, Shape], found: Mapping[str, Shape]) -> list[str]:
    """One line per tensor that is missing, extra or mis-shaped."""
    problems = [f"{name} is missing" for name in expected if name not in found]
    for name, shape in found.items():
        if name not in expected:
            problems.append(f"{name} is not a tensor of this architecture")
        elif tuple(shape) != expected[name]:
            problems.append(f"{name} has shape {tuple(shape)}, expected {expected[name]}")
    return problems


def check_weights(
    arch: Architecture, weights: Mapping[str, Array], dtypes: Mapping[str, str]
) -> None:
    """Check that `weights` hold exactly the tensors of `arch`, in the model's dtypes.

    Raises `WeightsError` that names all problems: missing, extra or mis-shaped tensors, another
    dtype, values that are not finite, a negative running variance.
    """
    check_arrays(weights)
    expected = {parameter.name: parameter for parameter in parameters(arch)}
    counters = step_counters(arch)
    problems = [f"{name} is missing" for name in expected if name not in weights]
    for name, array in weights.items():
        if name in expected:
            problems += _tensor_problems(expected[name], array, dtypes[name])
        elif name not in counters:
            problems.append(f"{name} is not a tensor of this architecture")
    if problems:
        raise WeightsError(f"the weights do not fit {arch.name!r}, nothing was set", problems)


def check_arrays(weights: object) -> None:
    """Check that `weights` are a mapping of names to NumPy arrays.

    Raises `WeightsError` otherwise.
    """
    if not isinstance(weights, Mapping):
        kind = type(weights).__name__
        raise WeightsError("weights are a mapping of names to arrays", [f"this is a {kind}"])
    # The attribute of NumPy arrays, because this module does not import NumPy.
    others = (each for each in weights.values() if not hasattr(each, "__array_interface__"))
    kinds = {type(each).__name__ for each in others}
    if kinds:
        found = f"found {', '.join(sorted(kinds))}"
        raise WeightsError(
            "weights are NumPy arrays",
            [f"{found}; `get_weights` of the implementation they come from gives arrays"],
        )


def step_counters(arch: str | Architecture) -> set[str]:
    """The names of the step counters of torch, one per norm."""
    layers = make_plan(arch).layers
    return {f"{layer.name}.{IGNORED_LEAF}" for layer in layers if isinstance(layer, Norm)}


def _tensor_problems(parameter: Parameter, array: Array, dtype: str) -> list[str]:
    name = parameter.name
    problems = []
    if tuple(array.shape) != parameter.shape:
        problems.append(f"{name} has shape {tuple(array.shape)}, expected {parameter.shape}")
    if str(array.dtype) != dtype:
        problems.append(f"{name} is {array.dtype}, the model is {dtype}; convert it explicitly")
    if problems:
        return problems  # the values of a wrong tensor are irrelevant
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN propagates through min and max
        problems.append(f"{name} holds values that are not finite")
    elif name.endswith(".running_var") and low < 0:
        problems.append(f"{name} holds a negative variance ({low:g})")
    return problems
