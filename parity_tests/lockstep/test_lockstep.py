"""Training in lockstep: sound implementations pass, every mutant is detected; the command."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from resnet_spec import Architecture, Recipe

import resnet_parity.lockstep as lockstep_package
import resnet_parity.lockstep.plot as plotting
from parity_tests.lockstep.training_mutants import FULL, TRAINING_MUTANTS, TrainingMutant
from parity_tests.support import EVERYTHING, TINY, python, steps
from resnet_parity import cli
from resnet_parity.adapters import loading
from resnet_parity.adapters.keras import training_state as keras_state
from resnet_parity.adapters.torch import training_state as torch_state
from resnet_parity.cli.options import console
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.lockstep import Lockstep, Trial, lockstep
from resnet_parity.lockstep.free import TrainingStep, free_steps
from resnet_parity.lockstep.single import _of_loss
from resnet_parity.lockstep.workload import KINDS, LOSS, errors_of, kinds_of, make_workload
from resnet_parity.probes import random_weights
from resnet_parity.reports.lockstep import print_report
from resnet_parity.tolerances import limit

MOST = limit("lockstep", "float64")
ROUNDING = limit("float64", "taps")


def train(recipe: Recipe, arch: Architecture = TINY, count: int = 4) -> list[TrainingStep]:
    workload = make_workload(arch, recipe, 0, (32, 48), 4)
    weights = random_weights(arch, 0, "float64")
    return list(free_steps(workload, (torch_state, keras_state), weights, count))


RECIPES = {
    "no momentum": Recipe(0.05, momentum=0.0, weight_decay=1e-2),
    "momentum, decay of all": Recipe(0.05, weight_decay=1e-2),
    "Nesterov, cosine": Recipe(0.05, nesterov=True, schedule="cosine", period=3),
    "exempt, smoothed": Recipe(0.05, weight_decay=1e-2, decay_all=False, label_smoothing=0.1),
    "everything, steps": FULL,
}


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_sound_implementations_stay_together(recipe: Recipe):
    steps = train(recipe)
    assert all(step.furthest.error < ROUNDING for step in steps)
    expected = set(KINDS) - (set() if recipe.momentum else {"momentum buffers"})
    assert all(set(step.worst) == expected for step in steps)
    assert [step.learning_rate for step in steps] == [recipe.learning_rate_at(i) for i in range(4)]


def test_an_architecture_with_everything_stays_together():
    """Gradients of biases before norms vanish and consist of rounding alone.

    It has groups, whose gradients TensorFlow computes on a CPU only in a graph.
    """
    assert not any(step.diverged for step in train(FULL, EVERYTHING, count=2))


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("mutant", TRAINING_MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_detected(mutant: TrainingMutant, monkeypatch):
    mutant.plant(monkeypatch)
    steps = train(FULL, count=mutant.diverges_at + 1)
    assert [step.diverged for step in steps] == [False] * mutant.diverges_at + [True]
    assert steps[-1].worst[mutant.kind].error > MOST


HIDDEN = [mutant for mutant in TRAINING_MUTANTS if mutant.hidden_from]


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize("mutant", HIDDEN, ids=lambda mutant: mutant.name)
def test_a_simpler_recipe_would_miss_it(mutant: TrainingMutant, monkeypatch):
    """Why the recipe of these tests has every part: mutants hide from simpler ones."""
    mutant.plant(monkeypatch)
    assert mutant.hidden_from
    assert not any(step.diverged for step in train(mutant.hidden_from, count=3))


def test_a_longer_run_in_a_graph():
    steps = train(replace(FULL, schedule="constant"), count=24)
    assert not any(step.diverged for step in steps)
    losses = [step.torch_loss for step in steps]
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])


def test_quantities_are_in_the_order_of_computation():
    kinds = kinds_of(TINY)
    assert list(dict.fromkeys(kinds.values())) == [
        "running statistics",
        LOSS,
        "momentum buffers",
        "weights",
    ]
    buffers = [name for name, kind in kinds.items() if kind == "momentum buffers"]
    assert (buffers[0], buffers[-1]) == ("fc.bias.momentum", "conv1.weight.momentum")


def test_errors_are_relative_to_the_largest_of_a_layer():
    """Errors of statistics are relative to themselves; NaN is an infinite error."""
    state = {name: np.ones(4) for name in kinds_of(TINY)}
    off = state | {"fc.bias.momentum": np.zeros(4), "bn1.running_mean": np.zeros(4)}
    large = {"fc.weight.momentum": np.full(4, 10.0), "bn1.running_var": np.full(4, 10.0)}
    errors = errors_of(TINY, state | large, off | large)
    assert errors["fc.bias.momentum"] == np.float64(1) / 10
    assert errors["bn1.running_mean"] == 1
    assert errors["fc.weight"] == 0
    assert errors_of(TINY, state, state | {LOSS: np.array(np.nan)})[LOSS] == float("inf")


def test_float32_steps_pass_and_a_mutant_fails(monkeypatch):
    sound = lockstep(TINY, steps=0, single_steps=3)
    assert sound.passed
    assert [trial.implementation for trial in sound.trials] == ["torch", "keras"]
    TRAINING_MUTANTS[0].plant(monkeypatch)
    (torch, keras) = lockstep(TINY, steps=0, single_steps=1).trials
    assert (torch.status, keras.status) == ("pass", "fail")
    assert keras.furthest.endswith("running_var")


def test_one_weight_that_stays_is_detected_in_float32(monkeypatch):
    """A step changes a weight little; its error is compared with the rounding error of weights."""
    first: dict[str, np.ndarray] = {}
    set_state, get_state = keras_state.set_state, keras_state.get_state

    def remember(training_state, state):
        first.update({"layer2.0.conv1.weight": state["layer2.0.conv1.weight"]})
        set_state(training_state, state)

    monkeypatch.setattr(keras_state, "set_state", remember)
    monkeypatch.setattr(
        keras_state, "get_state", lambda training_state: get_state(training_state) | first
    )
    (torch, keras) = lockstep(TINY, steps=0, single_steps=1).trials
    assert (torch.status, keras.status) == ("pass", "fail")
    assert keras.furthest == "layer2.0.conv1.weight"


def test_no_step_near_a_kink_is_compared(monkeypatch):
    monkeypatch.setattr("resnet_parity.lockstep.single.is_far_from_kinks", lambda *_: False)
    result = lockstep(TINY, steps=1, single_steps=1)
    free, single = result.trials
    assert (free.status, single.status) == ("pass", "skipped")
    assert "only 0 of 1 steps in float32" in single.reason
    assert not result.passed


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_the_gradient_of_the_loss_is_pytorchs(smoothing):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(4, 7)), generator.integers(0, 7, 4)
    tensor = torch.from_numpy(logits).requires_grad_()
    loss = torch.nn.functional.cross_entropy(
        tensor, torch.from_numpy(labels), label_smoothing=smoothing
    )
    (theirs,) = torch.autograd.grad(loss, [tensor])
    ours = _of_loss(Recipe(label_smoothing=smoothing), logits, labels)
    assert relative_error(theirs.numpy(), ours) < limit("float64", "gradients")


def test_a_float64_that_cannot_be_is_reported(monkeypatch):
    import resnet_parity.adapters.keras.adapter as adapter

    monkeypatch.setattr(adapter, "float64_unsupported_reason", lambda: "it rounds")
    alone = lockstep(TINY, steps=2, single_steps=0)
    assert [(trial.status, trial.reason) for trial in alone.trials] == [("skipped", "it rounds")]
    assert not alone.passed


BACKEND = """
import json, sys
from dataclasses import asdict
from parity_tests.support import TINY
from resnet_parity.lockstep import lockstep
result = lockstep(TINY, steps=1, single_steps=1, keras_backend=sys.argv[1])
print(json.dumps([asdict(trial) for trial in result.trials]))
"""


@pytest.mark.full
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_on_the_other_backends_of_keras(backend):
    result = python("-c", BACKEND, backend)
    assert result.returncode == 0, result.stderr
    free, *singles = json.loads(result.stdout)
    assert (free["status"], "in float32" in free["reason"]) == ("skipped", True)
    assert [trial["status"] for trial in singles] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0, "single_steps": 0}, "at least one step"),
        ({"steps": -1}, "steps must be at least 0, not -1"),
        ({"batch": 1}, "two images"),
        ({"recipe": Recipe(ema=0.9)}, "averages of weights; take a recipe with ema 0"),
        ({"size": (60000, 60000)}, "take a smaller size"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(ParityError, match=message):
        lockstep(TINY, **options)
    with pytest.raises(ParityError, match="no logits"):
        lockstep(replace(TINY, num_classes=0))


COMMAND = ["lockstep", "resnet20", "--size", "32x48", "--steps", "2", "--single-steps", "0"]


def test_the_command_prints_json_and_draws(tmp_path, capsys):
    path = tmp_path / "curve.png"
    options = ["--nesterov", "--exempt", "--label-smoothing", "0.1", "--schedule", "cosine"]
    assert cli.main([*COMMAND, *options, "--json", "--plot", str(path)]) == 0
    captured = capsys.readouterr()
    data = json.loads(captured.out)
    assert data["passed"]
    assert data["recipe"]["decay_all"] is False
    assert [step["step"] for step in data["steps"]] == [1, 2]
    assert set(data["steps"][0]["worst"]) == set(KINDS)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
    assert steps(captured.err)[-1] == "float64, step 2 of 2 ..."


def test_the_command_exits_with_1(monkeypatch, capsys):
    TRAINING_MUTANTS[0].plant(monkeypatch)
    assert cli.main(COMMAND) == 1
    output = capsys.readouterr().out
    assert "the implementations diverge at step 1, most in layer" in output
    assert "do NOT train alike" in output


def test_steps_are_whole_numbers_on_the_axis():
    result = Lockstep(TINY, Recipe(0.1), 0, (32, 48), 4, {}, tuple(train(Recipe(0.05))), (), ())
    _, distances = plotting._figure(result).axes
    assert all(tick == round(tick) for tick in distances.get_xticks())


SOUND = Trial("float32", "keras", "pass", 1.0, 2.0, "loss")


def printed(capsys, *trials: Trial) -> str:
    result = Lockstep(TINY, Recipe(0.1), 0, (32, 48), 4, {}, (), trials, ())
    print_report(console(), result)
    return capsys.readouterr().out


def test_a_noise_floor_over_its_limit_is_explained(capsys):
    """Two images may leave hardly any gradient, so that PyTorch's own error is large."""
    noise_floor = Trial("float32", "torch", "fail", 8.5e-3, 2e-4, "conv1.weight.momentum")
    output = printed(capsys, noise_floor, SOUND)
    assert (
        "the error of PyTorch itself, which is the noise floor, is larger than rounding" in output
    )
    assert "larger than rounding" not in printed(capsys, replace(noise_floor, status="pass"), SOUND)


