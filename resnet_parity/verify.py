"""Verify that both implementations are the same function: run the checks, make one report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_spec import Architecture, get_architecture

from resnet_parity import photographs
from resnet_parity.adapters.loading import both_adapters, chosen_backend
from resnet_parity.adapters.protocol import Adapter
from resnet_parity.checks import CHECKS, DEFAULT_CHECKS, chosen_checks
from resnet_parity.checks.base import PHOTOGRAPHS, Check, PlannedProbe, ProbeRequest
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.errors import ParityError, ProbeError
from resnet_parity.limits import check_memory
from resnet_parity.probes import BATCH, blind_spots, default_size
from resnet_parity.progress import Progress
from resnet_parity.verdict import Verdict

_TOP = 5


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
    """Everything that a verification found, as data.

    `notes` say in which dtype a check is proven where this machine does not support another.
    """

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
        """Whether some engine is not the function that it should be."""
        return not self.same_classes or any(v.status == "fail" for v in self.verdicts)

    @property
    def skipped(self) -> tuple[Verdict, ...]:
        """The verdicts that are skipped: those engines cannot run the check, whatever the model."""
        return tuple(verdict for verdict in self.verdicts if verdict.status == "skipped")

    @property
    def passed(self) -> bool:
        """Whether something passed and nothing failed.

        A check that is run alone must also pass in at least one mode of each implementation; the
        exact check in at least one dtype, because its numbers are the same in both.
        """
        proven = {_claim(verdict) for verdict in self.verdicts if verdict.status == "pass"}
        is_proven = proven == {_claim(verdict) for verdict in self.verdicts}
        return bool(proven) and not self.failed and (is_proven or len(self.checks) > 1)

    @property
    def top_classes(self) -> tuple[TopClasses, ...]:
        """The best classes of every photograph, by engine."""
        return tuple(
            TopClasses(index, image, verdict.dtype, verdict.engine, _top(verdict.logits[index]))
            for index, image in enumerate(self.images)
            for verdict in self.verdicts
            if verdict.probe == PHOTOGRAPHS and verdict.logits is not None
        )

    @property
    def same_classes(self) -> bool:
        """Whether all engines rank the same classes in the same order, per dtype and photograph."""
        ranks: dict[tuple[int, str], set[tuple[int, ...]]] = {}
        for top in self.top_classes:
            order = tuple(index for index, _ in top.classes)
            ranks.setdefault((top.index, top.dtype), set()).add(order)
        return all(len(orders) == 1 for orders in ranks.values())


def _claim(verdict: Verdict) -> tuple[str, ...]:
    """The claim that a verdict proves: implementation, check, probe, dtype and quantity."""
    framework = verdict.engine.partition(" ")[0]
    dtype = "" if CHECKS[verdict.check].one_dtype_proves else verdict.dtype
    return framework, verdict.check, verdict.probe, dtype, verdict.quantity


def _notes(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Say which dtype proves a check that was skipped in another, and why it was."""
    groups: dict[tuple[str, str], dict[str, list[Verdict]]] = {}
    for verdict in verdicts:
        if CHECKS[verdict.check].one_dtype_proves:
            group = groups.setdefault((verdict.check, verdict.engine.partition(" ")[0]), {})
            group.setdefault(verdict.dtype, []).append(verdict)
    for (check, framework), by_dtype in groups.items():
        proven = [dtype for dtype, own in by_dtype.items() if all(v.status == "pass" for v in own)]
        for dtype, own in by_dtype.items():
            if proven and all(v.status == "skipped" for v in own):
                yield (
                    f"{check} check, {framework}: proven in {', '.join(proven)}; not in {dtype}, "
                    f"because {own[0].reason}"
                )


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
    found: Callable[[Verdict], None] = lambda verdict: None,
) -> Report:
    """Compare both implementations with the oracle, by the given checks.

    `size` is height and width of the probes in pixels. `images` are files of photographs; the
    float64 and float32 checks run on them as well. `every_mode` adds the slower ways to run Keras
    (for TensorFlow: eager and XLA beside the graph that `predict` and `fit` run) and PyTorch
    (compiled, and on a GPU where there is one). `found` is called with each verdict at once.

    Raises `ParityError` (a framework is missing, a probe cannot exist, an image cannot be read) and
    `resnet_spec.ArchitectureError`.
    """
    arch = get_architecture(architecture)
    chosen = chosen_checks(checks)
    _check_arguments(arch, chosen, images, seed)
    if len(set(checks)) == 1 and size:
        chosen[0].check_size(arch, size)
    check_memory(arch, BATCH, size or default_size(arch, "exact"))
    check_memory(arch, len(images), (photographs.CROP, photographs.CROP))
    photos = photographs.load_all([str(path) for path in images]) if images else None
    request = ProbeRequest(arch, seed, size, photos)
    plan = [(check, probe) for check in chosen for probe in check.probes(request)]
    chosen_backend(keras_backend)  # before anything is printed
    progress("loading the frameworks", len(plan) + 1)
    frameworks = both_adapters(keras_backend)
    verdicts: list[Verdict] = []
    for check, probe in plan:
        progress(f"{check.name} check, {probe.title}", len(plan) + 1)
        for verdict in _run(check, probe, _engines(frameworks, every_mode), alone=len(checks) == 1):
            verdicts.append(verdict)
            found(verdict)
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
        notes=tuple(_notes(verdicts)),
    )


def _check_arguments(
    arch: Architecture, checks: Sequence[Check], images: Sequence[str | Path], seed: int
) -> None:
    if isinstance(images, str | Path):
        raise ParityError(f"images are a sequence of files, such as ({str(images)!r},)")
    if not isinstance(seed, int) or seed < 0:
        raise ParityError(f"a seed is a whole number from 0 on, not {seed!r}")
    if images and not any(check.takes_photographs for check in checks):
        names = " or ".join(name for name, check in CHECKS.items() if check.takes_photographs)
        raise ParityError(f"no check that was named runs on photographs; add {names}")
    if images and arch.in_channels != 3:
        raise ParityError(f"photographs have 3 channels, {arch.name!r} takes {arch.in_channels}")


def _run(
    check: Check, probe: PlannedProbe, engines: tuple[Engine, ...], *, alone: bool
) -> Iterator[Verdict]:
    """The verdicts of a check; `ProbeError` is raised only where no other check runs."""
    try:
        yield from check.run(probe.make(), engines)
    except ProbeError as error:
        if alone:
            raise
        yield check.no_probe(str(error))


def _engines(frameworks: Sequence[Adapter], every_mode: bool) -> tuple[Engine, ...]:
    """Both layouts of PyTorch, which set the noise floor, and the usual mode of Keras; or all."""
    torch, keras = frameworks
    torch_modes = torch.modes() if every_mode else NOISE_FLOOR_MODES
    keras_modes = keras.modes() if every_mode else keras.modes()[:1]
    backend = list(keras.versions())[-1]
    return (
        *(Engine(f"torch {mode}", torch, mode) for mode in torch_modes),
        *(Engine(f"keras {backend} {mode}", keras, mode) for mode in keras_modes),
    )
