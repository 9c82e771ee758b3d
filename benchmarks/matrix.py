"""Every engine on every check for two architectures, as the site and the README show it."""

from __future__ import annotations

from resnet_spec import get_architecture

from benchmarks.provenance import Measured, Results
from resnet_parity.matrix import run_matrix
from resnet_parity.progress import progress_line
from resnet_parity.reports.matrix import as_json

NETS = ("resnet18", "resnet50")


def measure(name: str) -> Measured:
    """Run the matrix of one architecture on all engines that this machine has."""
    with progress_line() as progress:
        result = run_matrix([name], progress=progress)
    data = as_json(result)
    (matrix,) = data["matrices"]
    figures = {name: data[name] for name in ("seed", "passed", "absent")}
    figures |= {name: matrix[name] for name in ("columns", "rows")}
    return Measured(figures, data["versions"], data["passed"])


RESULTS = Results("matrix", 1, {name: get_architecture(name) for name in NETS}, measure)
