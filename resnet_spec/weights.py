"""Validation of weights, and of the model that takes them, for both implementations.

It uses only `shape`, `dtype`, `min()` and `max()` of an array, so it does not import NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.layers import Norm
from resnet_spec.plan import make_plan
from resnet_spec.registry import ARCHITECTURES, get_architecture
from resnet_spec.state_dict import (
    Shape,
    canonical_shapes,
    other_head,
    prefix_problem,
    prefixes,
    with_sizes_of,
    wrapper_problem,
)
from resnet_spec.tensors import parameters
from resnet_spec.text import printable

IGNORED_LEAF = "num_batches_tracked"
"""The step counter of a torch norm; no other extra key is accepted."""

_SHOWN = 8

_COMPUTED = {
    ".parametrizations.": "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')",
    ".weight_mask": "torch.nn.utils.prune.remove(layer, 'weight')",
    ".weight_g": "torch.nn.utils.remove_weight_norm(layer)",
}
"""A part of the names of tensors from which PyTorch computes a weight, and what undoes that."""


class Array(Protocol):
    """The members of an array that are used here."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def min(self) -> Any: ...
    def max(self) -> Any: ...


class WeightsError(ValueError):
    """Weights or a model that do not fit an architecture, and the line that makes them fit.

    `problems` has one line per tensor, or per mistake that many tensors share.
    """

    def __init__(self, summary: str, problems: list[str], fix: str = "") -> None:
        self.problems = problems
        shown = [f"  - {printable(problem)}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"  - ... and {len(problems) - _SHOWN} more")
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown += [printable(fix, keep="\n")] if fix else []
        super().__init__("\n".join([f"{summary} ({count}):", *shown]))


def given_architecture(
    model: object, architecture: str | Architecture | None, found: Mapping[str, Shape]
) -> Architecture:
    """The given architecture, or the `architecture` attribute of a model of this project.

    An `Architecture` is taken as it is given. A name, and the attribute, mean the row with the
    classes and the image channels of the model's tensors; `found` are those, named as in its
    framework.

    Raises `ArchitectureError` when there is neither.
    """
    if isinstance(architecture, Architecture):
        return architecture
    chosen = architecture or getattr(model, "architecture", None)
    if chosen is None:
        raise ArchitectureError(
            "the model does not say which architecture it is; "
            'pass architecture="resnet50", or what else of `resnet-parity list` it is'
        )
    arch = get_architecture(chosen)
    return with_sizes_of(arch, canonical_shapes(arch, found))


def check_model(
    arch: str | Architecture, expected: Mapping[str, Shape], found: Mapping[str, Shape]
) -> None:
    """Check that a model holds exactly the tensors of `arch`, named as in its framework.

    Raises `WeightsError` that names every tensor which is missing, extra or mis-shaped.
    """
    arch = get_architecture(arch)
    counters = step_counters(arch)
    found = {name: shape for name, shape in found.items() if name not in counters}
    problems = shape_problems(expected, found)
    if not problems:
        return
    fix = ""
    if inner := prefixes(found, expected):
        models = (f"model.get_submodule({prefix[:-1]!r})" for prefix in inner)
        problems = [f"its tensors begin with {inner[0]!r}; pass {' or '.join(models)}"]
    elif theirs := fitting_architecture(arch, found):
        fix = f"to read it as it is, pass architecture={as_code(theirs)}"
    elif found.keys() - expected and all(problem.startswith("fc.") for problem in problems):
        fix = (
            "the head is no single linear layer; to read the network without it: "
            "model.fc = torch.nn.Identity()"
        )
    fix = _computed_weights(found) or fix
    raise WeightsError(f"the model is not a {arch.name!r}", problems, fix)


def _computed_weights(names: Collection[str]) -> str:
    """The line that makes weights tensors again which PyTorch computes from others; "" if none."""
    for part, call in _COMPUTED.items():
        if any(part in name for name in names):
            return f"some weights are computed; make them tensors, layer by layer: {call}"
    return ""


def fitting_architecture(arch: Architecture, found: Mapping[str, Shape]) -> Architecture | None:
    """The architecture with other classes and channels that has exactly these tensors, if any.

    They may be those of a backbone with more stages, or of a classifier.
    """
    shapes = canonical_shapes(arch, found)
    theirs = with_sizes_of(replace(arch, out_indices=None), shapes)
    expected = {p.name: p.shape for p in parameters(theirs)}
    return None if shape_problems(expected, shapes) else theirs


def as_code(arch: Architecture) -> str:
    """The call that makes an architecture with these sizes, as a user writes it.

    It takes the user's variable `architecture` where a field other than the sizes is not the row's.
    """
    is_backbone = arch.out_indices is not None
    names = ["in_channels"] if is_backbone else ["num_classes", "in_channels"]
    sizes = {name: getattr(arch, name) for name in names}
    row = ARCHITECTURES.get(arch.name)
    if row and replace(row, **sizes) != replace(arch, out_indices=None):
        row = None
    changed = [f"{name}={n}" for name, n in sizes.items() if not row or n != getattr(row, name)]
    if is_backbone:
        changed += ["features_only=True", f"out_indices={arch.out_indices}"]
    return f"get_architecture({', '.join([repr(arch.name) if row else 'architecture', *changed])})"


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
    arch: str | Architecture, weights: Mapping[str, Array], dtypes: Mapping[str, str]
) -> None:
    """Check that `weights` hold exactly the tensors of `arch`, in the model's dtypes.

    Raises `WeightsError` that names all problems: missing, extra or mis-shaped tensors, another
    dtype, values that are not finite, a negative running variance. A prefix of all names, or a
    dtype of many tensors, is one problem.
    """
    arch = get_architecture(arch)
    check_arrays(weights)
    summary = f"the weights do not fit {arch.name!r}, nothing was set"
    expected = {parameter.name: parameter.shape for parameter in parameters(arch)}
    counters = step_counters(arch)
    found = {name: array for name, array in weights.items() if name not in counters}
    if problem := prefix_problem(weights, expected, "weights"):
        raise WeightsError(summary, [problem])
    shapes = {name: tuple(array.shape) for name, array in found.items()}
    problems = shape_problems(expected, shapes)
    fix = ""
    if problems and fitting_architecture(arch, shapes):
        fix = (
            f"to make them fit: weights = adapt_weights(weights, {as_code(arch)}).weights "
            "(resnet_parity.weights.adapt)"
        )
    fix = fix or _computed_weights(found) or other_head(expected, shapes, "weights")
    fitting = [name for name, shape in expected.items() if shapes.get(name) == shape]
    problems += dtype_problems({name: (str(found[name].dtype), dtypes[name]) for name in fitting})
    for name in fitting:
        if str(found[name].dtype) == dtypes[name]:
            problems += _value_problems(name, found[name])
    if problems:
        raise WeightsError(summary, problems, fix)


