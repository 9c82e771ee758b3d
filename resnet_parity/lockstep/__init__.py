"""Training in lockstep: both implementations train, and after every step all numbers are compared.

These are loss, weights, running statistics and momentum buffers: over many free steps in float64,
and in float32 over single steps from one state.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import cast

from resnet_spec import Architecture, Recipe, get_architecture

from resnet_parity.adapters.loading import both_adapters, chosen_backend
from resnet_parity.adapters.protocol import TrainingAdapter
from resnet_parity.errors import ParityError, ProbeError
from resnet_parity.limits import check_memory
from resnet_parity.lockstep.free import TrainingStep, Worst, free_steps
from resnet_parity.lockstep.single import noise_floor_of, synchronised
from resnet_parity.lockstep.workload import Workload, make_workload
from resnet_parity.probes import blind_spots, default_size, random_weights
from resnet_parity.probes.training import training_weights
from resnet_parity.progress import Progress
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Status

__all__ = ["DEFAULT", "Lockstep", "TrainingStep", "Trial", "Worst", "lockstep"]

DEFAULT = Recipe(learning_rate=0.001)
"""The default recipe. Training amplifies roundings, more so at a higher learning rate: at 0.01,
PyTorch in its two memory layouts diverges by 1e-10 in 10 steps of resnet50, as do the two
implementations; at 0.05 in 54 steps of resnet18."""

_REPORTS = 10
_SPARE_BATCHES = 8  # for steps that come near a kink


@dataclass(frozen=True)
class Trial:
    """The result of one implementation ("torch", "keras" or "both") in one dtype.

    `value` is the largest error (for Keras in float32 its largest ratio to the noise floor),
    `limit` its tolerance and `furthest` the quantity that has it. `diverged_at` is the first free
    step, from 0, after which an error was over the limit. `reason` says why it was skipped.
    """

    dtype: str
    implementation: str
    status: Status
    value: float = math.inf
    limit: float = 0.0
    furthest: str = ""
    diverged_at: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class Lockstep:
    """The result of training in lockstep."""

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
        """Whether nothing failed, and the last trial, or the only one, passed."""
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
    """Train both implementations and compare all their numbers after every step.

    `steps` is the number of free steps in float64, `single_steps` that of float32 steps that each
    start from one state. `size` is height and width of the images in pixels.

    Raises `ParityError` (a framework is missing, the architecture has no classes, the recipe
    averages weights, a number is out of range) and `resnet_spec.ArchitectureError`.
    """
    arch = get_architecture(architecture)
    size = size or default_size(arch, "random")
    if recipe.ema:
        raise ParityError("lockstep compares no averages of weights; take a recipe with ema 0")
    _check(arch, steps, single_steps, seed, size, batch)
    total = 1 + min(steps, _REPORTS) + (single_steps > 0)
    chosen_backend(keras_backend)  # before anything is printed
    progress("loading the frameworks", total)
    adapters = both_adapters(keras_backend)
    training_adapters = _training_adapter("torch"), _training_adapter("keras")
    workload = make_workload(arch, recipe, seed, size, batch)
    ran: list[TrainingStep] = []
    trials: list[Trial] = []
    unsupported_reason = adapters[1].float64_unsupported_reason()
    if steps and unsupported_reason:
        trials.append(Trial("float64", "keras", "skipped", reason=unsupported_reason))
    elif steps:
        weights = random_weights(arch, seed, "float64")
        for step in free_steps(workload, training_adapters, weights, steps):
            ran.append(step)
            if step.index % math.ceil(steps / _REPORTS) == 0:
                progress(f"float64, step {len(ran)} of {steps}", total)
        trials.append(_free_trial(ran))
    if single_steps:
        progress(f"float32, {single_steps} synchronised steps", total)
        longer = make_workload(arch, recipe, seed, size, batch, single_steps + _SPARE_BATCHES)
        try:
            trials += _single_trials(longer, training_adapters, seed, single_steps)
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


def _training_adapter(framework: str) -> TrainingAdapter:
    return cast(
        TrainingAdapter, import_module(f"resnet_parity.adapters.{framework}.training_state")
    )


def _free_trial(steps: list[TrainingStep]) -> Trial:
    first = next((step.index for step in steps if step.diverged), None)
    # The first divergence contains the cause; larger errors of later steps follow from it.
    shown = max(steps, key=lambda s: s.furthest.error) if first is None else steps[first]
    worst = shown.furthest
    status: Status = "pass" if first is None else "fail"
    most = limit("lockstep", "float64")
    return Trial("float64", "both", status, worst.error, most, worst.name, first)


def _single_trials(
    workload: Workload, adapters: tuple[TrainingAdapter, TrainingAdapter], seed: int, count: int
) -> list[Trial]:
    weights = training_weights(workload.architecture, seed, "float32")
    ours, theirs = synchronised(workload, adapters, weights, count)
    noise_floor = noise_floor_of(workload.architecture, ours)
    ratios = {name: error / noise_floor[name] for name, error in theirs.items()}

    def trial(implementation: str, values: dict[str, float], most: float) -> Trial:
        name = max(values, key=lambda each: values[each])
        status: Status = "pass" if values[name] <= most else "fail"
        return Trial("float32", implementation, status, values[name], most, name)

    return [
        trial("torch", ours, limit("lockstep", "noise floor in float32")),
        trial("keras", ratios, limit("lockstep", "float32")),
    ]


def _check(
    arch: Architecture, steps: int, single_steps: int, seed: int, size: tuple[int, int], batch: int
) -> None:
    if arch.out_indices is not None or not arch.num_classes:
        raise ParityError(f"{arch.name!r} returns no logits to train; it needs classes")
    for name, number in {"steps": steps, "single_steps": single_steps, "seed": seed}.items():
        if number < 0:
            raise ParityError(f"{name} must be at least 0, not {number}")
    if steps + single_steps == 0:
        raise ParityError("steps and single_steps are both 0; take at least one step of one kind")
    if batch < 2:
        raise ParityError("a norm in training needs at least two images in a batch")
    check_memory(arch, batch, size)
