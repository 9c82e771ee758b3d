"""The error in the logits when weights of one ResNet-50 are loaded into another that they fit.

The oracle computes both networks in float64, with the same random weights and statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from resnet_spec import ARCHITECTURES, Architecture, Pool, get_architecture, parameters

from benchmarks.provenance import Measured, Results, versions
from resnet_parity.compare import relative_error
from resnet_parity.probes import random_probe
from resnet_parity.reference import oracle

SEED = 0


@dataclass(frozen=True)
class Mistake:
    """A network, the fields in which another one differs, and the difference in words."""

    right: str
    words: str
    changed: Mapping[str, Any]

    @property
    def architectures(self) -> tuple[Architecture, Architecture]:
        """The right network, and the one that it is taken for."""
        right = get_architecture(self.right)
        return right, replace(right, **self.changed)

    @property
    def taken_for(self) -> str:
        """The row of the registry that it is taken for; the right one's name if it is no row."""
        wrong = _unnamed(self.architectures[1])
        rows = (name for name, row in ARCHITECTURES.items() if _unnamed(row) == wrong)
        return next(rows, self.right)


def _unnamed(arch: Architecture) -> Architecture:
    return replace(arch, name="any", source="")


def _with_border(net: str, border: str) -> dict[str, Any]:
    stem = get_architecture(net).stem
    return {"stem": replace(stem, pool=replace(stem.pool or Pool(), border=border))}


_FIRST_BLOCK = {
    "stride_in_last_block": False,
    "stages": get_architecture("resnetv2_50").stages,
}

MISTAKES = {
    "v1.5 as v1": Mistake("resnet50", "stride in the 1x1, not in the 3x3", {"stride_in_1x1": True}),
    "v1 as v1.5": Mistake(
        "resnet50_v1", "stride in the 3x3, not in the first 1x1", {"stride_in_1x1": False}
    ),
    "Keras v1 as v1.5": Mistake(
        "keras_resnet50", "stride in the 3x3, not in the first 1x1", {"stride_in_1x1": False}
    ),
    "Keras v1, epsilon of torchvision": Mistake(
        "keras_resnet50", "epsilon 1e-5, not 1.001e-5", {"bn_eps": 1e-5}
    ),
    "v1.5, epsilon of a Keras layer": Mistake(
        "resnet50", "epsilon 1e-3, the default of a layer of Keras", {"bn_eps": 1e-3}
    ),
    "D as C": Mistake(
        "resnet50d", "projections stride, without their average pool", {"avg_down": False}
    ),
    "Keras v2, stride in the first blocks": Mistake(
        "keras_resnet50v2", "the first block of a stage strides, not the last", _FIRST_BLOCK
    ),
    "Keras v2, border of timm": Mistake(
        "keras_resnet50v2",
        "max-pool padded by minus infinity, not by zeros",
        _with_border("keras_resnet50v2", "lowest"),
    ),
    "timm v2, border of Keras": Mistake(
        "resnetv2_50",
        "max-pool padded by zeros, not by minus infinity",
        _with_border("resnetv2_50", "zero"),
    ),
    "v1.5, border of Keras": Mistake(
        "resnet50",
        "max-pool padded by zeros; it follows a ReLU",
        _with_border("resnet50", "zero"),
    ),
}


def measure(row: str) -> Measured:
    """Measure the relative error in the logits of a network that is taken for another."""
    mistake = MISTAKES[row]
    right, wrong = mistake.architectures
    probe = random_probe(right, SEED, "float64")
    pairs = list(zip(parameters(right), parameters(wrong), strict=True))
    assert all(ours.shape == theirs.shape for ours, theirs in pairs)
    weights = {theirs.name: probe.weights[ours.name] for ours, theirs in pairs}
    found = oracle.forward(wrong, weights, probe.images)["logits"].array
    error = relative_error(probe.expected["logits"], found)
    figures = {
        "seed": SEED,
        "image": "x".join(map(str, probe.images.shape[2:])),
        "right": mistake.right,
        "taken_for": mistake.taken_for,
        "words": mistake.words,
        "value": float(f"{error:.3g}"),
    }
    return Measured(figures, versions())


RESULTS = Results(
    "mistaken",
    1,
    {name: mistake.architectures[1] for name, mistake in MISTAKES.items()},
    measure,
)
