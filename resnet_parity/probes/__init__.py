"""Probes: weights and images on which a difference between two implementations is visible.

There are three kinds. On an `exact` probe no arithmetic rounds, a `random` probe holds numbers of
ordinary size, and a `training` probe keeps every input away from the kinks of ReLUs and maxima. All
are drawn from SplitMix64 streams (see `splitmix`) whose names hold the architecture, the seed and
the tensor, so that anyone can draw them again without a file.
"""

from resnet_parity.probes.exact import check_exact_size, exact_probe
from resnet_parity.probes.probe import BATCH, Probe, blind_spots, default_size
from resnet_parity.probes.random import make_probe, random_probe, random_weights
from resnet_parity.probes.training import training_probe

__all__ = [
    "BATCH",
    "Probe",
    "blind_spots",
    "check_exact_size",
    "default_size",
    "exact_probe",
    "make_probe",
    "random_probe",
    "random_weights",
    "training_probe",
]
