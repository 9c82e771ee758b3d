"""Run the exact and float32 checks for frameworks and files, in every mode and runtime.

On the exact check a graph gets the probe's weights in place of its own. On the float32 check it
keeps its own, and is compared with the oracle for the weights that all participants should have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from resnet_spec import Architecture

from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.adapters.protocol import Adapter
from resnet_parity.checks import CHECKS, GRAPH_CHECKS, run_check
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.errors import ProbeError
from resnet_parity.limits import check_memory
from resnet_parity.onnx_io.batches import (
    concatenate,
    first_images,
    images_needed,
    in_batches,
    outputs_only,
    random_probes,
)
from resnet_parity.onnx_io.graph_adapters import (
    CachedBuild,
    GraphWithGivenWeights,
    GraphWithOwnWeights,
    own_shape,
)
from resnet_parity.onnx_io.identify import Identified
from resnet_parity.probes import Probe, default_size, exact_probe
from resnet_parity.progress import Progress
from resnet_parity.verdict import Verdict

BATCHES = (1, 2, 5)

FILE_BATCHES = (1, 3)
"""For one file. PyTorch's exporter traces a batch of two: a graph for that alone must not pass."""

FILE_RUNTIMES = ("ort disabled", "ort all")
"""For one file: ONNX Runtime without any optimization, and with all."""

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Participant:
    """An implementation, which takes any weights, or a file, which has its own.

    `exact` and `float32` are its engines on each check. `shape` holds the extents that a file fixes
    for its image, by axis; None for those that are dynamic. `notes` name a mode that replaces the
    default one, and what was changed in a file.
    """

    name: str
    exact: tuple[Engine, ...]
    float32: tuple[Engine, ...]
    shape: Mapping[str, int | None]
    notes: tuple[str, ...] = ()


def of_framework(
    name: str, adapter: Adapter, modes: Sequence[str], notes: tuple[str, ...] = ()
) -> Participant:
    """A framework, in the given modes."""
    cached = cast(Adapter, CachedBuild(adapter))
    engines = tuple(Engine(f"{name} {mode}", cached, mode) for mode in modes)
    return Participant(name, engines, engines, {}, notes)


def of_file(name: str, found: Identified, runtimes: Sequence[str]) -> Participant:
    """A file, in the given runtimes."""
    shape = own_shape(found.model.graph, found.match.layout)
    own_weights = GraphWithOwnWeights(name, found.proto.SerializeToString(), found.match)
    # Their unsupported reasons keep the checks from gradients and halves, which they do not have.
    given_weights = CachedBuild(cast(Adapter, GraphWithGivenWeights(name, found)))
    exact, float32 = (
        tuple(Engine(f"{name} {runtime}", cast(Adapter, adapter), runtime) for runtime in runtimes)
        for adapter in (given_weights, own_weights)
    )
    return Participant(name, exact, float32, shape, tuple(f"{name}: {n}" for n in found.notes))


def compare_participants(
    arch: Architecture,
    participants: Sequence[Participant],
    weights: Weights,
    *,
    seed: int = 0,
    checks: Collection[str] = GRAPH_CHECKS,
    batches: Sequence[int] = BATCHES,
    sizes: int = 2,
    progress: Progress = lambda step, total: None,
) -> Iterator[Verdict]:
    """Yield a verdict per engine, batch and size, of the exact check and then of the float32 check.

    `weights` are the weights that all participants should have.
    """
    shapes = _own_shapes(arch, participants, batches, sizes) if "float32" in checks else {}
    exact_sizes = _sizes(arch, "exact")[:sizes] if "exact" in checks else []
    total = len(exact_sizes) + len(shapes)
    for size in exact_sizes:
        check_memory(arch, max(batches), size)
        progress(f"exact check, {size[0]}x{size[1]}", total)
        most = max(batches)
        try:
            probe = outputs_only(
                exact_probe(arch, seed, "float32", size, batch=most, backward=False)
            )
        except ProbeError as error:
            yield CHECKS["exact"].no_probe(str(error))
            continue
        engines = tuple(engine for participant in participants for engine in participant.exact)
        for batch in batches:
            yield from run_check("exact", first_images(probe, batch), engines)
    noise_floor = of_framework("torch", torch_adapter(), NOISE_FLOOR_MODES).float32
    for (size, own_batches), group in shapes.items():
        progress(f"float32 check, {size[0]}x{size[1]}", total)
        counts = {batch: images_needed(arch, batch, size) for batch in own_batches}
        probes = random_probes(arch, seed, size, weights, max(counts.values()))
        engines = tuple(engine for participant in group for engine in participant.float32)
        for batch, count in counts.items():
            probe = concatenate(probes[:count], batch)
            yield from _with_noise_floor(
                probe, in_batches(engines, batch), in_batches(noise_floor, batch)
            )


