"""Exact probes: weights and images of small integers, on which no arithmetic in the network rounds.

Every engine must return the same bits, forward and, with frozen norms, backward. The recipe below
draws a probe again in any language. `exact/NAME/SEED/LAYER` is the stream of a layer and is read in
the order given here; `exact/NAME/LAYER` is its seedless stream (see `splitmix`). A sign is one draw
below 2, where 0 means +.

* A kernel is zero except for `n` places per output channel, alternately +1 and -1; one sign per
  output channel says which comes first. The difference of two non-negative maps is no larger than
  the maps, which keeps 152 layers below 2^24. After the signs come the rows of the places, n for
  each output channel, then their columns, n for each. Here n is at least
  `ceil(in_per_group / (8 out_per_group))`, because eight seeds of a thin layer could not read every
  channel of a wide one otherwise. Place j of output channel o (counted within its group) reads
  input channel `P[(S * s + o * n + j) mod in_per_group]`. `P` is the permutation from the seedless
  stream, `S` the seed modulo 8, and `s` is `out_per_group * n`, or 1 where that is not below
  `in_per_group`. So seeds 0 ... 7 read every channel. Where two places coincide, the later one
  wins.
* The bias of a convolution is in -3 ... 3.
* In a norm, gamma is `+d` or `-d` by one sign per channel, then beta is in -3 ... 3 and the running
  mean in -3 ... 3. The running variance is `d^2 - eps`, where `d^2` is the least power of four that
  is at least `2 eps`: the norm divides by exactly d, and with so small a variance the least error
  of eps is visible. In very deep networks only `active` of every `of` channels of a block's last
  norm have a gamma, the others have zero. Channels are ranked by their position in the permutation
  from the seedless stream. A channel has a gamma if its rank plus the seed, modulo `of`, is below
  `active`. Where `of` is above 8, one more draw below `of` from the same stream is added to the
  rank. Without it every block would keep the same ranks, and thin blocks would never lose all.
* The layer before the product with a squeeze-and-excitation gate has doubled weights (gamma and
  beta, or kernel and bias), because the gate may halve its output. The nonzero weights of a gate's
  second kernel are all +2^20. Its biases are 2^20 where a draw below 8 is zero, else 0. These draws
  follow those of an ordinary bias, which are made and ignored. So the input of the sigmoid is 0 or
  at least 64, and the sigmoid is exactly 1/2 or exactly 1.
* A kernel after an average over 2x2 cells is multiplied by four, and so is its bias.
* The dense kernel is drawn as a 1x1 convolution, then its bias in -8 ... 8.
* Stream `exact/NAME/SEED/image`: the image, integers in -8 ... 8.
* Stream `exact/NAME/SEED/cotangent/OUTPUT`: the weights of the sum whose gradients are computed.
  They are zero except at 32 places per image (4 in networks with gates): first the places, then one
  sign for each. Where two places coincide, the later one wins.

`n`, `active` and `of` make up the density, which follows from the depth (see `guess_density`).
Where the oracle finds a sum that does not fit, forward or backward, the next sparser one of
`DENSITIES` is tried. Where none fits, the probe has no gradients, and the first density whose
forward sums fit.

Eight seeds of one density reach every channel, and in at least one of them what reaches it varies
from cell to cell; networks with gates may need 16. Networks so deep that `of` is above 8 are the
exception: with one seed, many of their blocks add nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np

from resnet_spec import (
    Architecture,
    AveragePool,
    Conv,
    Linear,
    Norm,
    Plan,
    get_architecture,
    make_graph,
    make_plan,
    outputs,
    taps,
)

from resnet_parity.errors import ProbeError
from resnet_parity.probes.probe import BATCH, Probe, default_size, gradients_of, trace
from resnet_parity.probes.splitmix import Stream
from resnet_parity.reference.values import Value

SEEDS_TO_COVER = 8
"""Exact probes of one density, seeds 0 ... 7, that together read every channel of every layer."""

_MANTISSA_BITS = {"float32": 24, "float64": 53}
_GATE_WEIGHT = 2**20
_NONZERO_COTANGENTS = 32
_NONZERO_COTANGENTS_WITH_GATES = 4  # gradients of gates are products of sums over maps


@dataclass(frozen=True)
class Density:
    """How many numbers of an exact probe are not zero.

    Weights per output channel of a kernel, and last gammas: `active` of every `of` channels.
    """

    nonzeros: int
    active: int = 1
    of: int = 1


# Bits that one block adds to the largest sum of the backward pass (which exceeds that of the
# forward pass), by nonzeros per output channel: measured on resnet18, resnet50 and resnet152,
# rounded up. The weight gradients of the first layers sum over all cells. Without any block they
# have about 5 bits plus log2 of the last map's area.
_BITS_PER_BLOCK = {8: 3.1, 6: 2.5, 4: 1.7, 3: 1.2, 2: 0.6}
_BITS_BEFORE = 5
# Deeper networks keep two nonzeros and set some last gammas to zero. With all of them, a block
# would add this number of bits.
_BITS_WHEN_SPARSE = 0.7
# A block with a gate counts as three: the gradients of a gate are sums over its map of products
# with small fractions.
_BLOCKS_PER_GATED_BLOCK = 3


DENSITIES = (
    *(Density(nonzeros) for nonzeros in _BITS_PER_BLOCK),
    *(Density(2, active, SEEDS_TO_COVER) for active in range(SEEDS_TO_COVER - 1, 0, -1)),
    *(Density(2, 1, of) for of in (16, 32, 64, 128)),
)


def guess_density(arch: Architecture, area: int, dtype: str) -> Density:
    """The largest density whose sums should fit the integers of `dtype`; `exact_probe` proves it.

    `area` is the number of cells of the last feature map.
    """
    blocks = max(1, len(list(make_plan(arch).blocks))) * (_BLOCKS_PER_GATED_BLOCK if arch.se else 1)
    bits = _MANTISSA_BITS[dtype] - _BITS_BEFORE - math.log2(area)
    for nonzeros, growth in _BITS_PER_BLOCK.items():
        if growth * blocks <= bits:
            return Density(nonzeros)
    share = bits / (_BITS_WHEN_SPARSE * blocks)
    sparse = (each for each in DENSITIES if each.of > 1 and each.active <= share * each.of)
    return next(sparse, DENSITIES[-1])


def exact_probe(
    arch: str | Architecture,
    seed: int,
    dtype: str,
    size: tuple[int, int] | None = None,
    *,
    batch: int = BATCH,
    backward: bool = True,
) -> Probe:
    """Integer weights and images on which every engine must return the same bits.

    Without `backward` the probe has no gradients and may have a larger density.

    Raises `ProbeError` when the area of a map that is averaged is no power of two, or when no
    density makes every sum fit `dtype`.
    """
    arch = get_architecture(arch)
    height, width = size or default_size(arch, "exact")
    area = check_exact_size(arch, (height, width))
    images = _images(arch, seed, (height, width), batch)
    reason = None
    start = DENSITIES.index(guess_density(arch, area, dtype))
    # No cotangents, so no gradients, where no density fits the backward pass.
    choices = [_cotangents(arch, seed, (height, width), batch), {}] if backward else [{}]
    for cotangents, each in product(choices, DENSITIES[start:]):
        weights = exact_weights(arch, seed, dtype, each)
        try:
            exact = _exact_trace(arch, weights, images, cotangents, dtype)
        except ProbeError as error:
            reason = error
            continue
        expected = {n.name: exact[n.name].astype(dtype) for n in make_graph(arch) if n.is_tap}
        expected |= {name: expected[tap] for name, tap in outputs(arch).items()}
        return Probe(
            arch,
            "exact",
            seed,
            dtype,
            weights,
            images.astype(dtype),
            expected=expected,
            cotangents={name: array.astype(dtype) for name, array in cotangents.items()},
            gradients={name: v.astype(dtype) for name, v in gradients_of(arch, exact).items()},
            density=(each.nonzeros, each.active, each.of),
        )
    raise ProbeError(f"no exact probe of {arch.name!r} fits {dtype}: {reason}")


def _images(arch: Architecture, seed: int, size: tuple[int, int], batch: int) -> np.ndarray:
    """Integers, (N, C, H, W)."""
    shape = (batch, arch.in_channels, *size)
    draws = Stream(f"exact/{arch.name}/{seed}/image").below(17, math.prod(shape))
    return (draws - 8).reshape(shape)


def _cotangents(
    arch: Architecture, seed: int, size: tuple[int, int], batch: int
) -> dict[str, np.ndarray]:
    """A few +1 and -1, the rest zeros, so that the gradients stay small."""
    count = _NONZERO_COTANGENTS_WITH_GATES if arch.se else _NONZERO_COTANGENTS
    shapes = {tap.name: tap.shape for tap in taps(arch, *size)}
    cotangents = {}
    for output, tap in outputs(arch).items():
        stream = Stream(f"exact/{arch.name}/{seed}/cotangent/{output}")
        array = np.zeros((batch, math.prod(shapes[tap])), dtype=np.int64)
        place = stream.below(array.shape[1], batch * count).reshape(batch, -1)
        sign = 1 - 2 * stream.below(2, batch * count).reshape(batch, -1)
        np.put_along_axis(array, place, sign, axis=1)
        cotangents[output] = array.reshape(batch, *shapes[tap])
    return cotangents


def _exact_trace(
    arch: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    cotangents: Mapping[str, np.ndarray],
    dtype: str,
) -> dict[str, Value]:
    """The trace that the oracle computes; raises `ProbeError` at the first sum that may round."""
    bits = _MANTISSA_BITS[dtype]
    exact = {}
    for name, value in trace(arch, weights, images, cotangents):
        if value.inexact_because:
            raise ProbeError(f"at {name}, {value.inexact_because}")
        if value.bound >= 2**bits:
            raise ProbeError(
                f"sums at {name} may reach 2^{math.log2(value.bound):.1f}, above 2^{bits}; "
                "take a smaller size or fewer blocks"
            )
        exact[name] = value
    return exact


def check_exact_size(arch: Architecture, size: tuple[int, int]) -> int:
    """Return the area of the last map, in cells.

    Raises `ProbeError` unless the area of every map that is averaged is a power of two, because
    its mean is not exact otherwise.
    """
    inexact = _inexact_means(arch, size)
    if inexact:
        name, (rows, columns) = next(iter(inexact.items()))
        good = default_size(arch, "exact")
        advice = f"take {good[0]}x{good[1]}, or a power of two times it"
        if _inexact_means(arch, good):  # a stride of 3, say
            advice = "no size fits every mean of this network, so run its other checks"
        raise ProbeError(
            f"at {size[0]}x{size[1]} the map of {name} in {arch.name!r} is {rows}x{columns}; its "
            f"mean is exact only over a power-of-two area: {advice}"
        )
    last = [stage.blocks[-1].name for stage in make_plan(arch).stages[-1:]]
    shapes = {tap.name: tap.shape for tap in taps(arch, *size)}
    return math.prod(shapes[last[0]][1:]) if last else 1


def _inexact_means(arch: Architecture, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """Maps that a gate or the head averages and whose area is no power of two: (rows, columns)."""
    plan = make_plan(arch)
    blocks = list(plan.blocks)
    averaged = {block.name for block in blocks if block.se}
    averaged |= {blocks[-1].name} if not plan.features else set()
    maps = {t.name: (t.shape[1], t.shape[2]) for t in taps(arch, *size) if t.name in averaged}
    return {name: (h, w) for name, (h, w) in maps.items() if h * w & (h * w - 1)}


def exact_weights(
    arch: Architecture, seed: int, dtype: str, density: Density
) -> dict[str, np.ndarray]:
    """The weights of an exact probe, by canonical name."""
    plan = make_plan(arch)
    last_norms = {block.norms[-1].name for block in plan.blocks}
    gate_convs = {block.se.fc2.name for block in plan.blocks if block.se}
    factors = _factors(plan)
    weights = {}
    for layer in plan.layers:
        stream = Stream(f"exact/{arch.name}/{seed}/{layer.name}")
        seedless = Stream(f"exact/{arch.name}/{layer.name}")
        if isinstance(layer, Norm):
            gammas = density if layer.name in last_norms else Density(density.nonzeros)
            tensors = _exact_norm(layer, stream, seedless, seed, gammas, dtype)
        elif isinstance(layer, Linear):
            as_conv = Conv(layer.name, layer.in_features, layer.out_features, kernel=1)
            kernel = _exact_kernel(as_conv, stream, seedless, seed, density.nonzeros)[:, :, 0, 0]
            tensors = {"weight": kernel, "bias": stream.below(17, layer.out_features) - 8}
        else:
            tensors = {"weight": _exact_kernel(layer, stream, seedless, seed, density.nonzeros)}
            if layer.bias:
                tensors["bias"] = stream.below(7, layer.out_channels) - 3
        if layer.name in gate_convs:
            tensors = _gate_tensors(tensors, stream)
        for leaf, tensor in tensors.items():
            factor = factors.get(layer.name, 1) if leaf in ("weight", "bias") else 1
            weights[f"{layer.name}.{leaf}"] = (factor * tensor).astype(dtype)
    return weights


def _factors(plan: Plan) -> dict[str, int]:
    """Factors of the weights of some layers, so that what follows them stays an integer."""
    factors = {}
    for block in plan.blocks:
        if block.se:
            *_, before_gate = block.branch
            factors[before_gate.name] = 2
        for first, second in pairwise(block.shortcut):
            if isinstance(first, AveragePool):
                factors[second.name] = 4
    return factors


def _gate_tensors(tensors: dict[str, np.ndarray], stream: Stream) -> dict[str, np.ndarray]:
    """A gate's second layer: any positive input, and some biases, make the sigmoid exactly 1."""
    bias = stream.below(8, tensors["bias"].size) == 0
    return {"weight": _GATE_WEIGHT * np.abs(tensors["weight"]), "bias": _GATE_WEIGHT * bias}


