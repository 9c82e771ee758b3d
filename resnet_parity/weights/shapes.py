"""An architecture that is no row of the registry, made of the shapes of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from resnet_spec import ARCHITECTURES, Architecture, ArchitectureError
from resnet_spec.components import REFERENCE_WIDTH, Pool, SqueezeRatio, Stage, Stem

from resnet_parity.weights.naming import Dialect, Shape, shape_in

Shapes = Mapping[str, Shape]


def has_conv(dialect: Dialect, prefix: str, shapes: Shapes, **numbers: int) -> bool:
    """Whether the file has the kernel of this convolution of a block."""
    name = dialect.layer_name("conv", **numbers)
    return name is not None and dialect.layer["weight"].format(prefix + name) in shapes


def architectures_of_shapes(
    dialect: Dialect, prefix: str, shapes: Shapes
) -> Iterator[Architecture]:
    """The architecture with the kernels of the file, if the shapes tell one.

    Strides are those of all rows: 1 in the first stage and 2 in the others. A stem of one 3x3
    convolution has stride 1 and no pool, any other stem stride 2 and a pool.
    """
    if "{n" in dialect.roles["conv"]:  # such names do not show where a stage ends
        return
    try:
        if fields := _Shapes(dialect, prefix, shapes).fields():
            yield Architecture(**fields)
    except (ArchitectureError, ValueError, ZeroDivisionError):  # kernels that no ResNet has
        return


@dataclass(frozen=True)
class _Shapes:
    dialect: Dialect
    prefix: str
    shapes: Shapes

    def kernel(self, role: str, **numbers: int) -> Shape | None:
        """(out, in, height, width) of the kernel in that role."""
        name = self.dialect.layer_name(role, **numbers)
        if name is None:
            return None
        shape = self.shapes.get(self.dialect.layer["weight"].format(self.prefix + name), ())
        return shape_in("oihw", self.dialect.conv_axes, shape) if len(shape) == 4 else None

    def fields(self) -> dict[str, Any] | None:
        """The fields of the architecture, None without a stem or blocks."""
        stem = self.stem()
        counts = self.counts()
        if stem is None or not counts or not 1 <= len(counts) <= 8:
            return None
        is_bottleneck = self.kernel("conv", s=1, b=0, j=3) is not None
        last = 3 if is_bottleneck else 2
        ends = [self.kernel("conv", s=s, b=0, j=last) for s in range(1, len(counts) + 1)]
        first, second = (self.kernel("conv", s=1, b=0, j=j) for j in (1, 2))
        if None in (*ends, first, second):
            return None
        widths = [end[0] // (4 if is_bottleneck else 1) for end in ends if end]
        groups = first[0] // second[1]  # type: ignore[index]
        strided = [
            Stage(n, w, 2 if i else 1) for i, (n, w) in enumerate(zip(counts, widths, strict=True))
        ]
        depth = sum(counts) * last + 2
        name = f"resnet{depth}"
        return {
            "name": f"{name}_custom" if name in ARCHITECTURES else name,
            "block": "bottleneck" if is_bottleneck else "basic",
            "stages": tuple(strided),
            "stem": stem,
            "groups": groups,
            "width_per_group": second[0] * REFERENCE_WIDTH // (widths[0] * groups),  # type: ignore
            "preactivation": self.is_preactivation(),
            "image_size": 224 if stem.pool else 32,
            **(dict(self.dialect.fields) | self.shortcut(len(counts), counts, bool(stem.hidden))),
            **self.gates(ends),
        }

    def counts(self) -> list[int]:
        """The number of blocks of each stage."""
        counts: list[int] = []
        while self.kernel("conv", s=len(counts) + 1, b=0, j=1):
            blocks = 1
            while self.kernel("conv", s=len(counts) + 1, b=blocks, j=1):
                blocks += 1
            counts.append(blocks)
        return counts

    def stem(self) -> Stem | None:
        """The stem, None if the file has no first convolution."""
        deep = []
        while each := self.kernel("deep.conv", k=len(deep) + 1):
            deep.append(each)
        if len(deep) > 1:  # some dialects name the first of them as a stem of one convolution
            return Stem(deep[-1][0], deep[0][2], hidden=tuple(each[0] for each in deep[:-1]))
        if single := self.kernel("stem"):
            is_small = single[2] == 3
            pool, stride = (None, 1) if is_small else (Pool(), 2)
            return Stem(single[0], single[2], stride, pool)
        return None

    def is_preactivation(self) -> bool:
        """Whether the stem has no norm, and the end of the network has one."""
        names = [self.dialect.layer_name(role) for role in ("stem.norm", "last.norm")]
        leaf = self.dialect.norm["weight"]
        stem, last = (n is not None and leaf.format(self.prefix + n) in self.shapes for n in names)
        return last and not stem

    def shortcut(self, stages: int, counts: list[int], is_deep: bool) -> dict[str, Any]:
        """The kind of shortcut: projections, pooled ones, or none at all.

        Where a dialect has one name for both kinds, those of a network with a deep stem pool.
        """
        pooled, project = (self.dialect.roles.get(role) for role in ("pooled", "project"))
        for role in ("pooled", "project"):
            if pooled == project and (role == "pooled") != is_deep:
                continue
            if any(self.kernel(role, s=s, b=0) for s in range(1, stages + 1)):
                every = all(
                    self.kernel(role, s=s, b=b)
                    for s in range(1, stages + 1)
                    for b in range(counts[s - 1])
                )
                return {"shortcut": "C" if every else "B", "avg_down": role == "pooled"}
        return {"shortcut": "A", "avg_down": False}

    def gates(self, ends: list[Shape | None]) -> dict[str, Any]:
        """A squeeze ratio and a divisor that give the width of the gates, if there are any."""
        kernels = (self.kernel("gate", s=s, b=0, j=1) for s in range(1, len(ends) + 1))
        pairs = zip(ends, kernels, strict=True)
        widths = {(end[0], squeeze[0]) for end, squeeze in pairs if end and squeeze}
        ratios = [SqueezeRatio().ratio, *(squeezed / channels for channels, squeezed in widths)]
        for ratio, divisor in product(ratios, (SqueezeRatio().divisor, 1)):
            gate = SqueezeRatio(ratio, divisor)
            if widths and all(gate.squeezed(channels) == width for channels, width in widths):
                return {"se": gate}
        return {}
