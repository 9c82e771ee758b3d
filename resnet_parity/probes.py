"""Probes: inputs and weights that can *see* a difference.

Two kinds, both drawn from SplitMix64 (see `splitmix`) under names that hold the architecture, the
seed and the tensor, so that anyone can draw them again without a file.

**random** probes hold float64 draws, cast down. Stream `random/NAME/SEED/TENSOR` gives numbers u in
[0, 1), one per element in canonical order:

* convolution and dense kernels: `(2u - 1) * sqrt(6 / fan_in)`, which has He's variance; biases
  `(2u - 1) / 4`;
* norms: gamma `u + 1/2`, halved in the last norm of a block so that deep nets stay in range; beta
  and running mean `(2u - 1) / 4`; running variance `u + 1/2`;
* `image`: `2u - 1`.

**exact** probes hold small integers, so that no arithmetic in the net ever rounds and every engine
must give the same bits. Stream `exact/NAME/SEED/LAYER` is read in this order:

* kernels are zero but for `n` places per output channel, alternately +1 and -1 (or -1 and +1, by
  one draw per output channel): a difference of two non-negative maps is no larger than the maps,
  which keeps 152 layers below 2^24. Then n row draws and n column draws per output channel. Place j
  of output channel o (counted within its group) reads input channel
  `P[((S * out_per_group + o) * n + j) mod in_per_group]`, where `P` is the permutation from stream
  `exact/NAME/LAYER` and `S` is the seed modulo 8: seeds 0 ... 7 read every channel. Where two
  places coincide, the later one stands;
* norms: gamma `+d` or `-d` per draw, beta in -3 ... 3, running mean in -3 ... 3, and the running
  variance `d^2 - eps`, where `d^2` is the least power of four that is at least `2 eps`: the norm
  divides by exactly d, and so small a variance makes the least error of eps visible. In very deep
  nets the last gamma of a block is zero but for `active` eighths of its channels, those whose rank
  in `exact/NAME/LAYER`, plus S, is below `active` modulo 8;
* the dense kernel as a 1x1 convolution, then its bias in -8 ... 8;
* `image`: integers in -8 ... 8.

`n` and `active` follow from the depth, see `density`; where the oracle finds a sum that does not
fit, the next sparser pair of `DENSITIES` is taken, until one does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from resnet_spec import (
    Architecture,
    Conv,
    Linear,
    Norm,
    make_plan,
    parameters,
    taps,
)

from resnet_parity import oracle
from resnet_parity.errors import ProbeError
from resnet_parity.splitmix import Stream

BATCH = 2
SEEDS_TO_COVER = 8
"""So many exact probes, seeds 0 ... 7, read every channel of every layer."""

_MANTISSA_BITS = {"float32": 24, "float64": 53}


@dataclass(frozen=True)
class Probe:
    """Weights and images for one run, and what the oracle says must come out at every tap.

    Arrays are canonical: images (N, C, H, W), kernels (out, in, H, W), taps as in `oracle`.
    `expected` is in float64, or in `dtype` for an exact probe.
    """

    architecture: Architecture
    kind: str
    seed: int
    dtype: str
    weights: dict[str, np.ndarray]
    images: np.ndarray
    expected: dict[str, np.ndarray]


@dataclass(frozen=True)
class Density:
    """How full an exact probe is: nonzero weights per output channel, eighths of last gammas."""

    nonzeros: int
    active: int


# Bits that one residual block adds to the largest sum, by nonzeros per output channel: the steepest
# growth over nets of 8 to 80 blocks and seeds 0 ... 3, rounded up. Before the first block stand
# about 7 bits, and the global sum adds log2 of its area.
_BITS_PER_BLOCK = {8: 2.4, 6: 1.8, 4: 1.1, 3: 0.85, 2: 0.27}
_BITS_BEFORE = 7
# Deeper nets keep two nonzeros and thin out their last gammas; eight eighths would add this much.
_BITS_WHEN_SPARSE = 0.35


DENSITIES = (
    *(Density(nonzeros, SEEDS_TO_COVER) for nonzeros in _BITS_PER_BLOCK),
    *(Density(2, active) for active in range(SEEDS_TO_COVER - 1, 0, -1)),
)


def density(arch: Architecture, area: int, dtype: str) -> Density:
    """The fullest exact probe that should fit the integers of `dtype`; `exact_probe` proves it.

    `area` is the cell count of the last feature map.
    """
    blocks = sum(stage.blocks for stage in arch.stages)
    bits = _MANTISSA_BITS[dtype] - _BITS_BEFORE - math.log2(area)
    for nonzeros, growth in _BITS_PER_BLOCK.items():
        if growth * blocks <= bits:
            return Density(nonzeros, active=SEEDS_TO_COVER)
    active = int(SEEDS_TO_COVER * bits / (_BITS_WHEN_SPARSE * blocks))
    return Density(2, min(max(active, 1), SEEDS_TO_COVER))


def default_size(arch: Architecture, kind: str) -> tuple[int, int]:
    """Height and width of a probe: unequal, even before every stride, small, at least 32 high.

    An exact probe ends in a map of a power-of-two area, so that its mean is exact.
    """
    cells = 2
    while True:
        height = cells * arch.reduction
        size = (height, 2 * height) if kind == "exact" else (height, height * 3 // 2)
        if height >= 32 and not blind_spots(arch, size):
            return size
        cells *= 2


def blind_spots(arch: Architecture, size: tuple[int, int]) -> list[str]:
    """What a probe of that size could not see, in words; empty for a good size.

    On an odd extent padding of one on both sides and "same" padding give the same values.
    """
    spots = []
    if size[0] == size[1]:
        spots.append("height equals width, so swapping them may go unseen")
    plan, before = make_plan(arch), size
    steps = [(plan.conv1.name, plan.conv1.stride)]
    if plan.maxpool:
        steps.append((plan.maxpool.name, plan.maxpool.stride))
    steps += [(block.name, block.stride) for block in plan.blocks]
    shapes = {tap.name: tap.shape for tap in taps(arch, *size)}
    odd = []
    for name, stride in steps:
        if stride > 1 and any(extent % 2 for extent in before):
            odd.append(name)
        before = shapes[name][1:]
    if odd:
        spots.append(f"odd extents before {', '.join(odd)}, so wrong padding may go unseen")
    return spots


def random_probe(
    arch: Architecture, seed: int, dtype: str, size: tuple[int, int] | None = None
) -> Probe:
    """Weights and images with random values of ordinary size, see the module's docstring."""
    weights = random_weights(arch, seed, dtype)
    height, width = size or default_size(arch, "random")
    stream = Stream(f"random/{arch.name}/{seed}/image")
    shape = (BATCH, arch.in_channels, height, width)
    images = (2 * stream.uniform(math.prod(shape)) - 1).reshape(shape).astype(dtype)
    return with_images(arch, seed, weights, images, kind="random")


