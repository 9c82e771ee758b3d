"""The matrix: every engine on every check, each framework in a process of its own."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from resnet_spec import Architecture, get_architecture

from resnet_parity.adapters.protocol import Adapter
from resnet_parity.adapters.remote import remote_adapters
from resnet_parity.checks import CHECKS, chosen_checks
from resnet_parity.checks.base import Check, PlannedProbe, ProbeRequest
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.errors import MissingFrameworkError, ParityError, ProbeError
from resnet_parity.machine import machine
from resnet_parity.progress import Progress
from resnet_parity.verdict import Verdict

MODES = {
    "torch": (*NOISE_FLOOR_MODES, "compile", "cuda", "cuda tf32"),
    "keras tensorflow": ("graph", "eager", "xla"),
    "keras jax": ("jit",),
    "keras torch": ("eager",),
}
"""The modes of each framework and backend; each of these runs in a process of its own."""

ENGINES = {
    f"{framework} {mode}": (framework, mode) for framework, modes in MODES.items() for mode in modes
}
"""Every engine by name: a framework and a mode."""

_NOISE_FLOOR = tuple(f"torch {mode}" for mode in NOISE_FLOOR_MODES)


@dataclass(frozen=True)
class Matrix:
    """The verdicts of every engine on every check, as data.

    `verdicts` are by architecture. `absent` says why an engine could not run at all, if no engine
    was asked for by name.
    """

    seed: int
    date: str
    machine: dict[str, str | int | None]
    versions: dict[str, str]
    verdicts: dict[str, tuple[Verdict, ...]]
    absent: dict[str, str]

    @property
    def failed(self) -> bool:
        """Whether some engine is not the function that it should be."""
        return any(v.status == "fail" for row in self.verdicts.values() for v in row)


def run_matrix(
    architectures: Sequence[str | Architecture],
    *,
    engines: Sequence[str] = (),
    checks: Sequence[str] = tuple(CHECKS),
    seed: int = 0,
    progress: Progress = lambda step, total: None,
) -> Matrix:
    """Compare every engine with the oracle, by the given checks; PyTorch's noise floor always runs.

    `engines` are names of `ENGINES`, or their first words ("keras", "torch compile"); by default
    all that this machine can run.

    Raises `ParityError` (an unknown engine or check, a worker that died, a framework of a named
    engine that is missing) and `resnet_spec.ArchitectureError`.
    """
    chosen = _chosen(engines)
    if not architectures:
        raise ParityError("a matrix needs at least one architecture")
    plans = {
        arch.name: [
            (c, p) for c in chosen_checks(checks) for p in c.probes(ProbeRequest(arch, seed))
        ]
        for arch in map(get_architecture, architectures)
    }
    total = 1 + sum(map(len, plans.values()))
    progress("starting a worker for each framework", total)
    with remote_adapters(
        *dict.fromkeys(framework for framework, _ in chosen.values())
    ) as frameworks:
        versions, absent = _versions(frameworks, named=bool(engines))
        ready = tuple(_engines(frameworks, chosen, absent, named=bool(engines)))
        verdicts: dict[str, tuple[Verdict, ...]] = {}
        for name, plan in plans.items():
            verdicts[name] = ()
            for check, probe in plan:
                progress(f"{name}: {check.name} check, {probe.title}", total)
                verdicts[name] += tuple(_run(check, probe, ready))
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
    """The engines whose names begin so, and those of the noise floor, in the order of `ENGINES`."""
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
    """All versions, and why a framework is absent; raises if engines were asked for by name."""
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
    """The engines to run: if none was asked for by name, only modes that this machine has."""
    for name, (framework, mode) in chosen.items():
        adapter = frameworks[framework]
        if framework not in absent and (named or mode in adapter.modes()):
            yield Engine(name, adapter, mode)


def _run(check: Check, probe: PlannedProbe, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    try:
        yield from check.run(probe.make(), engines)
    except ProbeError as error:
        for engine in engines:
            yield check.no_probe(str(error), probe.dtype, engine.name)
