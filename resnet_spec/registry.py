"""THE registry: every architecture of this project, one row each, in groups.

Both packages make a function of each row. `docs/layout.md` lists what else a new row needs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from typing import Any

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.components import DEEP_STEM, SMALL_STEM, Pool, SqueezeRatio, Stage, Stem, stages
from resnet_spec.hints import nearest_architectures, unknown_option

_HE = "He et al. 2015, arXiv:1512.03385, table 1"
_HE_OPTIONS = "He et al. 2015, arXiv:1512.03385, table 3"
_HE_CIFAR = "He et al. 2015, arXiv:1512.03385, section 4.2"
_HE_V2 = "He et al. 2016, arXiv:1603.05027"
_XIE = "Xie et al. 2017, arXiv:1611.05431"
_ZAGORUYKO = "Zagoruyko and Komodakis 2016, arXiv:1605.07146"
_BAG = "He et al. 2019, arXiv:1812.01187, section 4"
_HU = "Hu et al. 2018, arXiv:1709.01507"
_KERAS = "Keras Applications, after"
_TIMM = "timm, after"
_KUANGLIU = "github.com/kuangliu/pytorch-cifar, after"

_BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def _row(name: str, depth: int, source: str, **different: Any) -> Architecture:
    """A network of He et al. 2015, table 1: basic blocks up to 34 layers, then bottlenecks."""
    block = "basic" if depth < 50 else "bottleneck"
    return Architecture(name, block, stages(*_BLOCKS[depth]), source=source, **different)


def _cifar(name: str, blocks: int, source: str = _HE_CIFAR, **different: Any) -> Architecture:
    """Three stages of 16, 32 and 64 channels for images of 32x32 (He et al. 2015, section 4.2)."""
    given: dict[str, Any] = {"block": "basic", "shortcut": "A", "num_classes": 10} | different
    return Architecture(
        name,
        stages=(Stage(blocks, 16), Stage(blocks, 32, stride=2), Stage(blocks, 64, stride=2)),
        stem=Stem(16, kernel=3, stride=1, pool=None),
        image_size=32,
        source=source,
        **given,
    )


_BIG = (50, 101, 152)
_KERAS_NORM: dict[str, Any] = {"bn_eps": 1.001e-5, "bn_decay": 0.99}
_D: dict[str, Any] = {"stem": DEEP_STEM, "avg_down": True}
_SMALL: dict[str, Any] = {"stem": SMALL_STEM, "num_classes": 10, "image_size": 32}

GROUPS: dict[str, tuple[Architecture, ...]] = {
    # A bottleneck strides in its 3x3 convolution, not in the first 1x1 as in the paper (v1).
    # torchvision builds these, and published weights expect them.
    "torchvision (v1.5)": (
        *(_row(f"resnet{depth}", depth, _HE) for depth in _BLOCKS),
        _row("resnext50_32x4d", 50, _XIE, groups=32, width_per_group=4),
        _row(
            "resnext101_32x8d",
            101,
            "Mahajan et al. 2018, arXiv:1805.00932, section 2.2",
            groups=32,
            width_per_group=8,
        ),
        _row("resnext101_64x4d", 101, _XIE, groups=64, width_per_group=4),
        _row("wide_resnet50_2", 50, _ZAGORUYKO, width_per_group=128),
        _row("wide_resnet101_2", 101, f"torchvision, after {_ZAGORUYKO}", width_per_group=128),
    ),
    "original (v1)": tuple(
        _row(f"resnet{depth}_v1", depth, _HE, stride_in_1x1=True) for depth in _BIG
    ),
    "shortcut options and plain nets": (
        _row("resnet34_a", 34, _HE_OPTIONS, shortcut="A"),
        _row("resnet34_c", 34, _HE_OPTIONS, shortcut="C"),
        _row("resnet50_a", 50, _HE, shortcut="A"),
        _row("resnet50_c", 50, _HE, shortcut="C"),
        _row("plain18", 18, _HE, residual=False),
        _row("plain34", 34, _HE, residual=False),
    ),
    "Keras Applications v1": tuple(
        _row(
            f"keras_resnet{depth}",
            depth,
            f"{_KERAS} {_HE}",
            stride_in_1x1=True,
            conv_bias="all",
            **_KERAS_NORM,
        )
        for depth in _BIG
    ),
    "pre-activation (v2)": tuple(
        _row(f"resnetv2_{depth}", depth, f"{_TIMM} {_HE_V2}", preactivation=True)
        for depth in _BLOCKS
    ),
    # The last block of a stage strides, except in the last stage.
    "Keras Applications v2": tuple(
        Architecture(
            f"keras_resnet{depth}v2",
            "bottleneck",
            tuple(
                Stage(blocks, 64 * 2**index, stride=1 if index == 3 else 2)
                for index, blocks in enumerate(_BLOCKS[depth])
            ),
            stem=Stem(pool=Pool(border="zero")),
            preactivation=True,
            shortcut="B-pooled",
            stride_in_last_block=True,
            conv_bias="unnormalised",
            source=f"{_KERAS} {_HE_V2}",
            **_KERAS_NORM,
        )
        for depth in _BIG
    ),
    "CIFAR": (
        *(_cifar(f"resnet{6 * n + 2}", n) for n in (3, 5, 7, 9, 18, 200)),
        *(_cifar(f"plain{6 * n + 2}", n, shortcut="B", residual=False) for n in (3, 5, 7, 9)),
        _cifar("resnetv2_110", 18, f"{_HE_V2}, table 2", preactivation=True),
        _cifar(
            "resnetv2_164",
            18,
            f"{_HE_V2}, table 2",
            block="bottleneck",
            shortcut="B",
            preactivation=True,
        ),
    ),
    "small stem": (
        _row("resnet18_small", 18, f"{_KUANGLIU} {_HE}", **_SMALL),
        _row("resnet34_small", 34, f"{_KUANGLIU} {_HE}", **_SMALL),
        _row("resnet50_small", 50, f"{_KUANGLIU} {_HE}", **_SMALL),
        _row("resnetv2_18_small", 18, _HE_V2, preactivation=True, **_SMALL),
    ),
    "ResNet-C and -D": (
        _row("resnet50c", 50, f"{_TIMM} {_BAG}", stem=DEEP_STEM),
        *(_row(f"resnet{depth}d", depth, f"{_TIMM} {_BAG}", **_D) for depth in _BLOCKS),
        *(
            _row(f"resnetv2_{depth}d", depth, f"{_TIMM} {_BAG}", preactivation=True, **_D)
            for depth in _BIG
        ),
    ),
    "squeeze-and-excitation": (
        *(
            _row(f"seresnet{depth}", depth, f"{_TIMM} {_HU}", se=SqueezeRatio())
            for depth in _BLOCKS
        ),
        _row(
            "seresnext50_32x4d",
            50,
            f"{_TIMM} {_HU}",
            groups=32,
            width_per_group=4,
            se=SqueezeRatio(),
        ),
        _row("seresnet152d", 152, f"{_TIMM} {_HU}", se=SqueezeRatio(), **_D),
    ),
}

ARCHITECTURES: dict[str, Architecture] = {
    row.name: row for group in GROUPS.values() for row in group
}


def get_architecture(
    architecture: str | Architecture,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features_only: bool = False,
    out_indices: Iterable[int] | None = None,
    **overrides: Any,
) -> Architecture:
    """The row of that name, or the given row, with some fields replaced.

    `features_only` makes it a backbone, without classes, that returns the feature maps of
    `out_indices` (0 is the stem, 1 the first stage, -1 the last one; default: all).

    Raises `ArchitectureError` for an unknown name or field (with the nearest known ones), or a
    combination that cannot be built.
    """
    row = _find(architecture)
    is_backbone = features_only or row.out_indices is not None
    if is_backbone and num_classes:
        raise ArchitectureError(
            "a backbone returns feature maps and no classes; leave num_classes out"
        )
    known = [field.name for field in fields(Architecture)]
    unknown = [
        unknown_option(name, known, value) for name, value in overrides.items() if name not in known
    ]
    if unknown:
        raise ArchitectureError("\n".join(unknown))
    counts = {"num_classes": num_classes, "in_channels": in_channels}
    overrides |= {name: count for name, count in counts.items() if count is not None}
    row = replace(row, **overrides) if overrides else row
    if features_only:
        maps = len(row.stages) + 1
        levels = range(maps) if out_indices is None else out_indices
        try:
            levels = [level + maps if -maps <= level < 0 else level for level in levels]
        except TypeError:
            raise ArchitectureError(
                f"out_indices must be a sequence, as in (1, 4) or (4,), not {out_indices!r}"
            ) from None
        return replace(row, out_indices=tuple(levels))
    if out_indices is not None:
        raise ArchitectureError("out_indices needs features_only=True")
    return row


def list_models(pattern: str = "*") -> list[str]:
    """The names of the registry that match a shell pattern, such as `"*v2*"`, in its order."""
    return [name for name in ARCHITECTURES if fnmatchcase(name, pattern)]


def _find(architecture: str | Architecture) -> Architecture:
    if isinstance(architecture, Architecture):
        return architecture
    if not isinstance(architecture, str):
        kind = type(architecture).__name__
        raise ArchitectureError(f"expected an architecture name or an Architecture, not {kind}")
    if architecture not in ARCHITECTURES:
        raise ArchitectureError(
            f"unknown architecture {architecture!r}"
            f"{nearest_architectures(architecture, ARCHITECTURES)}; "
            "`resnet-parity list` shows them all"
        )
    return ARCHITECTURES[architecture]
