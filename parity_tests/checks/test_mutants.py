"""Every planted defect is noticed by the checks that the table of mutants names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import cast

import numpy as np
import pytest

from parity_tests.checks.mutants import MUTANTS, CachedModelAdapter, Mutant, MutantAdapter
from parity_tests.support import SMALL, exact, exact_dtypes, random, training
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.protocol import Adapter
from resnet_parity.checks import run_check
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.probes import Probe
from resnet_parity.tolerances import limit

DEFAULT_CHECKS = ("exact", "float64", "float32")
GRADIENTS = tuple(f"{check} gradients" for check in DEFAULT_CHECKS)


def probes(check: str, net: str) -> tuple[Probe, ...]:
    """The probes of a check, such as "exact" or "exact gradients", for taps or gradients alone."""
    check, _, gradients = check.partition(" ")
    if check == "prepared":
        return (random(net, "float32"),)
    if check != "exact":
        return ((training if gradients else random)(net, check),)
    exacts = tuple(exact(net, dtype) for dtype in exact_dtypes())
    assert exacts
    return exacts if gradients else tuple(replace(probe, gradients={}) for probe in exacts)


def planted() -> list:
    """Each mutant in each implementation that can have it; in PyTorch only in the full suite."""
    rows = []
    for mutant in MUTANTS:
        rows.append(pytest.param(mutant, "keras", id=f"{mutant.name} in keras"))
        if not (mutant.builder or mutant.run):
            name = f"{mutant.name} in torch"
            rows.append(pytest.param(mutant, "torch", id=name, marks=pytest.mark.full))
    return rows


@cache
def unmodified() -> dict[str, Adapter]:
    adapters = {"torch": torch_adapter(), "keras": keras_adapter()}
    return {name: cast(Adapter, CachedModelAdapter(each)) for name, each in adapters.items()}


def engines(mutant: Mutant | None, framework: str) -> tuple[Engine, ...]:
    """PyTorch in both memory layouts, which set the noise floor, and Keras; one has the defect."""
    adapters = dict(unmodified())
    if mutant:
        adapter = keras_adapter() if framework == "keras" else torch_adapter()
        adapters[framework] = cast(Adapter, MutantAdapter(adapter, mutant))
    modes = {"torch": NOISE_FLOOR_MODES, "keras": ("eager",)}
    return tuple(
        Engine(name, each, mode) for name, each in adapters.items() for mode in modes[name]
    )


def failing(check: str, net: str, among: tuple[Engine, ...]) -> list[set[str]]:
    """The frameworks that fail the check, for each of its probes; no verdict may be skipped."""
    name, _, gradients = check.partition(" ")
    quantities = {gradients} if gradients else {"taps", "outputs"}
    found = []
    for probe in probes(check, net):
        verdicts = [v for v in run_check(name, probe, among) if v.quantity in quantities]
        assert not [v.reason for v in verdicts if v.status == "skipped"]
        found.append({v.engine for v in verdicts if v.status == "fail"})
    return found


@pytest.mark.parametrize("net", sorted({mutant.net for mutant in MUTANTS}))
@pytest.mark.parametrize("check", [*DEFAULT_CHECKS, *GRADIENTS, "prepared"])
def test_the_unmodified_pair_passes(check, net):
    assert not any(failing(check, net, engines(None, "")))


@pytest.mark.parametrize(("mutant", "framework"), planted())
def test_a_mutant_fails_the_checks_of_the_table(mutant: Mutant, framework: str):
    """On every probe of those checks, the implementation with the defect fails, and no other."""
    among = engines(mutant, framework)
    for check in sorted(mutant.killed_by):
        assert all(each == {framework} for each in failing(check, mutant.net, among)), check
    for check in sorted(mutant.missed_by):
        assert not any(failing(check, mutant.net, among)), f"{check} notices it, unlike the table"


BLIND = [mutant for mutant in MUTANTS if mutant.blind]


@pytest.mark.parametrize("mutant", BLIND, ids=lambda mutant: mutant.name)
def test_a_comparison_of_logits_to_1e_3_misses_a_blind_mutant(mutant: Mutant):
    probe = random(SMALL.name, "float32")
    model = MutantAdapter(keras_adapter(), mutant).build(SMALL, probe.weights, "float32")
    logits = keras_adapter().run(model, probe.images, "eager")["logits"]
    assert np.abs(logits - probe.expected["logits"]).max() < limit("naive comparison", "logits")


def test_at_least_three_mutants_are_blind():
    assert len(BLIND) >= 3


def test_the_exact_check_misses_one_forward_defect_alone():
    """Its gates are exactly 1/2 or 1, so the other checks test the rest of the sigmoid."""
    forwards = [mutant for mutant in MUTANTS if mutant.killed_by & set(DEFAULT_CHECKS)]
    missed = [mutant.name for mutant in forwards if "exact" not in mutant.killed_by]
    assert missed == ["gate with a hard sigmoid"]


def test_taps_do_not_show_defects_of_the_backward_pass():
    backwards = [mutant for mutant in MUTANTS if mutant.killed_by & set(GRADIENTS)]
    assert len(backwards) >= 5
    assert all(mutant.missed_by >= set(DEFAULT_CHECKS) for mutant in backwards)
