"""A loop in PyTorch and `fit` in Keras give the same curve, with any workers, and go on exactly."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from resnet_spec import Recipe, ema_name, parameters

from parity_tests.support import TINY, python
from parity_tests.training.noise import Noise
from resnet_parity.adapters.keras import runs as keras_runs
from resnet_parity.adapters.torch import runs as torch_runs
from resnet_parity.adapters.torch import training_state as torch_state
from resnet_parity.compare import relative_error
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import limit

FRAMEWORKS: dict[str, Any] = {"torch": torch_runs, "keras": keras_runs}
RECIPE = Recipe(
    0.01, nesterov=True, decay_all=False, label_smoothing=0.1, schedule="cosine", period=5, warmup=1
)
AVERAGED = replace(RECIPE, ema=0.8)
VAL = Noise(2, last=3)
Logs = list[tuple[str, int, dict[str, float]]]


def start(framework: str, dtype: str = "float64", recipe: Recipe = AVERAGED) -> Any:
    weights = random_weights(TINY, 0, "float32" if dtype != "float64" else dtype)
    return FRAMEWORKS[framework].start(TINY, weights, recipe, dtype)


def run(framework: str, state: Any, epochs: range = range(2), **options: Any) -> Logs:
    """Train on six steps of noise and return every report."""
    logs: Logs = []

    def keep(kind: str):
        return lambda number, means: logs.append((kind, number, dict(means)))

    reports: dict[str, Any] = {"on_step": keep("step"), "on_epoch": keep("epoch")}
    FRAMEWORKS[framework].fit(state, Noise(3), VAL, epochs=epochs, **reports | options)
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
    ours, theirs = (FRAMEWORKS[each].get_state(states[each]) for each in FRAMEWORKS)
    assert ours.keys() == theirs.keys()
    assert all(relative_error(array, theirs[name]) < most for name, array in ours.items())


def assert_workers_change_nothing(framework: str) -> None:
    adapter = FRAMEWORKS[framework]
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
    adapter = FRAMEWORKS[framework]
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


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_averages_follow_the_weights_and_change_nothing_else(framework):
    adapter, states, plain = FRAMEWORKS[framework], [], start(framework, recipe=RECIPE)
    state = start(framework)
    logs = run(framework, state, on_step=lambda *_: states.append(adapter.get_state(state)))
    without = [means for kind, _, means in run(framework, plain) if kind == "epoch"]
    for (_, _, means), others in zip(logs, without, strict=True):
        assert {name: means[name] for name in ("loss", "accuracy")} == {
            name: others[name] for name in ("loss", "accuracy")
        }
    weights = adapter.get_state(plain)
    assert_same({name: states[-1][name] for name in weights}, weights)
    trained = [p.name for p in parameters(TINY) if p.trainable]
    assert {*states[-1]} == {*weights, *map(ema_name, trained), "ema_steps"}
    most = limit("lockstep", "float64")
    for name in trained:
        expected = states[0][name]
        for each in states:
            expected = 0.8 * expected + 0.2 * each[name]
            assert relative_error(expected, each[ema_name(name)]) < most, name
    assert abs(logs[-1][2]["val_loss"] - without[-1]["val_loss"]) > limit(
        "naive comparison", "logits"
    )
    assert relative_error(val_loss(states[-1]), np.array(logs[-1][2]["val_loss"])) < most


def val_loss(state: Mapping[str, np.ndarray]) -> np.ndarray:
    """The loss in validation of a network with the averages of a state, and its statistics."""
    names = [p.name for p in parameters(TINY)]
    weights = {name: state.get(ema_name(name), state[name]) for name in names}
    model, _, loss = torch_state.start(TINY, weights, RECIPE, "float64")
    pairs = [VAL.load(0, index) for index in range(len(VAL))]
    images, labels = (torch.from_numpy(np.concatenate(part)) for part in zip(*pairs, strict=True))
    with torch.no_grad():
        return loss(model.eval()(images.permute(0, 3, 1, 2).double()), labels).numpy()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_compiled_loop_gives_the_same_curve_and_goes_on_exactly(framework, tmp_path, monkeypatch):
    """With a cache of its own: a killed process leaves half a library in the shared one."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch.compiler.reset()  # other tests had images of other sizes, for which it compiles otherwise
    adapter, most = FRAMEWORKS[framework], limit("lockstep", "float64")
    plain, whole = start(framework), start(framework)
    logs = run(framework, plain, range(1))
    for (_, _, means), (_, _, others) in zip(
        logs, run(framework, whole, range(1), compiled=True), strict=True
    ):
        for name, value in means.items():
            assert relative_error(np.array(value), np.array(others[name])) < most, name
    expected, found = adapter.get_state(plain), adapter.get_state(whole)
    assert all(relative_error(array, found[name]) < most for name, array in expected.items())
    assert any((array != found[name]).any() for name, array in expected.items()), "not compiled"

    def interrupt(step: int, means: Mapping[str, float]) -> None:
        raise KeyboardInterrupt

    first, second = start(framework), start(framework)
    with pytest.raises(KeyboardInterrupt):
        run(framework, first, range(1), compiled=True, on_step=interrupt)
    torch.compiler.reset()  # as in another process
    adapter.set_state(second, adapter.get_state(first))
    run(framework, second, range(1), compiled=True, skip=1)
    assert_same(adapter.get_state(second), found)


ON_JAX = """
from parity_tests.training.test_fit import FRAMEWORKS, assert_same, run, start
adapter, states = FRAMEWORKS["keras"], []
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


FAULTS = """
import resource, sys
from parity_tests.training.test_fit import run, start
SIZE = 40_000_000
run(sys.argv[1], start(sys.argv[1], "float32"), range(1))
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
b"1" * SIZE
before = faults()
for _ in range(5):
    b"1" * SIZE
print("kept" if faults() - before < SIZE / resource.getpagesize() else "returned")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has the option")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_freed_memory_is_kept_for_the_next_step(framework):
    """Five blocks of 40 MB take the same pages; else each takes new ones, and faults on them."""
    result = python("-c", FAULTS, framework)
    assert result.stdout.splitlines()[-1:] == ["kept"], result.stdout + result.stderr


def test_kernels_and_momentum_have_the_layout_of_the_images():
    state = start("torch")
    run("torch", state, range(1))
    model, optimizer, _ = state.training_state
    kernel = model.layer1[0].conv1.weight
    buffer = optimizer.state[kernel]["momentum_buffer"]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in (kernel, buffer))
