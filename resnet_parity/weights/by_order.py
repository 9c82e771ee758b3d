"""Name the layers of a Keras file that states only their order, such as `conv2d_7`.

Before version 3.6, Keras wrote `.weights.h5` files so: layers by class, with a number, in the order
of `model.layers`. Only the place of a shortcut between the layers of its block differs between
builders; shapes decide it, and it is the same in all blocks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from resnet_spec import ARCHITECTURES, Architecture, Conv, Norm, make_plan

from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats.stored import Tensors
from resnet_parity.weights.identify import read_as
from resnet_parity.weights.naming import Dialect, roles
from resnet_parity.weights.shapes import Shape

T = TypeVar("T")

_NUMBERED = re.compile(
    r"((?:.*/)?)(conv2d|batch_normalization|dense)(?:_(\d{1,9}))?/(kernel|bias|gamma|beta|moving_\w+)"
)

_PLACES = ("before the last convolution of the block", "after the block", "before the block")
"""Where the layers of a shortcut stand between those of its block: the first two are usual."""

NOTE = "the file numbers its layers and does not name them; shapes say that shortcuts stand {}"


@dataclass(frozen=True)
class _Numbered:
    """The names of the layers of a file, by class, each in order."""

    convs: list[str]
    norms: list[str]
    dense: list[str]


def named_by_order(tensors: Tensors, given: Architecture | None) -> tuple[Tensors, str] | None:
    """The tensors by their names in a dialect of Keras, and a sentence on their order.

    `given` is the architecture that the user names. None where no architecture agrees with the
    shapes, or where several orders do.
    """
    numbered = _numbered(tensors)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    # keras.applications has biases in its convolutions, the others have none.
    has_biases = any(f"{name}/bias" in shapes for name in numbered.convs)
    applications = ("keras-applications", "keras-applications-v2") if has_biases else ()
    for dialect in (*applications, "keras"):
        for row in [given] if given else ARCHITECTURES.values():
            found = {  # by names, because places are one where no shortcut projects
                tuple(names.items()): place
                for place in _PLACES
                if (names := _names(DIALECTS[dialect], row, numbered, place))
                and _fits(DIALECTS[dialect], row, _renamed(shapes, names))
            }
            if len(found) > 1:
                return None
            for names, place in found.items():
                return _renamed(tensors, dict(names)), NOTE.format(place)
    return None


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


def _names(
    dialect: Dialect, arch: Architecture, numbered: _Numbered, place: str
) -> dict[str, str] | None:
    """The names of the layers of an architecture, by those of the file; None for other numbers."""
    layers = [*_ordered(arch, place)]
    convs = [layer.name for layer in layers if isinstance(layer, Conv)]
    norms = [layer.name for layer in layers if isinstance(layer, Norm)]
    if len(convs) != len(numbered.convs) or len(norms) != len(numbered.norms):
        return None
    known = roles(arch)
    found = {}
    pairs = [*zip(numbered.convs, convs, strict=True), *zip(numbered.norms, norms, strict=True)]
    for theirs, layer in pairs:
        role, numbers = known[layer]
        name = dialect.layer_name(role, **numbers)
        if name is None:
            return None
        found[theirs] = name
    head = dialect.layer_name("fc")
    if len(numbered.dense) == 1 and head:
        found[numbered.dense[0]] = head
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


def _renamed(tensors: Mapping[str, T], names: Mapping[str, str]) -> dict[str, T]:
    """The tensors of layers under other names."""
    parts = ((name.rpartition("/"), tensor) for name, tensor in tensors.items())
    return {f"{names.get(layer, layer)}/{word}": tensor for (layer, _, word), tensor in parts}


def _fits(dialect: Dialect, arch: Architecture, shapes: Mapping[str, Shape]) -> bool:
    """Whether the tensors are those of an architecture; other dense layers may be left over."""
    reading = read_as(dialect, "", shapes, arch)
    if reading is None or not reading.fits:
        return False
    return all("dense" in name for name in reading.left_over)