def _exact_kernel(
    conv: Conv, stream: Stream, seedless: Stream, seed: int, nonzeros: int
) -> np.ndarray:
    into, out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    # A thin layer after a wide one needs more places, so that eight seeds read every channel.
    count = max(nonzeros, math.ceil(into / (SEEDS_TO_COVER * out)))
    channel, j = np.arange(conv.out_channels)[:, None], np.arange(count)
    # Each seed starts where the previous seed's places end, or one further if those were all.
    step = out * count if out * count < into else 1
    place = (seed % SEEDS_TO_COVER * step + channel % out * count + j) % into
    sign = 1 - 2 * stream.below(2, conv.out_channels)[:, None]
    row = stream.below(conv.kernel, conv.out_channels * count).reshape(-1, count)
    column = stream.below(conv.kernel, conv.out_channels * count).reshape(-1, count)
    kernel = np.zeros((conv.out_channels, into, conv.kernel, conv.kernel), dtype=np.int64)
    kernel[channel, seedless.permutation(into)[place], row, column] = sign * (-1) ** j
    return kernel


def _exact_norm(
    norm: Norm, stream: Stream, seedless: Stream, seed: int, gammas: Density, dtype: str
) -> dict[str, np.ndarray]:
    deviation, variance = _exact_deviation(norm.eps, dtype)
    rank = np.argsort(seedless.permutation(norm.channels)) + seed
    if gammas.of > SEEDS_TO_COVER:
        rank = rank + seedless.below(gammas.of, 1)
    sign = 1 - 2 * stream.below(2, norm.channels)
    return {
        "weight": deviation * sign * (rank % gammas.of < gammas.active),
        "bias": stream.below(7, norm.channels) - 3,
        "running_mean": stream.below(7, norm.channels) - 3,
        "running_var": np.full(norm.channels, variance),
    }


def _exact_deviation(eps: float, dtype: str) -> tuple[float, np.floating]:
    """A power of two d, and the variance for which variance + eps is exactly d^2 in `dtype`."""
    squared = 4.0 ** math.ceil(math.log(2 * eps, 4))
    one, added = np.dtype(dtype).type(squared), np.dtype(dtype).type(eps)
    variance = one - added
    if variance + added != one:
        raise ProbeError(f"no {dtype} variance plus bn_eps {eps} is a power of four")
    return math.sqrt(squared), variance
