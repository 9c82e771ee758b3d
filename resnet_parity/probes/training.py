"""Training probes: norms use the statistics of the batch, and every gradient is compared.

A kink is a point where the slope of a function jumps: zero for a ReLU, two equal largest inputs for
a maximum. Where an input is only a rounding error away from a kink, two engines may take different
sides, and one cell more or less in a small map changes all gradients by a percent. A training probe
stays away from the kinks, and proves it. Its weights are those of a `random` probe with the changes
below, where u in [0, 1) is drawn from `training/NAME/SEED/TENSOR`:

* In a norm, gamma is `(u + 1) / 2` and beta `(2u - 1) / 4`. Beta is increased by 4 where the index
  of the channel plus the seed is even: the ReLU after it passes the whole channel. Elsewhere it is
  decreased by 4: the ReLU passes nothing.
* In the last norm of a branch that ends in a sum and a ReLU, gamma is also multiplied by the factor
  of a random probe, and the increase of beta is 1/2 instead of 4, unless the shortcut is padded
  with zeros.
* From every kernel except the first and those of gates, the mean over the even input channels of a
  group is subtracted, position by position, and so is the mean over the odd ones, where there is
  more than one. These are the channels that a ReLU passes and those that it does not. Otherwise the
  mean that a norm subtracts would be many times the deviation that it divides by.
* In a plain network, a kernel with as many output as input channels gets 4 added at its centre,
  from each channel to itself, because without a shortcut all maps become the same and no gradient
  is left.
* `image` and `cotangent/OUTPUT` are `2u - 1`.

Where a seed comes too near to a kink, SEED in these names is `SEED+1/8`, then `SEED+2/8`, ...
"""

from __future__ import annotations

import math

import numpy as np

from resnet_spec import (
    Architecture,
    ChannelPad,
    Conv,
    MaxPool,
    Norm,
    Relu,
    get_architecture,
    make_graph,
    make_plan,
    outputs,
    taps,
)

from resnet_parity.errors import ProbeError
from resnet_parity.probes.probe import Probe, default_size, gradients_of, trace
from resnet_parity.probes.random import damped_norms, random_images, random_weights
from resnet_parity.probes.splitmix import Stream
from resnet_parity.reference import oracle
from resnet_parity.reference.values import Value

_BATCH = 4  # with two, a norm of flat maps returns +1 and -1 for any input: no gradient is left
_ATTEMPTS = 8
_BETA_OF_PASSED, _BETA_OF_PASSED_SUM, _BETA_OF_BLOCKED = 4.0, 0.5, -4.0
_IDENTITY = 4.0

LEAST_KINK_DISTANCE = {Relu: 1e-5, MaxPool: 1e-6}
"""The least distance of a ReLU's input from zero, and of a maximum from the next largest value,
relative to the root mean square of the map. It is several times the float32 rounding error there,
which comes from one convolution before the pool and from all of them before the ReLUs."""


def training_probe(
    arch: str | Architecture, seed: int, dtype: str, size: tuple[int, int] | None = None
) -> Probe:
    """Weights, images and cotangents whose gradients differ between engines by rounding alone.

    Raises `ProbeError` when no attempt stays away from the kinks.
    """
    arch = get_architecture(arch)
    size = size or default_size(arch, "random")
    for attempt in range(_ATTEMPTS):
        streams = f"training/{arch.name}/{seed}" + (f"+{attempt}/{_ATTEMPTS}" if attempt else "")
        images = random_images(arch, f"{streams}/image", size, _BATCH).astype(dtype)
        weights = _weights(arch, seed, streams, dtype)
        cotangents = _cotangents(arch, streams, size, dtype)
        traced = dict(trace(arch, weights, images, cotangents, training=True))
        if not is_far_from_kinks(arch, traced):
            continue
        gradients = gradients_of(arch, traced)
        cells = _BATCH * math.prod(taps(arch, *size)[0].shape[1:])  # that the first norm averages
        return Probe(
            arch,
            "training",
            seed,
            dtype,
            weights,
            images,
            expected={name: traced[tap].array for name, tap in outputs(arch).items()},
            scales={name: value.scale for name, value in gradients.items()},
            # Without shortcuts, each norm amplifies the error that the order of summation left in
            # the norm before it.
            averaged_cells={} if arch.residual else dict.fromkeys(gradients, cells),
            cotangents=cotangents,
            gradients={name: value.array for name, value in gradients.items()},
            training=True,
        )
    raise ProbeError(
        f"no training probe of {arch.name!r} stays away from the kinks of its ReLUs; "
        "take another seed or a smaller size"
    )


