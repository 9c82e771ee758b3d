"""The list of checks for one file: what `export` asks of what it writes, and `import` of what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import ModelProto

from resnet_parity.onnx_io.identify import Identified
from resnet_parity.onnx_io.participants import Weights, compare_participants, of_file
from resnet_parity.progress import Progress
from resnet_parity.verdict import Verdict

RUNTIMES = ("ort disabled", "ort all")
"""ONNX Runtime as the graph is written, and with all that it can do to it."""

BATCHES = (1, 3)
"""PyTorch's exporter sees a batch of two: a graph for that alone must not pass."""


def prove(
    name: str,
    proto: ModelProto,
    found: Identified,
    weights: Weights,
    progress: Progress = lambda step, total: None,
    *,
    runtimes: Sequence[str] = RUNTIMES,
    batches: Sequence[int] = BATCHES,
    sizes: int = 1,
) -> Iterator[Verdict]:
    """A verdict per check, runtime, batch and size; `weights` are what the file holds."""
    participant = of_file(name, proto, found, runtimes)
    yield from compare_participants(
        found.architecture, [participant], weights, batches=batches, sizes=sizes, progress=progress
    )


def unproven(verdicts: Sequence[Verdict]) -> str:
    """What did not hold, in words; empty where all did, and something held on the float32 check.

    A net that has no exact probe is proven by the other check alone.
    """
    for verdict in verdicts:
        if verdict.status == "fail" or (verdict.status == "skipped" and verdict.check == "float32"):
            reason = f" ({verdict.reason})" if verdict.reason else ""
            return f"{verdict.check} check, {verdict.engine}, {verdict.probe}: {verdict.figure}{reason}"
    held = any(verdict.check == "float32" for verdict in verdicts)
    return "" if held else "the float32 check was not climbed"
