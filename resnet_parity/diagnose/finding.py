"""What the diagnosis found: one fault, where it is, and how it was proven."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from resnet_parity.diagnose.faults import FAULTS


@dataclass(frozen=True)
class Finding:
    """A proven fault: where it is in either model, and the figure that proves it.

    `error` is the relative difference of the outputs, on A's input, that this fault alone makes;
    infinite where their shapes differ.
    """

    fault: str
    at: float
    """The step of A, or just before it where something of B stands; it orders the findings."""
    a: str
    b: str
    error: float
    here: str = ""
    there: str = ""
    places: tuple[tuple[str, str], ...] = field(default=())

    @property
    def what(self) -> str:
        """The cause in a sentence."""
        return FAULTS[self.fault].what.format(a=self.a, b=self.b)

    def fix(self, framework: str) -> str:
        """What to write instead."""
        return FAULTS[self.fault].fix(framework).replace("{a}", self.a).replace("{b}", self.b)


def grouped(findings: list[Finding]) -> tuple[Finding, ...]:
    """One finding for all places where B has the same fault, in order of execution.

    Its figure is the largest; what A has there is listed.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for each in sorted(findings, key=lambda finding: finding.at):
        groups.setdefault((each.fault, each.b), []).append(each)
    return tuple(
        replace(
            members[0],
            a=" or ".join(dict.fromkeys(each.a for each in members)),
            error=max(each.error for each in members),
            places=tuple((each.here, each.there) for each in members),
        )
        for members in groups.values()
    )