def training_weights(arch: Architecture, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """The weights of a training probe's first attempt, to be used with other images."""
    return _weights(arch, seed, f"training/{arch.name}/{seed}", dtype)


def _weights(arch: Architecture, seed: int, streams: str, dtype: str) -> dict[str, np.ndarray]:
    weights = random_weights(arch, seed, dtype)
    first, *_ = make_plan(arch).stem.convs
    for conv in (layer for layer in make_plan(arch).layers if isinstance(layer, Conv)):
        if ".se." in conv.name:
            continue
        kernel = weights[f"{conv.name}.weight"]
        if conv is not first:
            _subtract_means(kernel)
        if not arch.residual and conv.in_channels == conv.out_channels:
            each = np.arange(conv.out_channels)
            kernel[each, each % kernel.shape[1], conv.kernel // 2, conv.kernel // 2] += _IDENTITY
    last_norms, damping = damped_norms(arch)
    padded = {
        block.norms[-1].name
        for block in make_plan(arch).blocks
        if any(isinstance(layer, ChannelPad) for layer in block.shortcut)
    }
    for norm in (layer for layer in make_plan(arch).layers if isinstance(layer, Norm)):
        gamma, beta = (
            Stream(f"{streams}/{norm.name}.{leaf}").uniform(norm.channels)
            for leaf in ("weight", "bias")
        )
        is_passed = (np.arange(norm.channels) + seed) % 2 == 0
        is_summed = norm.name in last_norms and not arch.preactivation
        is_small = is_summed and norm.name not in padded
        increase = _BETA_OF_PASSED_SUM if is_small else _BETA_OF_PASSED
        gamma = (gamma + 1) / 2 * (damping if is_summed else 1)
        beta = (2 * beta - 1) / 4 + np.where(is_passed, increase, _BETA_OF_BLOCKED)
        weights[f"{norm.name}.weight"] = gamma.astype(dtype)
        weights[f"{norm.name}.bias"] = beta.astype(dtype)
    return weights


def _subtract_means(kernel: np.ndarray) -> None:
    """Subtract, in place, the mean over the even input channels, and that over the odd ones."""
    for channels in (kernel[:, ::2], kernel[:, 1::2]):
        if channels.shape[1] > 1:
            channels -= channels.mean(axis=1, keepdims=True)


def _cotangents(
    arch: Architecture, streams: str, size: tuple[int, int], dtype: str
) -> dict[str, np.ndarray]:
    shapes = {tap.name: (_BATCH, *tap.shape) for tap in taps(arch, *size)}
    cotangents = {}
    for output, tap in outputs(arch).items():
        uniform = Stream(f"{streams}/cotangent/{output}").uniform(math.prod(shapes[tap]))
        cotangents[output] = (2 * uniform - 1).reshape(shapes[tap]).astype(dtype)
    return cotangents


def is_far_from_kinks(arch: Architecture, traced: dict[str, Value]) -> bool:
    """Whether float32 rounding takes no input over a kink; `traced` is from a pass in training."""
    nearest = kink_distances(arch, traced)
    return all(nearest[kind] >= least for kind, least in LEAST_KINK_DISTANCE.items())


def kink_distances(arch: Architecture, traced: dict[str, Value]) -> dict[type, float]:
    """The least distance of a ReLU's input from zero, and of a maximum from the next largest value.

    Both are relative to the root mean square of the map. Inputs that are exactly zero and maxima
    that are exactly equal do not count, because they are so in every engine.
    """
    nearest = {Relu: math.inf, MaxPool: math.inf}
    for node in make_graph(arch):
        if node.inputs[0] not in traced or not isinstance(node.operation, Relu | MaxPool):
            continue
        x = traced[node.inputs[0]].array
        distances = np.abs(x) if isinstance(node.operation, Relu) else _gaps(node.operation, x)
        distances = distances[distances > 0]
        if distances.size:
            least = float(distances.min() / np.sqrt((x**2).mean()))
            nearest[type(node.operation)] = min(nearest[type(node.operation)], least)
    return nearest


def _gaps(pool: MaxPool, x: np.ndarray) -> np.ndarray:
    """The difference between the largest and the next largest value of each window."""
    if pool.kernel == 1:
        return np.empty(0)
    windows = oracle.max_pool_windows(pool, x)
    best = np.sort(windows.reshape(*windows.shape[:4], -1), axis=-1)[..., -2:]
    return best[..., 1] - best[..., 0]
