"""Synchronised steps in float32: each starts both implementations from one state, and is judged by itself.

Free steps in float32 show nothing, for training makes chaos of their roundings. Here the state
before each step is that of a float64 run, rounded; that run's next state is what must come out. The
weights are those of a training probe; a step that comes near the kink of a ReLU or a maximum,
behind which any engine may go, is not judged, and the next takes its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from resnet_spec import IMAGE, Architecture, Recipe, momentum_name, outputs

from resnet_parity.errors import ProbeError
from resnet_parity.lockstep.workload import (
    FORWARDS,
    State,
    TrainingAdapter,
    Workload,
    errors_of,
    kinds_of,
)
from resnet_parity.probes import is_far_from_kinks
from resnet_parity.reference import derivatives, oracle
from resnet_parity.reference.values import Value
from resnet_parity.tolerances import least_noise_floor, limit

Errors = dict[str, float]


def synchronised(
    workload: Workload,
    frameworks: tuple[TrainingAdapter, TrainingAdapter],
    weights: State,
    count: int,
) -> tuple[Errors, Errors]:
    """PyTorch's largest error in every quantity over its layouts and steps, and Keras'.

    The course has as many batches as steps may be tried.

    Raises `ProbeError` where too many steps come near a kink.
    """
    arch, recipe = workload.architecture, workload.recipe
    torch, keras = frameworks
    exact = torch.start(arch, _cast(weights, "float64"), recipe, "float64")
    runs: list[tuple[TrainingAdapter, Any]] = [
        (torch, torch.start(arch, weights, recipe, "float32")),
        (torch, torch.start(arch, weights, recipe, "float32", layout="channels_last")),
        (keras, keras.start(arch, weights, recipe, "float32")),
    ]
    errors: list[Errors] = [{} for _ in runs]
    for index, state, scales in _steps(workload, torch, exact, count):
        expected = workload.step(torch, exact, index, "float64")
        for (framework, run), found in zip(runs, errors, strict=True):
            framework.set_state(run, state)
            actual = workload.step(framework, run, index, "float32")
            for name, error in errors_of(arch, expected, actual, scales).items():
                found[name] = max(error, found.get(name, 0.0))
    ours, other, theirs = errors
    return {name: max(error, other[name]) for name, error in ours.items()}, theirs


def _steps(
    workload: Workload, framework: TrainingAdapter, exact: Any, count: int
) -> Iterator[tuple[int, State, dict[str, float]]]:
    """The steps to checker: index, state before, and the scales of what follows.

    The float64 run stands in that state when a step is given, and behind it for the next.
    """
    judged = 0
    for index in range(len(workload.images)):
        if judged == count:
            return
        state = _cast(framework.get_state(exact), "float32")
        framework.set_state(exact, _cast(state, "float64"))
        scales = _scales(workload, state, index)
        if scales is None:
            workload.step(framework, exact, index, "float64")
            continue
        judged += 1
        yield index, state, scales
    if judged < count:
        raise ProbeError(
            f"only {judged} of {count} steps in float32 stay away from the kinks of ReLUs and "
            "maxima, behind which a rounding decides; take another seed, or fewer or smaller images"
        )


def _scales(workload: Workload, state: State, index: int) -> dict[str, float] | None:
    """How large the terms are that each momentum buffer sums, from the oracle.

    Behind a norm they cancel, as in the gradients of a training probe. None near a kink.
    """
    arch = workload.architecture
    images, labels = workload.batch(index)
    # In float32, as the engines get them.
    values = {IMAGE: Value(images.astype("float32").astype("float64"))}
    for node, value in oracle.walk(arch, state, values[IMAGE].array, training=True):
        values[node.name] = value
    if not is_far_from_kinks(arch, values):
        return None
    (tap,) = outputs(arch).values()
    start = {tap: Value(_of_loss(workload.recipe, values[tap].array, labels))}
    gradients = derivatives.backward(arch, state, values, start, training=True)
    return {momentum_name(name): value.scale for name, value in gradients}


def _of_loss(recipe: Recipe, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of the mean cross-entropy: softmax less what the labels say, (N, classes)."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted = (1 - recipe.label_smoothing) * np.eye(logits.shape[1])[labels]
    wanted += recipe.label_smoothing / logits.shape[1]
    return (exponentials / exponentials.sum(axis=1, keepdims=True) - wanted) / len(labels)


def noise_floor_of(arch: Architecture, errors: Mapping[str, float]) -> Errors:
    """What rounding does to each quantity, from PyTorch's errors in the order of their making.

    Forwards it never falls from one to the next, for rounding travels on, and an error over a
    handful of numbers would be small by chance; nor does it rise above what rounding can be. Every
    momentum buffer has the rounding of the whole net in it, as gradients have; a step then adds
    little of it to a weight, so the largest error of any counts there.
    """
    kinds, most = kinds_of(arch), limit("lockstep", "noise floor in float32")
    largest: dict[str, float] = defaultdict(least_noise_floor)
    forwards: Errors = {}
    for name, error in errors.items():
        largest[kinds[name]] = max(error, largest[kinds[name]])
        if kinds[name] in FORWARDS:
            forwards[name] = max(error, least_noise_floor(), *forwards.values())
    return {name: min(most, forwards.get(name, largest[kinds[name]])) for name in errors}


def _cast(state: State, dtype: str) -> dict[str, np.ndarray]:
    return {name: value.astype(dtype) for name, value in state.items()}