def check_arrays(weights: object) -> None:
    """Check that `weights` are a mapping of names to NumPy arrays without a mask.

    Raises `WeightsError` otherwise.
    """
    summary = "weights are a mapping of names to arrays"
    if not isinstance(weights, Mapping):
        kind = type(weights).__name__
        raise WeightsError(
            summary, [f"this is a {kind}; pass get_weights(model) of resnet_torch or resnet_keras"]
        )
    if problem := wrapper_problem(weights, "weights"):
        raise WeightsError(summary, [problem])
    # The attribute of NumPy arrays, because this module does not import NumPy.
    others = {n: each for n, each in weights.items() if not hasattr(each, "__array_interface__")}
    if others:
        kinds = ", ".join(sorted({type(each).__name__ for each in others.values()}))
        raise WeightsError("weights are NumPy arrays", [f"found {kinds}; {_as_arrays(others)}"])
    check_unmasked(weights)


def _as_arrays(values: Mapping[Any, Any]) -> str:
    """The line that makes arrays of tensors, or of what else NumPy takes."""
    if all(hasattr(each, "detach") for each in values.values()):  # torch tensors
        wide = ".float()" if any("bfloat16" in str(each.dtype) for each in values.values()) else ""
        call = f"value{wide}.numpy(force=True)"
    elif all(hasattr(each, "shape") for each in values.values()):
        call = "numpy.asarray(value)"
    else:
        name, first = next(each for each in values.items() if not hasattr(each[1], "shape"))
        return f"give an array for {name!r}, or leave {type(first).__name__} {name!r} out"
    return f"convert them: weights = {{name: {call} for name, value in weights.items()}}"


def check_unmasked(weights: Mapping[str, Any]) -> None:
    """Check that no array is a masked one, whose mask would be ignored; raises `WeightsError`."""
    masked = [name for name, each in weights.items() if hasattr(each, "filled")]
    if masked:
        fill = f"weights[{masked[0]!r}] = weights[{masked[0]!r}].filled(0.0)"
        raise WeightsError(
            "weights are arrays without a mask",
            [f"{len(masked)} of {len(weights)} are masked, the first is {masked[0]}"],
            f"put numbers in the place of masked ones, as in {fill}",
        )


def dtype_problems(dtypes: Mapping[str, tuple[str, str]]) -> list[str]:
    """One line for each pair of dtypes that differ, with the line that converts the arrays.

    `dtypes` has, by name, the dtype of the array and that of the model's tensor.
    """
    pairs = dict.fromkeys(pair for pair in dtypes.values() if pair[0] != pair[1])
    problems = []
    for found, wanted in pairs:
        names = [name for name, pair in dtypes.items() if pair == (found, wanted)]
        name, many = names[0], len(names) > 1
        who = f"{len(names)} tensors are" if many else f"{name} is"
        each = f"weights[{name!r}] = weights[{name!r}].astype({wanted!r})"
        if len(names) == len(dtypes):
            line = (
                f"convert them: weights = {{name: array.astype({wanted!r}) "
                "for name, array in weights.items()}"
            )
        else:
            line = f"convert {'each, as in ' if many else 'it: '}{each}"
        if "float" not in found and found[1:2] != "f":  # ">f4": another byte order
            line = "give floating-point numbers (quantised weights must be dequantised first)"
        problems.append(f"{who} {found}, the model is {wanted}; {line}")
    return problems


def step_counters(arch: str | Architecture) -> set[str]:
    """The names of the step counters of torch, one per norm."""
    layers = make_plan(arch).layers
    return {f"{layer.name}.{IGNORED_LEAF}" for layer in layers if isinstance(layer, Norm)}


def _value_problems(name: str, array: Array) -> list[str]:
    low, high = float(array.min()), float(array.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # NaN propagates through min and max
        return [f"{name} holds values that are not finite"]
    if name.endswith(".running_var") and low < 0:
        return [f"{name} holds a negative variance ({low:g})"]
    return []
