"""The facts of one network that its file states: the table of stages, arguments, conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

from resnet_spec import (
    Architecture,
    AveragePool,
    Block,
    Conv,
    MaxPool,
    Norm,
    ShortcutLayer,
    make_plan,
)
from resnet_spec.taps import shapes


@dataclass(frozen=True)
class Argument:
    """An argument of every block: its columns in the table of stages, and what a block is given."""

    name: str
    columns: dict[str, list[int]]
    given: str


@dataclass(frozen=True)
class Branch:
    """The layers of some shortcuts, and their condition, tested in turn; None for all others.

    `strides` says whether a layer of any of these shortcuts strides.
    """

    condition: str | None
    layers: tuple[ShortcutLayer, ...]
    strides: bool

    @property
    def projects(self) -> bool:
        """Whether the shortcut has a convolution."""
        return any(isinstance(layer, Conv) for layer in self.layers)


@dataclass(frozen=True)
class Place:
    """A block, and whether it is the one of its stage that strides, or dilates instead."""

    block: Block
    is_strided: bool
    dilates: bool

    @property
    def widens(self) -> bool:
        return self.block.conv1.in_channels != self.block.out_channels

    @property
    def strides(self) -> bool:
        return self.block.stride > 1

    @property
    def projects(self) -> bool:
        return self.block.projects

    @property
    def kind(self) -> tuple[object, ...]:
        """The layers of the shortcut, without the numbers that are arguments of the block."""
        return tuple((type(each), getattr(each, "zeros", None)) for each in self.block.shortcut)


_CONDITIONS: dict[str, Callable[[Place], bool]] = {
    "in_channels != channels": lambda place: place.widens,
    "stride > 1": lambda place: place.strides,
    "dilates": lambda place: place.dilates,
    "stride > 1 or in_channels != channels": lambda place: place.strides or place.widens,
    "dilates or in_channels != channels": lambda place: place.dilates or place.widens,
    "stride > 1 or dilates": lambda place: place.strides or place.dilates,
    "stride > 1 or dilates or in_channels != channels": lambda place: (
        place.strides or place.dilates or place.widens
    ),
    "stride > 1 and in_channels != channels": lambda place: place.strides and place.widens,
    "dilates and in_channels != channels": lambda place: place.dilates and place.widens,
}
"""Conditions on the arguments of a block, the simplest first."""


class Facts:
    """The facts of an architecture, worked out from its plan."""

    def __init__(self, arch: Architecture, size: tuple[int, int]) -> None:
        self.arch, self.size = arch, size
        self.plan = make_plan(arch)
        self.stages = [list(_places(arch, index)) for index in range(len(self.plan.stages))]
        self.places = [place for stage in self.stages for place in stage]
        self.convs = [layer for layer in self.plan.layers if isinstance(layer, Conv)]
        self._shapes = shapes(arch, *size)

    def shape(self, name: str, layout: str) -> str:
        """The shape of an output for a batch of images of that size, as a comment."""
        channels, *size = self._shapes[name]
        extents = [channels, *size] if layout == "NCHW" else [*size, channels]
        return f"(N, {', '.join(map(str, extents))})"

    @cached_property
    def _numbers(self) -> dict[str, Callable[[Place], int]]:
        """The numbers of a block that may be arguments, by name."""
        numbers: dict[str, Callable[[Place], int]] = {
            "width": lambda place: place.block.conv1.out_channels,
            "channels": lambda place: place.block.out_channels,
            "stride": lambda place: place.block.stride,
            "dilation": lambda place: place.block.conv2.dilation,
        }
        convs = [(place.block.conv1, place.block.conv2) for place in self.places]
        if self.arch.block == "basic":
            if all(first.out_channels == second.out_channels for first, second in convs):
                del numbers["width"]
            if any(first.dilation != second.dilation for first, second in convs):
                numbers["dilation1"] = lambda place: place.block.conv1.dilation
        if any("dilates" in (branch.condition or "") for branch in self.branches):
            numbers["dilates"] = lambda place: place.dilates
        if self.arch.se and self._squeezed_by_channels is None:
            numbers["squeezed"] = _squeezed
        return numbers

    @cached_property
    def arguments(self) -> list[Argument]:
        """The arguments of a block after its input; a number that all blocks share is none."""
        found = []
        for name, read in self._numbers.items():
            if name in ("width", "channels") or len(set(map(read, self.places))) > 1:
                found.append(self._argument(name, read))
        return found

    def expression(self, name: str) -> str:
        """A number of a block as text: an argument, or the number that all blocks share."""
        if name in [argument.name for argument in self.arguments]:
            return name
        if name == "squeezed" and self._squeezed_by_channels:
            return self._squeezed_by_channels
        aliases = {"width": "channels", "dilation1": "dilation"}
        if name not in self._numbers:
            return self.expression(aliases[name])
        return str(self._numbers[name](self.places[0]))

    def _argument(self, name: str, read: Callable[[Place], int]) -> Argument:
        own = [read(place) for stage in self.stages for place in stage if place.is_strided]
        others = [[read(place) for place in stage if not place.is_strided] for stage in self.stages]
        rest = [each[0] if each else first for first, each in zip(own, others, strict=True)]
        if rest == own:
            return Argument(name, {name: own}, name)
        is_last = self.arch.stride_in_last_block
        where = "block == blocks - 1" if is_last else "block == 0"
        if name == "dilates":
            return Argument(name, {name: own}, f"{name} and {where}")
        constants = {value for each in others for value in each}
        if len(constants) == 1:
            return Argument(name, {name: own}, f"{name} if {where} else {constants.pop()}")
        strided = f"{'last' if is_last else 'first'}_{name}"
        return Argument(name, {strided: own, name: rest}, f"{strided} if {where} else {name}")

    @cached_property
    def _squeezed_by_channels(self) -> str | None:
        """The squeezed width of every gate by its channels; None where no simple text says it."""
        assert self.arch.se
        least, ratio = self.arch.se.divisor, round(1 / self.arch.se.ratio)
        rules: dict[str, Callable[[int], int]] = {
            f"channels // {ratio}": lambda channels: channels // ratio,
            f"max({least}, channels // {ratio})": lambda channels: max(least, channels // ratio),
        }
        pairs = [(_squeezed(place), place.block.out_channels) for place in self.places]
        fitting = (t for t, rule in rules.items() if all(s == rule(c) for s, c in pairs))
        return next(fitting, None)

    @cached_property
    def branches(self) -> list[Branch]:
        """The shortcuts by their layers; the identity, which has none, comes last."""
        kinds: dict[tuple[object, ...], list[Place]] = {}
        for place in self.places:
            kinds.setdefault(place.kind, []).append(place)
        if not kinds:
            return []
        for order in permutations(sorted(kinds, key=len, reverse=True)):
            conditions = _conditions([kinds[kind] for kind in order])
            if conditions and (() not in kinds or not order[-1]):
                pairs = zip(order, conditions, strict=True)
                return [_branch(kinds[kind], condition) for kind, condition in pairs]
        raise AssertionError(f"no condition tells the shortcuts of {self.arch.name!r} apart")

    @cached_property
    def projects(self) -> str:
        """The condition for a projection where some blocks have one and others do not, else ""."""
        projecting = [place for place in self.places if place.projects]
        others = [place for place in self.places if not place.projects]
        if not projecting or not others:
            return ""
        conditions = _conditions([projecting, others])
        assert conditions and conditions[0], self.arch.name
        return conditions[0]

    def rows(self) -> Iterator[tuple[str, str]]:
        """The rows of the table of stages, and the name of each stage's output."""
        columns = [[len(stage) for stage in self.stages]]
        columns += [column for each in self.arguments for column in each.columns.values()]
        for row, stage in zip(zip(*columns, strict=True), self.stages, strict=True):
            yield f"({', '.join(map(str, row))})", stage[-1].block.name

    @property
    def column_names(self) -> list[str]:
        """The names of the columns of the table of stages."""
        return ["blocks", *(name for each in self.arguments for name in each.columns)]

    @property
    def has_layers(self) -> bool:
        """Whether any shortcut has layers."""
        return any(branch.layers for branch in self.branches)

    @property
    def has_gates(self) -> bool:
        """Whether the blocks have gates."""
        return bool(self.arch.se and self.places)

    def has(self, kind: type) -> bool:
        """Whether any shortcut has a layer of that class."""
        return any(isinstance(x, kind) for branch in self.branches for x in branch.layers)

    @property
    def start_of_shortcut(self) -> str:
        """With preactivation the tensor at which shortcuts start: "input", "relu" or "either"."""
        if not self.arch.preactivation or not self.arch.residual:
            return "input" if self.arch.residual else ""
        found = {place.projects for place in self.places}
        return "either" if len(found) > 1 else "relu" if found == {True} else "input"

    @property
    def norm(self) -> Norm | None:
        """A norm of the network, all of which have the same numbers; None without any."""
        return next((layer for layer in self.plan.layers if isinstance(layer, Norm)), None)

    @property
    def zeroes_gammas(self) -> bool:
        """Whether the last gammas of the blocks start at zero."""
        return any(place.block.norms[-1].gamma_init == 0 for place in self.places)

    @property
    def zeroes_kernels(self) -> bool:
        """Whether the last kernels of the blocks start at zero."""
        return any(conv.zero_init for conv in self.convs)

    @property
    def has_stride(self) -> bool:
        """Whether any convolution strides."""
        return any(conv.stride > 1 for conv in self.convs)

    @property
    def has_dilation(self) -> bool:
        """Whether any convolution is dilated."""
        return any(conv.dilation > 1 for conv in self.convs)

    @property
    def has_groups(self) -> bool:
        """Whether any convolution has groups."""
        return any(conv.groups > 1 for conv in self.convs)

    @property
    def bias(self) -> str:
        """Whether convolutions have a bias: "none", "some" or "all"."""
        found = {conv.bias for conv in self.convs}
        return "some" if len(found) > 1 else "all" if found == {True} else "none"

    @property
    def depth(self) -> int:
        """The number of Keras layers in a row: convolutions, their padding, norms, ReLUs, sums."""
        convs = [conv for place in self.places for conv in place.block.convs]
        padded = sum(conv.padding > 0 for conv in convs)
        return 3 * len(convs) + padded + 3 * len(self.places) + 20


