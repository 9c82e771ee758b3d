"""Synchronised steps in float32: each starts from one state and is compared by itself.

Free steps in float32 show nothing, because training amplifies roundings into chaos. Here the state
before each step is that of a float64 run, rounded; that run's next state is the expected result.
The weights are those of a training probe. A step near the kink of a ReLU or a maximum, where a
rounding decides which way an engine goes, is skipped, and the next takes its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from resnet_spec import IMAGE, Architecture, Recipe, momentum_name, outputs

from resnet_parity.adapters.protocol import Arrays, TrainingAdapter
from resnet_parity.errors import ProbeError
from resnet_parity.lockstep.workload import FORWARDS, Workload, errors_of, kinds_of
from resnet_parity.probes.training import is_far_from_kinks
from resnet_parity.reference import derivatives, oracle
from resnet_parity.reference.values import Value
from resnet_parity.tolerances import least_noise_floor, limit

Errors = dict[str, float]


def synchronised(
    workload: Workload,
    adapters: tuple[TrainingAdapter, TrainingAdapter],
    weights: Arrays,
    count: int,
) -> tuple[Errors, Errors]:
    """The largest error of every quantity, of PyTorch over both its layouts, and of Keras.

    The workload has one batch for each step that may be tried, of which `count` are compared.

    Raises `ProbeError` if too many steps come near a kink.
    """
    arch, recipe = workload.architecture, workload.recipe
    torch, keras = adapters
    exact = torch.start(arch, _cast(weights, "float64"), recipe, "float64")
    runs: list[tuple[TrainingAdapter, Any]] = [
        (torch, torch.start(arch, weights, recipe, "float32")),
        (torch, torch.start(arch, weights, recipe, "float32", layout="channels_last")),
        (keras, keras.start(arch, weights, recipe, "float32")),
    ]
    errors: list[Errors] = [{} for _ in runs]
    for index, state, scales in _steps(workload, torch, exact, count):
        expected = workload.step(torch, exact, index, "float64")
        for (adapter, run), found in zip(runs, errors, strict=True):
            adapter.set_state(run, state)
            actual = workload.step(adapter, run, index, "float32")
            for name, error in errors_of(arch, expected, actual, scales).items():
                found[name] = max(error, found.get(name, 0.0))
    ours, other, theirs = errors
    return {name: max(error, other[name]) for name, error in ours.items()}, theirs


def _steps(
    workload: Workload, adapter: TrainingAdapter, exact: Any, count: int
) -> Iterator[tuple[int, Arrays, dict[str, float]]]:
    """The steps to compare: index, state before it, scales of the momentum buffers after it.

    When a step is yielded, the float64 run is in the state before it; the caller takes the step.
    """
    compared = 0
    for index in range(len(workload.images)):
        if compared == count:
            return
        state = _cast(adapter.get_state(exact), "float32")
        adapter.set_state(exact, _cast(state, "float64"))
        scales = _scales(workload, state, index)
        if scales is None:
            workload.step(adapter, exact, index, "float64")
            continue
        compared += 1
        yield index, state, scales
    if compared < count:
        raise ProbeError(
            f"only {compared} of {count} steps in float32 stay away from the kinks of ReLUs and "
            "maxima, where a rounding decides; take another seed, or fewer or smaller images"
        )


def _scales(workload: Workload, state: Arrays, index: int) -> dict[str, float] | None:
    """The size of the terms that each momentum buffer sums, by the oracle; None near a kink.

    Where a norm follows they cancel, as in the gradients of a training probe.
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
    """The gradient of the mean cross-entropy, (N, classes): softmax minus the smoothed labels."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    wanted = (1 - recipe.label_smoothing) * np.eye(logits.shape[1])[labels]
    wanted += recipe.label_smoothing / logits.shape[1]
    return (exponentials / exponentials.sum(axis=1, keepdims=True) - wanted) / len(labels)


def noise_floor_of(arch: Architecture, errors: Mapping[str, float]) -> Errors:
    """The noise floor of each quantity, from PyTorch's errors in the order of computation.

    In the forward pass it never falls from one quantity to the next, because rounding errors
    propagate, and an error over a handful of numbers may be small by chance. It is capped at what
    rounding can be. Every momentum buffer contains the rounding of the whole network, as gradients
    do, and a step adds little of it to a weight; for both kinds the largest error of the kind
    counts.
    """
    kinds, most = kinds_of(arch), limit("lockstep", "noise floor in float32")
    largest: dict[str, float] = defaultdict(least_noise_floor)
    forwards: Errors = {}
    for name, error in errors.items():
        largest[kinds[name]] = max(error, largest[kinds[name]])
        if kinds[name] in FORWARDS:
            forwards[name] = max(error, least_noise_floor(), *forwards.values())
    return {name: min(most, forwards.get(name, largest[kinds[name]])) for name in errors}


def _cast(state: Arrays, dtype: str) -> dict[str, np.ndarray]:
    return {name: value.astype(dtype) for name, value in state.items()}
