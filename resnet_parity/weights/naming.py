"""The engine of the dialects: from the layers of a plan to the names of another library, and back.

A dialect is data: for each role of a layer (`conv`, `norm`, `project` ...) a template of its name,
and for each tensor of a layer a template of its name. Placeholders are numbers of the layer:

* `s` the stage from 1, `b` the block of the stage from 0, `n` the block of the network from 0;
* `j` the convolution or norm of the block from 1, `k` the convolution of a deep stem from 1.

`{b+1}` adds, `{3j-2}` multiplies and subtracts, and `{b:a}` is a letter (0 is `a`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from resnet_spec import Architecture, Conv, Norm, Parameter, layer_parameters, make_plan

from resnet_parity.errors import ParityError

Numbers = Mapping[str, int]
Shape = tuple[int, ...]
Leaves = Mapping[str, str]

_PLACEHOLDER = re.compile(r"\{(\d*)([sbnjk])([+-]\d+)?(:a)?\}")

TORCH_NORM: Leaves = {
    "weight": "{}.weight",
    "bias": "{}.bias",
    "running_mean": "{}.running_mean",
    "running_var": "{}.running_var",
}
TORCH_LAYER: Leaves = {"weight": "{}.weight", "bias": "{}.bias"}
KERAS_NORM: Leaves = {
    "weight": "{}/gamma",
    "bias": "{}/beta",
    "running_mean": "{}/moving_mean",
    "running_var": "{}/moving_variance",
}
KERAS_LAYER: Leaves = {"weight": "{}/kernel", "bias": "{}/bias"}


@dataclass(frozen=True)
class Dialect:
    """The names that a library gives to the layers and tensors of a ResNet.

    * `roles`: the template of the name of a layer, by its role (see `roles`); a dialect without a
      role cannot name such a layer;
    * `layer`, `norm`: the templates of the tensors of convolutions and dense layers, and of norms;
      a norm without `running_mean` has no statistics in the file: they are 0 and 1 - eps;
    * `conv_axes`, `linear_axes`: the axes of its kernels; a dense layer may be a 1x1 convolution;
    * `fields`: the values of `Architecture` that its networks have and a file does not show, which
      decide between rows with equal tensors;
    * `assumes`: the same in words, for the report;
    * `source`: where the names are defined.
    """

    name: str
    title: str
    roles: Mapping[str, str]
    source: str
    assumes: str
    layer: Leaves = field(default_factory=lambda: TORCH_LAYER)
    norm: Leaves = field(default_factory=lambda: TORCH_NORM)
    conv_axes: str = "oihw"
    linear_axes: str = "oi"
    fields: Mapping[str, object] = field(default_factory=dict)

    def layer_name(self, role: str, **numbers: int) -> str | None:
        """The name of a layer, None where the dialect has no name for its role.

        A template for `norm.1` is that of the first norm of a block, and one for `pooled@1` that of
        the first stage.
        """
        keys = [f"{role}@{numbers.get('s')}", f"{role}.{numbers.get('j')}", role]
        keys += ["stem.norm"] * (role == "deep.end")
        template = next((self.roles[key] for key in keys if key in self.roles), None)
        return None if template is None else fill(template, numbers)

    def axes(self, parameter: Parameter) -> str:
        """The axes of a tensor in this dialect, in the letters of `Parameter.axes`."""
        if parameter.axes == "oihw":
            return self.conv_axes
        return self.linear_axes if parameter.axes == "oi" else parameter.axes


def fill(template: str, numbers: Numbers) -> str:
    """The template with its placeholders replaced."""

    def value(match: re.Match[str]) -> str:
        factor, name, offset, letter = match.groups()
        number = int(factor or 1) * numbers[name] + int(offset or 0)
        return chr(ord("a") + number) if letter else str(number)

    return _PLACEHOLDER.sub(value, template)


@lru_cache(maxsize=256)
def roles(arch: Architecture) -> Mapping[str, tuple[str, Mapping[str, int]]]:
    """The role and the numbers of every layer that holds weights, by canonical name.

    The roles:

    * `stem`, `stem.norm`: the only convolution of the stem, and the norm that ends a stem;
    * `deep.conv`, `deep.norm`: a convolution of a deep stem, and a norm between two of them;
      `deep.end` is the norm that ends it, where its name is not that of `stem.norm`;
    * `conv`, `norm`, `gate`: of the residual branch; gates are two layers;
    * `project`, `project.norm`: of the shortcut; `pooled`, `pooled.norm`: if it pools first;
    * `last.norm`, `fc`: of the head.
    """
    plan, found = make_plan(arch), {}
    is_deep = len(plan.stem.convs) > 1
    for k, conv in enumerate(plan.stem.convs, start=1):
        found[conv.name] = ("deep.conv" if is_deep else "stem", {"k": k})
    for k, norm in enumerate(plan.stem.hidden_norms, start=1):
        found[norm.name] = ("deep.norm", {"k": k})
    if plan.stem.norm:
        found[plan.stem.norm.name] = ("deep.end" if is_deep else "stem.norm", {})
    for name, role, numbers in _block_roles(arch):
        found[name] = (role, numbers)
    if plan.norm:
        found[plan.norm.name] = ("last.norm", {})
    if plan.fc:
        found[plan.fc.name] = ("fc", {"n": len([*plan.blocks])})
    return found


def _block_roles(arch: Architecture) -> Iterator[tuple[str, str, dict[str, int]]]:
    n = 0
    for s, stage in enumerate(make_plan(arch).stages, start=1):
        for b, block in enumerate(stage.blocks):
            where = {"s": s, "b": b, "n": n}
            for kind, layers in (("conv", block.convs), ("norm", block.norms)):
                for j, layer in enumerate(layers, start=1):
                    yield layer.name, kind, where | {"j": j}
            if block.se:
                for j, layer in enumerate((block.se.fc1, block.se.fc2), start=1):
                    yield layer.name, "gate", where | {"j": j}
            for layer in block.shortcut:
                project = "pooled" if arch.avg_down else "project"
                if isinstance(layer, Conv):
                    yield layer.name, project, where
                elif isinstance(layer, Norm):
                    yield layer.name, f"{project}.norm", where
            n += 1


def tensor_names(
    dialect: Dialect, arch: Architecture, prefix: str = ""
) -> dict[str, Parameter] | None:
    """Every tensor of an architecture by its name in the dialect, after a prefix.

    None where the dialect has no name for a layer. Statistics that the dialect does not store are
    left out.
    """
    found: dict[str, Parameter] = {}
    for layer in make_plan(arch).layers:
        role, numbers = roles(arch)[layer.name]
        name = dialect.layer_name(role, **numbers)
        if name is None:
            return None
        leaves = dialect.norm if isinstance(layer, Norm) else dialect.layer
        for parameter in layer_parameters(layer):
            if template := leaves.get(parameter.name.rpartition(".")[2]):
                found[template.format(prefix + name)] = parameter
    return found


def body_pattern(dialect: Dialect, prefix: str) -> str:
    """A regular expression for the tensors of layers before the head, with any numbers."""
    layers = []
    for template in {name for role, name in dialect.roles.items() if role != "fc"}:
        parts = _PLACEHOLDER.split(template)
        pattern = re.escape(parts[0])
        for letter, text in zip(parts[4::5], parts[5::5], strict=True):
            pattern += ("[a-z]" if letter else r"\d+") + re.escape(text)
        layers.append(pattern)
    leaves = {*dialect.layer.values(), *dialect.norm.values()}
    layer = f"{re.escape(prefix)}(?:{'|'.join(layers)})"
    return "|".join(re.escape(leaf).replace(r"\{\}", layer) for leaf in leaves)


def to_dialect(
    dialect: Dialect, arch: Architecture, weights: Mapping[str, np.ndarray], prefix: str = ""
) -> dict[str, np.ndarray]:
    """The weights by their names in the dialect, with its axes: views of them; dtypes stay.

    Raises `ParityError` where the dialect has no name for a layer or does not store statistics.
    """
    names = tensor_names(dialect, arch, prefix)
    if names is None or "running_mean" not in dialect.norm:
        raise ParityError(f"{dialect.title} has no names for the layers of {arch.name!r}")
    return {name: dialect_array(dialect, p, weights[p.name]) for name, p in names.items()}


def dialect_shape(dialect: Dialect, parameter: Parameter) -> Shape:
    """The shape of a tensor in the axes of a dialect."""
    return shape_in(dialect.axes(parameter), parameter.axes, parameter.shape)


def dialect_array(dialect: Dialect, parameter: Parameter, array: np.ndarray) -> np.ndarray:
    """A view of a canonical array in the axes of a dialect."""
    return _arranged(array, parameter.axes, dialect.axes(parameter))


def canonical_shape(dialect: Dialect, parameter: Parameter, shape: Shape) -> Shape | None:
    """The shape of a tensor of a file in canonical axes, None if it is of another kind."""
    axes = _axes_of(dialect, parameter, len(shape))
    if axes is None or any(
        n != 1 for n, axis in zip(shape, axes, strict=True) if axis not in parameter.axes
    ):
        return None
    return shape_in(parameter.axes, axes, shape)


def canonical_array(dialect: Dialect, parameter: Parameter, array: np.ndarray) -> np.ndarray:
    """An array of a file, whose `canonical_shape` is not None, in canonical axes."""
    axes = _axes_of(dialect, parameter, array.ndim)
    assert axes is not None
    return np.ascontiguousarray(_arranged(array, axes, parameter.axes))


def _axes_of(dialect: Dialect, parameter: Parameter, rank: int) -> str | None:
    """The axes of a tensor of a file, by its rank.

    A file may keep a dense layer as a 1x1 convolution, and the convolutions of a gate as dense.
    """
    dense = "".join(axis for axis in dialect.linear_axes if axis in "oi")
    found = [dialect.axes(parameter)]
    if parameter.axes == "oi":
        found += [dialect.conv_axes, dense]
    elif parameter.axes == "oihw" and ".se." in parameter.name:
        found.append(dense)
    return next((axes for axes in found if len(axes) == rank), None)


def shape_in(wanted: str, axes: str, shape: Shape) -> Shape:
    """A shape with its axes in another order; an axis that is added has extent 1."""
    extents = dict(zip(axes, shape, strict=True))
    return tuple(extents.get(axis, 1) for axis in wanted)


def _arranged(array: np.ndarray, axes: str, wanted: str) -> np.ndarray:
    """A view with the axes in another order; those that are added or left out have extent 1."""
    kept, order = ("".join(a for a in each if a in axes and a in wanted) for each in (axes, wanted))
    found = np.einsum(f"{kept}->{order}", array.reshape(shape_in(kept, axes, array.shape)))
    return found.reshape(shape_in(wanted, order, found.shape))
