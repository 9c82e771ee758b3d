"""Who is compared: frameworks, their exports and files, by the names that a user gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from resnet_spec import Architecture

from resnet_parity.adapters.loading import eager_mode, keras_adapter, require, torch_adapter
from resnet_parity.adapters.protocol import fallback_mode
from resnet_parity.checks.engine import NOISE_FLOOR_MODES
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.export import Form, export
from resnet_parity.onnx_io.identify import Identified, identify
from resnet_parity.onnx_io.inspect import count_operators
from resnet_parity.onnx_io.metadata import graph_checksum
from resnet_parity.onnx_io.participant_names import FRAMEWORKS
from resnet_parity.onnx_io.participants import (
    Participant,
    Weights,
    compare_participants,
    of_file,
    of_framework,
)
from resnet_parity.onnx_io.reading import parse
from resnet_parity.onnx_io.runtimes import RUNTIMES, unsupported_reason, versions
from resnet_parity.onnx_io.tensors import weights_of
from resnet_parity.probes import random_weights
from resnet_parity.progress import Progress
from resnet_parity.verdict import Verdict
from resnet_parity.weights.files import read_weights


@dataclass(frozen=True)
class ComparisonReport:
    """Everything that a comparison found, as data.

    `operators` counts those of each graph, `graphs` holds the checksum of each.
    `left_out` says why a runtime did not run, `notes` which mode stands in for which.
    """

    architecture: Architecture
    participants: tuple[str, ...]
    seed: int
    versions: dict[str, str]
    verdicts: tuple[Verdict, ...]
    operators: dict[str, dict[str, int]]
    graphs: dict[str, str]
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Nothing failed, and both checks are proven, of every subject in an engine.

        A net that has no exact probe is proven by the other check alone.
        """
        is_failed = any(verdict.status == "fail" for verdict in self.verdicts)
        return not is_failed and all(map(self._is_proven, self.participants))

    def _is_proven(self, participant: str) -> bool:
        own = [each for each in self.verdicts if each.engine.startswith(f"{participant} ")]
        tried = {verdict.check for verdict in own}
        return "float32" in tried and tried == {v.check for v in own if v.status == "pass"}


def compare_models(
    names: Sequence[str],
    protos: Mapping[str, ModelProto],
    arch: Architecture | None = None,
    *,
    weights: Path | None = None,
    runtimes: Sequence[str] | None = None,
    seed: int = 0,
    keras_backend: str | None = None,
    progress: Progress = lambda step, total: None,
) -> ComparisonReport:
    """Compare what those names stand for; `protos` are the files among them, see `read_files`.

    Raises `ParityError` for a file that is not recognised, files of several architectures, or where
    nothing says which architecture it is.
    """
    chosen, left_out = _runtimes(runtimes)
    files: dict[str, tuple[ModelProto, Identified]] = {}
    for name, proto in protos.items():
        files[name] = proto, identify(proto, name, arch)
        arch = arch or files[name][1].architecture
    if arch is None:
        raise ParityError("no file says which architecture it is; add --architecture NAME")
    held = _weights(arch, files, weights, seed)
    participants: list[Participant] = []
    for name in names:
        progress(f"preparing {name}", len(names))
        if name in FRAMEWORKS:
            participants.append(_framework(name, keras_backend))
            continue
        if name not in files:
            content = _exported(name, arch, held, keras_backend)
            proto = parse(content, name)
            files[name] = proto, identify(proto, name, arch)
        participants.append(of_file(name, *files[name], chosen))
    verdicts = tuple(compare_participants(arch, participants, held, seed=seed, progress=progress))
    operators = {name: dict(count_operators(proto)) for name, (proto, _) in files.items()}
    return ComparisonReport(
        architecture=arch,
        participants=tuple(names),
        seed=seed,
        versions=_versions(participants),
        verdicts=verdicts,
        operators=operators,
        graphs={name: graph_checksum(proto) for name, (proto, _) in files.items()},
        left_out=left_out,
        notes=tuple(note for participant in participants for note in participant.notes),
    )


def _runtimes(wanted: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those to run, and why others are left out; one that was asked for must be there."""
    unknown = [name for name in wanted or () if name not in RUNTIMES]
    if unknown:
        raise ParityError(f"unknown runtime {unknown[0]!r}; runtimes are: {', '.join(RUNTIMES)}")
    if wanted is not None and "openvino" in wanted:
        require("openvino")
    named = RUNTIMES if wanted is None else tuple(wanted)
    reasons = {name: unsupported_reason(name) for name in named}
    return (
        tuple(name for name in named if reasons[name] is None),
        tuple(str(reason) for reason in reasons.values() if reason),
    )


def _weights(
    arch: Architecture,
    files: dict[str, tuple[ModelProto, Identified]],
    path: Path | None,
    seed: int,
) -> Weights:
    """Those that all are held to."""
    if path is not None:
        return read_weights(path, arch)
    for _, identified in files.values():
        return weights_of(identified.match)
    return random_weights(arch, seed, "float32")


def _framework(name: str, keras_backend: str | None) -> Participant:
    if name == "torch":
        return of_framework(name, torch_adapter(), NOISE_FLOOR_MODES)
    adapter = keras_adapter(keras_backend)
    # Not compiled, or every batch and size would be compiled anew. Where that mode rounds, another
    # stands in on both checks: norms that a user brings may all have one variance, as where they
    # only add, and then every channel is off by the same, which adds up from norm to norm.
    mode, note = fallback_mode(adapter, eager_mode(adapter), "float32")
    return of_framework(name, adapter, [mode], (f"{name}: {note}",) if note else ())


def _exported(name: str, arch: Architecture, weights: Weights, keras_backend: str | None) -> bytes:
    form = Form(framework="torch", dynamic=("batch", "size"))
    if name == "keras.onnx":
        require("tf2onnx")
        form = Form(framework="keras", dynamic=("batch", "size"))
    return export(arch, weights, form, keras_backend=keras_backend)


def _versions(participants: Sequence[Participant]) -> dict[str, str]:
    found: dict[str, str] = {}
    for participant in participants:
        for engine in participant.exact:
            found |= engine.adapter.versions()
    return found | versions()