def with_images(
    arch: Architecture, seed: int, weights: dict[str, np.ndarray], images: np.ndarray, kind: str
) -> Probe:
    """A probe of given weights and images, with the float64 oracle's answer."""
    trace = oracle.forward(arch, weights, images.astype("float64"))
    expected = {name: value.array for name, value in trace.items()}
    return Probe(arch, kind, seed, str(images.dtype), weights, images, expected)


def random_weights(arch: Architecture, seed: int, dtype: str) -> dict[str, np.ndarray]:
    """The weights of a random probe, by canonical name."""
    last_norms = {block.norms[-1].name for block in make_plan(arch).blocks}
    weights = {}
    for parameter in parameters(arch):
        uniform = Stream(f"random/{arch.name}/{seed}/{parameter.name}").uniform(parameter.size)
        layer, _, leaf = parameter.name.rpartition(".")
        if parameter.axes != "c" and leaf == "weight":
            fan_in = math.prod(parameter.shape[1:])
            value = (2 * uniform - 1) * math.sqrt(6 / fan_in)
        elif leaf == "running_var" or leaf == "weight":
            value = (uniform + 0.5) * (0.5 if leaf == "weight" and layer in last_norms else 1.0)
        else:
            value = (2 * uniform - 1) / 4
        weights[parameter.name] = value.reshape(parameter.shape).astype(dtype)
    return weights


def exact_probe(
    arch: Architecture, seed: int, dtype: str, size: tuple[int, int] | None = None
) -> Probe:
    """Integer weights and images on which every engine must give the same bits.

    Raises `ProbeError` when the map behind the last stage has no power-of-two area, or when the
    oracle finds a sum that `dtype` cannot hold exactly.
    """
    height, width = size or default_size(arch, "exact")
    area = check_exact_size(arch, (height, width))
    shape = (BATCH, arch.in_channels, height, width)
    stream = Stream(f"exact/{arch.name}/{seed}/image")
    images = (stream.below(17, math.prod(shape)) - 8).reshape(shape)
    first = DENSITIES.index(density(arch, area, dtype))
    overflow = None
    for sparser in DENSITIES[first:]:
        weights = exact_weights(arch, seed, dtype, sparser)
        trace = oracle.forward(arch, weights, images)
        overflow = _overflow(trace, dtype)
        if overflow is None:
            expected = {name: value.astype(dtype) for name, value in trace.items()}
            return Probe(arch, "exact", seed, dtype, weights, images.astype(dtype), expected)
    raise ProbeError(f"no exact probe of {arch.name!r} fits {dtype}: {overflow}")


