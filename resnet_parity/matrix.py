"""Every engine on every check: each implementation and backend in a process of its own, one table."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from resnet_spec import Architecture, get_architecture

from resnet_parity.adapters.protocol import Adapter
from resnet_parity.adapters.remote import remote_adapters
from resnet_parity.checks.run import ALL_CHECKS, NOISE_FLOOR_MODES, Engine, Verdict, skipped
from resnet_parity.errors import MissingFrameworkError, ParityError, ProbeError
from resnet_parity.machine import machine
from resnet_parity.progress import Progress
from resnet_parity.verify import PlannedCheck, plan_checks

MODES = {
    "torch": (*NOISE_FLOOR_MODES, "compile", "cuda", "cuda tf32"),
    "keras tensorflow": ("graph", "eager", "xla"),
    "keras jax": ("jit",),
    "keras torch": ("eager",),
}
"""The implementations, a process each, and the modes of each; an engine is an implementation and a mode."""

ENGINES = {
    f"{framework} {mode}": (framework, mode) for framework, modes in MODES.items() for mode in modes
}
_NOISE_FLOOR = tuple(f"torch {mode}" for mode in NOISE_FLOOR_MODES)


@dataclass(frozen=True)
class Matrix:
    """What every engine showed on every check, as data.

    `verdicts` are by architecture; `absent` says of engines that were not asked for by name why
    they could not be run at all.
    """

    seed: int
    date: str
    machine: dict[str, str | int | None]
    versions: dict[str, str]
    verdicts: dict[str, tuple[Verdict, ...]]
    absent: dict[str, str]

    @property
    def failed(self) -> bool:
        """Some engine is not the function that it should be."""
        return any(v.status == "fail" for row in self.verdicts.values() for v in row)


def run_matrix(
    architectures: Sequence[str | Architecture],
    *,
    engines: Sequence[str] = (),
    checks: Sequence[str] = ALL_CHECKS,
    seed: int = 0,
    progress: Progress = lambda step, total: None,
) -> Matrix:
    """Hold every engine to the oracle, on the given checks; PyTorch's noise floor always runs along.

    `engines` are names of `ENGINES`, or how they begin ("keras", "torch compile"); unless given,
    all that this machine can run.

    Raises `ParityError` (an unknown engine or check, a worker that died, a framework of a named
    engine that is missing) and `resnet_spec.ArchitectureError`.
    """
    chosen = _chosen(engines)
    unknown = [check for check in checks if check not in ALL_CHECKS]
    if unknown or not checks or not architectures:
        raise ParityError(f"a matrix needs an architecture, and checks of {', '.join(ALL_CHECKS)}")
    nets = [get_architecture(each) for each in architectures]
    steps = {arch.name: [s for r in checks for s in plan_checks(arch, r, seed)] for arch in nets}
    total = 1 + sum(map(len, steps.values()))
    progress("starting a worker for each framework", total)
    with remote_adapters(
        *dict.fromkeys(framework for framework, _ in chosen.values())
    ) as frameworks:
        versions, absent = _versions(frameworks, named=bool(engines))
        ready = tuple(_engines(frameworks, chosen, absent, named=bool(engines)))
        verdicts: dict[str, tuple[Verdict, ...]] = {}
        for name, runs in steps.items():
            verdicts[name] = ()
            for step in runs:
                progress(f"{name}: {step.check} check, {step.title}", total)
                verdicts[name] += tuple(_run_check(step, ready))
    return Matrix(
        seed=seed,
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        versions=versions,
        verdicts=verdicts,
        absent={
            name: absent[framework]
            for name, (framework, _) in chosen.items()
            if framework in absent
        },
    )


def _chosen(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The engines that those names begin, and the noise floor; in the order of the table."""
    for name in names:
        if not any(_begins(name, engine) for engine in ENGINES):
            raise ParityError(f"unknown engine {name!r}; engines are: {', '.join(ENGINES)}")
    wanted = [e for e in ENGINES if not names or any(_begins(name, e) for name in names)]
    return {e: place for e, place in ENGINES.items() if e in wanted or e in _NOISE_FLOOR}


def _begins(name: str, engine: str) -> bool:
    return engine == name or engine.startswith(f"{name} ")


def _versions(
    frameworks: Mapping[str, Adapter], *, named: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of everything, and why an implementation is absent; raises where it was asked for."""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    absent = {}
    for framework, adapter in frameworks.items():
        try:
            versions |= adapter.versions()
        except MissingFrameworkError as error:
            if named or framework == "torch":
                raise
            absent[framework] = str(error)
    return versions, absent


def _engines(
    frameworks: Mapping[str, Adapter],
    chosen: Mapping[str, tuple[str, str]],
    absent: Mapping[str, str],
    *,
    named: bool,
) -> Iterator[Engine]:
    """Those that can be tried: without names, only modes that the machine has."""
    for name, (framework, mode) in chosen.items():
        adapter = frameworks[framework]
        if framework not in absent and (named or mode in adapter.modes()):
            yield Engine(name, adapter, mode)


def _run_check(step: PlannedCheck, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    try:
        yield from step.run_check(engines)
    except ProbeError as error:
        for engine in engines:
            yield skipped(step.check, "none", step.dtype, engine.name, str(error))
