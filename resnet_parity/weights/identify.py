"""Find out which network the tensors of a file are: dialect, prefix and architecture."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice, pairwise

from resnet_spec import ARCHITECTURES, Architecture, Norm, Parameter, make_plan
from resnet_spec.state_dict import with_sizes_of

from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.naming import (
    Dialect,
    canonical_shape,
    dialect_shape,
    roles,
    tensor_names,
)
from resnet_parity.weights.shapes import Shape, Shapes, architectures_of_shapes, has_conv

COUNTER = "num_batches_tracked"
"""The last part of the name of a step counter of torch, which no other framework has."""

_MOST_PREFIXES = 16
"""The number of networks in one state dict that are looked at."""


@dataclass(frozen=True)
class Reading:
    """A network in a file: `names` leads from the names in the file to its tensors.

    `biases` are names of convolution biases that the architecture does not have, with the norm that
    takes each. `missing` and `left_over` are names of the file; `mis_shaped` are sentences.
    `others` are the names of rows with equal tensors, between which the dialect decides.
    """

    dialect: Dialect
    prefix: str
    architecture: Architecture
    names: Mapping[str, Parameter]
    biases: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    left_over: tuple[str, ...] = ()
    mis_shaped: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    bn_eps: float | None = None
    """The epsilon that a config states."""
    notes: tuple[str, ...] = ()
    """Sentences on how tensors were found that the names alone do not show."""

    @property
    def fits(self) -> bool:
        """Whether the file has every tensor of the architecture, in its shape."""
        return not (self.missing or self.mis_shaped)

    @property
    def rank(self) -> tuple[int, int, int]:
        """A smaller one is a better explanation of the file."""
        wrong = len(self.missing) + len(self.mis_shaped)
        return (wrong + len(self.left_over), wrong, -len(self.names))


def anchored(dialect: Dialect, names: Collection[str]) -> list[str]:
    """The prefixes before the second convolution of the first block, at most `_MOST_PREFIXES`."""
    conv = dialect.layer_name("conv", s=1, b=0, n=0, j=2)
    pattern = re.escape(dialect.layer["weight"]).replace(r"\{\}", "(.*)" + re.escape(conv or ""))
    found = (re.fullmatch(pattern, name) for name in names)
    prefixes = dict.fromkeys(match[1] for match in found if match)
    whole = (prefix for prefix in prefixes if prefix == "" or prefix[-1] in "./")
    return list(islice(whole, _MOST_PREFIXES))


def identify(shapes: Shapes, *, architecture: Architecture | None = None) -> list[Reading]:
    """Every reading of the tensors of one state dict, the best first; empty if there is none.

    `architecture` restricts the search to what the user says.
    """
    found: list[Reading] = []
    for dialect in DIALECTS.values():
        for prefix in anchored(dialect, shapes):
            found += _readings(dialect, prefix, shapes, architecture)
        if any(reading.rank[0] == 0 for reading in found):
            break
    best = sorted(found, key=lambda reading: reading.rank)
    return [reading for reading in best if reading.rank[1] < len(reading.names)]


def _readings(
    dialect: Dialect, prefix: str, shapes: Shapes, given: Architecture | None
) -> list[Reading]:
    """The reading in one dialect that explains most; an architecture that is no row comes last."""
    readings: dict[tuple, list[Reading]] = {}
    for candidates in [[given]] if given else _candidates(dialect, prefix, shapes):
        for candidate in candidates:
            if reading := read_as(dialect, prefix, shapes, candidate):
                readings.setdefault(reading.rank, []).append(reading)
        if readings and min(readings)[0] == 0:
            break
    if not readings:
        return []
    best = min(readings.items())[1]
    chosen = min(best, key=lambda each: distance(dialect, each.architecture))
    others = tuple(
        each.architecture.name
        for each in best
        if each is not chosen and each.architecture.name in ARCHITECTURES
    )
    return [replace(chosen, others=others)]


def distance(dialect: Dialect, arch: Architecture) -> int:
    """How many fields of an architecture are not those of the dialect, or of torchvision."""
    default = {"stride_in_1x1": False, "bn_eps": 1e-5, "residual": True, "zero_padding": "after"}
    wanted = default | dict(dialect.fields)
    return sum(getattr(arch, name) != value for name, value in wanted.items())


def _candidates(dialect: Dialect, prefix: str, shapes: Shapes) -> Iterator[Iterable[Architecture]]:
    """The rows with the blocks of the file; then an architecture made of its shapes."""
    yield [row for row in ARCHITECTURES.values() if _has_blocks(dialect, prefix, shapes, row)]
    yield architectures_of_shapes(dialect, prefix, shapes)


def _has_blocks(dialect: Dialect, prefix: str, shapes: Shapes, row: Architecture) -> bool:
    """Whether the file has the last block of every stage of a row, and no block beyond."""
    last = 3 if row.block == "bottleneck" else 2
    n = -1
    for s, stage in enumerate(row.stages, start=1):
        n += stage.blocks
        if not has_conv(dialect, prefix, shapes, s=s, b=stage.blocks - 1, n=n, j=last):
            return False
        if "{n" not in dialect.roles["conv"] and has_conv(
            dialect, prefix, shapes, s=s, b=stage.blocks, n=n, j=last
        ):
            return False
    beyond = {"s": len(row.stages) + 1, "b": 0, "n": n + 1}
    more = has_conv(dialect, prefix, shapes, **beyond, j=1)
    return not more and not has_conv(dialect, prefix, shapes, s=1, b=0, n=0, j=last + 1)


def read_as(dialect: Dialect, prefix: str, shapes: Shapes, row: Architecture) -> Reading | None:
    """How the file fits a row, whose classes and channels are those of the file."""
    arch = replace(row, **fields_of(dialect, row))
    if "fc" not in dialect.roles:
        arch = replace(arch, num_classes=0)
    whole = replace(arch, num_classes=arch.num_classes or 1) if "fc" in dialect.roles else arch
    theirs = _prefixed(dialect, prefix, whole)
    if theirs is None:
        return None
    arch = with_sizes_of(arch, canonical_shapes(dialect, theirs, shapes))
    names = _prefixed(dialect, prefix, arch)
    assert names is not None
    biases = _biases(dialect, prefix, arch, names, shapes)
    ignored = {*counters(dialect, prefix, arch)}
    return Reading(
        dialect,
        prefix,
        arch,
        names,
        biases,
        tuple(name for name in names if name not in shapes),
        tuple(n for n in shapes if n not in names and n not in biases and n not in ignored),
        tuple(_mis_shaped(dialect, names, shapes)),
    )


def fields_of(dialect: Dialect, row: Architecture) -> dict[str, object]:
    """The fields of the dialect that change a row without changing its tensors."""
    if "zero_padding" in dialect.fields and row.shortcut == "A":
        return {"zero_padding": dialect.fields["zero_padding"]}
    return {}


def _prefixed(dialect: Dialect, prefix: str, arch: Architecture) -> dict[str, Parameter] | None:
    return _tensor_names(dialect.name, prefix, arch)


@lru_cache(maxsize=512)
def _tensor_names(dialect: str, prefix: str, arch: Architecture) -> dict[str, Parameter] | None:
    return tensor_names(DIALECTS[dialect], arch, prefix)


def canonical_shapes(
    dialect: Dialect, names: Mapping[str, Parameter], shapes: Shapes
) -> dict[str, Shape]:
    """The shapes of a file by canonical name; a tensor of another rank keeps its shape."""
    found = {}
    for name, parameter in names.items():
        if name in shapes:
            shape = canonical_shape(dialect, parameter, shapes[name])
            found[parameter.name] = shape or shapes[name]
    return found


def _mis_shaped(dialect: Dialect, names: Mapping[str, Parameter], shapes: Shapes) -> Iterator[str]:
    for name, parameter in names.items():
        if name in shapes and canonical_shape(dialect, parameter, shapes[name]) != parameter.shape:
            wanted = dialect_shape(dialect, parameter)
            yield f"{name} has shape {shapes[name]}, expected {wanted}"


def _biases(
    dialect: Dialect,
    prefix: str,
    arch: Architecture,
    names: Mapping[str, Parameter],
    shapes: Shapes,
) -> dict[str, str]:
    """Biases of convolutions that the architecture has none for, with the norm that follows."""
    if "bias" not in dialect.layer:
        return {}
    found, plan = {}, make_plan(arch)
    layers = [*plan.stem.layers]
    for block in plan.blocks:
        if not block.preactivation:
            layers += [*block.branch, *(each for each in block.layers if "downsample" in each.name)]
    known = roles(arch)
    for conv, norm in pairwise(layers):
        if isinstance(conv, Norm) or not isinstance(norm, Norm):
            continue
        role, numbers = known[conv.name]
        name = dialect.layer["bias"].format(prefix + (dialect.layer_name(role, **numbers) or ""))
        if name in shapes and name not in names and shapes[name] == (conv.out_channels,):
            found[name] = norm.name
    return found


def counters(dialect: Dialect, prefix: str, arch: Architecture) -> list[str]:
    """The names of the step counters that torch keeps beside the norms, in their order."""
    if not dialect.norm["weight"].endswith(".weight"):
        return []
    names = _prefixed(dialect, prefix, arch) or {}
    return [
        f"{name.rpartition('.')[0]}.{COUNTER}"
        for name, parameter in names.items()
        if parameter.name.endswith(".running_mean")
    ]
