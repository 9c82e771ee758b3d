"""The main job: are both hands the same function? Every rung, every engine, one report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from resnet_spec import Architecture, get_architecture, parameters, taps
from resnet_spec.preprocessing import CROP

from resnet_parity import photographs
from resnet_parity.errors import ParityError, ProbeError
from resnet_parity.frameworks import keras_adapter, torch_adapter
from resnet_parity.half import climb_half
from resnet_parity.hands import Adapter, stand_in
from resnet_parity.probes import (
    BATCH,
    Probe,
    blind_spots,
    check_exact_size,
    default_size,
    exact_probe,
    random_probe,
    random_weights,
    training_probe,
    with_images,
)
from resnet_parity.progress import Progress
from resnet_parity.rungs import (
    EVERY_RUNG,
    FLOOR_MODES,
    RUNGS,
    Engine,
    Verdict,
    climb,
    no_probe,
)

_TOP = 5
PHOTOGRAPHS = "photographs"

_MAX_ELEMENTS = 2**29
"""Four gigabytes of float64 per engine; more is refused before anything is allocated."""


@dataclass(frozen=True)
class TopClasses:
    """The largest logits that one engine gave one photograph, as (class, logit), best first."""

    index: int
    image: str
    dtype: str
    engine: str
    classes: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Report:
    """Everything that a verification found, as data; `notes` say which mode stood in for which."""

    architecture: Architecture
    seed: int
    rungs: tuple[str, ...]
    versions: dict[str, str]
    verdicts: tuple[Verdict, ...]
    images: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Some engine is not the function that it should be."""
        return not self.same_classes or any(v.status == "fail" for v in self.verdicts)

    @property
    def unproven(self) -> tuple[Verdict, ...]:
        """The verdicts of engines that cannot hold a rung, whatever the model."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "cannot")

    @property
    def passed(self) -> bool:
        """Nothing failed, and a rung that was asked for alone is proven, of each hand in a mode."""
        proven = {_claim(verdict) for verdict in self.verdicts if verdict.status == "pass"}
        is_proven = proven == {_claim(verdict) for verdict in self.verdicts}
        return bool(proven) and not self.failed and (is_proven or len(self.rungs) > 1)

    @property
    def top_classes(self) -> tuple[TopClasses, ...]:
        """What every engine sees in every photograph."""
        return tuple(
            TopClasses(index, image, verdict.dtype, verdict.engine, _top(verdict.logits[index]))
            for index, image in enumerate(self.images)
            for verdict in self.verdicts
            if verdict.probe == PHOTOGRAPHS and verdict.logits is not None
        )

    @property
    def same_classes(self) -> bool:
        """In each dtype, all engines rank the same classes in the same order on each photograph."""
        ranks: dict[tuple[int, str], set[tuple[int, ...]]] = {}
        for top in self.top_classes:
            order = tuple(index for index, _ in top.classes)
            ranks.setdefault((top.index, top.dtype), set()).add(order)
        return all(len(orders) == 1 for orders in ranks.values())


@dataclass(frozen=True)
class Step:
    """One probe of one rung, made when its turn comes."""

    rung: str
    dtype: str
    title: str
    make_probe: Callable[[], Probe]

    def climb(self, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
        """A verdict per engine (and dtype); raises `ProbeError` where there is no such probe."""
        return (climb_half if self.rung == "half" else partial(climb, self.rung))(
            self.make_probe(), engines
        )


def _claim(verdict: Verdict) -> tuple[str, ...]:
    """What a verdict proves: of which hand, on which probe, in which dtype, of what."""
    hand = verdict.engine.partition(" ")[0]
    return hand, verdict.rung, verdict.probe, verdict.dtype, verdict.subject


def _top(logits: np.ndarray) -> tuple[tuple[int, float], ...]:
    best = np.argsort(-logits, kind="stable")[:_TOP]
    return tuple((int(index), float(logits[index])) for index in best)


def verify(
    architecture: str | Architecture,
    *,
    rungs: Sequence[str] = RUNGS,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    images: Sequence[str | Path] = (),
    keras_backend: str | None = None,
    every_mode: bool = False,
    progress: Progress = lambda step, total: None,
) -> Report:
    """Hold both hands to the oracle, on the given rungs.

    `size` is height and width in pixels of the probes. `images` are files that the float64 and
    float32 rungs are climbed with as well. `every_mode` adds the slower ways to run Keras (for
    TensorFlow: eager and XLA beside the graph that `predict` and `fit` run) and PyTorch (compiled,
    and on a GPU where there is one).

    Raises `ParityError` (a framework is missing, a probe cannot exist, an image cannot be read) and
    `resnet_spec.ArchitectureError`.
    """
    arch = get_architecture(architecture)
    _check(arch, rungs, images, seed)
    if set(rungs) == {"exact"} and size:
        check_exact_size(arch, size)  # told at once, before a framework is loaded
    check_memory(arch, BATCH, size or default_size(arch, "exact"))
    check_memory(arch, len(images), (CROP, CROP))
    photos = photographs.load_all([str(path) for path in images]) if images else None
    steps = [step for rung in rungs for step in make_steps(arch, rung, seed, size, photos)]
    progress("loading the frameworks", len(steps) + 1)
    hands = torch_adapter(), keras_adapter(keras_backend)
    notes: list[str] = []
    verdicts: list[Verdict] = []
    for step in steps:
        progress(f"{step.rung} rung, {step.title}", len(steps) + 1)
        engines = _engines(hands, step, every_mode, notes)
        try:
            verdicts += step.climb(engines)
        except ProbeError as error:
            if len(rungs) == 1:
                raise
            verdicts.append(no_probe(step.rung, str(error)))
    versions = {name: number for hand in hands for name, number in hand.versions().items()}
    return Report(
        architecture=arch,
        seed=seed,
        rungs=tuple(rungs),
        versions=versions,
        verdicts=tuple(verdicts),
        images=tuple(Path(path).name for path in images),
        warnings=tuple(blind_spots(arch, size)) if size else (),
        notes=tuple(notes),
    )


def make_steps(
    arch: Architecture,
    rung: str,
    seed: int,
    size: tuple[int, int] | None = None,
    photos: np.ndarray | None = None,
) -> Iterator[Step]:
    """The probes that a rung is climbed with; photographs on those that judge every tap."""
    if rung == "exact":
        for dtype in ("float32", "float64"):
            make = partial(exact_probe, arch, seed, dtype, size)
            yield Step(rung, dtype, f"exact probe in {dtype}", make)
        return
    if rung == "half":
        make = partial(random_probe, arch, seed, "float32", size)
        yield Step(rung, "float32", "random probe in bfloat16 and float16", make)
        return
    make = partial(random_probe, arch, seed, rung, size)
    yield Step(rung, rung, f"random probe in {rung}", make)
    make = partial(training_probe, arch, seed, rung, size)
    yield Step(rung, rung, f"training probe in {rung}", make)
    if photos is not None:
        make = partial(_photo_probe, arch, seed, rung, photos)
        yield Step(rung, rung, f"photographs in {rung}", make)


def _photo_probe(arch: Architecture, seed: int, dtype: str, photos: np.ndarray) -> Probe:
    weights = random_weights(arch, seed, dtype)
    return with_images(arch, seed, weights, photos.astype(dtype), kind=PHOTOGRAPHS)


def _check(
    arch: Architecture, rungs: Sequence[str], images: Sequence[str | Path], seed: int
) -> None:
    if isinstance(rungs, str) or isinstance(images, str | Path):
        raise ParityError("rungs and images are sequences, such as ('exact',)")
    if not isinstance(seed, int) or seed < 0:
        raise ParityError(f"a seed is a whole number from 0 on, not {seed!r}")
    unknown = [rung for rung in rungs if rung not in EVERY_RUNG]
    if unknown or not rungs:
        raise ParityError(f"unknown rung {unknown}; rungs are: {', '.join(EVERY_RUNG)}")
    if images and not {"float64", "float32"} & set(rungs):
        raise ParityError("photographs are no exact probes; add rung float64 or float32")
    if images and arch.in_channels != 3:
        raise ParityError(f"photographs have 3 channels, {arch.name!r} takes {arch.in_channels}")


def check_memory(arch: Architecture, batch: int, size: tuple[int, int]) -> None:
    """Raise `ParityError` where a probe of so many images of that size would fill the memory."""
    tensors = sum(parameter.size for parameter in parameters(arch))
    if tensors > _MAX_ELEMENTS:
        raise ParityError(
            f"{arch.name!r} has {tensors:,} numbers in its tensors, more than {_MAX_ELEMENTS:,}; "
            "take fewer classes or channels"
        )
    elements = batch * sum(math.prod(tap.shape) for tap in taps(arch, *size))
    if elements > _MAX_ELEMENTS:
        raise ParityError(
            f"the taps of {batch} images of {size[0]}x{size[1]} through {arch.name!r} hold "
            f"{elements:,} numbers, more than {_MAX_ELEMENTS:,}; "
            "take a smaller size or fewer images"
        )


def _engines(
    hands: Sequence[Adapter], step: Step, every_mode: bool, notes: list[str]
) -> tuple[Engine, ...]:
    """Both layouts of PyTorch, for they make the floor; the usual mode of Keras; or all.

    Where the usual mode rounds exact probes another stands in for it, which is noted.
    """
    torch, keras = hands
    torch_modes = torch.modes() if every_mode else FLOOR_MODES
    keras_modes = keras.modes()
    if not every_mode:
        mode, note = keras_modes[0], None
        if step.rung == "exact":
            mode, note = stand_in(keras, mode, step.dtype)
        notes += [f"exact rung, {step.dtype}, Keras: {note}"] if note else []
        keras_modes = (mode,)
    backend = list(keras.versions())[-1]
    return (
        *(Engine(f"torch {mode}", torch, mode) for mode in torch_modes),
        *(Engine(f"keras {backend} {mode}", keras, mode) for mode in keras_modes),
    )
