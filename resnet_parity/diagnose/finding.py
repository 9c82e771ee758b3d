"""A finding of the diagnosis: one fault, its places, and the figure that proves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

from resnet_parity.diagnose.faults import FAULTS

Size = tuple[int, int]
"""Height and width of an image."""

SIZES = ((64, 96), (65, 97))
"""Every map of a stride-2 network is even at the first size and odd at the second: SAME padding
shows at even sizes, ceil-mode pools at odd ones. Heights and widths differ."""


@dataclass(frozen=True)
class Finding:
    """A proven fault: its place in either model, and the figure that proves it.

    `error` is the relative difference of the outputs that this fault alone makes on A's input;
    infinite if the shapes differ. `a` and `b` say in words what A and what B have.
    """

    fault: str
    index: float
    """The step of A, or half a step less for a place just before it; findings are sorted by it."""
    a: str
    b: str
    error: float
    place_a: str = ""
    place_b: str = ""
    places: tuple[tuple[str, str], ...] = field(default=())
    sizes: tuple[Size, ...] = ()
    """The sizes of images at which it is proven; empty for a fault at every size."""

    @property
    def what(self) -> str:
        """The fault in a sentence."""
        return FAULTS[self.fault].what.format(a=self.a, b=self.b)

    def fix(self, framework: str) -> str:
        """The line to write instead, in that framework."""
        return FAULTS[self.fault].fix(framework, self.a, self.b)


def merged(found: Mapping[Size, Sequence[Finding]], partial: Set[Size]) -> list[Finding]:
    """Merge the findings at several sizes; each says at which it holds, unless at all.

    That a fault is not found at a size in `partial` says nothing.
    """
    same: dict[tuple[str, ...], dict[Size, Finding]] = {}
    for size, findings in found.items():
        for each in findings:
            key = (each.fault, each.a, each.b, each.place_a, each.place_b)
            same.setdefault(key, {})[size] = each
    result = []
    for at in same.values():
        first = next(iter(at.values()))
        is_everywhere = {*at, *partial} >= {*found} or FAULTS[first.fault].training_only
        largest = max(each.error for each in at.values())
        result.append(replace(first, error=largest, sizes=() if is_everywhere else tuple(at)))
    return result


def grouped(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Merge the findings where B has the same fault, in execution order.

    The merged finding holds the largest error, every place, and every value that A has there.
    """
    groups: dict[tuple[Any, ...], list[Finding]] = {}
    for each in sorted(findings, key=lambda finding: finding.index):
        lacks = each.a if not each.b else ""
        groups.setdefault((each.fault, each.b, lacks, each.sizes), []).append(each)
    return tuple(
        replace(
            members[0],
            a=" or ".join(dict.fromkeys(each.a for each in members)),
            error=max(each.error for each in members),
            places=tuple((each.place_a, each.place_b) for each in members),
        )
        for members in groups.values()
    )
