"""From a file back to weights: recognised, taken out, and proven to be the same function."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_spec import Architecture

from resnet_parity.exchange.export import ExportError
from resnet_parity.exchange.proof import Progress, prove
from resnet_parity.exchange.reading import read_model
from resnet_parity.exchange.recognise import Recognised, recognise
from resnet_parity.exchange.tensors import weights_of
from resnet_parity.weight_files import check_float32


@dataclass(frozen=True)
class Imported:
    """What a file holds: its architecture, its weights, and what a user should know of them.

    `also` are other rows of the table that the graph would fit, `folded` the norms that are gone.
    """

    architecture: Architecture
    weights: dict[str, np.ndarray]
    also: tuple[str, ...]
    folded: tuple[str, ...]

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


def import_proven(path: Path, progress: Progress = lambda step, total: None) -> Imported:
    """What the file holds, once the oracle gives with these weights what the file gives.

    Raises `ParityError` for a file that cannot be read or is not recognised, and `ExportError`
    where the ladder does not hold.
    """
    progress(f"reading {path}", 3)
    proto = read_model(path)
    found = recognise(proto, str(path))
    taken = _taken(found)
    check_float32(str(path), taken.architecture, taken.weights)
    # Only as it is written: that an optimiser may change what it computes is no fault of the file.
    verdicts = prove(path.name, proto, found, taken.weights, progress, runtimes=["ort disabled"])
    for verdict in verdicts:
        if verdict.status == "fail":
            raise ExportError(
                f"{path} is not the function that its weights make, nothing was written: "
                f"{verdict.rung} rung, {verdict.engine}, {verdict.probe}: {verdict.figure}"
            )
    return taken


def _taken(found: Recognised) -> Imported:
    folded = tuple(norm.name for norm in found.match.folded.values())
    return Imported(found.architecture, weights_of(found.match), found.also, folded)
