"""THE table: every architecture that this project builds, one row each."""

from __future__ import annotations

import difflib
from dataclasses import fields, replace
from typing import Any

from resnet_spec.architecture import Architecture, ArchitectureError, stages

_HE = "He et al. 2015, arXiv:1512.03385, table 1"
_XIE = "Xie et al. 2017, arXiv:1611.05431"
_ZAGORUYKO = "Zagoruyko and Komodakis 2016, arXiv:1605.07146"

# All ten are the "v1.5" nets: a bottleneck strides in its 3x3 convolution, not in the first 1x1
# as the paper has it. This is what torchvision builds and what published weights expect.
_ROWS = (
    Architecture("resnet18", "basic", stages(2, 2, 2, 2), source=_HE),
    Architecture("resnet34", "basic", stages(3, 4, 6, 3), source=_HE),
    Architecture("resnet50", "bottleneck", stages(3, 4, 6, 3), source=_HE),
    Architecture("resnet101", "bottleneck", stages(3, 4, 23, 3), source=_HE),
    Architecture("resnet152", "bottleneck", stages(3, 8, 36, 3), source=_HE),
    Architecture(
        "resnext50_32x4d",
        "bottleneck",
        stages(3, 4, 6, 3),
        groups=32,
        width_per_group=4,
        source=_XIE,
    ),
    Architecture(
        "resnext101_32x8d",
        "bottleneck",
        stages(3, 4, 23, 3),
        groups=32,
        width_per_group=8,
        source="Mahajan et al. 2018, arXiv:1805.00932, section 2.2",
    ),
    Architecture(
        "resnext101_64x4d",
        "bottleneck",
        stages(3, 4, 23, 3),
        groups=64,
        width_per_group=4,
        source=_XIE,
    ),
    Architecture(
        "wide_resnet50_2",
        "bottleneck",
        stages(3, 4, 6, 3),
        width_per_group=128,
        source=_ZAGORUYKO,
    ),
    Architecture(
        "wide_resnet101_2",
        "bottleneck",
        stages(3, 4, 23, 3),
        width_per_group=128,
        source=f"torchvision, after {_ZAGORUYKO}",
    ),
)

ARCHITECTURES: dict[str, Architecture] = {row.name: row for row in _ROWS}


def get_architecture(architecture: str | Architecture, **overrides: Any) -> Architecture:
    """The row of that name, or the given row, with some fields replaced; None keeps a field.

    Raises `ArchitectureError` for an unknown name (with the nearest known ones), an unknown
    field, or a combination that cannot be built.
    """
    if isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            raise ArchitectureError(_unknown_name(architecture))
        architecture = ARCHITECTURES[architecture]
    if not isinstance(architecture, Architecture):
        kind = type(architecture).__name__
        raise ArchitectureError(f"expected an architecture name or an Architecture, not {kind}")
    known = [field.name for field in fields(Architecture)]
    for name in overrides:
        if name not in known:
            raise ArchitectureError(
                f"an architecture has no field {name!r}{_nearest(name, known)}; "
                f"its fields are: {', '.join(known)}"
            )
    return replace(architecture, **{k: v for k, v in overrides.items() if v is not None})


def _unknown_name(name: str) -> str:
    return (
        f"unknown architecture {name!r}{_nearest(name, ARCHITECTURES)}; "
        f"known are: {', '.join(ARCHITECTURES)}"
    )


def _nearest(word: str, known) -> str:
    near = difflib.get_close_matches(word.lower(), known, n=3)
    return f" (did you mean {' or '.join(near)}?)" if near else ""
