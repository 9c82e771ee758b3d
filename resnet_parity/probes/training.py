"""Training probes: norms go by the batch, and every gradient is compared.

A ReLU or a maximum whose inputs are a rounding away from a kink may go either way, and one cell
more or less in a small map changes all gradients by a percent. So these probes stay away from the
kinks, and prove it. Weights are those of a `random` probe, but for norms, which draw from
`training/NAME/SEED/TENSOR`:

* gamma is `(u + 1) / 2`; beta `(2u - 1) / 4`, plus 4 where the channel plus the seed is even, which
  opens the ReLU behind it, else minus 4, which shuts it;
* in the last norm of a branch that ends in a sum and a ReLU, gamma is times what a random probe
  damps it by, and where the shortcut adds more than zeros beta moves by 1/2 instead of 4 upwards;
* from kernels, but for the first and those of gates, the mean over every other channel of a group
  is taken, place by place, and so over the rest, where those are more than one: channels that are
  open, and channels that are shut. Else the means that norms subtract would be many times the
  deviations that they divide by;
* in a plain net a kernel from as many channels to as many has 4 more at its middle, from each
  channel to itself, for without a shortcut all maps become one and no gradient is left;
* `image` and `cotangent/OUTPUT`: `2u - 1`.

Where a seed comes too near to a kink, SEED in these names is `SEED+1/8`, then `SEED+2/8`, ...
"""

from __future__ import annotations

import math

import numpy as np

from resnet_spec import (
    Architecture,
    Block,
    ChannelPad,
    Conv,
    MaxPool,
    Norm,
    Relu,
    make_graph,
    make_plan,
    outputs,
    taps,
)

from resnet_parity.errors import ProbeError
from resnet_parity.probes.probe import Probe, default_size, gradients_of, trace
from resnet_parity.probes.random import damping, random_images, random_weights
from resnet_parity.probes.splitmix import Stream
from resnet_parity.reference import oracle
from resnet_parity.reference.values import Value

_BATCH = 4  # of two images a norm makes plus and minus one where maps are flat: no gradient is left
_ATTEMPTS = 8
_OPEN, _OPEN_SUM, _SHUT = 4.0, 0.5, -4.0
_KEPT = 4.0

NEAREST_KINK = {Relu: 1e-5, MaxPool: 1e-6}
"""So far, relative to its map, every input of a ReLU stays from zero and every maximum from what
comes next: several times the float32 rounding that arrives there, behind one convolution at the
pool and behind all of them at the ReLUs."""


def training_probe(
    arch: Architecture, seed: int, dtype: str, size: tuple[int, int] | None = None
) -> Probe:
    """Weights, images and cotangents whose gradients in training nothing but rounding can move.

    Raises `ProbeError` when no attempt stays away from the kinks.
    """
    size = size or default_size(arch, "random")
    for attempt in range(_ATTEMPTS):
        streams = f"training/{arch.name}/{seed}" + (f"+{attempt}/{_ATTEMPTS}" if attempt else "")
        images = random_images(arch, f"{streams}/image", size, _BATCH).astype(dtype)
        weights = _weights(arch, seed, streams, dtype)
        cotangents = _cotangents(arch, streams, size, dtype)
        traced = dict(trace(arch, weights, images, cotangents, training=True))
        if is_far_from_kinks(arch, traced):
            return _probe(arch, seed, weights, images, cotangents, traced)
    raise ProbeError(
        f"no training probe of {arch.name!r} stays away from the kinks of its ReLUs; "
        "take another seed or a smaller size"
    )