def check_exact_size(arch: Architecture, size: tuple[int, int]) -> int:
    """The area of the last map, which must be a power of two for its mean to be exact.

    Raises `ProbeError` when it is none.
    """
    last = make_plan(arch).stages[-1].blocks[-1].name
    rows, columns = next(tap.shape[1:] for tap in taps(arch, *size) if tap.name == last)
    area = rows * columns
    if area & (area - 1):
        good = "x".join(str(side) for side in default_size(arch, "exact"))
        raise ProbeError(
            f"at {size[0]}x{size[1]} the last feature map of {arch.name!r} is {rows}x{columns}; "
            "its mean is exact only over a power-of-two area: "
            f"take {good}, or a power of two times it"
        )
    return area


def exact_weights(
    arch: Architecture, seed: int, dtype: str, density: Density
) -> dict[str, np.ndarray]:
    """The weights of an exact probe, by canonical name."""
    last_norms = {block.norms[-1].name for block in make_plan(arch).blocks}
    weights = {}
    for layer in make_plan(arch).layers:
        stream = Stream(f"exact/{arch.name}/{seed}/{layer.name}")
        fixed = Stream(f"exact/{arch.name}/{layer.name}")
        if isinstance(layer, Norm):
            active = density.active if layer.name in last_norms else SEEDS_TO_COVER
            tensors = _exact_norm(layer, stream, fixed, seed, active, dtype)
        elif isinstance(layer, Conv):
            tensors = {"weight": _exact_kernel(layer, stream, fixed, seed, density.nonzeros)}
            if layer.bias:
                tensors["bias"] = stream.below(7, layer.out_channels) - 3
        else:
            tensors = _exact_linear(layer, stream, fixed, seed, density.nonzeros)
        for leaf, tensor in tensors.items():
            weights[f"{layer.name}.{leaf}"] = tensor.astype(dtype)
    return weights


def _exact_kernel(
    conv: Conv, stream: Stream, fixed: Stream, seed: int, nonzeros: int
) -> np.ndarray:
    into, out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    # A thin layer behind a wide one takes more places, or eight seeds could not read every channel.
    count = max(nonzeros, math.ceil(into / (SEEDS_TO_COVER * out)))
    channel, j = np.arange(conv.out_channels)[:, None], np.arange(count)
    place = ((seed % SEEDS_TO_COVER * out + channel % out) * count + j) % into
    sign = 1 - 2 * stream.below(2, conv.out_channels)[:, None]
    row = stream.below(conv.kernel, conv.out_channels * count).reshape(-1, count)
    column = stream.below(conv.kernel, conv.out_channels * count).reshape(-1, count)
    kernel = np.zeros((conv.out_channels, into, conv.kernel, conv.kernel), dtype=np.int64)
    kernel[channel, fixed.permutation(into)[place], row, column] = sign * (-1) ** j
    return kernel


def _exact_linear(
    fc: Linear, stream: Stream, fixed: Stream, seed: int, nonzeros: int
) -> dict[str, np.ndarray]:
    as_conv = Conv(fc.name, fc.in_features, fc.out_features, kernel=1)
    kernel = _exact_kernel(as_conv, stream, fixed, seed, nonzeros)
    return {"weight": kernel[:, :, 0, 0], "bias": stream.below(17, fc.out_features) - 8}


def _exact_norm(
    norm: Norm, stream: Stream, fixed: Stream, seed: int, active: int, dtype: str
) -> dict[str, np.ndarray]:
    deviation, variance = _unit_norm(norm.eps, dtype)
    rank = np.argsort(fixed.permutation(norm.channels))
    sign = 1 - 2 * stream.below(2, norm.channels)
    return {
        "weight": deviation * sign * ((rank + seed) % SEEDS_TO_COVER < active),
        "bias": stream.below(7, norm.channels) - 3,
        "running_mean": stream.below(7, norm.channels) - 3,
        "running_var": np.full(norm.channels, variance),
    }


def _unit_norm(eps: float, dtype: str) -> tuple[float, np.floating]:
    """A deviation d, a power of two, and the variance that plus eps rounds to exactly d^2."""
    squared = 4.0 ** math.ceil(math.log(2 * eps, 4))
    one, added = np.dtype(dtype).type(squared), np.dtype(dtype).type(eps)
    variance = one - added
    if variance + added != one:
        raise ProbeError(f"no {dtype} variance gives a power of four together with bn_eps {eps}")
    return math.sqrt(squared), variance


def _overflow(trace: Mapping[str, oracle.Value], dtype: str) -> str | None:
    """The first tap at which some partial sum is no integer that the dtype holds exactly."""
    bits = _MANTISSA_BITS[dtype]
    for name, value in trace.items():
        if value.bound > 2**bits:
            return (
                f"sums at {name} may reach 2^{math.log2(value.bound):.1f}, above 2^{bits}; "
                "take a smaller size or fewer blocks"
            )
    return None
