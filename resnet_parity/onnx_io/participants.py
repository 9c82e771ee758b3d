"""Frameworks and files in one matrix: every graph held to the oracle, in every runtime.

On the exact check a graph takes the probe's weights in the place of its own; on that of float32 it
runs as it is, and is held to what the oracle says of the weights that all are to have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from onnx import ModelProto

from resnet_spec import Architecture

from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.adapters.protocol import Adapter
from resnet_parity.checks import CHECKS, run_check
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.errors import ProbeError
from resnet_parity.limits import check_memory
from resnet_parity.onnx_io.batches import (
    batched,
    batches_needed,
    concatenate,
    first,
    random_probes,
    returned,
)
from resnet_parity.onnx_io.graph_adapters import CachedBuild, FileAsItIs, GraphOfWeights, own_shape
from resnet_parity.onnx_io.identify import Identified
from resnet_parity.probes import Probe, default_size, exact_probe
from resnet_parity.progress import Progress
from resnet_parity.verdict import Verdict

BATCHES = (1, 2, 5)

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Participant:
    """What is compared: an implementation, which takes any weights, or a file, which has its own.

    `exact` and `as_it_is` are its engines on the exact check and on that of float32. `shape` is what
    a file prescribes for its image, by axis; None for what it leaves open. `notes` say which mode
    stands in for which.
    """

    name: str
    exact: tuple[Engine, ...]
    as_it_is: tuple[Engine, ...]
    shape: Mapping[str, int | None]
    notes: tuple[str, ...] = ()


def of_framework(
    name: str, adapter: Adapter, modes: Sequence[str], notes: tuple[str, ...] = ()
) -> Participant:
    """A framework, in those modes."""
    kept = cast(Adapter, CachedBuild(adapter))
    engines = tuple(Engine(f"{name} {mode}", kept, mode) for mode in modes)
    return Participant(name, engines, engines, {}, notes)


def of_file(
    name: str, proto: ModelProto, found: Identified, runtimes: Sequence[str]
) -> Participant:
    """A file, in those runtimes."""
    shape = own_shape(found.model.graph, found.match.layout)
    as_it_is = FileAsItIs(name, proto.SerializeToString(), found.match)
    # Adapters but for gradients and half precision, which their unsupported reason keep the checker from.
    adapters = (CachedBuild(cast(Adapter, GraphOfWeights(name, found))), as_it_is)
    exact, own = (
        tuple(Engine(f"{name} {runtime}", cast(Adapter, adapter), runtime) for runtime in runtimes)
        for adapter in adapters
    )
    return Participant(name, exact, own, shape)


def compare_participants(
    arch: Architecture,
    participants: Sequence[Participant],
    weights: Weights,
    *,
    seed: int = 0,
    batches: Sequence[int] = BATCHES,
    sizes: int = 2,
    progress: Progress = lambda step, total: None,
) -> Iterator[Verdict]:
    """A verdict per engine, batch and size, on the exact check and then on that of float32.

    `weights` are those that all subjects hold as they are.
    """
    shapes = _own_shapes(arch, participants, batches, sizes)
    total = sizes + len(shapes)
    for size in _sizes(arch, "exact")[:sizes]:
        check_memory(arch, max(batches), size)
        progress(f"exact check, {size[0]}x{size[1]}", total)
        most = max(batches)
        try:
            probe = returned(exact_probe(arch, seed, "float32", size, batch=most, backward=False))
        except ProbeError as error:
            yield CHECKS["exact"].no_probe(str(error))
            continue
        engines = tuple(engine for participant in participants for engine in participant.exact)
        for batch in batches:
            yield from run_check("exact", first(probe, batch), engines)
    noise_floor = of_framework("torch", torch_adapter(), NOISE_FLOOR_MODES).as_it_is
    for (size, own_batches), group in shapes.items():
        progress(f"float32 check, {size[0]}x{size[1]}", total)
        counts = {batch: batches_needed(arch, batch, size) for batch in own_batches}
        probes = random_probes(arch, seed, size, weights, max(counts.values()))
        engines = tuple(engine for participant in group for engine in participant.as_it_is)
        for batch, count in counts.items():
            probe = concatenate(probes[:count], batch)
            yield from _with_noise_floor(
                probe, batched(engines, batch), batched(noise_floor, batch)
            )


def _with_noise_floor(
    probe: Probe, engines: tuple[Engine, ...], noise_floor: tuple[Engine, ...]
) -> Iterator[Verdict]:
    """Verdicts of the engines; PyTorch runs along, for it makes the noise floor."""
    asked = {engine.name for engine in engines}
    others = tuple(engine for engine in engines if not engine.sets_noise_floor)
    for verdict in run_check("float32", probe, (*noise_floor, *others)):
        if verdict.engine in asked or verdict.status == "fail":
            yield verdict


def _sizes(arch: Architecture, kind: str) -> list[tuple[int, int]]:
    """That of all probes, and one of another area, or a mean over a constant would go unseen.

    An exact one's area is a power of two; twice as large the deepest net would not fit in memory.
    """
    height, width = default_size(arch, kind)
    return [(height, width), (height, height if kind == "exact" else height + width)]


Shapes = dict[tuple[tuple[int, int], tuple[int, ...]], list[Participant]]


def _own_shapes(
    arch: Architecture, participants: Sequence[Participant], batches: Sequence[int], sizes: int
) -> Shapes:
    """Which subjects run at which size and batches: the two, unless a file prescribes its own."""
    shapes: Shapes = {}
    for participant in participants:
        height, width, batch = (participant.shape.get(axis) for axis in "hwn")
        own = [(height or h, width or w) for h, w in _sizes(arch, "random")[:sizes]]
        for size in dict.fromkeys(own):
            own_batches = (batch,) if batch else tuple(batches)
            check_memory(arch, max(own_batches), size)
            shapes.setdefault((size, own_batches), []).append(participant)
    return shapes
