"""The main job: are both implementations the same function? Every check, every engine, one report."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from resnet_spec import Architecture, get_architecture, parameters, taps

from resnet_parity import photographs
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.protocol import Adapter, fallback_mode
from resnet_parity.checks.half import run_half_check
from resnet_parity.checks.run import (
    ALL_CHECKS,
    DEFAULT_CHECKS,
    NOISE_FLOOR_MODES,
    Engine,
    Verdict,
    no_probe,
    run_check,
)
from resnet_parity.errors import ParityError, ProbeError
from resnet_parity.probes import (
    BATCH,
    Probe,
    blind_spots,
    check_exact_size,
    default_size,
    exact_probe,
    make_probe,
    random_probe,
    random_weights,
    training_probe,
)
from resnet_parity.progress import Progress

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
    checks: tuple[str, ...]
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
        """The verdicts of engines that cannot hold a check, whatever the model."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "skipped")

    @property
    def passed(self) -> bool:
        """Nothing failed, and a check that was asked for alone is proven, of each implementation in a mode."""
        proven = {_claim(verdict) for verdict in self.verdicts if verdict.status == "pass"}
        is_proven = proven == {_claim(verdict) for verdict in self.verdicts}
        return bool(proven) and not self.failed and (is_proven or len(self.checks) > 1)

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
class PlannedCheck:
    """One probe of one check, made when its turn comes."""

    check: str
    dtype: str
    title: str
    make_probe: Callable[[], Probe]

    def run_check(self, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
        """A verdict per engine (and dtype); raises `ProbeError` where there is no such probe."""
        return (run_half_check if self.check == "half" else partial(run_check, self.check))(
            self.make_probe(), engines
        )


def _claim(verdict: Verdict) -> tuple[str, ...]:
    """What a verdict proves: of which implementation, on which probe, in which dtype, of what."""
    framework = verdict.engine.partition(" ")[0]
    return framework, verdict.check, verdict.probe, verdict.dtype, verdict.compared


def _top(logits: np.ndarray) -> tuple[tuple[int, float], ...]:
    best = np.argsort(-logits, kind="stable")[:_TOP]
    return tuple((int(index), float(logits[index])) for index in best)


def verify(
    architecture: str | Architecture,
    *,
    checks: Sequence[str] = DEFAULT_CHECKS,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    images: Sequence[str | Path] = (),
    keras_backend: str | None = None,
    every_mode: bool = False,
    progress: Progress = lambda step, total: None,
) -> Report:
    """Hold both implementations to the oracle, on the given checks.

    `size` is height and width in pixels of the probes. `images` are files that the float64 and
    float32 checks are climbed with as well. `every_mode` adds the slower ways to run Keras (for
    TensorFlow: eager and XLA beside the graph that `predict` and `fit` run) and PyTorch (compiled,
    and on a GPU where there is one).

    Raises `ParityError` (a framework is missing, a probe cannot exist, an image cannot be read) and
    `resnet_spec.ArchitectureError`.
    """
    arch = get_architecture(architecture)
    _check(arch, checks, images, seed)
    if set(checks) == {"exact"} and size:
        check_exact_size(arch, size)  # told at once, before a framework is loaded
    check_memory(arch, BATCH, size or default_size(arch, "exact"))
    check_memory(arch, len(images), (photographs.CROP, photographs.CROP))
    photos = photographs.load_all([str(path) for path in images]) if images else None
    steps = [step for check in checks for step in plan_checks(arch, check, seed, size, photos)]
    progress("loading the frameworks", len(steps) + 1)
    frameworks = torch_adapter(), keras_adapter(keras_backend)
    notes: list[str] = []
    verdicts: list[Verdict] = []
    for step in steps:
        progress(f"{step.check} check, {step.title}", len(steps) + 1)
        engines = _engines(frameworks, step, every_mode, notes)
        try:
            verdicts += step.run_check(engines)
        except ProbeError as error:
            if len(checks) == 1:
                raise
            verdicts.append(no_probe(step.check, str(error)))
    versions = {
        name: number for framework in frameworks for name, number in framework.versions().items()
    }
    return Report(
        architecture=arch,
        seed=seed,
        checks=tuple(checks),
        versions=versions,
        verdicts=tuple(verdicts),
        images=tuple(Path(path).name for path in images),
        warnings=tuple(blind_spots(arch, size)) if size else (),
        notes=tuple(notes),
    )


def plan_checks(
    arch: Architecture,
    check: str,
    seed: int,
    size: tuple[int, int] | None = None,
    photos: np.ndarray | None = None,
) -> Iterator[PlannedCheck]:
    """The probes that a check is climbed with; photographs on those that checker every tap."""
    if check == "exact":
        for dtype in ("float32", "float64"):
            make = partial(exact_probe, arch, seed, dtype, size)
            yield PlannedCheck(check, dtype, f"exact probe in {dtype}", make)
        return
    if check == "half":
        make = partial(random_probe, arch, seed, "float32", size)
        yield PlannedCheck(check, "float32", "random probe in bfloat16 and float16", make)
        return
    make = partial(random_probe, arch, seed, check, size)
    yield PlannedCheck(check, check, f"random probe in {check}", make)
    make = partial(training_probe, arch, seed, check, size)
    yield PlannedCheck(check, check, f"training probe in {check}", make)
    if photos is not None:
        make = partial(_photo_probe, arch, seed, check, photos)
        yield PlannedCheck(check, check, f"photographs in {check}", make)


def _photo_probe(arch: Architecture, seed: int, dtype: str, photos: np.ndarray) -> Probe:
    weights = random_weights(arch, seed, dtype)
    return make_probe(arch, seed, weights, photos.astype(dtype), kind=PHOTOGRAPHS)


def _check(
    arch: Architecture, checks: Sequence[str], images: Sequence[str | Path], seed: int
) -> None:
    if isinstance(checks, str) or isinstance(images, str | Path):
        raise ParityError("checks and images are sequences, such as ('exact',)")
    if not isinstance(seed, int) or seed < 0:
        raise ParityError(f"a seed is a whole number from 0 on, not {seed!r}")
    unknown = [check for check in checks if check not in ALL_CHECKS]
    if unknown or not checks:
        raise ParityError(f"unknown check {unknown}; checks are: {', '.join(ALL_CHECKS)}")
    if images and not {"float64", "float32"} & set(checks):
        raise ParityError("photographs are no exact probes; add check float64 or float32")
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
    frameworks: Sequence[Adapter], step: PlannedCheck, every_mode: bool, notes: list[str]
) -> tuple[Engine, ...]:
    """Both layouts of PyTorch, for they make the noise floor; the usual mode of Keras; or all.

    Where the usual mode rounds exact probes another stands in for it, which is noted.
    """
    torch, keras = frameworks
    torch_modes = torch.modes() if every_mode else NOISE_FLOOR_MODES
    keras_modes = keras.modes()
    if not every_mode:
        mode, note = keras_modes[0], None
        if step.check == "exact":
            mode, note = fallback_mode(keras, mode, step.dtype)
        notes += [f"exact check, {step.dtype}, Keras: {note}"] if note else []
        keras_modes = (mode,)
    backend = list(keras.versions())[-1]
    return (
        *(Engine(f"torch {mode}", torch, mode) for mode in torch_modes),
        *(Engine(f"keras {backend} {mode}", keras, mode) for mode in keras_modes),
    )
