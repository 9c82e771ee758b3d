"""A finding of the diagnosis: one fault, its places, and the figure that proves it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from resnet_parity.diagnose.faults import FAULTS


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

    @property
    def what(self) -> str:
        """The fault in a sentence."""
        return FAULTS[self.fault].what.format(a=self.a, b=self.b)

    def fix(self, framework: str) -> str:
        """The line to write instead, in that framework."""
        return FAULTS[self.fault].fix(framework).replace("{a}", self.a).replace("{b}", self.b)


def grouped(findings: list[Finding]) -> tuple[Finding, ...]:
    """Merge the findings where B has the same fault, in execution order.

    The merged finding holds the largest error, every place, and every value that A has there.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for each in sorted(findings, key=lambda finding: finding.index):
        groups.setdefault((each.fault, each.b), []).append(each)
    return tuple(
        replace(
            members[0],
            a=" or ".join(dict.fromkeys(each.a for each in members)),
            error=max(each.error for each in members),
            places=tuple((each.place_a, each.place_b) for each in members),
        )
        for members in groups.values()
    )
