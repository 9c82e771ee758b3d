"""Training in lockstep: both implementations train alike, and every step all their numbers are compared.

Every loss, weight, running statistic and momentum buffer: over many free steps in float64, and in
float32 over single steps from one state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from resnet_spec import Architecture, Recipe, get_architecture

from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.errors import ParityError, ProbeError
from resnet_parity.limits import check_memory
from resnet_parity.lockstep.free import TrainingStep, Worst, free_steps
from resnet_parity.lockstep.single import noise_floor_of, synchronised
from resnet_parity.lockstep.workload import TrainingAdapter, Workload, make_workload
from resnet_parity.probes import blind_spots, default_size, random_weights
from resnet_parity.probes.training import training_weights
from resnet_parity.progress import Progress
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Status

__all__ = ["DEFAULT", "Lockstep", "TrainingStep", "Trial", "Worst", "lockstep"]

Hands = tuple[TrainingAdapter, TrainingAdapter]

DEFAULT = Recipe(learning_rate=0.001)
"""The rule unless another is asked for. Training amplifies roundings, the more the higher the rate:
at 0.01 PyTorch in one memory layout and PyTorch in the other part by 1e-10 in 10 steps of resnet50,
and so do both implementations; at 0.05 in 54 steps of resnet18."""

_REPORTS = 10
_MORE_BATCHES = 8  # for steps that come near a kink


@dataclass(frozen=True)
class Trial:
    """What one implementation showed in one dtype.

    `value` is the largest error, in float32 Keras' largest ratio to the noise floor, `limit` what it may
    be, and `furthest` the quantity that has it. `departed` is the first free step, from 0, behind
    which something was off. `reason` explains a "cannot".
    """

    dtype: str
    engine: str
    status: Status
    value: float = math.inf
    limit: float = 0.0
    furthest: str = ""
    departed: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Lockstep:
    """Everything that a training in lockstep showed, as data."""

    architecture: Architecture
    recipe: Recipe
    seed: int
    size: tuple[int, int]
    batch: int
    versions: dict[str, str]
    steps: tuple[TrainingStep, ...]
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Nothing failed, and what was asked for last, or alone, is proven."""
        statuses = [trial.status for trial in self.trials]
        return "fail" not in statuses and statuses[-1] == "pass"


def lockstep(
    architecture: str | Architecture,
    recipe: Recipe = DEFAULT,
    *,
    steps: int = 20,
    single_steps: int = 3,
    seed: int = 0,
    size: tuple[int, int] | None = None,
    batch: int = 4,
    keras_backend: str | None = None,
    progress: Progress = lambda step, total: None,
) -> Lockstep:
    """Train both implementations: `steps` free steps in float64, `single_steps` from one state in float32.

    `size` is height and width of the images in pixels.

    Raises `ParityError` (a framework is missing, there are no classes to train for, a number is out
    of range) and `resnet_spec.ArchitectureError`.
    """
    arch = get_architecture(architecture)
    size = size or default_size(arch, "random")
    _check(arch, steps, single_steps, seed, size, batch)
    total = 1 + min(steps, _REPORTS) + (single_steps > 0)
    progress("loading the frameworks", total)
    adapters = torch_adapter(), keras_adapter(keras_backend)
    frameworks = _framework("torch"), _framework("keras")
    workload = make_workload(arch, recipe, seed, size, batch)
    ran: list[TrainingStep] = []
    trials: list[Trial] = []
    unsupported_reason = adapters[1].float64_unsupported_reason()
    if steps and unsupported_reason:
        trials.append(Trial("float64", "keras", "skipped", reason=unsupported_reason))
    elif steps:
        for step in free_steps(workload, frameworks, random_weights(arch, seed, "float64"), steps):
            ran.append(step)
            if step.index % math.ceil(steps / _REPORTS) == 0:
                progress(f"float64, step {len(ran)} of {steps}", total)
        trials.append(_free_trial(ran))
    if single_steps:
        progress(f"float32, {single_steps} synchronised steps", total)
        tried = make_workload(arch, recipe, seed, size, batch, single_steps + _MORE_BATCHES)
        try:
            trials += _single_trials(tried, frameworks, seed, single_steps)
        except ProbeError as error:
            trials.append(Trial("float32", "both", "skipped", reason=str(error)))
    return Lockstep(
        architecture=arch,
        recipe=recipe,
        seed=seed,
        size=size,
        batch=batch,
        versions={k: v for adapter in adapters for k, v in adapter.versions().items()},
        steps=tuple(ran),
        trials=tuple(trials),
        warnings=tuple(blind_spots(arch, size)),
    )


def _framework(package: str) -> TrainingAdapter:
    return cast(TrainingAdapter, import_module(f"resnet_parity.adapters.{package}.training_state"))


def _free_trial(steps: list[TrainingStep]) -> Trial:
    departed = next((step.index for step in steps if step.departed), None)
    # What departs first has the cause in it; what is furthest off later is only its echo.
    told = max(steps, key=lambda s: s.furthest.error) if departed is None else steps[departed]
    worst = told.furthest
    status: Status = "pass" if departed is None else "fail"
    most = limit("lockstep", "float64")
    return Trial("float64", "both", status, worst.error, most, worst.name, departed)


def _single_trials(workload: Workload, frameworks: Hands, seed: int, count: int) -> list[Trial]:
    weights = training_weights(workload.architecture, seed, "float32")
    ours, theirs = synchronised(workload, frameworks, weights, count)
    noise_floor = noise_floor_of(workload.architecture, ours)
    ratios = {name: error / noise_floor[name] for name, error in theirs.items()}

    def trial(engine: str, values: dict[str, float], most: float) -> Trial:
        name = max(values, key=lambda each: values[each])
        status: Status = "pass" if values[name] <= most else "fail"
        return Trial("float32", engine, status, values[name], most, name)

    return [
        trial("torch", ours, limit("lockstep", "noise floor in float32")),
        trial("keras", ratios, limit("lockstep", "float32")),
    ]


def _check(
    arch: Architecture, steps: int, single_steps: int, seed: int, size: tuple[int, int], batch: int
) -> None:
    if arch.out_indices is not None or not arch.num_classes:
        raise ParityError(f"{arch.name!r} gives no logits to train; leave it its classes")
    if min(steps, single_steps, seed) < 0 or steps + single_steps == 0:
        raise ParityError("there must be at least one step, in float64 or in float32")
    if batch < 2:
        raise ParityError("a norm in training needs at least two images in a batch")
    check_memory(arch, batch, size)
