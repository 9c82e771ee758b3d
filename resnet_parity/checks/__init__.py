"""The registry of checks. A new check is a module here, a line in `CHECKS`, and its tolerances.

The command line, the matrix and all reports read this registry.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from resnet_parity.checks.base import Check
from resnet_parity.checks.exact import Exact
from resnet_parity.checks.float32 import Float32
from resnet_parity.checks.float64 import Float64
from resnet_parity.checks.half import Half
from resnet_parity.checks.prepared import Prepared
from resnet_parity.errors import ParityError
from resnet_parity.tolerances import limit

if TYPE_CHECKING:
    from resnet_parity.checks.engine import Engine
    from resnet_parity.probes import Probe
    from resnet_parity.verdict import Verdict

CHECKS: dict[str, Check] = {
    check.name: check for check in (Exact(), Float64(), Float32(), Half(), Prepared())
}
"""Every check by name, in the order in which they run."""

DEFAULT_CHECKS = tuple(name for name, check in CHECKS.items() if check.by_default)
"""The checks that `verify` runs unless others are named."""

GRAPH_CHECKS = {
    "exact": "integer probes; every output has the same bits",
    "float32": "random probes; the error of the outputs is at most "
    f"{limit('float32', 'taps'):g} times PyTorch's own",
}
"""What the checks compare that an ONNX graph supports: it has outputs alone, and one dtype."""


def chosen_checks(names: Sequence[str]) -> list[Check]:
    """The checks of those names, in the order given. Raises `ParityError` for an unknown name."""
    if isinstance(names, str):
        raise ParityError(f"checks are a sequence of names, such as ({names!r},)")
    unknown = [name for name in names if name not in CHECKS]
    if unknown or not names:
        raise ParityError(f"unknown checks {unknown}; checks are: {', '.join(CHECKS)}")
    return [CHECKS[name] for name in names]


def run_check(name: str, probe: Probe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    """Run one check by name: a verdict per engine and quantity, PyTorch's first."""
    return CHECKS[name].run(probe, engines)
