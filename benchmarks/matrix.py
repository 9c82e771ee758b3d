"""Every engine on every check, as data for the page.

Run as a module it writes `docs/results/matrix.json`.
"""

from __future__ import annotations

import sys

from benchmarks import provenance
from resnet_parity.matrix import run_matrix
from resnet_parity.progress import progress_line
from resnet_parity.reports.matrix import as_json

NETS = ("resnet18", "resnet50")


def main() -> int:
    """Ask all engines that this machine has, and write the file; 1 where parity fails."""
    stamp = provenance.stamp("matrix")
    with progress_line() as progress:
        result = run_matrix(NETS, progress=progress)
    provenance.write("matrix", stamp, as_json(result))
    return int(result.failed)


if __name__ == "__main__":
    sys.exit(main())
