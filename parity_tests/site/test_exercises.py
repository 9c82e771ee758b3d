"""The exercises: each changed definition is its mutant, and the page marks the changed lines."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest

from parity_tests.checks.mutants import MUTANTS, MutantAdapter
from parity_tests.lockstep.test_lockstep import FULL, MOST, train
from parity_tests.lockstep.training_mutants import TRAINING_MUTANTS
from parity_tests.support import random, training
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.compare import relative_error
from resnet_parity.site.exercises import EXERCISES, Exercise, changed, pages
from resnet_parity.tolerances import limit

OF_MODELS = {mutant.name: mutant for mutant in MUTANTS}
OF_TRAINING = {mutant.name: mutant for mutant in TRAINING_MUTANTS}


def plant(exercise: Exercise, patch: pytest.MonkeyPatch) -> None:
    """Replace the definition by the changed one, wherever the implementation refers to it."""
    module = importlib.import_module(f"resnet_{exercise.framework}.{exercise.module}")
    right = getattr(module, exercise.definition)
    names: dict[str, Any] = dict(vars(module))
    exec("from __future__ import annotations\n" + "\n".join(changed(exercise)), names)
    wrong = names[exercise.definition]
    for each in [*sys.modules.values()]:
        name = getattr(each, "__name__", "")
        if name.startswith((f"resnet_{exercise.framework}", "resnet_parity.adapters")):
            for attribute, value in [*vars(each).items()]:
                if value is right:
                    patch.setattr(each, attribute, wrong)
                if isinstance(value, dict):
                    for key in [key for key, held in value.items() if held is right]:
                        patch.setitem(value, key, wrong)


FORWARD = [each for each in EXERCISES if each.mutant in OF_MODELS]


@pytest.mark.parametrize("exercise", FORWARD, ids=lambda each: each.mutant)
def test_a_changed_definition_computes_what_its_mutant_computes(exercise, monkeypatch):
    """In float64: the same taps, or for a defect of the backward pass the same gradients."""
    mutant = OF_MODELS[exercise.mutant]
    backward = not mutant.killed_by & {"exact", "float64", "float32"}
    probe = (training if backward else random)(mutant.net, "float64")

    def results(adapter, mode: str) -> dict[str, Any]:
        model = adapter.build(probe.architecture, probe.weights, "float64")
        if backward:
            return adapter.gradients(model, probe.images, probe.cotangents, mode, training=False)
        return adapter.run(model, probe.images, mode)

    framework = exercise.framework
    modes = {"torch": "nchw", "keras": "eager"}
    own = torch_adapter() if framework == "torch" else keras_adapter()
    sound = results(own, modes[framework])
    expected = results(MutantAdapter(keras_adapter(), mutant), modes["keras"])
    plant(exercise, monkeypatch)
    found = results(own, modes[framework])
    most = limit("float64", "gradients" if backward else "taps")
    assert all(relative_error(expected[name], found[name]) <= most for name in found)
    assert any(
        sound[name].shape != array.shape or relative_error(sound[name], array) > most
        for name, array in found.items()
    )


@pytest.mark.usefixtures("eagerly")
@pytest.mark.parametrize(
    "exercise", [e for e in EXERCISES if e.mutant in OF_TRAINING], ids=lambda each: each.mutant
)
def test_a_changed_definition_trains_as_its_mutant(exercise, monkeypatch):
    mutant = OF_TRAINING[exercise.mutant]
    with monkeypatch.context() as patch:
        mutant.plant(patch)
        (expected,) = train(FULL, count=1)
    plant(exercise, monkeypatch)
    (found,) = train(FULL, count=1)
    assert found.diverged and found.worst[mutant.kind].error > MOST
    ratio = found.worst[mutant.kind].error / expected.worst[mutant.kind].error
    assert abs(ratio - 1) <= limit("results", "impacts")


def test_the_page_marks_the_changed_lines():
    for exercise, page in zip(EXERCISES, pages(), strict=True):
        marked = [row for row in page["rows"] if row["right"]]
        added = [line for line in exercise.lines.values() if line is not None]
        assert 1 <= len(marked) <= len(added) + len(exercise.counterparts)
        if added:
            assert any(row["cells"][exercise.framework] for row in marked)
        assert len(page["rows"]) > 2 * len(marked)
        assert page["caught"]


def test_an_exercise_of_other_code_is_noticed(monkeypatch):
    stale = Exercise("eps 1e-3", "torch", "layers", "batch_norm", {"    no such line": None})
    with pytest.raises(ValueError, match="no such line"):
        changed(stale)
