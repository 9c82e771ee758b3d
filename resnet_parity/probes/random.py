"""Random probes: weights and images of ordinary size, drawn in float64 and cast down.

Stream `random/NAME/SEED/TENSOR` gives numbers u in [0, 1), one per element in canonical order:

* convolution and dense kernels: `(2u - 1) * sqrt(6 / fan_in)`, which has He's variance; kernels of
  gates a quarter of that, because fifty gates in a row would amplify any rounding beyond measure;
  biases `(2u - 1) / 4`;
* norms: gamma `u + 1/2`, in the last norm of a residual block multiplied by the lesser of 1/2 and
  `4 / sqrt(blocks)`, so that deep networks stay in range; beta and running mean `(2u - 1) / 4`;
  running variance `u + 1/2`;
* `image`: `2u - 1`.
"""

from __future__ import annotations

import math

import numpy as np

from resnet_spec import Architecture, get_architecture, make_plan, parameters

from resnet_parity.probes.probe import BATCH, Probe, default_size
from resnet_parity.probes.splitmix import Stream
from resnet_parity.reference import oracle


def random_probe(
    arch: str | Architecture,
    seed: int,
    dtype: str,
    size: tuple[int, int] | None = None,
    *,
    weights: dict[str, np.ndarray] | None = None,
    batch: int = BATCH,
) -> Probe:
    """A probe of random images and, unless they are given, random weights."""
    arch = get_architecture(arch)
    weights = random_weights(arch, seed, dtype) if weights is None else weights
    images = random_images(arch, f"random/{arch.name}/{seed}/image", size, batch).astype(dtype)
    return make_probe(arch, seed, weights, images, kind="random")


def random_images(
    arch: Architecture, stream: str, size: tuple[int, int] | None = None, batch: int = BATCH
) -> np.ndarray:
    """Images (N, C, H, W) between -1 and 1."""
    shape = (batch, arch.in_channels, *(size or default_size(arch, "random")))
    return (2 * Stream(stream).uniform(math.prod(shape)) - 1).reshape(shape)


def make_probe(
    arch: Architecture, seed: int, weights: dict[str, np.ndarray], images: np.ndarray, kind: str
) -> Probe:
    """A probe of given weights and images; the oracle computes what it expects, in float64."""
    trace = oracle.forward(arch, weights, images.astype("float64"))
    expected = {name: value.array for name, value in trace.items()}
    scales = {name: value.scale for name, value in trace.items()}
    averaged_cells = {name: value.averaged_cells for name, value in trace.items()}
    return Probe(
        arch, kind, seed, str(images.dtype), weights, images, expected, scales, averaged_cells
    )


def random_weights(arch: str | Architecture, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """The weights of a random probe, by canonical name."""
    arch = get_architecture(arch)
    last_norms, damping = damped_norms(arch)
    weights = {}
    for parameter in parameters(arch):
        uniform = Stream(f"random/{arch.name}/{seed}/{parameter.name}").uniform(parameter.size)
        layer, _, leaf = parameter.name.rpartition(".")
        if parameter.axes != "c" and leaf == "weight":
            fan_in = math.prod(parameter.shape[1:])
            value = (2 * uniform - 1) * math.sqrt(6 / fan_in) / (4 if ".se." in layer else 1)
        elif leaf == "running_var" or leaf == "weight":
            value = (uniform + 0.5) * (damping if leaf == "weight" and layer in last_norms else 1.0)
        else:
            value = (2 * uniform - 1) / 4
        weights[parameter.name] = value.reshape(parameter.shape).astype(dtype)
    return weights


def damped_norms(arch: Architecture) -> tuple[set[str], float]:
    """The names of the norms that end a residual branch, and the factor of their gammas."""
    blocks = list(make_plan(arch).blocks)
    names = {block.norms[-1].name for block in blocks if arch.residual}
    return names, min(0.5, 4 / math.sqrt(max(1, len(blocks))))
