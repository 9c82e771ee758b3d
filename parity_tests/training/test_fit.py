"""A loop in PyTorch and `fit` in Keras give the same curve, with any workers, and go on exactly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from resnet_spec import Recipe

import resnet_keras.fit
import resnet_torch.fit
from parity_tests.support import TINY, python
from parity_tests.training.noise import Noise
from resnet_parity.adapters.keras import training_state as keras_state
from resnet_parity.adapters.torch import training_state as torch_state
from resnet_parity.compare import relative_error
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import limit

FRAMEWORKS: dict[str, tuple[Any, Any]] = {
    "torch": (torch_state, resnet_torch.fit.fit),
    "keras": (keras_state, resnet_keras.fit.fit),
}
RECIPE = Recipe(
    0.01, nesterov=True, decay_all=False, label_smoothing=0.1, schedule="cosine", period=5, warmup=1
)
Logs = list[tuple[str, int, dict[str, float]]]


def start(framework: str, dtype: str = "float64") -> Any:
    weights = random_weights(TINY, 0, "float32" if dtype != "float64" else dtype)
    return FRAMEWORKS[framework][0].start(TINY, weights, RECIPE, dtype)


def run(framework: str, state: Any, epochs: range = range(2), **options: Any) -> Logs:
    """Train on six steps of noise and return every report."""
    logs: Logs = []

    def keep(kind: str):
        return lambda number, means: logs.append((kind, number, dict(means)))

    reports: dict[str, Any] = {"on_step": keep("step"), "on_epoch": keep("epoch")}
    FRAMEWORKS[framework][1](
        *(*state, RECIPE, Noise(3), Noise(2, last=3)), epochs=epochs, **reports | options
    )
    return logs


def assert_same(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> None:
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_both_frameworks_give_the_same_curve_and_the_same_weights():
    states = {framework: start(framework) for framework in FRAMEWORKS}
    logs = {framework: run(framework, state) for framework, state in states.items()}
    kinds = [(kind, number) for kind, number, _ in logs["torch"]]
    steps = [("step", 0), ("step", 1), ("step", 2), ("step", 3), ("step", 4), ("step", 5)]
    assert kinds == [*steps[:3], ("epoch", 0), *steps[3:], ("epoch", 1)]
    most = limit("lockstep", "float64")
    for (*ours, means), (*theirs, others) in zip(logs["torch"], logs["keras"], strict=True):
        assert ours == theirs and means.keys() == others.keys()
        for name, value in means.items():
            assert relative_error(np.array(value), np.array(others[name])) < most, (ours, name)
    ours, theirs = (FRAMEWORKS[each][0].get_state(states[each]) for each in FRAMEWORKS)
    assert ours.keys() == theirs.keys()
    assert all(relative_error(array, theirs[name]) < most for name, array in ours.items())


def assert_workers_change_nothing(framework: str) -> None:
    adapter = FRAMEWORKS[framework][0]
    whole, parallel = start(framework), start(framework)
    assert run(framework, parallel, workers=2) == run(framework, whole)
    assert_same(adapter.get_state(parallel), adapter.get_state(whole))


def test_worker_threads_of_keras_change_nothing():
    assert_workers_change_nothing("keras")


IN_PROCESSES = """
from parity_tests.training.test_fit import assert_workers_change_nothing
assert_workers_change_nothing("torch")
"""


def test_worker_processes_of_torch_change_nothing():
    """In a process without TensorFlow: what is forked beside its threads may never end."""
    result = python("-c", IN_PROCESSES, KERAS_BACKEND="torch")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_interruption_changes_nothing(framework):
    adapter = FRAMEWORKS[framework][0]
    whole = start(framework)
    run(framework, whole)

    def interrupt(step: int, means: Mapping[str, float]) -> None:
        if step == 1:
            raise KeyboardInterrupt

    first, second = start(framework), start(framework)
    with pytest.raises(KeyboardInterrupt):
        run(framework, first, on_step=interrupt)
    adapter.set_state(second, adapter.get_state(first))
    rest = run(framework, second, skip=2)
    assert [(kind, number) for kind, number, _ in rest][:3] == [
        ("step", 2),
        ("epoch", 0),
        ("step", 3),
    ]
    assert_same(adapter.get_state(second), adapter.get_state(whole))


ON_JAX = """
from parity_tests.training.test_fit import FRAMEWORKS, assert_same, run, start
adapter, states = FRAMEWORKS["keras"][0], []
whole, second = start("keras", "float32"), start("keras", "float32")
keep = lambda step, means: states.append(adapter.get_state(whole))
run("keras", whole, on_step=keep)
adapter.set_state(second, states[1])
run("keras", second, skip=2)
assert_same(adapter.get_state(second), adapter.get_state(whole))
"""


def test_a_state_in_the_middle_of_an_epoch_is_current_on_jax():
    """There the variables of a model get their values only when a callback asks for it."""
    result = python("-c", ON_JAX, KERAS_BACKEND="jax")
    assert result.returncode == 0, result.stderr
