"""What an architecture must be like to be built; each mistake is told with what would be valid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import lru_cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from resnet_spec.components import REFERENCE_WIDTH, Stage

if TYPE_CHECKING:
    from resnet_spec.architecture import Architecture

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_KINDS = {int: "an integer", float: "a float", bool: "True or False", str: "text"}
_MAY_BE_ZERO = ("padding", "num_classes", "out_indices")


def mistakes(arch: Architecture) -> Iterator[str]:
    """Everything that is wrong with an architecture, in words; nothing when it can be built."""
    for check in (_types, _numbers, _combinations):
        found = list(check(arch))
        yield from found
        if found:
            return  # what a later check reads is no longer sure


def _types(arch: Architecture) -> Iterator[str]:
    yield from _mistyped_fields("", arch)
    if isinstance(arch.name, str) and not _NAME.fullmatch(arch.name):
        yield f"its name must be letters, digits, '_', '-' or '.', not {arch.name!r}"


def _mistyped_fields(prefix: str, part: Any) -> Iterator[str]:
    for field, kind in _hints(type(part)).items():
        yield from _mistyped(prefix + field, getattr(part, field), kind)


@lru_cache
def _hints(part: type) -> dict[str, Any]:
    return get_type_hints(part)


def _mistyped(where: str, value: Any, kind: Any) -> Iterator[str]:
    """What is wrong with the type of one value, by the annotation of its field."""
    if isinstance(kind, UnionType):
        if value is not None:
            (kind,) = (each for each in get_args(kind) if each is not NoneType)
            yield from _mistyped(where, value, kind)
    elif get_origin(kind) is Literal:
        if value not in get_args(kind):
            yield f"{where} must be one of {', '.join(get_args(kind))}, not {value!r}"
    elif get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if not isinstance(value, tuple):
            yield f"{where} must be a tuple of {item.__name__}, not {type(value).__name__}"
            return
        for index, each in enumerate(value):
            yield from _mistyped(f"{where}[{index}]", each, item)
    elif kind in _KINDS:
        if type(value) is not kind:  # a bool is no integer here
            yield f"{where} must be {_KINDS[kind]}, not {value!r}"
    elif isinstance(value, kind):
        yield from _mistyped_fields(f"{where}.", value)
    else:
        yield f"{where} must be a {kind.__name__}, not {type(value).__name__}"


def _numbers(arch: Architecture) -> Iterator[str]:
    """Single fields out of range."""
    for where, value in _integers("", arch):
        least = 0 if where.rpartition(".")[2].partition("[")[0] in _MAY_BE_ZERO else 1
        if value < least:
            yield f"{where} must be at least {least}, not {value}"
    if not arch.stages:
        yield "it has no stages; give at least one Stage"
    if arch.stem.kernel % 2 == 0:
        yield f"stem.kernel must be odd (symmetric padding), not {arch.stem.kernel}"
    pool = arch.stem.pool
    if pool and (pool.kernel % 2 == 0 or pool.padding != pool.kernel // 2):
        yield "stem.pool needs an odd kernel and padding = kernel // 2"
    if not 0.0 < arch.bn_eps < 1.0:
        yield f"bn_eps must lie between 0 and 1, not {arch.bn_eps}"
    if not 0.0 <= arch.bn_decay < 1.0:
        yield f"bn_decay (weight of the old statistic) must lie in [0, 1), not {arch.bn_decay}"
    if arch.se and not 0.0 < arch.se.ratio <= 1.0:
        yield (
            f"se.ratio must be above 0 and at most 1 (1/16 is usual), not {arch.se.ratio}; "
            "a net without gates has se=None"
        )


def _integers(prefix: str, value: Any) -> Iterator[tuple[str, int]]:
    """Every integer in an architecture, with the name that a message gives it."""
    if type(value) is int:
        yield prefix, value
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from _integers(f"{prefix}[{index}]", each)
    elif is_dataclass(value):
        dot = "." if prefix else ""
        for field in fields(value):
            yield from _integers(f"{prefix}{dot}{field.name}", getattr(value, field.name))


def _combinations(arch: Architecture) -> Iterator[str]:
    """Fields that contradict each other."""
    yield from _shortcut_mistakes(arch)
    if arch.stride_in_1x1 and arch.block == "basic":
        yield "stride_in_1x1 is for bottlenecks; a basic block has no 1x1 convolution"
    for index, stage in enumerate(arch.stages):
        yield from _stage_mistakes(arch, index, stage)
    yield from _output_mistakes(arch)


def _shortcut_mistakes(arch: Architecture) -> Iterator[str]:
    if not arch.residual:
        if arch.shortcut != "B":
            yield (
                f"shortcut {arch.shortcut!r} on a plain net: it has no shortcuts; leave the field "
                "at 'B', or set residual=True"
            )
        for field in ("avg_down", "zero_init_residual"):
            if getattr(arch, field):
                yield f"{field} is about shortcuts and a plain net has none; set residual=True"
    if arch.shortcut == "A" and arch.avg_down:
        yield "avg_down is about projections and shortcut 'A' has none; take 'B' or 'C'"
    if arch.shortcut != "A" and arch.zero_padding != "after":
        yield f"zero_padding is about shortcut 'A'; with {arch.shortcut!r} leave it at 'behind'"
    if arch.shortcut == "A":
        ends = [arch.stem.channels, *(stage.width * arch.expansion for stage in arch.stages)]
        for index, (before, after) in enumerate(pairwise(ends)):
            if before > after:
                yield (
                    f"stages[{index}] narrows from {before} to {after} channels, and shortcut 'A' "
                    "can only add channels; take 'B' or 'C'"
                )


def _stage_mistakes(arch: Architecture, index: int, stage: Stage) -> Iterator[str]:
    if stage.width * arch.width_per_group % REFERENCE_WIDTH:
        yield (
            f"stages[{index}].width {stage.width} times width_per_group {arch.width_per_group} "
            f"is not a multiple of {REFERENCE_WIDTH}, so a group would have a broken width"
        )
    if stage.dilation > 1 and stage.stride > 1:
        yield f"stages[{index}] has both stride and dilation; a convolution takes one of them"
    if arch.block == "basic" and arch.groups > 1:
        # The two 3x3 of a basic block also read and write the block's ends, in groups.
        before = arch.stem.channels if index == 0 else arch.stages[index - 1].width
        for what, channels in (("input", before), ("width", stage.width)):
            if channels % arch.groups:
                yield f"stages[{index}] {what} {channels} is not divisible by groups {arch.groups}"


def _output_mistakes(arch: Architecture) -> Iterator[str]:
    reachable = sorted(set(arch.strides))
    if arch.output_stride is not None and arch.output_stride not in reachable:
        *others, last = map(str, reachable)
        valid = f"{', '.join(others)} or {last}" if others else last
        yield (
            f"output_stride {arch.output_stride} cannot be had: the stem has stride "
            f"{reachable[0]}, the whole net {reachable[-1]}, so it may be {valid}"
        )
    if arch.out_indices is not None:
        levels = range(len(arch.stages) + 1)
        indices = arch.out_indices
        if not indices or list(indices) != sorted(set(indices)) or indices[-1] not in levels:
            yield (
                f"out_indices {indices} of a backbone's features must be some of {tuple(levels)}, "
                "each once and in order (0 is the stem, 1 the first stage)"
            )
