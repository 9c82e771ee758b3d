"""The architecture of a network, read from its layers.

A saved or copied model keeps its layers and loses everything else. Its kernels, strides, dilations,
paddings and epsilons say which architecture it is: `read_architecture` finds one whose graph has
exactly these layers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import count, product, takewhile
from typing import Any, get_args

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.components import REFERENCE_WIDTH, Pool, Shortcut, SqueezeRatio, Stage, Stem
from resnet_spec.graph import make_graph
from resnet_spec.layers import (
    AveragePool,
    ChannelPad,
    Conv,
    Identity,
    Linear,
    MaxPool,
    Norm,
    Operation,
)
from resnet_spec.registry import ARCHITECTURES, get_architecture

Operations = Mapping[str, Operation | None]
"""Operations by name; None for a layer of that name which no plan has."""


def read_architecture(
    name: str, operations: Operations, outputs: Collection[str] = ()
) -> Architecture:
    """The architecture with exactly these operations; a row of the registry if one has them.

    `name` decides between rows that are equal so far, and names an architecture that is no row.
    `outputs` are the names of the feature maps that a network without head returns.

    Raises `ArchitectureError` if no architecture has these operations.
    """
    refused: list[str] = []
    candidates = list(_Reader(name, operations, outputs).candidates(refused))
    for candidate in candidates:
        for arch in (*_rows_like(candidate), candidate):
            if not layer_problems(arch, operations):
                return arch
    problems = min((layer_problems(each, operations) for each in candidates), key=len, default=[])
    odd = [f"{each} is a layer of no architecture" for each, op in operations.items() if op is None]
    listed = "\n".join(f"  - {problem}" for problem in (problems or odd or refused)[:8])
    raise ArchitectureError(
        f"no architecture has the layers of {name!r}; a network ends with a block such as "
        f"layer3.0, with avgpool or with its classifier:\n{listed}"
    )


def layer_problems(arch: Architecture, operations: Operations, *, decays: bool = True) -> list[str]:
    """One line per operation that is missing, extra or not as in the architecture.

    Initial values are not compared, and the decays of norms only if asked.
    """
    expected = {node.name: node.operation for node in make_graph(arch)}
    problems = [f"{name} is missing" for name in expected if name not in operations]
    for name, found in operations.items():
        if name not in expected:
            problems.append(f"{name} is not a layer of this architecture")
        elif found is None or type(found) is not type(expected[name]):
            kind = type(expected[name]).__name__
            problems.append(f"{name} is not the {kind} of this architecture")
        else:
            ours, theirs = _comparable(found), _comparable(expected[name])
            problems += [
                f"{name} has {field.name} {getattr(ours, field.name)}, "
                f"expected {getattr(theirs, field.name)}"
                for field in fields(ours)
                if (decays or field.name != "decay")
                and getattr(ours, field.name) != getattr(theirs, field.name)
            ]
    return problems


def _comparable(operation: Any) -> Any:
    """Without initial values; a border of zeros is "any", because both are made alike."""
    if isinstance(operation, Norm):
        return replace(operation, gamma_init=1.0)
    if isinstance(operation, Conv):
        return replace(operation, zero_init=False)
    if isinstance(operation, MaxPool) and operation.border == "zero":
        return replace(operation, border="any")
    return operation


_KINDS = ("block", "preactivation", "residual")


def _rows_like(read: Architecture) -> Iterator[Architecture]:
    """Rows of the registry with the blocks of this architecture, that of its name first."""
    depth = len(read.stages) if read.out_indices is None else read.out_indices[-1]
    counts = [stage.blocks for stage in read.stages[:depth]]
    for row in sorted(ARCHITECTURES.values(), key=lambda row: row.name != read.name):
        same = all(getattr(row, field) == getattr(read, field) for field in _KINDS)
        used = row.stages if read.out_indices is None else row.stages[:depth]
        if depth and not (same and [stage.blocks for stage in used] == counts):
            continue
        options: dict[str, Any] = {
            "in_channels": read.in_channels,
            "zero_init_residual": read.zero_init_residual,
        }
        if read.out_indices is None:
            options["num_classes"] = read.num_classes
        else:
            options |= {"features_only": True, "out_indices": read.out_indices}
        for stride in dict.fromkeys((None, *row.strides)):
            yield get_architecture(row, output_stride=stride, **options)


@dataclass(frozen=True)
class _Reader:
    """Reads the fields of an architecture off the numbers of its operations."""

    name: str
    operations: Operations
    outputs: Collection[str]

    def candidates(self, refused: list[str]) -> Iterator[Architecture]:
        """An architecture for each kind of shortcut, and for each cause of a dilation.

        The messages for those that cannot be built are added to `refused`.
        """
        if not self.stem_convs:
            return
        given = {"name": self.name, **self.norms(), **self.head(), **self.blocks(), **self.gates()}
        given |= {"in_channels": self.stem_convs[0].in_channels, "stem": self.stem()}
        for dilated, shortcut in product((False, True), get_args(Shortcut)):
            other = "avg_down" if shortcut == "A" else "zero_padding"  # a field of other shortcuts
            used = {field: value for field, value in given.items() if field != other}
            try:
                yield Architecture(**used, **self.stages(dilated), shortcut=shortcut)
            except ArchitectureError as error:
                refused.append(str(error))

    @cached_property
    def convs(self) -> dict[str, Conv]:
        return {name: op for name, op in self.operations.items() if isinstance(op, Conv)}

    @cached_property
    def stem_convs(self) -> list[Conv]:
        return [conv for name, conv in self.convs.items() if name.split(".")[0] == "conv1"]

    @cached_property
    def block_names(self) -> list[list[str]]:
        """The names of the blocks, for each stage."""
        stages = ((f"layer{index}.{position}" for position in count()) for index in count(1))
        found = (list(takewhile(self._is_whole, names)) for names in stages)
        return list(takewhile(bool, found))

    def _is_whole(self, block: str) -> bool:
        kernels = range(1, 4 if self.expansion > 1 else 3)
        return all(f"{block}.conv{index}" in self.convs for index in kernels)

    @property
    def all_blocks(self) -> list[str]:
        return [name for names in self.block_names for name in names]

    @property
    def expansion(self) -> int:
        return 4 if "layer1.0.conv3" in self.convs else 1

    def of(self, kind: type | tuple[type, ...], part: str) -> list[Any]:
        """The operations of that kind with this part in their name."""
        return [op for name, op in self.operations.items() if isinstance(op, kind) and part in name]

    def stem(self) -> Stem:
        first, *_, last = self.stem_convs[0], *self.stem_convs
        found, pool = self.operations.get("maxpool"), None
        if isinstance(found, MaxPool):
            is_zero = "bn1" not in self.operations and found.border == "any"
            border = "zero" if is_zero else "lowest"
            pool = Pool(found.kernel, found.stride, found.padding, border)
        hidden = tuple(conv.out_channels for conv in self.stem_convs[:-1])
        return Stem(last.out_channels, first.kernel, first.stride, pool, hidden)

    def norms(self) -> dict[str, Any]:
        preactivation = {"preactivation": "bn1" not in self.operations}
        norms = Counter((norm.eps, norm.decay) for norm in self.of(Norm, ""))
        for (eps, decay), _ in norms.most_common(1):
            return preactivation | {"bn_eps": eps, "bn_decay": decay}
        return preactivation

    def head(self) -> dict[str, Any]:
        """The classes, or the feature maps: those in `outputs`, and always the last one."""
        if "avgpool" in self.operations:
            classifier = self.operations.get("fc")
            return {"num_classes": classifier.out_features if isinstance(classifier, Linear) else 0}
        ends = ["", *(names[-1] for names in self.block_names)]
        levels = {ends.index(name) if name in ends else 0 for name in self.outputs}
        return {"out_indices": tuple(sorted(levels | {len(ends) - 1}))}

    def blocks(self) -> dict[str, Any]:
        """The fields of the row that all blocks share."""
        if not self.block_names:  # a backbone that ends with its stem: any block will do
            return {"block": "basic"}
        first, ends = self.all_blocks[0], self._ends()
        spatial = self.convs[f"{first}.{'conv2' if self.expansion > 1 else 'conv1'}"]
        width = max(ends[0].out_channels // self.expansion, 1)
        convs = [conv for name, conv in self.convs.items() if ".se." not in name]
        biased = [conv.bias for conv in convs]
        return {
            "block": "bottleneck" if self.expansion > 1 else "basic",
            "groups": spatial.groups,
            "width_per_group": spatial.out_channels * REFERENCE_WIDTH // (width * spatial.groups),
            "residual": f"{first}.add" in self.operations,
            "avg_down": bool(self.of((AveragePool, Identity), "downsample")),
            "zero_padding": "around" if any(p.before for p in self.of(ChannelPad, "")) else "after",
            "stride_in_1x1": self.expansion > 1
            and any(self.convs[f"{name}.conv1"].stride > 1 for name in self.all_blocks),
            "stride_in_last_block": any(s[0] == 1 < s[-1] for s in self.strides),
            "conv_bias": "all" if all(biased) else "unnormalised" if any(biased) else "none",
            "zero_init_residual": any(conv.zero_init for conv in ends)
            or any(norm.gamma_init == 0 for norm in self.of(Norm, "")),
        }

    def gates(self) -> dict[str, Any]:
        """A ratio and a divisor that give the squeezed width of every gate."""
        widths = {(conv.in_channels, conv.out_channels) for conv in self.of(Conv, ".se.fc1")}
        ratios = [SqueezeRatio().ratio, *(squeezed / channels for channels, squeezed in widths)]
        for ratio, divisor in product(ratios, (SqueezeRatio().divisor, 1, 2, 4, 16, 32)):
            gate = SqueezeRatio(ratio, divisor)
            if widths and all(gate.squeezed(channels) == width for channels, width in widths):
                return {"se": gate}
        return {}

    def stages(self, dilated: bool) -> dict[str, Any]:
        """The stages; a dilation is one of the stage if `dilated`, else that of a stride."""
        if not self.block_names:
            return {"stages": (Stage(1, REFERENCE_WIDTH),)}
        kernels = ("conv2",) if self.expansion > 1 else ("conv1", "conv2")
        dilations = [
            [self.convs[f"{name}.{kernel}"].dilation for name in names for kernel in kernels]
            for names in self.block_names
        ]
        after = [each[0] for each in dilations[1:]] + [dilations[-1][-1]]
        found = []
        strides = [max(each) for each in self.strides]
        for names, end, stride, own, following in zip(
            self.block_names, self._ends(), strides, dilations, after, strict=True
        ):
            width = end.out_channels // self.expansion
            if dilated:
                found.append(Stage(len(names), width, stride, own[0]))
            else:
                found.append(Stage(len(names), width, max(stride, following // own[0])))
        stem = self.stem()
        total = math.prod(strides) * stem.stride * (stem.pool.stride if stem.pool else 1)
        forbidden = [stage.stride for stage in found] != strides
        return {"stages": tuple(found), "output_stride": total if forbidden else None}

    def _ends(self) -> list[Conv]:
        """The last convolution of the first block, for each stage."""
        last = "conv3" if self.expansion > 1 else "conv2"
        return [self.convs[f"{names[0]}.{last}"] for names in self.block_names]

    @cached_property
    def strides(self) -> list[list[int]]:
        """The stride of every block, for each stage."""
        found: Counter[str] = Counter()
        for name, conv in self.convs.items():
            block, _, part = name.rpartition(".")
            if part.startswith("conv"):
                found[block] = max(found[block], 1) * conv.stride
        return [[found[name] for name in names] for names in self.block_names]
