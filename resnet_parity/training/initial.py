"""Initial weights from a seed, the same for both frameworks: their law is that of the layers."""

from __future__ import annotations

import math

import numpy as np

from resnet_spec import Architecture, Conv, Linear, Norm, layer_parameters, make_plan

from resnet_parity.probes.splitmix import Stream


def initial_weights(arch: Architecture, seed: int) -> dict[str, np.ndarray]:
    """The tensors of an untrained network, float32, by canonical name.

    Stream `initial/NAME/SEED/TENSOR` gives normal kernels by the method of Box and Muller, over
    the fan-out (He et al. 2015, arXiv:1502.01852, equation 14), and a uniform classifier.
    """
    weights = {}
    for layer in make_plan(arch).layers:
        for p in layer_parameters(layer):
            stream = Stream(f"initial/{arch.name}/{seed}/{p.name}")
            value = np.zeros(p.shape)
            if isinstance(layer, Linear):
                value = (2 * stream.uniform(p.size) - 1) * layer.init_bound
            elif isinstance(layer, Conv) and p.name.endswith(".weight") and not layer.zero_init:
                deviation = math.sqrt(2 / (layer.out_channels * layer.kernel**2))
                radius, angle = stream.uniform(2 * p.size).reshape(2, -1)
                value = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * math.pi * angle) * deviation
            elif isinstance(layer, Norm) and p.name.endswith(".weight"):
                value = value + layer.gamma_init
            elif p.name.endswith(".running_var"):
                value = value + 1
            weights[p.name] = value.reshape(p.shape).astype("float32")
    return weights
