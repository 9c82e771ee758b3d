"""Make the weights of one network fit another, with other image channels, another head or no head.

This works on canonical arrays, so that both implementations get the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from resnet_spec import (
    Architecture,
    Linear,
    check_weights,
    get_architecture,
    layer_parameters,
    make_plan,
    parameters,
    step_counters,
)
from resnet_spec.weights import check_arrays

from resnet_parity.probes.splitmix import Stream


@dataclass(frozen=True)
class Adapted:
    """The adapted weights by canonical name, and a sentence for each change that was made."""

    weights: dict[str, np.ndarray]
    changes: tuple[str, ...]


def adapt_weights(
    weights: Mapping[str, np.ndarray], architecture: str | Architecture, *, seed: int = 0
) -> Adapted:
    """Make `weights` fit an architecture that differs from theirs in its first or last layer.

    * Image channels: for one channel, the stem's kernel is summed over its channels; for n
      channels, it is repeated and scaled, so that a constant image gives the same result as before
      (the rule of timm's `adapt_input_conv`).
    * Head: for another number of classes, a new one is drawn, uniform within 1/sqrt(features), from
      stream `adapt/NAME/SEED/TENSOR` of SplitMix64.
    * For a network without classes, or a backbone, the tensors that it does not have are left out.

    `weights` is not modified. Raises `resnet_spec.WeightsError` when anything else does not fit.
    """
    arch = get_architecture(architecture)
    check_arrays(weights)
    plan = make_plan(arch)
    counters = step_counters(arch)
    adapted = {name: array for name, array in weights.items() if name not in counters}
    changes = []
    stem = f"{plan.stem.convs[0].name}.weight"
    if stem in adapted and adapted[stem].ndim == 4:
        before = adapted[stem].shape[1]
        if before != arch.in_channels:
            adapted[stem] = _other_channels(adapted[stem], arch.in_channels)
            changes.append(f"{stem}: {_channels_text(before, arch.in_channels)}")
        if plan.fc and _has_other_classes(plan.fc, adapted):
            changes.append(f"{plan.fc.name}: {_classes_text(plan.fc, adapted)} (seed {seed})")
            adapted |= _new_head(arch, plan.fc, seed, dtype=str(adapted[stem].dtype))
    changes += _drop_unneeded(arch, adapted)
    check_weights(arch, adapted, {name: str(array.dtype) for name, array in adapted.items()})
    return Adapted({p.name: adapted[p.name] for p in parameters(arch)}, tuple(changes))


def _other_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """(out, before, H, W) -> (out, channels, H, W)."""
    before = kernel.shape[1]
    if channels == 1:
        return kernel.sum(axis=1, keepdims=True)
    repeats = math.ceil(channels / before)
    repeated = np.tile(kernel, (1, repeats, 1, 1))[:, :channels]
    return repeated * kernel.dtype.type(before / channels)


def _channels_text(before: int, after: int) -> str:
    if after == 1:
        return f"summed over its {before} channels into one"
    channels = "one channel" if before == 1 else f"{before} channels"
    return f"its {channels} repeated into {after} and scaled by {before}/{after}"


def _has_other_classes(fc: Linear, weights: Mapping[str, np.ndarray]) -> bool:
    """Whether `weights` hold no head, or a head for the same features and other classes."""
    kernel, bias = (weights.get(p.name) for p in layer_parameters(fc))
    if kernel is None or bias is None:
        return kernel is bias
    classes = bias.size
    return classes != fc.out_features and kernel.shape == (classes, fc.in_features)


def _classes_text(fc: Linear, weights: Mapping[str, np.ndarray]) -> str:
    bias = weights.get(f"{fc.name}.bias")
    before = "none" if bias is None else str(bias.size)
    return f"re-initialised, for {fc.out_features} classes instead of {before}"


def _new_head(arch: Architecture, fc: Linear, seed: int, dtype: str) -> dict[str, np.ndarray]:
    head = {}
    for p in layer_parameters(fc):
        uniform = Stream(f"adapt/{arch.name}/{seed}/{p.name}").uniform(p.size)
        head[p.name] = ((2 * uniform - 1) * fc.init_bound).reshape(p.shape).astype(dtype)
    return head


def _drop_unneeded(arch: Architecture, adapted: dict[str, np.ndarray]) -> list[str]:
    """Remove the tensors of a longer network of the same kind; others stay, and fail the check."""
    whole = replace(arch, num_classes=1, out_indices=None)
    kept = {p.name for p in parameters(arch)}
    unneeded = [p.name for p in parameters(whole) if p.name not in kept and p.name in adapted]
    for name in unneeded:
        del adapted[name]
    layers = dict.fromkeys(name.rpartition(".")[0].partition(".")[0] for name in unneeded)
    return [f"{layer}: left out, because this network has none" for layer in layers]
