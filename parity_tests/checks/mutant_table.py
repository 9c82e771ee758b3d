"""Write docs/mutants.md: every planted defect and the checks that notice it.

It is made from the tables that the tests read. With --check, the module only says whether the file
is current.
"""

from __future__ import annotations

import sys
from pathlib import Path

FILE = Path(__file__).parents[2] / "docs" / "mutants.md"

_HEAD = """# Mutants

A mutant is a defect that is planted in one of the two implementations. The suite fails unless every
check that is named under "killed by" fails for that implementation and for no other
(`parity_tests/checks/test_mutants.py`). A defect of training must show in lockstep, first in the
kind of quantity that is named (`parity_tests/lockstep/test_lockstep.py`). The unmodified pair
passes all checks. A check under "missed by" cannot see the defect. "Blind" marks a defect that a
comparison of float32 logits to 1e-3 misses.
"""


def text() -> str:
    """The contents of the file."""
    from parity_tests.checks.mutants import MUTANTS
    from parity_tests.lockstep.training_mutants import TRAINING_MUTANTS

    count = len(MUTANTS) + len(TRAINING_MUTANTS)
    lines = [
        _HEAD,
        f"{count} mutants.",
        "",
        "| defect | network | killed by | missed by | blind |",
        "| --- | --- | --- | --- | --- |",
    ]
    for mutant in MUTANTS:
        killed, missed = (", ".join(sorted(each)) for each in (mutant.killed_by, mutant.missed_by))
        blind = "blind" if mutant.blind else ""
        lines.append(f"| {mutant.name} | {mutant.net} | {killed} | {missed} | {blind} |")
    lines += ["", "| defect of training | killed by | shows first in | after steps |"]
    lines.append("| --- | --- | --- | --- |")
    for mutant in TRAINING_MUTANTS:
        after = str(mutant.diverges_at + 1)
        lines.append(f"| {mutant.name} | lockstep | {mutant.kind} | {after} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or with --check compare it; return the exit code."""
    if "--check" in sys.argv[1:]:
        current = FILE.read_text(encoding="utf-8") == text()
        if not current:
            print(f"{FILE} is out of date; run scripts/generate", file=sys.stderr)
        return int(not current)
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
