"""Conformance vectors: hashes of what every architecture must give on its exact probes.

The oracle makes them. An implementation elsewhere draws the same probes and weights (see `probes`)
and compares; `conformance/README.md` says how.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from resnet_spec import ARCHITECTURES, IMAGE, Architecture, make_plan, outputs, parameters

from resnet_parity.checks import CHECKS
from resnet_parity.checks.engine import Engine
from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable
from resnet_parity.probes import Probe, exact_probe
from resnet_parity.progress import Progress

FILE = Path(__file__).parents[1] / "conformance" / "vectors.json"
SEEDS = (0, 1, 2)
DTYPE = "float32"
FORMAT = 1
_SHOWN = 4


@dataclass(frozen=True)
class VectorResult:
    """One vector of the file, compared with what its source gives: the oracle or an engine.

    `differing` are the entries that differ; `reason` says why an engine was skipped.
    """

    name: str
    seed: int
    source: str
    differing: tuple[str, ...] = ()
    reason: str = ""

    @property
    def matches(self) -> bool:
        """Whether every entry was computed and is the same."""
        return not (self.differing or self.reason)


def make_vectors(
    names: Sequence[str] = tuple(ARCHITECTURES), progress: Progress = lambda step, total: None
) -> dict[str, Any]:
    """The vectors of those architectures as plain data, from the oracle."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for name, seed in ((name, seed) for name in names for seed in SEEDS):
        progress(f"{name}, seed {seed}", len(names) * len(SEEDS))
        probe = exact_probe(ARCHITECTURES[name], seed, DTYPE)
        rows[name].append(vector(probe, probe.expected, probe.gradients))
    return {"format": FORMAT, "dtype": DTYPE, "architectures": rows}


def verify_vectors(
    data: Mapping[str, Any],
    name: str,
    engines: Sequence[Engine],
    seeds: Sequence[int] = SEEDS,
    begin: Callable[[str], None] = lambda step: None,
) -> Iterator[VectorResult]:
    """Compare the oracle and every engine with the file, for one architecture and those seeds."""
    for seed in seeds:
        begin(f"{name}, seed {seed}")
        wanted = next(row for row in data["architectures"][name] if row["seed"] == seed)
        probe = exact_probe(ARCHITECTURES[name], seed, DTYPE)
        found = vector(probe, probe.expected, probe.gradients)
        yield VectorResult(name, seed, "oracle", _differing(wanted, found))
        for engine in engines:
            yield _compare(probe, engine, wanted)


def read_vectors(path: str | Path, names: Sequence[str]) -> dict[str, Any]:
    """The file as plain data. Raises `ParityError` if it is no such file, or lacks a name."""
    path = Path(path)
    if path != FILE:
        check_readable(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if (data["format"], data["dtype"]) != (FORMAT, DTYPE):
            raise ValueError("another format")
        rows = dict(data["architectures"])
        if not all(isinstance(row, dict) for vectors in rows.values() for row in vectors):
            raise ValueError("another form")
        complete = {name for name in names if {row["seed"] for row in rows[name]} == set(SEEDS)}
    except OSError as error:
        packaged = "it is part of a checkout, not of an installed package; " * (path == FILE)
        raise ParityError(
            f"{path} cannot be read: {error.strerror}; {packaged}name another file with --file"
        ) from error
    except Exception as error:  # a value of any type may stand anywhere
        of = f" for {', '.join(names)}" if names else ""
        raise ParityError(
            f"{path} holds no conformance vectors of format {FORMAT}{of}; "
            "make them with: resnet-parity vectors --file FILE"
        ) from error
    if missing := [name for name in names if name not in complete]:
        raise ParityError(f"{path} lacks seeds of {', '.join(missing)}")
    return data


def as_text(data: Mapping[str, Any]) -> str:
    """The data as JSON, with a line per entry of a vector."""
    rows = []
    for name, vectors in data["architectures"].items():
        texts = (
            ",\n".join(f"   {json.dumps(key)}: {json.dumps(value)}" for key, value in each.items())
            for each in vectors
        )
        rows.append(
            f" {json.dumps(name)}: [\n" + ",\n".join(f"  {{\n{t}\n  }}" for t in texts) + "]"
        )
    head = ", ".join(f"{json.dumps(key)}: {json.dumps(data[key])}" for key in ("format", "dtype"))
    return f'{{{head}, "architectures": {{\n' + ",\n".join(rows) + "\n}}\n"


def _compare(probe: Probe, engine: Engine, wanted: Mapping[str, Any]) -> VectorResult:
    name, seed = probe.architecture.name, probe.seed
    if reason := CHECKS["exact"].unsupported_reason(engine, DTYPE):
        return VectorResult(name, seed, engine.name, reason=reason)
    model = engine.adapter.build(probe.architecture, probe.weights, probe.dtype)
    gradients = engine.run(model, probe, "gradients") if probe.gradients else {}
    found = vector(probe, engine.run(model, probe, "taps"), gradients)
    return VectorResult(name, seed, engine.name, _differing(wanted, found))


def vector(
    probe: Probe, taps: Mapping[str, np.ndarray], gradients: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The entry of the file for a probe and what a network gives on it."""
    arch = probe.architecture
    (output,) = outputs(arch)
    stages = {stage.name: taps[stage.blocks[-1].name] for stage in make_plan(arch).stages}
    return {
        "seed": probe.seed,
        "image shape": list(probe.images.shape),
        "density": dict(zip(("n", "active", "of"), probe.density or (), strict=True)),
        "image": _sha256([probe.images]),
        "weights": _sha256(probe.weights[p.name] for p in parameters(arch)),
        **{name: _sha256([array]) for name, array in stages.items()},
        output: _sha256([taps[output]]),
        f"first {output}": [float(value) for value in taps[output].ravel()[:_SHOWN]],
        **(_of_gradients(arch, gradients) if gradients else {}),
    }


def _of_gradients(arch: Architecture, gradients: Mapping[str, np.ndarray]) -> dict[str, Any]:
    trained = [gradients[p.name] for p in parameters(arch) if p.trainable]
    first = trained[0][trained[0] != 0][:_SHOWN]
    return {
        "gradient of image": _sha256([gradients[IMAGE]]),
        "gradients of weights": _sha256(trained),
        "first gradients": [float(value) for value in first],
    }


def _sha256(arrays: Iterable[np.ndarray]) -> str:
    """The SHA-256 of all numbers in turn, as little-endian float32; zeros have no sign."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array.astype("<f4") + np.float32(0)).data)
    return digest.hexdigest()


def _differing(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        key if key in wanted else f"{key} (the file lacks it)"
        for key in {**wanted, **found}
        if wanted.get(key) != found.get(key)
    )
