"""docs/mutants.md: every planted defect and what kills it, from the tables that the tests read.

Run as a module it writes the file; with --check it only says whether that is current.
"""

from __future__ import annotations

import sys
from pathlib import Path

FILE = Path(__file__).parents[1] / "docs" / "mutants.md"

_HEAD = """# Mutants

Defects that are planted in one of the two implementations. A test fails unless each is noticed by every check
named here and the right implementation is blamed (`parity_tests/test_mutants.py`), or, in training, by
lockstep in the kind of quantity named here (`parity_tests/test_lockstep.py`). The healthy pair is
never accused. "Blind" says that a comparison of float32 logits to 1e-3 lets the defect pass.
"""


def text() -> str:
    """The whole file."""
    from parity_tests.checks.mutants import MUTANTS
    from parity_tests.lockstep.training_mutants import TRAINING_MUTANTS

    count = len(MUTANTS) + len(TRAINING_MUTANTS)
    lines = [
        _HEAD,
        f"{count} mutants.",
        "",
        "| defect | net | killed by | cannot see it | blind |",
        "| --- | --- | --- | --- | --- |",
    ]
    for mutant in MUTANTS:
        killed, missed = (", ".join(sorted(each)) for each in (mutant.killed_by, mutant.missed_by))
        blind = "blind" if mutant.blind else ""
        lines.append(f"| {mutant.name} | {mutant.net} | {killed} | {missed} | {blind} |")
    lines += ["", "| defect of training | killed by | shows first in | after steps |"]
    lines.append("| --- | --- | --- | --- |")
    for mutant in TRAINING_MUTANTS:
        after = str(mutant.departs + 1)
        lines.append(f"| {mutant.name} | lockstep | {mutant.kind} | {after} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write the file, or check it."""
    if "--check" in sys.argv[1:]:
        current = FILE.read_text(encoding="utf-8") == text()
        if not current:
            print(f"{FILE} is out of date; run scripts/readme", file=sys.stderr)
        return int(not current)
    FILE.write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
