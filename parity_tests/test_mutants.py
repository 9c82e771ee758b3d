"""Every planted defect is noticed, by the rungs that the table names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
import pytest

from parity_tests.mutants import MUTANTS, Mutant, MutantHand, Reused
from parity_tests.support import SMALL, exact, exact_dtypes, random, training
from resnet_parity.frameworks import keras_adapter, torch_adapter
from resnet_parity.hands import Adapter
from resnet_parity.probes import Probe
from resnet_parity.rungs import FLOOR_MODES, Engine, climb
from resnet_parity.tolerances import limit

RUNGS = ("exact", "float64", "float32")
GRADIENTS = tuple(f"{rung} gradients" for rung in RUNGS)


def probes(rung: str, net: str) -> tuple[Probe, ...]:
    """Those of a rung that compare taps alone, or gradients alone."""
    rung, _, gradients = rung.partition(" ")
    if rung != "exact":
        return ((training if gradients else random)(net, rung),)
    exacts = tuple(exact(net, dtype) for dtype in exact_dtypes())
    assert exacts
    return exacts if gradients else tuple(replace(probe, gradients={}) for probe in exacts)


def planted() -> list:
    """Each mutant in each hand that can have it, in Keras where there is little time."""
    rows = []
    for mutant in MUTANTS:
        rows.append(pytest.param(mutant, "keras", id=f"{mutant.name} in keras"))
        if not (mutant.builder or mutant.run):
            name = f"{mutant.name} in torch"
            rows.append(pytest.param(mutant, "torch", id=name, marks=pytest.mark.full))
    return rows


@cache
def healthy() -> dict[str, Adapter]:
    hands = {"torch": torch_adapter(), "keras": keras_adapter()}
    return {name: cast(Adapter, Reused(hand)) for name, hand in hands.items()}


def engines(mutant: Mutant | None, hand: str) -> tuple[Engine, ...]:
    """PyTorch in both layouts, for they make the floor, and Keras; one hand with the defect."""
    adapters = dict(healthy())
    if mutant:
        adapter = keras_adapter() if hand == "keras" else torch_adapter()
        adapters[hand] = cast(Adapter, MutantHand(adapter, mutant))
    modes = {"torch": FLOOR_MODES, "keras": ("eager",)}
    return tuple(
        Engine(name, each, mode) for name, each in adapters.items() for mode in modes[name]
    )


def accused(rung: str, net: str, among: tuple[Engine, ...]) -> list[set[str]]:
    """For each probe of the rung, the hands that it finds fault with; none may be excused."""
    subject = "gradients" if rung in GRADIENTS else "taps"
    found = []
    for probe in probes(rung, net):
        verdicts = [v for v in climb(rung.split()[0], probe, among) if v.subject == subject]
        assert not [v.reason for v in verdicts if v.status == "cannot"]
        found.append({v.engine for v in verdicts if v.status == "fail"})
    return found


@pytest.mark.parametrize("net", sorted({mutant.net for mutant in MUTANTS}))
@pytest.mark.parametrize("rung", [*RUNGS, *GRADIENTS])
def test_the_healthy_pair_is_not_accused(rung, net):
    assert not any(accused(rung, net, engines(None, "")))


@pytest.mark.parametrize(("mutant", "hand"), planted())
def test_a_mutant_is_noticed_and_blamed(mutant: Mutant, hand: str):
    """Every probe of the rungs in the table accuses the hand that has it and no other."""
    among = engines(mutant, hand)
    for rung in sorted(mutant.killed_by):
        assert all(each == {hand} for each in accused(rung, mutant.net, among)), rung
    for rung in sorted(mutant.missed_by):
        assert not any(accused(rung, mutant.net, among)), f"{rung} is sharper than the table says"


BLIND = [mutant for mutant in MUTANTS if mutant.blind]


@pytest.mark.parametrize("mutant", BLIND, ids=lambda mutant: mutant.name)
def test_a_comparison_of_logits_to_1e_3_would_miss_it(mutant: Mutant):
    probe = random(SMALL.name, "float32")
    model = MutantHand(keras_adapter(), mutant).build(SMALL, probe.weights, "float32")
    logits = keras_adapter().run(model, probe.images, "eager")["logits"]
    assert np.abs(logits - probe.expected["logits"]).max() < limit("logits", "careless")


def test_at_least_three_mutants_are_of_that_kind():
    assert len(BLIND) >= 3


def test_the_exact_rung_misses_one_kind_alone():
    """It meets a sigmoid at its two ends, so what lies between them is for the other rungs."""
    forwards = [mutant for mutant in MUTANTS if mutant.killed_by & set(RUNGS)]
    missed = [mutant.name for mutant in forwards if "exact" not in mutant.killed_by]
    assert missed == ["gate with a hard sigmoid"]


def test_taps_are_blind_to_defects_of_the_backward_pass():
    backwards = [mutant for mutant in MUTANTS if not mutant.killed_by & set(RUNGS)]
    assert len(backwards) >= 5
    assert all(mutant.missed_by >= set(RUNGS) for mutant in backwards)
