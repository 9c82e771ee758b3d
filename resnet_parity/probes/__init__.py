"""Probes: inputs and weights that can *see* a difference.

Three kinds, all drawn from SplitMix64 (see `splitmix`) under names that hold the architecture, the
seed and the tensor, so that anyone can draw them again without a file: `exact` ones, on which no
arithmetic rounds, `random` ones, and `training` ones, which stay away from the kinks of a net.
"""

from resnet_parity.probes.exact import (
    DENSITIES,
    SEEDS_TO_COVER,
    Density,
    check_exact_size,
    density,
    exact_probe,
    exact_weights,
)
from resnet_parity.probes.probe import BATCH, Probe, blind_spots, default_size
from resnet_parity.probes.random import random_probe, random_weights, with_images
from resnet_parity.probes.training import is_far_from_kinks, training_probe

__all__ = [
    "BATCH",
    "DENSITIES",
    "SEEDS_TO_COVER",
    "Density",
    "Probe",
    "blind_spots",
    "check_exact_size",
    "default_size",
    "density",
    "exact_probe",
    "exact_weights",
    "is_far_from_kinks",
    "random_probe",
    "random_weights",
    "training_probe",
    "with_images",
]