def number(value: float) -> str:
    """A number as people write it: 1e-5, not 1e-05."""
    return repr(value).replace("e-0", "e-")


def _places(arch: Architecture, index: int) -> Iterator[Place]:
    blocks = make_plan(arch).stages[index].blocks
    strided = blocks[-1] if arch.stride_in_last_block else blocks[0]
    for block in blocks:
        is_strided = block is strided
        dilates = is_strided and arch.stages[index].stride > 1 and block.stride == 1
        yield Place(block, is_strided, dilates)


def _squeezed(place: Place) -> int:
    return place.block.se.fc1.out_channels if place.block.se else 0


def _branch(places: list[Place], condition: str | None) -> Branch:
    layers = [layer for place in places for layer in place.block.shortcut]
    strides = any(isinstance(x, Conv | MaxPool | AveragePool) and x.stride > 1 for x in layers)
    return Branch(condition, places[0].block.shortcut, strides)


def _conditions(groups: list[list[Place]]) -> list[str | None] | None:
    """A condition for each group of blocks, tested in turn, None for the last; None if none fit."""
    found: list[str | None] = []
    for index, group in enumerate(groups[:-1]):
        rest = [place for each in groups[index + 1 :] for place in each]
        fitting = (
            text
            for text, holds in _CONDITIONS.items()
            if all(map(holds, group)) and not any(map(holds, rest))
        )
        found.append(next(fitting, None))
    return None if None in found else [*found, None]
