"""Who is compared: frameworks, their exports and files, by the names that a user gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from resnet_spec import Architecture

from resnet_parity.errors import ParityError
from resnet_parity.exchange.census import count_operators
from resnet_parity.exchange.comparison import (
    Subject,
    Weights,
    compare_subjects,
    of_file,
    of_hand,
)
from resnet_parity.exchange.export import Form, export
from resnet_parity.exchange.names import HANDS
from resnet_parity.exchange.reading import parse
from resnet_parity.exchange.recognise import Recognised, recognise
from resnet_parity.exchange.runtimes import RUNTIMES, obstacle, versions
from resnet_parity.exchange.tensors import weights_of
from resnet_parity.frameworks import eager_mode, keras_adapter, require, torch_adapter
from resnet_parity.hands import stand_in
from resnet_parity.probes import random_weights
from resnet_parity.progress import Progress
from resnet_parity.rungs import FLOOR_MODES, Verdict
from resnet_parity.weight_files import read_weights


@dataclass(frozen=True)
class Meeting:
    """Everything that a comparison found, as data; `operators` are those of each file.

    `left_out` says why a runtime did not run, `notes` which mode stands in for which.
    """

    architecture: Architecture
    subjects: tuple[str, ...]
    seed: int
    versions: dict[str, str]
    verdicts: tuple[Verdict, ...]
    operators: dict[str, dict[str, int]]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Nothing failed, and both rungs are proven, of every subject in an engine.

        A net that has no exact probe is proven by the other rung alone.
        """
        is_failed = any(verdict.status == "fail" for verdict in self.verdicts)
        return not is_failed and all(map(self._is_proven, self.subjects))

    def _is_proven(self, subject: str) -> bool:
        own = [each for each in self.verdicts if each.engine.startswith(f"{subject} ")]
        tried = {verdict.rung for verdict in own}
        return "float32" in tried and tried == {v.rung for v in own if v.status == "pass"}


def meet(
    names: Sequence[str],
    protos: Mapping[str, ModelProto],
    arch: Architecture | None = None,
    *,
    weights: Path | None = None,
    runtimes: Sequence[str] | None = None,
    seed: int = 0,
    keras_backend: str | None = None,
    progress: Progress = lambda step, total: None,
) -> Meeting:
    """Compare what those names stand for; `protos` are the files among them, see `read_files`.

    Raises `ParityError` for a file that is not recognised, files of several architectures, or where
    nothing says which architecture it is.
    """
    chosen, left_out = _runtimes(runtimes)
    files: dict[str, tuple[ModelProto, Recognised]] = {}
    for name, proto in protos.items():
        files[name] = proto, recognise(proto, name, arch)
        arch = arch or files[name][1].architecture
    if arch is None:
        raise ParityError("no file says which architecture it is; add --architecture NAME")
    held = _weights(arch, files, weights, seed)
    subjects: list[Subject] = []
    for name in names:
        progress(f"preparing {name}", len(names))
        if name in HANDS:
            subjects.append(_hand(name, keras_backend))
            continue
        if name not in files:
            content = _exported(name, arch, held, keras_backend)
            proto = parse(content, name)
            files[name] = proto, recognise(proto, name, arch)
        subjects.append(of_file(name, *files[name], chosen))
    verdicts = tuple(compare_subjects(arch, subjects, held, seed=seed, progress=progress))
    operators = {name: dict(count_operators(proto)) for name, (proto, _) in files.items()}
    return Meeting(
        architecture=arch,
        subjects=tuple(names),
        seed=seed,
        versions=_versions(subjects),
        verdicts=verdicts,
        operators=operators,
        left_out=left_out,
        notes=tuple(note for subject in subjects for note in subject.notes),
    )


def _runtimes(wanted: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those to run, and why others are left out; one that was asked for must be there."""
    unknown = [name for name in wanted or () if name not in RUNTIMES]
    if unknown:
        raise ParityError(f"unknown runtime {unknown[0]!r}; runtimes are: {', '.join(RUNTIMES)}")
    if wanted is not None and "openvino" in wanted:
        require("openvino")
    named = RUNTIMES if wanted is None else tuple(wanted)
    reasons = {name: obstacle(name) for name in named}
    return (
        tuple(name for name in named if reasons[name] is None),
        tuple(str(reason) for reason in reasons.values() if reason),
    )


def _weights(
    arch: Architecture,
    files: dict[str, tuple[ModelProto, Recognised]],
    path: Path | None,
    seed: int,
) -> Weights:
    """Those that all are held to."""
    if path is not None:
        return read_weights(path, arch)
    for _, recognised in files.values():
        return weights_of(recognised.match)
    return random_weights(arch, seed, "float32")


def _hand(name: str, keras_backend: str | None) -> Subject:
    if name == "torch":
        return of_hand(name, torch_adapter(), FLOOR_MODES)
    adapter = keras_adapter(keras_backend)
    # Not compiled, or every batch and size would be compiled anew. Where that mode rounds, another
    # stands in on both rungs: norms that a user brings may all have one variance, as where they
    # only add, and then every channel is off by the same, which adds up from norm to norm.
    mode, note = stand_in(adapter, eager_mode(adapter), "float32")
    return of_hand(name, adapter, [mode], (f"{name}: {note}",) if note else ())


def _exported(name: str, arch: Architecture, weights: Weights, keras_backend: str | None) -> bytes:
    form = Form(framework="torch", dynamic=("batch", "size"))
    if name == "keras.onnx":
        require("tf2onnx")
        form = Form(framework="keras", dynamic=("batch", "size"))
    return export(arch, weights, form, keras_backend=keras_backend)


def _versions(subjects: Sequence[Subject]) -> dict[str, str]:
    found: dict[str, str] = {}
    for subject in subjects:
        for engine in subject.exact:
            found |= engine.adapter.versions()
    return found | versions()
