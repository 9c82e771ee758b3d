"""The ladder for one file: what `export` asks of what it writes, and `import` of what it reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import ModelProto

from resnet_parity.exchange.comparison import Progress, Weights, compare_subjects, of_file
from resnet_parity.exchange.recognise import Recognised
from resnet_parity.rungs import Verdict

RUNTIMES = ("ort disabled", "ort all")
"""ONNX Runtime as the graph is written, and with all that it can do to it."""


def prove(
    name: str,
    proto: ModelProto,
    found: Recognised,
    weights: Weights,
    progress: Progress = lambda step, total: None,
    runtimes: Sequence[str] = RUNTIMES,
) -> Iterator[Verdict]:
    """A verdict per rung and level of optimisation, at one size; `weights` are what it holds."""
    subject = of_file(name, proto, found, runtimes)
    arch = found.architecture
    yield from compare_subjects(arch, [subject], weights, batches=(2,), sizes=1, progress=progress)
