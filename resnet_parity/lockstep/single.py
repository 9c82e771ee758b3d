"""Synchronised steps in float32: each starts both hands from one state, and is judged by itself.

A rounding moves a ReLU across its kink now and then, in any engine, and training makes chaos of it;
so free steps in float32 show nothing. Here the state before each step is that of a float64 run,
rounded; that run's next state is what must come out. The weights are those of a training probe,
whose ReLUs stay away from their kinks, and of all steps the median counts, for a max-pool may still
meet two equal inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np

from resnet_parity.lockstep.course import Course, State, Trainees, errors_of
from resnet_parity.tolerances import least_floor, limit

Errors = dict[str, float]


def synchronised(
    course: Course, hands: tuple[Trainees, Trainees], weights: State, count: int
) -> tuple[Errors, Errors]:
    """PyTorch's error, the larger of its layouts, and Keras', in every quantity.

    They are medians over the steps.
    """
    arch, recipe = course.architecture, course.recipe
    torch, keras = hands
    exact = torch.start(arch, _cast(weights, "float64"), recipe, "float64")
    runs: list[tuple[Trainees, Any]] = [
        (torch, torch.start(arch, weights, recipe, "float32")),
        (torch, torch.start(arch, weights, recipe, "float32", layout="channels_last")),
        (keras, keras.start(arch, weights, recipe, "float32")),
    ]
    errors: list[list[Errors]] = [[] for _ in runs]
    for index in range(count):
        state = _cast(torch.get_state(exact), "float32")
        torch.set_state(exact, _cast(state, "float64"))
        expected = course.step(torch, exact, index, "float64")
        for (hand, run), found in zip(runs, errors, strict=True):
            hand.set_state(run, state)
            found.append(errors_of(arch, expected, course.step(hand, run, index, "float32")))
    ours, other, theirs = (
        {name: median(errors[name] for errors in found) for name in found[0]} for found in errors
    )
    return {name: max(error, other[name]) for name, error in ours.items()}, theirs


def floor_of(errors: Mapping[str, float]) -> Errors:
    """What rounding does to each quantity, from PyTorch's errors in the order of their making.

    It never falls from one to the next, for rounding travels on, and an error over a handful of
    numbers would be small by chance; nor does it rise above what rounding can be.
    """
    floor: Errors = {}
    highest, most = least_floor(), limit("lockstep", "floor")
    for name, error in errors.items():
        highest = min(most, max(highest, error))
        floor[name] = highest
    return floor


def _cast(state: State, dtype: str) -> dict[str, np.ndarray]:
    return {name: value.astype(dtype) for name, value in state.items()}
