"""The networks that are called ResNet-50, side by side from the spec, and those that no row has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from resnet_spec import (
    Add,
    Architecture,
    AveragePool,
    Conv,
    MaxPool,
    Norm,
    Operation,
    Relu,
    get_architecture,
    mac_count,
    make_graph,
    make_plan,
    parameter_count,
    parameters,
)
from resnet_spec.taps import shapes

from resnet_parity.site.results import read

NETS = {
    "resnet50": "v1.5: torchvision, timm, KerasHub, Hugging Face",
    "resnet50_v1": "He et al. 2015",
    "keras_resnet50": "keras.applications ResNet50",
    "keras_resnet50v2": "keras.applications ResNet50V2",
    "resnet50d": "ResNet-D: timm, KerasHub vd",
    "resnetv2_50": "v2: timm, KerasHub",
}
"""The rows of the registry that are called ResNet-50; the others are compared with the first."""

MEASURED = (
    "Relative error in the logits, where weights that fit both networks run in the wrong one: "
    "random weights, running means and variances, both networks computed by the oracle in float64. "
    "Rounding in float32 gives an error below 1e-6."
)

Stack = list[dict[str, str]]
"""Boxes of a drawing, from top to bottom."""


@dataclass(frozen=True)
class Cell:
    """A fact about a network in words, or stacks of boxes, and whether the first net differs."""

    text: str
    stacks: list[Stack]
    differs: bool = False


@dataclass(frozen=True)
class Fact:
    """A row of the table."""

    label: str
    cells: list[Cell]


def facts() -> Iterator[Fact]:
    """Yield every fact with a cell for each of `NETS`."""
    nets = [get_architecture(name) for name in NETS]
    for label, say in {**_DRAWINGS, **_WORDS}.items():
        values = [say(arch) for arch in nets]
        cells = [
            Cell(value, [], value != values[0])
            if isinstance(value, str)
            else Cell("", value, value != values[0])
            for value in values
        ]
        yield Fact(label, cells)


def mistakes() -> list[dict[str, Any]]:
    """The measured errors where one network is taken for another, the largest first."""
    rows = read("mistaken")["rows"]
    found = [
        {**row, "name": name, "figure": f"{row['value']:.2g}" if row["value"] else "0"}
        for name, row in rows.items()
    ]
    return sorted(found, key=lambda row: -row["value"])


def _stem(arch: Architecture) -> list[Stack]:
    """The operations before the first block."""
    first = next(make_plan(arch).blocks).name
    nodes = takewhile(lambda node: not node.name.startswith(f"{first}."), make_graph(arch))
    return [[box for node in nodes if (box := _box(node.operation))]]


def _strided_block(arch: Architecture) -> list[Stack]:
    """The residual branch and the shortcut of the first block of 512 channels that strides."""
    block = next(
        block for block in make_plan(arch).blocks if block.stride > 1 and block.out_channels == 512
    )
    branch: Stack = []
    shortcut: Stack = []
    for node in make_graph(arch):
        box = _box(node.operation)
        if box and f"{node.name}.".startswith(f"{block.name}."):
            (shortcut if ".downsample." in node.name else branch).append(box)
    return [branch, shortcut]


def _box(operation: Operation) -> dict[str, str] | None:
    """The label of an operation, and its kind; None for one that computes nothing."""
    strided = " strided" if getattr(operation, "stride", 1) > 1 else ""
    step = f" /{operation.stride}" if strided else ""  # pyright: ignore
    match operation:
        case Conv():
            bias = " +b" if operation.bias else ""
            text = f"{operation.kernel}x{operation.kernel}, {operation.out_channels}{step}{bias}"
            return {"text": text, "kind": f"conv{strided}"}
        case Norm():
            return {"text": "norm", "kind": "norm"}
        case Relu():
            return {"text": "ReLU", "kind": "relu"}
        case MaxPool():
            text = f"max {operation.kernel}x{operation.kernel}{step}"
            return {"text": text, "kind": f"pool{strided}"}
        case AveragePool():
            text = f"mean {operation.kernel}x{operation.kernel}{step}"
            return {"text": text, "kind": f"pool{strided}"}
        case Add():
            return {"text": "+", "kind": "add"}
    return None


def _convs(arch: Architecture) -> list[Conv]:
    return [layer for layer in make_plan(arch).layers if isinstance(layer, Conv)]


def _border(arch: Architecture) -> str:
    pool = make_plan(arch).stem.pool
    border = pool.border if pool else "none"
    return {
        "any": "zeros or minus infinity, the same after a ReLU",
        "lowest": "minus infinity",
        "zero": "zeros",
    }.get(border, border)


def _stride(arch: Architecture) -> str:
    where = "first 1x1" if arch.stride_in_1x1 else "3x3"
    return f"{where} of the {'last' if arch.stride_in_last_block else 'first'} block of a stage"


def _shortcut(arch: Architecture) -> str:
    pooled = "2x2 mean, then " if arch.avg_down else ""
    projection = "1x1 after the first ReLU," if arch.preactivation else "1x1, norm"
    if arch.shortcut == "B-pooled":
        return f"{projection} where channels change; 1x1 max-pool where only the map shrinks"
    return f"{pooled}{projection} where the shape changes"


def _maps(arch: Architecture) -> str:
    extents = shapes(arch, 224, 224)
    plan = make_plan(arch)
    ends = [stage.blocks[-1].name for stage in plan.stages]
    return ", ".join(str(extents[name][1]) for name in ends)


def _biases(arch: Architecture) -> str:
    convs = _convs(arch)
    count = sum(conv.bias for conv in convs)
    return f"{count} of {len(convs)}" if count else "none"


_DRAWINGS: dict[str, Callable[[Architecture], list[Stack]]] = {
    "stem": _stem,
    "the block that first halves a map": _strided_block,
}

_WORDS: dict[str, Callable[[Architecture], str]] = {
    "order in a block": lambda arch: (
        "norm, ReLU, convolution" if arch.preactivation else "convolution, norm, ReLU"
    ),
    "stride": _stride,
    "shortcut": _shortcut,
    "border of the max-pool": _border,
    "biases of convolutions": _biases,
    "epsilon": lambda arch: f"{arch.bn_eps:g}".replace("e-0", "e-"),
    "decay of the statistics": lambda arch: f"{arch.bn_decay:g}",
    "norm before the pooled mean": lambda arch: "yes" if make_plan(arch).norm else "no",
    "maps at 224, by stage": _maps,
    "tensors": lambda arch: f"{len(list(parameters(arch)))}",
    "parameters": lambda arch: f"{parameter_count(arch):,}",
    "GMACs at 224": lambda arch: f"{mac_count(arch) / 1e9:.2f}",
}


@dataclass(frozen=True)
class Other:
    """A network that is called ResNet-50 and is no row, with what a row would have to differ in."""

    id: str
    net: str
    names: str
    stride: str
    padding: str
    biases: str
    norm: str
    remark: str


OTHERS = (
    Other(
        "keras-2016",
        "Keras 2016",
        "`res2a_branch2a`, `bn2a_branch2a`, `fc1000`",
        "first 1x1 and projection",
        "max-pool not padded: 112 to 55",
        "all 53",
        "the default epsilon of its Keras: 1e-5 or less at first, 1e-3 later",
        "BGR images minus a mean; later releases of keras-applications have the names of "
        "`keras_resnet50`",
    ),
    Other(
        "tensorflow-official",
        "TensorFlow official, v1.5",
        "those of Keras 2016",
        "3x3",
        "SAME in strided convolutions and in the max-pool: right and below alone at even sizes",
        "none",
        "epsilon 1e-5, decay 0.9",
        "the names of Keras 2016 for another network; without biases a file is this one",
    ),
    Other(
        "caffe",
        "Caffe, MSRA",
        "`res2a_branch2a`, `bn2a_branch2a`, `scale2a_branch2a`",
        "first 1x1 and projection",
        "max-pool not padded and rounded up: 112 to 56, its last windows cut off",
        "of the first convolution alone",
        "epsilon 1e-5; scale and shift are a layer of their own",
        "BGR images minus a mean; mean and variance are stored with a common factor",
    ),
    Other(
        "slim-v1",
        "TF-slim v1",
        "`resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/weights`",
        "3x3 of the last unit of blocks 1 to 3",
        "max-pool SAME: right and below alone at even sizes; convolutions on both sides",
        "none",
        "epsilon 1e-5, decay 0.997",
        "where a unit strides, its shortcut is a 1x1 max-pool; the classifier is a 1x1 convolution",
    ),
    Other(
        "slim-v2",
        "TF-slim v2",
        "`resnet_v2_50/block1/unit_1/bottleneck_v2/preact/gamma`",
        "3x3 of the last unit of blocks 1 to 3",
        "max-pool SAME: right and below alone at even sizes; convolutions on both sides",
        "stem, projections and last convolutions of the units",
        "epsilon 1e-5, decay 0.997",
        "as `keras_resnet50v2` but for its max-pool; 1,001 classes, the first is the background",
    ),
    Other(
        "gluon-v1",
        "MXNet Gluon v1",
        "`features.4.0.body.0.weight`",
        "first 1x1 and projection",
        "max-pool on both sides",
        "1x1 convolutions of the branches, 32",
        "epsilon 1e-5, decay 0.9",
        "read as `resnet50_v1`: each bias goes into the running mean of the norm after it",
    ),
)
"""The networks called ResNet-50 that no row describes as they are."""
