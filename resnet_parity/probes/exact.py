"""Exact probes: small integers, so that no arithmetic in the net ever rounds.

Every engine must give the same bits, forward and, with frozen norms, backward. Stream
`exact/NAME/SEED/LAYER` is read in this order:

* kernels are zero but for `n` places per output channel, alternately +1 and -1 (or -1 and +1, by
  one draw per output channel): a difference of two non-negative maps is no larger than the maps,
  which keeps 152 layers below 2^24. The draw is 0 for + first, here as for every sign. Then come
  the rows of all channels, n each, then the columns of all channels, n each. Here n is at least
  `ceil(in_per_group / (8 out_per_group))`, or a thin layer could not read a wide one. Place j
  of output channel o (counted within its group) reads input channel
  `P[(S * s + o * n + j) mod in_per_group]`, where `P` is the permutation from stream
  `exact/NAME/LAYER`, `S` the seed modulo 8 and `s` is `out_per_group * n`, or 1 where that is not
  below `in_per_group`: seeds 0 ... 7 read every channel. Where two places coincide, the later one
  stands;
* biases of convolutions: -3 ... 3;
* norms: gamma `+d` or `-d` per draw, beta in -3 ... 3, running mean in -3 ... 3, and the running
  variance `d^2 - eps`, where `d^2` is the least power of four that is at least `2 eps`: the norm
  divides by exactly d, and so small a variance makes the least error of eps visible. In very deep
  nets the last gamma of a block is zero but for `active` of every `of` channels, those whose rank
  in `exact/NAME/LAYER`, plus the seed, is below `active` modulo `of`. Where `of` is above 8 the
  same stream then gives a draw below `of` to add, or every block would keep the same ranks, and
  thin ones would never lose all;
* what stands before a squeeze-and-excitation gate, a norm's gamma and beta or a kernel and its
  bias, is doubled, for the gate may halve it. The gate's second kernel has only +2^20. Its biases
  are 2^20 in one of eight draws (a zero) and else 0, drawn behind those that any convolution
  draws, which are thrown away: what reaches the sigmoid is 0, or at least 64, where it is exactly
  1/2, or 1;
* a kernel behind an average of 2x2 cells is times four, and so is its bias;
* the dense kernel as a 1x1 convolution, then its bias in -8 ... 8;
* `image`: integers in -8 ... 8.
* `cotangent/OUTPUT`: the weights of the sum whose gradients are taken, zero but for 32 draws of a
  place per image (4 in nets with gates), then as many draws of a sign. Where two places coincide,
  the later one stands.

`n`, `active` and `of` follow from the depth, see `density`; where the oracle finds a sum that does
not fit, forwards or backwards, the next sparser of `DENSITIES` is taken, until one does; where none
does, the first whose sums fit forwards, without gradients. Eight seeds of one density reach every
channel, but for nets so deep that `of` is above 8: there in one seed many blocks add nothing. What
is reached also varies from cell to cell in one of the eight; in nets with gates it may take 16.
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
"""So many exact probes, seeds 0 ... 7 at one density, read every channel of every layer."""

_MANTISSA_BITS = {"float32": 24, "float64": 53}
_OPENING = 2**20
_COTANGENTS = 32
_COTANGENTS_WITH_GATES = 4  # their gradients are products of sums over maps


@dataclass(frozen=True)
class Density:
    """How full an exact probe is: nonzero weights per output channel, nonzero last gammas."""

    nonzeros: int
    active: int = 1
    of: int = 1


# Bits that one block adds to the largest sum of the backward pass, which is the larger one, by
# nonzeros per output channel: as measured on resnet18, resnet50 and resnet152, rounded up. The
# weight gradients of the first layers, which sum over all cells, stand at about 5 bits before the
# first block and log2 of the last map's area.
_BITS_PER_BLOCK = {8: 3.1, 6: 2.5, 4: 1.7, 3: 1.2, 2: 0.6}
_BITS_BEFORE = 5
# Deeper nets keep two nonzeros and thin out their last gammas; all of them would add this much.
_BITS_WHEN_SPARSE = 0.7
# A gate has gradients of its own, sums over its map of products with small fractions.
_TIMES_WITH_GATES = 3


DENSITIES = (
    *(Density(nonzeros) for nonzeros in _BITS_PER_BLOCK),
    *(Density(2, active, SEEDS_TO_COVER) for active in range(SEEDS_TO_COVER - 1, 0, -1)),
    *(Density(2, 1, of) for of in (16, 32, 64, 128)),
)


def density(arch: Architecture, area: int, dtype: str) -> Density:
    """The fullest exact probe that should fit the integers of `dtype`; `exact_probe` proves it.

    `area` is the cell count of the last feature map.
    """
    blocks = max(1, len(list(make_plan(arch).blocks))) * (_TIMES_WITH_GATES if arch.se else 1)
    bits = _MANTISSA_BITS[dtype] - _BITS_BEFORE - math.log2(area)
    for nonzeros, growth in _BITS_PER_BLOCK.items():
        if growth * blocks <= bits:
            return Density(nonzeros)
    share = bits / (_BITS_WHEN_SPARSE * blocks)
    sparse = (each for each in DENSITIES if each.of > 1 and each.active <= share * each.of)
    return next(sparse, DENSITIES[-1])


def exact_probe(
    arch: Architecture,
    seed: int,
    dtype: str,
    size: tuple[int, int] | None = None,
    *,
    batch: int = BATCH,
    backward: bool = True,
) -> Probe:
    """Integer weights and images on which every engine must give the same bits.

    Without `backward` it has no gradients, and may be fuller.

    Raises `ProbeError` when a map that is averaged has no power-of-two area, or when the oracle
    finds a sum that `dtype` cannot hold exactly.
    """
    height, width = size or default_size(arch, "exact")
    area = check_exact_size(arch, (height, width))
    images = _images(arch, seed, (height, width), batch)
    reason = None
    start = DENSITIES.index(density(arch, area, dtype))
    draws = _COTANGENTS_WITH_GATES if arch.se else _COTANGENTS
    cotangents = _cotangents(arch, seed, (height, width), draws, batch) if backward else {}
    # Outputs alone where nothing fits backwards.
    for weighted, each in product([cotangents, {}] if backward else [{}], DENSITIES[start:]):
        weights = exact_weights(arch, seed, dtype, each)
        try:
            exact = _exact_trace(arch, weights, images, weighted, dtype)
        except ProbeError as error:
            reason = error
            continue
        return Probe(
            arch,
            "exact",
            seed,
            dtype,
            weights,
            images.astype(dtype),
            expected=_taps(arch, exact, dtype),
            cotangents={name: array.astype(dtype) for name, array in weighted.items()},
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
    arch: Architecture, seed: int, size: tuple[int, int], draws: int, batch: int
) -> dict[str, np.ndarray]:
    """Few ones, plus and minus: most weights of the sum are zero, so that gradients stay small."""
    shapes = {tap.name: tap.shape for tap in taps(arch, *size)}
    cotangents = {}
    for output, tap in outputs(arch).items():
        stream = Stream(f"exact/{arch.name}/{seed}/cotangent/{output}")
        array = np.zeros((batch, math.prod(shapes[tap])), dtype=np.int64)
        place = stream.below(array.shape[1], batch * draws).reshape(batch, -1)
        sign = 1 - 2 * stream.below(2, batch * draws).reshape(batch, -1)
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
    """What the oracle says must come out; raises `ProbeError` at the first sum that may round."""
    bits = _MANTISSA_BITS[dtype]
    exact = {}
    for name, value in trace(arch, weights, images, cotangents):
        if value.flaw:
            raise ProbeError(f"at {name} {value.flaw}")
        if value.bound >= 2**bits:
            raise ProbeError(
                f"sums at {name} may reach 2^{math.log2(value.bound):.1f}, above 2^{bits}; "
                "take a smaller size or fewer blocks"
            )
        exact[name] = value
    return exact


def _taps(arch: Architecture, exact: Mapping[str, Value], dtype: str) -> dict[str, np.ndarray]:
    expected = {n.name: exact[n.name].astype(dtype) for n in make_graph(arch) if n.is_tap}
    return expected | {name: expected[tap] for name, tap in outputs(arch).items()}


def check_exact_size(arch: Architecture, size: tuple[int, int]) -> int:
    """The area of the last map; where means are taken, areas must be powers of two to be exact.

    Raises `ProbeError` when one is none.
    """
    inexact = _inexact_means(arch, size)
    if inexact:
        name, (rows, columns) = next(iter(inexact.items()))
        good = default_size(arch, "exact")
        advice = f"take {good[0]}x{good[1]}, or a power of two times it"
        if _inexact_means(arch, good):  # a stride of 3, say
            advice = "no size is that for every mean of this net, so climb its other checks"
        raise ProbeError(
            f"at {size[0]}x{size[1]} the map of {name} in {arch.name!r} is {rows}x{columns}; its "
            f"mean is exact only over a power-of-two area: {advice}"
        )
    last = [stage.blocks[-1].name for stage in make_plan(arch).stages[-1:]]
    shapes = {tap.name: tap.shape for tap in taps(arch, *size)}
    return math.prod(shapes[last[0]][1:]) if last else 1


def _inexact_means(arch: Architecture, size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """The maps that are averaged, by gates or at the end, over no power of two of cells."""
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
    openers = {block.se.fc2.name for block in plan.blocks if block.se}
    factors = _factors(plan)
    weights = {}
    for layer in plan.layers:
        stream = Stream(f"exact/{arch.name}/{seed}/{layer.name}")
        fixed = Stream(f"exact/{arch.name}/{layer.name}")
        if isinstance(layer, Norm):
            share = density if layer.name in last_norms else Density(density.nonzeros)
            tensors = _exact_norm(layer, stream, fixed, seed, share, dtype)
        elif isinstance(layer, Linear):
            tensors = _exact_linear(layer, stream, fixed, seed, density.nonzeros)
        else:
            tensors = _exact_conv(layer, stream, fixed, seed, density.nonzeros)
        if layer.name in openers:
            tensors = _opening(tensors, stream)
        for leaf, tensor in tensors.items():
            factor = factors.get(layer.name, 1) if leaf in ("weight", "bias") else 1
            weights[f"{layer.name}.{leaf}"] = (factor * tensor).astype(dtype)
    return weights


def _factors(plan: Plan) -> dict[str, int]:
    """By how much the weights of some layers are larger, so that what follows stays an integer."""
    factors = {}
    for block in plan.blocks:
        if block.se:
            *_, before_gate = block.branch
            factors[before_gate.name] = 2
        for first, second in pairwise(block.shortcut or ()):
            if isinstance(first, AveragePool):
                factors[second.name] = 4
    return factors


def _exact_conv(
    conv: Conv, stream: Stream, fixed: Stream, seed: int, nonzeros: int
) -> dict[str, np.ndarray]:
    tensors = {"weight": _exact_kernel(conv, stream, fixed, seed, nonzeros)}
    if conv.bias:
        tensors["bias"] = stream.below(7, conv.out_channels) - 3
    return tensors


def _opening(tensors: dict[str, np.ndarray], stream: Stream) -> dict[str, np.ndarray]:
    """A gate's second layer: what is above zero opens the gate fully, and so do some biases."""
    bias = stream.below(8, tensors["bias"].size) == 0
    return {"weight": _OPENING * np.abs(tensors["weight"]), "bias": _OPENING * bias}


def _exact_kernel(
    conv: Conv, stream: Stream, fixed: Stream, seed: int, nonzeros: int
) -> np.ndarray:
    into, out = conv.in_channels // conv.groups, conv.out_channels // conv.groups
    # A thin layer behind a wide one takes more places, or eight seeds could not read every channel.
    count = max(nonzeros, math.ceil(into / (SEEDS_TO_COVER * out)))
    channel, j = np.arange(conv.out_channels)[:, None], np.arange(count)
    # Each seed starts behind the last one's places, or where those were all, one further.
    step = out * count if out * count < into else 1
    place = (seed % SEEDS_TO_COVER * step + channel % out * count + j) % into
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
    norm: Norm, stream: Stream, fixed: Stream, seed: int, share: Density, dtype: str
) -> dict[str, np.ndarray]:
    deviation, variance = _unit_norm(norm.eps, dtype)
    rank = np.argsort(fixed.permutation(norm.channels)) + seed
    if share.of > SEEDS_TO_COVER:
        rank = rank + fixed.below(share.of, 1)
    sign = 1 - 2 * stream.below(2, norm.channels)
    return {
        "weight": deviation * sign * (rank % share.of < share.active),
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