def verify_file(
    name: str,
    found: Identified,
    weights: Weights,
    progress: Progress = lambda step, total: None,
    *,
    checks: Collection[str] = GRAPH_CHECKS,
    runtimes: Sequence[str] = FILE_RUNTIMES,
    sizes: int = 1,
) -> Iterator[Verdict]:
    """Yield the verdicts for one exported or imported file, which should have those weights."""
    participants = [of_file(name, found, runtimes)]
    options = {"checks": checks, "batches": FILE_BATCHES, "sizes": sizes, "progress": progress}
    yield from compare_participants(found.architecture, participants, weights, **options)


def first_failure(verdicts: Sequence[Verdict], checks: Collection[str] = GRAPH_CHECKS) -> str:
    """Describe the first verdict that keeps a file from being verified; "" if there is none.

    A model without an exact probe is verified by the float32 check alone, if that was asked for.
    """
    needed = "float32" if "float32" in checks else "exact"
    for verdict in verdicts:
        if verdict.status == "fail" or (verdict.status == "skipped" and verdict.check == needed):
            reason = f" ({verdict.reason})" if verdict.reason else ""
            where = f"{verdict.check} check, {verdict.engine}, {verdict.probe}"
            return f"{where}: {verdict.figure}{reason}"
    was_run = any(verdict.check == needed for verdict in verdicts)
    return "" if was_run else f"the {needed} check was not run"


def _with_noise_floor(
    probe: Probe, engines: tuple[Engine, ...], noise_floor: tuple[Engine, ...]
) -> Iterator[Verdict]:
    """Verdicts of the engines; PyTorch runs with them, because its error is the noise floor."""
    asked = {engine.name for engine in engines}
    others = tuple(engine for engine in engines if not engine.sets_noise_floor)
    for verdict in run_check("float32", probe, (*noise_floor, *others)):
        if verdict.engine in asked or verdict.status == "fail":
            yield verdict


def _sizes(arch: Architecture, kind: str) -> list[tuple[int, int]]:
    """The default size of a probe, and one of another area, which shows a mean over a fixed area.

    The area of an exact probe is a power of two; twice the default, the deepest architecture would
    not fit in memory.
    """
    height, width = default_size(arch, kind)
    return [(height, width), (height, height if kind == "exact" else height + width)]


Shapes = dict[tuple[tuple[int, int], tuple[int, ...]], list[Participant]]


def _own_shapes(
    arch: Architecture, participants: Sequence[Participant], batches: Sequence[int], sizes: int
) -> Shapes:
    """The participants by size and batches; the default ones, unless a file fixes its own."""
    shapes: Shapes = {}
    for participant in participants:
        height, width, batch = (participant.shape.get(axis) for axis in "hwn")
        own = [(height or h, width or w) for h, w in _sizes(arch, "random")[:sizes]]
        for size in dict.fromkeys(own):
            own_batches = (batch,) if batch else tuple(batches)
            check_memory(arch, max(own_batches), size)
            shapes.setdefault((size, own_batches), []).append(participant)
    return shapes
