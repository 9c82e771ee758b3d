"""Every engine on every rung: each hand and backend in a process of its own, one table."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from resnet_spec import Architecture, get_architecture

from resnet_parity.errors import MissingFrameworkError, ParityError, ProbeError
from resnet_parity.hands import Adapter
from resnet_parity.progress import Progress
from resnet_parity.rungs import EVERY_RUNG, FLOOR_MODES, Engine, Verdict, cannot
from resnet_parity.verification import Step, make_steps
from resnet_parity.workers import remote_adapters

MODES = {
    "torch": (*FLOOR_MODES, "compile", "cuda", "cuda tf32"),
    "keras tensorflow": ("graph", "eager", "xla"),
    "keras jax": ("jit",),
    "keras torch": ("eager",),
}
"""The hands, a process each, and the modes of each; an engine is a hand and a mode."""

ENGINES = {f"{hand} {mode}": (hand, mode) for hand, modes in MODES.items() for mode in modes}
_FLOOR = tuple(f"torch {mode}" for mode in FLOOR_MODES)


@dataclass(frozen=True)
class Matrix:
    """What every engine showed on every rung, as data.

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
    rungs: Sequence[str] = EVERY_RUNG,
    seed: int = 0,
    progress: Progress = lambda step, total: None,
) -> Matrix:
    """Hold every engine to the oracle, on the given rungs; PyTorch's floor always runs along.

    `engines` are names of `ENGINES`, or how they begin ("keras", "torch compile"); unless given,
    all that this machine can run.

    Raises `ParityError` (an unknown engine or rung, a worker that died, a framework of a named
    engine that is missing) and `resnet_spec.ArchitectureError`.
    """
    chosen = _chosen(engines)
    unknown = [rung for rung in rungs if rung not in EVERY_RUNG]
    if unknown or not rungs or not architectures:
        raise ParityError(f"a matrix needs an architecture, and rungs of {', '.join(EVERY_RUNG)}")
    nets = [get_architecture(each) for each in architectures]
    steps = {arch.name: [s for r in rungs for s in make_steps(arch, r, seed)] for arch in nets}
    total = 1 + sum(map(len, steps.values()))
    progress("starting a worker for each framework", total)
    with remote_adapters(*dict.fromkeys(hand for hand, _ in chosen.values())) as hands:
        versions, absent = _versions(hands, named=bool(engines))
        ready = tuple(_engines(hands, chosen, absent, named=bool(engines)))
        verdicts: dict[str, tuple[Verdict, ...]] = {}
        for name, climbs in steps.items():
            verdicts[name] = ()
            for step in climbs:
                progress(f"{name}: {step.rung} rung, {step.title}", total)
                verdicts[name] += tuple(_climb(step, ready))
    return Matrix(
        seed=seed,
        date=datetime.now(UTC).date().isoformat(),
        machine=machine(),
        versions=versions,
        verdicts=verdicts,
        absent={name: absent[hand] for name, (hand, _) in chosen.items() if hand in absent},
    )


def _chosen(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """The engines that those names begin, and the floor; in the order of the table."""
    for name in names:
        if not any(_begins(name, engine) for engine in ENGINES):
            raise ParityError(f"unknown engine {name!r}; engines are: {', '.join(ENGINES)}")
    wanted = [e for e in ENGINES if not names or any(_begins(name, e) for name in names)]
    return {e: place for e, place in ENGINES.items() if e in wanted or e in _FLOOR}


def _begins(name: str, engine: str) -> bool:
    return engine == name or engine.startswith(f"{name} ")


def _versions(
    hands: Mapping[str, Adapter], *, named: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """The versions of everything, and why a hand is absent; raises where it was asked for."""
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    absent = {}
    for hand, adapter in hands.items():
        try:
            versions |= adapter.versions()
        except MissingFrameworkError as error:
            if named or hand == "torch":
                raise
            absent[hand] = str(error)
    return versions, absent


def _engines(
    hands: Mapping[str, Adapter],
    chosen: Mapping[str, tuple[str, str]],
    absent: Mapping[str, str],
    *,
    named: bool,
) -> Iterator[Engine]:
    """Those that can be tried: without names, only modes that the machine has."""
    for name, (hand, mode) in chosen.items():
        adapter = hands[hand]
        if hand not in absent and (named or mode in adapter.modes()):
            yield Engine(name, adapter, mode)


def _climb(step: Step, engines: tuple[Engine, ...]) -> Iterator[Verdict]:
    try:
        yield from step.climb(engines)
    except ProbeError as error:
        for engine in engines:
            yield cannot(step.rung, "none", step.dtype, engine.name, str(error))


def machine() -> dict[str, str | int | None]:
    """What the figures were made on."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpu": _gpu(),
    }


def _cpu() -> str:
    """Its model, where the system tells."""
    told = Path("/proc/cpuinfo")
    text = told.read_text() if told.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return found[1].strip() if found else platform.processor() or "unknown"


def _gpu() -> str | None:
    """Its model, as NVIDIA's own tool tells it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=name", "--format=csv,noheader"]
    result = subprocess.run(query, capture_output=True, text=True, check=False)
    return ", ".join(result.stdout.strip().splitlines()) or None if result.returncode == 0 else None
