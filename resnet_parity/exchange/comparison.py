"""Frameworks and files in one matrix: every graph held to the oracle, in every runtime.

On the exact rung a graph takes the probe's weights in the place of its own; on that of float32 it
runs as it is, and is held to what the oracle says of the weights that all are to have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from onnx import ModelProto

from resnet_spec import Architecture

from resnet_parity.errors import ProbeError
from resnet_parity.exchange.batches import (
    batched,
    enough,
    first,
    random_probes,
    returned,
    together,
)
from resnet_parity.exchange.recognise import Recognised
from resnet_parity.exchange.subjects import FileAsItIs, GraphOfWeights, Kept, own_shape
from resnet_parity.frameworks import torch_adapter
from resnet_parity.hands import Adapter
from resnet_parity.probes import Probe, default_size, exact_probe
from resnet_parity.progress import Progress
from resnet_parity.rungs import FLOOR_MODES, Engine, Verdict, climb, no_probe
from resnet_parity.verification import check_memory

BATCHES = (1, 2, 5)

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Subject:
    """What is compared: a hand, which takes any weights, or a file, which has its own.

    `exact` and `as_it_is` are its engines on the exact rung and on that of float32. `shape` is what
    a file prescribes for its image, by axis; None for what it leaves open. `notes` say which mode
    stands in for which.
    """

    name: str
    exact: tuple[Engine, ...]
    as_it_is: tuple[Engine, ...]
    shape: Mapping[str, int | None]
    notes: tuple[str, ...] = ()


def of_hand(
    name: str, adapter: Adapter, modes: Sequence[str], notes: tuple[str, ...] = ()
) -> Subject:
    """A framework, in those modes."""
    kept = cast(Adapter, Kept(adapter))
    engines = tuple(Engine(f"{name} {mode}", kept, mode) for mode in modes)
    return Subject(name, engines, engines, {}, notes)


def of_file(name: str, proto: ModelProto, found: Recognised, runtimes: Sequence[str]) -> Subject:
    """A file, in those runtimes."""
    shape = own_shape(found.model.graph, found.match.layout)
    as_it_is = FileAsItIs(name, proto.SerializeToString(), found.match)
    # Adapters but for gradients and half precision, which their obstacles keep the judge from.
    adapters = (Kept(cast(Adapter, GraphOfWeights(name, found))), as_it_is)
    exact, own = (
        tuple(Engine(f"{name} {runtime}", cast(Adapter, adapter), runtime) for runtime in runtimes)
        for adapter in adapters
    )
    return Subject(name, exact, own, shape)


def compare_subjects(
    arch: Architecture,
    subjects: Sequence[Subject],
    weights: Weights,
    *,
    seed: int = 0,
    batches: Sequence[int] = BATCHES,
    sizes: int = 2,
    progress: Progress = lambda step, total: None,
) -> Iterator[Verdict]:
    """A verdict per engine, batch and size, on the exact rung and then on that of float32.

    `weights` are those that all subjects hold as they are.
    """
    shapes = _own_shapes(arch, subjects, batches, sizes)
    total = sizes + len(shapes)
    for size in _sizes(arch, "exact")[:sizes]:
        check_memory(arch, max(batches), size)
        progress(f"exact rung, {size[0]}x{size[1]}", total)
        most = max(batches)
        try:
            probe = returned(exact_probe(arch, seed, "float32", size, batch=most, backward=False))
        except ProbeError as error:
            yield no_probe("exact", str(error))
            continue
        engines = tuple(engine for subject in subjects for engine in subject.exact)
        for batch in batches:
            yield from climb("exact", first(probe, batch), engines)
    floor = of_hand("torch", torch_adapter(), FLOOR_MODES).as_it_is
    for (size, own_batches), group in shapes.items():
        progress(f"float32 rung, {size[0]}x{size[1]}", total)
        counts = {batch: enough(arch, batch, size) for batch in own_batches}
        probes = random_probes(arch, seed, size, weights, max(counts.values()))
        engines = tuple(engine for subject in group for engine in subject.as_it_is)
        for batch, count in counts.items():
            probe = together(probes[:count], batch)
            yield from _with_floor(probe, batched(engines, batch), batched(floor, batch))


def _with_floor(
    probe: Probe, engines: tuple[Engine, ...], floor: tuple[Engine, ...]
) -> Iterator[Verdict]:
    """Verdicts of the engines; PyTorch runs along, for it makes the floor."""
    asked = {engine.name for engine in engines}
    others = tuple(engine for engine in engines if not engine.makes_floor)
    for verdict in climb("float32", probe, (*floor, *others)):
        if verdict.engine in asked or verdict.status == "fail":
            yield verdict


def _sizes(arch: Architecture, kind: str) -> list[tuple[int, int]]:
    """That of all probes, and one of another area, or a mean over a constant would go unseen.

    An exact one's area is a power of two; twice as large the deepest net would not fit in memory.
    """
    height, width = default_size(arch, kind)
    return [(height, width), (height, height if kind == "exact" else height + width)]


Shapes = dict[tuple[tuple[int, int], tuple[int, ...]], list[Subject]]


def _own_shapes(
    arch: Architecture, subjects: Sequence[Subject], batches: Sequence[int], sizes: int
) -> Shapes:
    """Which subjects run at which size and batches: the two, unless a file prescribes its own."""
    shapes: Shapes = {}
    for subject in subjects:
        height, width, batch = (subject.shape.get(axis) for axis in "hwn")
        own = [(height or h, width or w) for h, w in _sizes(arch, "random")[:sizes]]
        for size in dict.fromkeys(own):
            own_batches = (batch,) if batch else tuple(batches)
            check_memory(arch, max(own_batches), size)
            shapes.setdefault((size, own_batches), []).append(subject)
    return shapes
