"""Compare frameworks, their exports and ONNX files, by the names that a user gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from resnet_spec import Architecture, get_architecture

from resnet_parity.adapters.loading import (
    chosen_backend,
    eager_mode,
    keras_adapter,
    require,
    torch_adapter,
)
from resnet_parity.adapters.protocol import fallback_mode
from resnet_parity.checks.engine import NOISE_FLOOR_MODES
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.export import export
from resnet_parity.onnx_io.exporters import ExportOptions, check_backend
from resnet_parity.onnx_io.identify import Identified, identify
from resnet_parity.onnx_io.metadata import graph_checksum
from resnet_parity.onnx_io.operators import count_operators
from resnet_parity.onnx_io.participants import (
    Participant,
    Weights,
    compare_participants,
    of_file,
    of_framework,
)
from resnet_parity.onnx_io.reading import FRAMEWORKS, parse
from resnet_parity.onnx_io.runtimes import RUNTIMES, unsupported_reason, versions
from resnet_parity.onnx_io.tensors import weights_of
from resnet_parity.probes import random_weights
from resnet_parity.progress import Progress
from resnet_parity.verdict import Verdict
from resnet_parity.weights.files import read_weights


@dataclass(frozen=True)
class ComparisonReport:
    """The results of a comparison as data.

    `operators` holds the number of operators of each type and `graphs` the checksum of each graph,
    by participant. `skipped_runtimes` holds the reason for each runtime that did not run; `notes`
    name a mode that replaces the default one, and what was changed in a file.
    """

    architecture: Architecture
    participants: tuple[str, ...]
    seed: int
    versions: dict[str, str]
    verdicts: tuple[Verdict, ...]
    operators: dict[str, dict[str, int]]
    graphs: dict[str, str]
    skipped_runtimes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """No verdict failed, and each participant passed both checks in at least one engine.

        A model without an exact probe needs to pass the float32 check alone.
        """
        is_failed = any(verdict.status == "fail" for verdict in self.verdicts)
        return not is_failed and all(map(self._passed_checks, self.participants))

    def _passed_checks(self, participant: str) -> bool:
        own = [each for each in self.verdicts if each.engine.startswith(f"{participant} ")]
        tried = {verdict.check for verdict in own}
        return "float32" in tried and tried == {v.check for v in own if v.status == "pass"}


def compare_models(
    names: Sequence[str],
    protos: Mapping[str, ModelProto],
    arch: str | Architecture | None = None,
    *,
    weights: str | Path | None = None,
    runtimes: Sequence[str] | None = None,
    seed: int = 0,
    keras_backend: str | None = None,
    progress: Progress = lambda step, total: None,
) -> ComparisonReport:
    """Compare the participants of those names; `protos` are the files among them, see `read_files`.

    Raises `ParityError` for a file that could not be identified, for files of several
    architectures, or if there is neither a file nor `arch`.
    """
    arch = arch if arch is None else get_architecture(arch)
    chosen, skipped_runtimes = _runtimes(runtimes)
    if "keras.onnx" in names:
        check_backend(chosen_backend(keras_backend))
    files: dict[str, tuple[ModelProto, Identified]] = {}
    for name, proto in protos.items():
        files[name] = proto, identify(proto, name, arch)
        progress(f"{name}: recognised as {files[name][1].label}", len(names))
        arch = arch or files[name][1].architecture
    if arch is None:
        raise ParityError("no file names the architecture; add --architecture NAME")
    expected = _weights(arch, files, weights, seed)
    participants: list[Participant] = []
    for name in names:
        progress(f"preparing {name}", len(names))
        if name in FRAMEWORKS:
            participants.append(_framework(name, keras_backend))
            continue
        if name not in files:
            content = _exported(name, arch, expected, keras_backend)
            proto = parse(content, name)
            files[name] = proto, identify(proto, name, arch)
        participants.append(of_file(name, files[name][1], chosen))
    verdicts = tuple(
        compare_participants(arch, participants, expected, seed=seed, progress=progress)
    )
    operators = {name: dict(count_operators(proto)) for name, (proto, _) in files.items()}
    return ComparisonReport(
        architecture=arch,
        participants=tuple(names),
        seed=seed,
        versions=_versions(participants),
        verdicts=verdicts,
        operators=operators,
        graphs={name: graph_checksum(proto) for name, (proto, _) in files.items()},
        skipped_runtimes=skipped_runtimes,
        notes=tuple(note for participant in participants for note in participant.notes),
    )


def _runtimes(wanted: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The runtimes to run, and why others are skipped; one that was asked for must be installed."""
    unknown = [name for name in wanted or () if name not in RUNTIMES]
    if unknown:
        raise ParityError(f"unknown runtime {unknown[0]!r}; runtimes are: {', '.join(RUNTIMES)}")
    if wanted is not None and "openvino" in wanted:
        require("openvino")
    named = RUNTIMES if wanted is None else tuple(wanted)
    reasons = {name: unsupported_reason(name) for name in named}
    available = tuple(name for name in named if reasons[name] is None)
    return available, tuple(reason for reason in reasons.values() if reason)


def _weights(
    arch: Architecture,
    files: dict[str, tuple[ModelProto, Identified]],
    path: str | Path | None,
    seed: int,
) -> Weights:
    """The weights that every participant is compared with."""
    if path is not None:
        return read_weights(path, arch)
    for _, identified in files.values():
        return weights_of(identified.match)
    return random_weights(arch, seed, "float32")


def _framework(name: str, keras_backend: str | None) -> Participant:
    if name == "torch":
        return of_framework(name, torch_adapter(), NOISE_FLOOR_MODES)
    adapter = keras_adapter(keras_backend)
    # Eager, because a compiled mode would compile every batch and size again. If that mode rounds
    # square roots, another one replaces it on both checks: norms of a user's weights may all have
    # the same variance, and then every channel has the same error, which adds up over the norms.
    mode, note = fallback_mode(adapter, eager_mode(adapter), "float32")
    return of_framework(name, adapter, [mode], (f"{name}: {note}",) if note else ())


def _exported(name: str, arch: Architecture, weights: Weights, keras_backend: str | None) -> bytes:
    if name == "keras.onnx":
        require("tf2onnx")
    framework = "keras" if name == "keras.onnx" else "torch"
    options = ExportOptions(framework, dynamic=("batch", "size"))
    return export(arch, weights, options, keras_backend=keras_backend)


def _versions(participants: Sequence[Participant]) -> dict[str, str]:
    found: dict[str, str] = {}
    for participant in participants:
        for engine in participant.exact:
            found |= engine.adapter.versions()
    return found | versions()
