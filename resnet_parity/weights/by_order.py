"""Name the layers of a Keras file that states only their order, such as `conv2d_7`.

Before version 3.6, Keras wrote `.weights.h5` files so: layers by class, with a number, in the order
of `model.layers`. Only the place of a shortcut between the layers of its block differs between
builders; shapes decide it, and it is the same in all blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from resnet_spec import ARCHITECTURES, Architecture, Conv, Norm, make_plan

from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats.stored import Tensors
from resnet_parity.weights.identify import distance, read_as
from resnet_parity.weights.naming import Dialect, roles
from resnet_parity.weights.shapes import Shape

T = TypeVar("T")

_NUMBERED = re.compile(
    r"((?:.*/)?)(conv2d|batch_normalization|dense)(?:_(\d{1,9}))?/(kernel|bias|gamma|beta|moving_\w+)"
)

_DIALECTS = ("keras-applications", "keras-applications-v2", "keras")

_PLACES = ("before the last convolution of the block", "after the block", "before the block")
"""Where the layers of a shortcut stand between those of its block: the first two are usual."""


@dataclass(frozen=True)
class Numbering:
    """One meaning of the numbers: the layers of an architecture, named in a dialect."""

    dialect: Dialect
    architecture: Architecture
    place: str
    layers: Mapping[str, str]
    """The canonical names of the layers, by those in the file."""

    def renamed(self, tensors: Mapping[str, T]) -> dict[str, T]:
        """The tensors by their names in the dialect."""
        known, names = roles(self.architecture), {}
        for theirs, layer in self.layers.items():
            role, numbers = known[layer]
            name = self.dialect.layer_name(role, **numbers)
            assert name is not None  # each of these dialects has names for its networks
            names[theirs] = name
        parts = ((name.rpartition("/"), tensor) for name, tensor in tensors.items())
        return {f"{names.get(layer, layer)}/{word}": tensor for (layer, _, word), tensor in parts}

    @property
    def note(self) -> str:
        """A sentence for the report."""
        return (
            f"the file numbers its layers and does not name them; their shapes fit "
            f"{self.architecture.name}, with shortcuts {self.place}"
        )


@dataclass(frozen=True)
class _Numbered:
    """The names of the layers of a file, by class, each in order."""

    convs: list[str]
    norms: list[str]
    dense: list[str]


def numberings(tensors: Tensors, given: Architecture | None) -> list[Numbering]:
    """Every order of layers that agrees with the shapes, each once.

    `given` is the architecture that the user names. Networks of keras.applications come first: they
    have biases before norms, and their place of shortcuts. Anyone may have built the others.
    """
    numbered = _numbered(tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    found: dict[frozenset[tuple[str, str]], Numbering] = {}
    for name, place in product(_DIALECTS, _PLACES):
        dialect = DIALECTS[name]
        for row in [given] if given else ARCHITECTURES.values():
            if name != "keras" and (distance(dialect, row) or place != _PLACES[0]):
                continue
            layers = _layers(row, numbered, place)
            numbering = Numbering(dialect, row, place, layers or {})
            if layers and _fits(numbering, shapes):
                found.setdefault(frozenset(layers.items()), numbering)
    return [*found.values()]


def _numbered(tensors: Iterable[str]) -> _Numbered:
    """The numbered layers of the model that has the most convolutions, and all dense layers."""
    found: dict[tuple[str, str], dict[int, str]] = {}
    dense: dict[str, None] = {}
    for name in tensors:
        if match := _NUMBERED.fullmatch(name):
            outer, kind, number, _ = match.groups()
            layer = name.rpartition("/")[0]
            if kind == "dense":
                dense[layer] = None
            else:
                found.setdefault((outer, kind), {})[int(number or 0)] = layer
    counts = {outer: len(each) for (outer, kind), each in found.items() if kind == "conv2d"}
    model = max(counts, key=lambda outer: counts[outer], default="")
    convs, norms = (
        [layer for _, layer in sorted(found.get((model, kind), {}).items())]
        for kind in ("conv2d", "batch_normalization")
    )
    return _Numbered(convs, norms, [*dense])


def _layers(arch: Architecture, numbered: _Numbered, place: str) -> dict[str, str] | None:
    """The canonical names of the layers, by those of the file; None for other numbers of them."""
    layers = [*_ordered(arch, place)]
    convs = [layer.name for layer in layers if isinstance(layer, Conv)]
    norms = [layer.name for layer in layers if isinstance(layer, Norm)]
    if len(convs) != len(numbered.convs) or len(norms) != len(numbered.norms):
        return None
    found = dict(zip(numbered.convs, convs, strict=True))
    found |= zip(numbered.norms, norms, strict=True)
    head = make_plan(arch).fc
    if len(numbered.dense) == 1 and head:
        found[numbered.dense[0]] = head.name
    return found


def _ordered(arch: Architecture, place: str) -> Iterator[object]:
    """The layers of an architecture, with those of shortcuts in a place of `_PLACES`."""
    plan = make_plan(arch)
    yield from plan.stem.layers
    for block in plan.blocks:
        branch = [*block.branch, *((block.se.fc1, block.se.fc2) if block.se else ())]
        last = branch.index(block.convs[-1])
        at = (last, len(branch), 0)[_PLACES.index(place)]
        yield from (*branch[:at], *block.shortcut, *branch[at:])
    if plan.norm:
        yield plan.norm


def _fits(numbering: Numbering, shapes: Mapping[str, Shape]) -> bool:
    """Whether the tensors are those of the architecture; other dense layers may be left over."""
    renamed = numbering.renamed(shapes)
    reading = read_as(numbering.dialect, "", renamed, numbering.architecture)
    if reading is None or not reading.fits:
        return False
    if numbering.dialect.name != "keras" and reading.biases:
        return False  # that network has biases of its own
    return all("dense" in name for name in reading.left_over)