def training_weights(arch: Architecture, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """The weights of a training probe's first attempt, for images of one's own."""
    return _weights(arch, seed, f"training/{arch.name}/{seed}", dtype)


def _probe(
    arch: Architecture,
    seed: int,
    weights: dict[str, np.ndarray],
    images: np.ndarray,
    cotangents: dict[str, np.ndarray],
    traced: dict[str, Value],
) -> Probe:
    gradients = gradients_of(arch, traced)
    returned = {name: traced[tap].array for name, tap in outputs(arch).items()}
    return Probe(
        arch,
        "training",
        seed,
        str(images.dtype),
        weights,
        images,
        expected=returned,
        scales={name: value.scale for name, value in gradients.items()},
        # Without shortcuts each norm amplifies what the order of summation left in the one before.
        cells={} if arch.residual else dict.fromkeys(gradients, _cells(arch, images)),
        cotangents=cotangents,
        gradients={name: value.array for name, value in gradients.items()},
        training=True,
    )


def _cells(arch: Architecture, images: np.ndarray) -> int:
    """How many the first norm takes its means over."""
    first = taps(arch, images.shape[2], images.shape[3])[0]
    return len(images) * math.prod(first.shape[1:])


def _weights(arch: Architecture, seed: int, streams: str, dtype: str) -> dict[str, np.ndarray]:
    weights = random_weights(arch, seed, dtype)
    first, *_ = make_plan(arch).stem.convs
    for conv in (layer for layer in make_plan(arch).layers if isinstance(layer, Conv)):
        if ".se." in conv.name:
            continue
        kernel = weights[f"{conv.name}.weight"]
        if conv is not first:
            _balance(kernel)
        if not arch.residual and conv.in_channels == conv.out_channels:
            each = np.arange(conv.out_channels)
            kernel[each, each % kernel.shape[1], conv.kernel // 2, conv.kernel // 2] += _KEPT
    last_norms, damped = damping(arch)
    padded = {block.norms[-1].name for block in make_plan(arch).blocks if _is_padded(block)}
    for norm in (layer for layer in make_plan(arch).layers if isinstance(layer, Norm)):
        gamma, beta = (
            Stream(f"{streams}/{norm.name}.{leaf}").uniform(norm.channels)
            for leaf in ("weight", "bias")
        )
        is_open = (np.arange(norm.channels) + seed) % 2 == 0
        is_summed = norm.name in last_norms and not arch.preactivation
        upwards = _OPEN_SUM if is_summed and norm.name not in padded else _OPEN
        gamma = (gamma + 1) / 2 * (damped if is_summed else 1)
        beta = (2 * beta - 1) / 4 + np.where(is_open, upwards, _SHUT)
        weights[f"{norm.name}.weight"] = gamma.astype(dtype)
        weights[f"{norm.name}.bias"] = beta.astype(dtype)
    return weights


def _balance(kernel: np.ndarray) -> None:
    """Take the mean over the channels of either parity, which are those open and those shut."""
    for channels in (kernel[:, ::2], kernel[:, 1::2]):
        if channels.shape[1] > 1:
            channels -= channels.mean(axis=1, keepdims=True)


def _is_padded(block: Block) -> bool:
    """Whether some channels of the shortcut are zero."""
    return any(isinstance(layer, ChannelPad) for layer in block.shortcut or ())


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
    """Whether no rounding of float32 changes sides, from what every operation gave in training."""
    nearest = nearest_kinks(arch, traced)
    return all(nearest[kind] >= least for kind, least in NEAREST_KINK.items())


def nearest_kinks(arch: Architecture, traced: dict[str, Value]) -> dict[type, float]:
    """The least distance of a ReLU's input from zero, and of a maximum from what comes next.

    Both are relative to the root mean square of the map. Inputs that are exactly zero, and maxima
    that are exactly met, are so in every engine.
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
    """How far the largest of each window is above the next."""
    if pool.kernel == 1:
        return np.empty(0)
    border = 0.0 if pool.border == "zero" else -np.inf
    padded = oracle.surround(x, pool.padding, border)
    windows = oracle.windows_of(padded, pool.kernel, pool.stride, dilation=1)
    best = np.sort(windows.reshape(*windows.shape[:4], -1), axis=-1)[..., -2:]
    return best[..., 1] - best[..., 0]
