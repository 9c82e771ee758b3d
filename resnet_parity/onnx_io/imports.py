"""From a file back to weights: recognised, taken out, and proven to be the same function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto

from resnet_spec import Architecture

from resnet_parity.errors import ParityError
from resnet_parity.onnx_io import metadata as metadata
from resnet_parity.onnx_io.export import ExportError
from resnet_parity.onnx_io.identify import Identified, identify
from resnet_parity.onnx_io.nodes import is_plain_affine
from resnet_parity.onnx_io.proof import prove, unproven
from resnet_parity.onnx_io.tensors import weights_of
from resnet_parity.progress import Progress
from resnet_parity.weights.files import check_float32


@dataclass(frozen=True)
class Imported:
    """What a file holds: its architecture, its weights, and what a user should know of them.

    `also` are other rows of the table that the graph would fit, `folded` the norms that have gone
    into convolutions, `reduced` those of which a factor and a term are left. `unproven` says which
    check could not be climbed.
    """

    architecture: Architecture
    weights: dict[str, np.ndarray]
    also: tuple[str, ...]
    folded: tuple[str, ...]
    reduced: tuple[str, ...]
    unproven: tuple[str, ...] = ()

    @property
    def notes(self) -> Iterator[str]:
        """In words."""
        name = self.architecture.name
        if self.also:
            yield (
                f"it would fit {', '.join(self.also)} as well: nothing in the file tells "
                f"them from {name}"
            )
        if self.folded:
            yield (
                f"{len(self.folded)} norms were folded into convolutions; they come back as norms "
                "that only add their beta. Such a model runs and compares as it is; fine-tuning "
                "starts without the statistics, gammas and scales of its training"
            )
        if self.reduced:
            yield (
                f"of {len(self.reduced)} norms a factor and a term are left; they come back as "
                "gamma and beta. Fine-tuning starts without the statistics of their training"
            )
        yield from (f"not proven: {reason}" for reason in self.unproven)


def import_proven(
    proto: ModelProto, name: str, progress: Progress = lambda step, total: None
) -> Imported:
    """What a model holds, once the oracle gives with these weights what the model gives.

    `name` is that of its file, in messages. Raises `ParityError` for a model not recognised,
    and `ExportError` where the checks does not hold.
    """
    progress(f"recognising {name}", 5)
    found = identify(proto, name)
    taken = _taken(found)
    check_float32(name, taken.architecture, taken.weights)
    _check_digest(name, proto, taken)
    # Only as it is written: that an optimiser may change what it computes is no fault of the file.
    options = {"runtimes": ["ort disabled"], "sizes": 2}
    verdicts = list(prove(name, proto, found, taken.weights, progress, **options))
    trouble = unproven(verdicts)
    if trouble:
        raise ExportError(
            f"{name} is not the function that its weights make, nothing was written: {trouble}"
        )
    reasons = {f"{v.check} check, {v.reason}": None for v in verdicts if v.status == "skipped"}
    return replace(taken, unproven=tuple(reasons))


def _taken(found: Identified) -> Imported:
    folded = tuple(norm.name for norm in found.match.folded.values())
    reduced = tuple(
        name
        for name, node in found.match.nodes.items()
        if node.op_type == "BatchNormalization" and is_plain_affine(node)
    )
    return Imported(found.architecture, weights_of(found.match), found.also, folded, reduced)


def _check_digest(name: str, proto: ModelProto, taken: Imported) -> None:
    """Where a file names the digest of its weights, and holds them all, they must be those."""
    said = metadata.properties(proto).get(metadata.WEIGHTS)
    if said is None or taken.folded or taken.reduced:
        return
    if said != metadata.weights_digest(taken.architecture, taken.weights):
        raise ParityError(f"{name}: its weights are not those whose SHA-256 it names")