def test_a_skipped_dtype_is_reported_last(capsys):
    without = Trial("float64", "keras", "skipped", reason="no float64")
    assert "both implementations train alike; float64 was skipped" in printed(
        capsys, without, SOUND
    )
    assert "both implementations train alike\n" in printed(capsys, SOUND)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nesterov", "--momentum", "0"], "nesterov looks ahead"),
        (["--learning-rate", "-1"], "learning_rate must be positive"),
        (["--plot", "no/such/folder/curve.png"], "cannot be written"),
        (["--plot", "curve.pdf"], "no PNG file"),
        (["--plot", "curve.png", "--steps", "0"], "takes none"),
    ],
)
def test_a_mistake_is_reported_before_training(options, message, monkeypatch, capsys):
    monkeypatch.setattr(
        lockstep_package, "both_adapters", lambda _: pytest.fail("a framework was loaded")
    )
    assert cli.main([*COMMAND, *options]) == 2
    assert message in capsys.readouterr().err


def test_without_matplotlib_the_install_line_comes_first(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        lockstep_package, "both_adapters", lambda _: pytest.fail("a framework was loaded")
    )
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    assert cli.main([*COMMAND, "--plot", str(tmp_path / "curve.png")]) == 3
    error = capsys.readouterr().err
    assert "matplotlib is not installed; install it with: python -m pip install" in error
    assert "[plot]" in error or "'matplotlib>=3.9'" in error
