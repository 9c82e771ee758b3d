"""Read the weights of an ONNX file: identify its architecture, and verify what was read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto

from resnet_spec import Architecture

from resnet_parity.checks import GRAPH_CHECKS
from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata
from resnet_parity.onnx_io.export import ExportError
from resnet_parity.onnx_io.identify import Identified, identify
from resnet_parity.onnx_io.nodes import is_plain_affine
from resnet_parity.onnx_io.participants import first_failure, verify_file
from resnet_parity.onnx_io.tensors import weights_of
from resnet_parity.progress import Progress
from resnet_parity.weights.files import check_float32


@dataclass(frozen=True)
class Imported:
    """The architecture and weights of a file.

    `equivalents` are other architectures that the graph fits, `folded` the norms that were folded
    into convolutions, `reduced` those of which only a factor and a term are left. `changes` say
    what was changed in the graph and absorbed into the weights. `not_verified` names the checks
    that were skipped, with their reasons.
    """

    architecture: Architecture
    weights: dict[str, np.ndarray]
    equivalents: tuple[str, ...]
    folded: tuple[str, ...]
    reduced: tuple[str, ...]
    changes: tuple[str, ...] = ()
    not_verified: tuple[str, ...] = ()

    @property
    def notes(self) -> Iterator[str]:
        """Sentences for the user."""
        name = self.architecture.name
        if self.equivalents:
            yield (
                f"it fits {', '.join(self.equivalents)} as well: nothing in the file "
                f"distinguishes them from {name}"
            )
        if self.folded:
            yield (
                f"{len(self.folded)} norms were folded into convolutions; they are read as norms "
                "that only add their beta. Such a model computes the same; fine-tuning starts "
                "without the statistics, gammas and scales of its training"
            )
        if self.reduced:
            yield (
                f"of {len(self.reduced)} norms a factor and a term are left; they are read as "
                "gamma and beta. Fine-tuning starts without the statistics of their training"
            )
        yield from self.changes
        yield from (f"not verified: {reason}" for reason in self.not_verified)


def import_verified(
    proto: ModelProto,
    name: str,
    progress: Progress = lambda step, total: None,
    *,
    checks: Collection[str] = GRAPH_CHECKS,
) -> Imported:
    """Read a model, and verify that the oracle with these weights computes what the model computes.

    `name` is the name of its file in messages. The exact check alone verifies the graph with other
    weights, and not the weights that are read. Raises `ParityError` for a model that could not be
    identified, and `ExportError` where a check fails.
    """
    progress(f"identifying {name}", 6)
    found = identify(proto, name)
    progress(f"recognised as {found.label}; proving", 6)
    taken = _read_weights(found)
    check_float32(name, taken.architecture, taken.weights)
    _check_weights(name, proto, taken)
    # Without optimization: what an optimizer changes in the results is not a fault of the file.
    options = {"runtimes": ["ort disabled"], "sizes": 2, "checks": checks}
    verdicts = list(verify_file(name, found, taken.weights, progress, **options))
    if failure := first_failure(verdicts, checks):
        raise ExportError(
            f"{name} does not compute what its weights define, nothing was written: {failure}; "
            "compare it with what it was exported from: resnet-parity diagnose"
        )
    reasons = {f"{v.check} check, {v.reason}": None for v in verdicts if v.status == "skipped"}
    left_out = [f"{name} check, left out by --check" for name in GRAPH_CHECKS if name not in checks]
    return replace(taken, not_verified=(*reasons, *left_out))


def _read_weights(found: Identified) -> Imported:
    folded = tuple(norm.name for norm in found.match.folded.values())
    reduced = tuple(
        name
        for name, node in found.match.nodes.items()
        if node.op_type == "BatchNormalization" and is_plain_affine(node)
    )
    weights = weights_of(found.match)
    return Imported(
        found.architecture, weights, found.equivalents, folded, reduced, changes=found.notes
    )


def _check_weights(name: str, proto: ModelProto, taken: Imported) -> None:
    """Raise `ParityError` if a file that holds all weights has a checksum that is not theirs."""
    checksum = metadata.read_metadata(proto).get(metadata.WEIGHTS_KEY)
    if checksum is None or taken.folded or taken.reduced:
        return
    if checksum != metadata.weights_checksum(taken.architecture, taken.weights):
        raise ParityError(
            f"{name}: its weights do not match the SHA-256 in its metadata; export it again"
        )
