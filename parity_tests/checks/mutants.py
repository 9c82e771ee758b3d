"""THE table of mutants: planted defects, and the checks that must notice each.

A mutant is one implementation with one defect. A defect of the architecture or of the weights is
planted in each implementation in turn. A defect of the builder is planted in the Keras
implementation, because that is where it happens in practice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import keras
import numpy as np
import pytest
from keras import layers, ops

from resnet_spec import (
    Architecture,
    AveragePool,
    Block,
    Conv,
    GlobalAverage,
    MaxPool,
    Plan,
    Pool,
    Relu,
    keras_layer_name,
    make_plan,
)

import resnet_keras.blocks
import resnet_keras.inference
import resnet_keras.layers
import resnet_keras.model
from parity_tests.support import SMALL
from resnet_parity.adapters.keras import adapter as keras_adapter
from resnet_parity.adapters.protocol import Adapter

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Mutant:
    """A defect: what it changes, the checks that must notice it and that cannot, and the net.

    Whether a check in neither set notices it depends on the machine's rounding. `blind` marks a
    defect that a comparison of float32 logits to 1e-3 would miss.
    """

    name: str
    killed_by: frozenset[str]
    missed_by: frozenset[str] = frozenset()
    blind: bool = False
    net: str = SMALL.name
    architecture: Callable[[Architecture], Architecture] = lambda arch: arch
    weights: Callable[[Weights], Weights] = lambda weights: weights
    builder: Callable[[pytest.MonkeyPatch], None] | None = None
    run: Callable[..., dict[str, np.ndarray]] | None = None


class CachedModelAdapter:
    """An adapter that builds one model per architecture and dtype, then only sets its weights."""

    def __init__(self, adapter: Any) -> None:
        self._adapter = adapter
        self._models: dict[tuple[Architecture, str], Any] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def build(
        self, architecture: Architecture, weights: Mapping[str, np.ndarray], dtype: str
    ) -> Any:
        key = architecture, dtype
        if key not in self._models:
            self._models[key] = self._adapter.build(architecture, weights, dtype)
        else:
            self._adapter.set_weights(self._models[key], weights)
        return self._models[key]


class MutantAdapter:
    """The adapter of an implementation, with the defect planted in it."""

    def __init__(self, adapter: Adapter, mutant: Mutant) -> None:
        self._adapter, self._mutant = cast(Adapter, CachedModelAdapter(adapter)), mutant

    def modes(self) -> tuple[str, ...]:
        return self._adapter.modes()

    def unsupported_reason(self, mode: str, check: str) -> str | None:
        return self._adapter.unsupported_reason(mode, check)

    def versions(self) -> dict[str, str]:
        return self._adapter.versions()

    def float64_unsupported_reason(self) -> str | None:
        return self._adapter.float64_unsupported_reason()

    def norm_of_ones(self, mode: str, dtype: str) -> np.ndarray:
        return self._adapter.norm_of_ones(mode, dtype)

    def build(
        self, architecture: Architecture, weights: Mapping[str, np.ndarray], dtype: str
    ) -> Any:
        with self._planted(architecture, weights) as (arch, mutated):
            model = self._adapter.build(arch, mutated, dtype)
        model.architecture = architecture
        return model

    def run(self, model: Any, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
        return (self._mutant.run or self._adapter.run)(model, images, mode)

    def gradients(
        self,
        model: Any,
        images: np.ndarray,
        cotangents: Mapping[str, np.ndarray],
        mode: str,
        *,
        training: bool,
    ) -> dict[str, np.ndarray]:
        return self._adapter.gradients(model, images, cotangents, mode, training=training)

    def mixed_precision(
        self,
        architecture: Architecture,
        weights: Mapping[str, np.ndarray],
        images: np.ndarray,
        mode: str,
        dtype: str,
    ) -> dict[str, np.ndarray]:
        with self._planted(architecture, weights) as (arch, mutated):
            return self._adapter.mixed_precision(arch, mutated, images, mode, dtype)

    def prepared(
        self,
        architecture: Architecture,
        weights: Mapping[str, np.ndarray],
        images: np.ndarray,
        mode: str,
        dtype: str,
    ) -> dict[str, np.ndarray]:
        with self._planted(architecture, weights) as (arch, mutated):
            return self._adapter.prepared(arch, mutated, images, mode, dtype)

    @contextmanager
    def _planted(
        self, architecture: Architecture, weights: Mapping[str, np.ndarray]
    ) -> Iterator[tuple[Architecture, Weights]]:
        """The architecture and the weights with the defect; inside, the builder has it too."""
        with _patched(self._mutant.builder):
            yield self._mutant.architecture(architecture), self._mutant.weights(dict(weights))


@contextmanager
def _patched(plant: Callable[[pytest.MonkeyPatch], None] | None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if plant:
            plant(patch)
        yield


# Defects of the weights.


def _changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: np.ascontiguousarray(change(weights[name]))}


def _swapped(first: str, second: str) -> Callable[[Weights], Weights]:
    """Swap the tensors whose names start with one prefix for those that start with the other."""

    def other(name: str) -> str:
        for here, there in ((first, second), (second, first)):
            if name.startswith(here):
                return there + name.removeprefix(here)
        return name

    return lambda weights: {name: weights[other(name)] for name in weights}


def _one_ulp_more(kernel: np.ndarray) -> np.ndarray:
    """Move the weight of largest magnitude to the next number of its dtype."""
    changed = kernel.copy()
    place = np.unravel_index(np.abs(kernel).argmax(), kernel.shape)
    changed[place] = np.nextafter(kernel[place], np.dtype(kernel.dtype).type(np.inf))
    return changed


# Defects of the Keras builder.


def same_padding(patch: pytest.MonkeyPatch) -> None:
    def conv(x, spec: Conv):
        return layers.Conv2D(
            spec.out_channels,
            spec.kernel,
            strides=spec.stride,
            padding="same",
            groups=spec.groups,
            use_bias=spec.bias,
            name=keras_layer_name(spec.name),
        )(x)

    for module in (resnet_keras.layers, resnet_keras.blocks):
        patch.setattr(module, "conv", conv)


def _change_blocks(patch: pytest.MonkeyPatch, change: Callable[[Block], Block]) -> None:
    def plan(arch: Architecture) -> Plan:
        right = make_plan(arch)
        stages = (replace(s, blocks=tuple(map(change, s.blocks))) for s in right.stages)
        return replace(right, stages=tuple(stages))

    patch.setattr(resnet_keras.model, "make_plan", plan)


def _dilated_too_early(patch: pytest.MonkeyPatch) -> None:
    """The convolution that lost its stride is dilated like those after it."""

    def early(block: Block) -> Block:
        convs = [replace(c, dilation=2) if c.name == "layer2.0.conv2" else c for c in block.convs]
        return replace(block, convs=tuple(convs))

    _change_blocks(patch, early)


def _projection_of_the_raw_input(patch: pytest.MonkeyPatch) -> None:
    class Raw(Block):
        @property
        def projects(self) -> bool:
            return False

    _change_blocks(patch, lambda block: Raw(**vars(block)))


def _gate(change: Callable[[pytest.MonkeyPatch], None]) -> Callable[[pytest.MonkeyPatch], None]:
    """Apply `change` inside the gates alone."""
    right = resnet_keras.blocks.squeeze_excite

    def plant(patch: pytest.MonkeyPatch) -> None:
        def squeeze_excite(x, spec):
            with pytest.MonkeyPatch.context() as inside:
                change(inside)
                return right(x, spec)

        patch.setattr(resnet_keras.blocks, "squeeze_excite", squeeze_excite)

    return plant


def _without_relu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resnet_keras.blocks, "relu", lambda x, spec: x)


def _with_a_hard_sigmoid(patch: pytest.MonkeyPatch) -> None:
    activation = layers.Activation
    patch.setattr(layers, "Activation", lambda _, name: activation("hard_sigmoid", name=name))


def _max_for_the_average(patch: pytest.MonkeyPatch) -> None:
    def average_pool(x, spec: AveragePool):
        name = keras_layer_name(spec.name)
        return layers.MaxPooling2D(spec.kernel, spec.stride, padding="same", name=name)(x)

    patch.setitem(resnet_keras.blocks.SHORTCUT_LAYERS, AveragePool, average_pool)


def _deep_stem_without_its_inner_relus(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(resnet_keras.layers, "relu", lambda x, spec: x)


def _no_last_relu(patch: pytest.MonkeyPatch) -> None:
    def relu(x, spec: Relu):
        name = keras_layer_name(spec.name)
        if spec.name == "layer2.2":
            return layers.Activation("linear", name=name)(x)
        return layers.ReLU(name=name)(x)

    patch.setattr(resnet_keras.blocks, "relu", relu)


def _pool_without_padding(patch: pytest.MonkeyPatch) -> None:
    def max_pool(x, spec: MaxPool):
        return layers.MaxPooling2D(spec.kernel, strides=spec.stride, name=spec.name)(x)

    patch.setattr(resnet_keras.model, "max_pool", max_pool)


def _average_without_the_last_row(patch: pytest.MonkeyPatch) -> None:
    def global_average_pool(x, spec: GlobalAverage):
        x = layers.Cropping2D(((0, 1), (0, 0)))(x)
        return layers.GlobalAveragePooling2D(name=spec.name)(x)

    patch.setattr(resnet_keras.model, "global_average_pool", global_average_pool)


def _run_in_training_mode(model: Any, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    image = np.einsum("nchw->nhwc", images)
    names = [layer.name for layer in model.layers if layer.name in _taps(model, images)]
    tapped = keras.Model(model.input, [model.get_layer(name).output for name in names])
    outputs = [np.asarray(value) for value in tapped(image, training=True)]
    taps = {_taps(model, images)[n]: v for n, v in zip(names, outputs, strict=True)}
    taps["logits"] = taps["fc"]
    return {name: keras_adapter._canonical(value) for name, value in taps.items()}


def _taps(model: Any, images: np.ndarray) -> dict[str, str]:
    found = keras_adapter.taps(model.architecture, *images.shape[2:])
    return {keras_layer_name(tap.name): tap.name for tap in found}


# Defects of the backward pass alone: the forward pass is the same.


class _ReluThatPassesEveryGradient(layers.Layer):
    """max(x, 0) with the gradient of x."""

    def call(self, x):
        return x + ops.stop_gradient(ops.relu(x) - x)


def _relu_that_passes_every_gradient(patch: pytest.MonkeyPatch) -> None:
    def relu(x, spec: Relu):
        return _ReluThatPassesEveryGradient(name=keras_layer_name(spec.name))(x)

    patch.setattr(resnet_keras.blocks, "relu", relu)


class _Detached(layers.Layer):
    def call(self, x):
        return ops.stop_gradient(x)


def _shortcut_without_gradient(patch: pytest.MonkeyPatch) -> None:
    right = resnet_keras.blocks.shortcut

    def shortcut(x, block: Block):
        return right(_Detached(name=keras_layer_name(f"{block.name}.detached"))(x), block)

    patch.setattr(resnet_keras.blocks, "shortcut", shortcut)


class _SharedMaximum(layers.Layer):
    """A 3x3 maximum at stride 2 whose gradient is shared by all cells that are equal to it."""

    def call(self, x):
        x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        rows, columns = ops.shape(x)[1] - 2, ops.shape(x)[2] - 2
        cells = [x[:, r : r + rows : 2, c : c + columns : 2] for r in range(3) for c in range(3)]
        best = ops.stop_gradient(ops.max(ops.stack(cells), axis=0))
        ties = [ops.cast(cell == best, x.dtype) for cell in cells]
        return sum(cell * tie for cell, tie in zip(cells, ties, strict=True)) / sum(ties)


def _maximum_shared(patch: pytest.MonkeyPatch) -> None:
    def max_pool(x, spec: MaxPool):
        return _SharedMaximum(name=spec.name)(x)

    patch.setattr(resnet_keras.model, "max_pool", max_pool)


class _ConstantStatistics(layers.BatchNormalization):
    """Norms use the statistics of the batch, but no gradient flows through them."""

    def call(self, x, training=None, mask=None):
        if not training:
            return super().call(x, training=False)
        mean, variance = (ops.stop_gradient(each) for each in ops.moments(x, (0, 1, 2)))
        return (x - mean) * ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta


class _AlwaysFrozen(layers.BatchNormalization):
    """Norms use the running statistics, in training too."""

    def call(self, x, training=None, mask=None):
        return super().call(x, training=False)


def _norms(kind: type[layers.BatchNormalization]) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(layers, "BatchNormalization", kind)

    return plant


# Defects of prepared models alone.


def _folded_with(
    epsilon: Callable[[float], float] = lambda eps: eps, scaled: bool = True
) -> Callable[[pytest.MonkeyPatch], None]:
    """Fold with another epsilon, or add the bias of the convolution without scaling it."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = resnet_keras.inference._folded_weights

        def folded_weights(conv, norm):
            with pytest.MonkeyPatch.context() as inside:
                inside.setattr(norm, "epsilon", epsilon(norm.epsilon))
                kernel, bias = right(conv, norm)
            if conv.use_bias and not scaled:
                gain = norm.gamma / np.sqrt(norm.moving_variance + norm.epsilon)
                bias += np.asarray(conv.bias * (1 - gain))
            return kernel, bias

        patch.setattr(resnet_keras.inference, "_folded_weights", folded_weights)

    return plant


ALL = frozenset({"exact", "float64", "float32"})
ALL_GRADIENTS = frozenset({"exact gradients", "float64 gradients", "float32 gradients"})
TRAINING_GRADIENTS = ALL_GRADIENTS - {"exact gradients"}
EXACT_AND_FLOAT64 = frozenset({"exact", "float64"})
EXACT = frozenset({"exact"})
PREPARED = frozenset({"prepared"})

MUTANTS = (
    Mutant("same padding", ALL, builder=same_padding),
    Mutant("eps 1e-3", ALL, architecture=lambda arch: replace(arch, bn_eps=1e-3)),
    Mutant(
        "eps 1.001e-5",
        EXACT_AND_FLOAT64,
        missed_by=frozenset({"float32"}),
        blind=True,
        architecture=lambda arch: replace(arch, bn_eps=1.001e-5),
    ),
    Mutant(
        "stride on the first 1x1",
        ALL,
        architecture=lambda arch: replace(arch, stride_in_1x1=True),
    ),
    Mutant(
        "height and width of a kernel swapped",
        ALL,
        weights=_changed("layer2.0.conv2.weight", lambda kernel: kernel.swapaxes(2, 3)),
    ),
    Mutant(
        "two gammas swapped", ALL, weights=_swapped("layer1.1.bn1.weight", "layer1.1.bn2.weight")
    ),
    Mutant(
        "gamma and beta swapped", ALL, weights=_swapped("layer2.1.bn3.weight", "layer2.1.bn3.bias")
    ),
    Mutant(
        "one weight off by one ulp",
        EXACT,
        missed_by=frozenset({"float64", "float32"}),
        blind=True,
        weights=_changed("layer2.0.conv2.weight", _one_ulp_more),
    ),
    Mutant(
        "dense kernel not transposed",
        ALL,
        weights=_changed("fc.weight", lambda kernel: kernel.T),
    ),
    Mutant(
        "running variance off by 1e-6",
        EXACT_AND_FLOAT64,
        blind=True,
        weights=_changed("layer1.0.bn2.running_var", lambda variance: variance + 1e-6),
    ),
    Mutant("two blocks swapped", ALL, weights=_swapped("layer2.1.", "layer2.2.")),
    Mutant("no ReLU after the last block", ALL, builder=_no_last_relu),
    Mutant("max-pool without padding", ALL, builder=_pool_without_padding),
    Mutant("average without the last row", ALL, builder=_average_without_the_last_row),
    Mutant("BN in training mode", ALL, run=_run_in_training_mode),
    Mutant(
        "shortcut A pads on both sides",
        ALL,
        net="zero-padding",
        architecture=lambda arch: replace(arch, zero_padding="around"),
    ),
    Mutant(
        "stride in the last block",
        ALL,
        net="pooled",
        architecture=lambda arch: replace(arch, stride_in_last_block=True),
    ),
    Mutant(
        "zeros around a max-pool of signed values",
        ALL,
        net="preact",
        architecture=lambda arch: replace(arch, stem=replace(arch.stem, pool=Pool(border="zero"))),
    ),
    Mutant("projection of the raw input", ALL, net="preact", builder=_projection_of_the_raw_input),
    Mutant("gate without its ReLU", ALL, net="gated", builder=_gate(_without_relu)),
    # On the exact probe a sigmoid has only inputs for which a hard sigmoid is equal.
    Mutant(
        "gate with a hard sigmoid",
        frozenset({"float64", "float32"}),
        missed_by=EXACT,
        net="gated",
        builder=_gate(_with_a_hard_sigmoid),
    ),
    Mutant("maximum instead of the average", ALL, net="deep-stem", builder=_max_for_the_average),
    Mutant(
        "deep stem without its inner ReLUs",
        ALL,
        net="deep-stem",
        builder=_deep_stem_without_its_inner_relus,
    ),
    Mutant(
        "bias of a convolution lost",
        ALL,
        net="biased",
        weights=_changed("layer1.0.conv1.bias", lambda bias: 0 * bias),
    ),
    Mutant("dilated one convolution too early", ALL, net="dilated", builder=_dilated_too_early),
    Mutant(
        "ReLU passes every gradient",
        ALL_GRADIENTS,
        ALL,
        builder=_relu_that_passes_every_gradient,
    ),
    Mutant(
        "no gradient through the shortcut", ALL_GRADIENTS, ALL, builder=_shortcut_without_gradient
    ),
    # A training probe stays away from kinks, so it has no ties.
    Mutant(
        "gradient of a maximum shared among equals",
        frozenset({"exact gradients"}),
        missed_by=ALL | TRAINING_GRADIENTS,
        builder=_maximum_shared,
    ),
    Mutant(
        "batch statistics as constants",
        TRAINING_GRADIENTS,
        missed_by=ALL | {"exact gradients"},
        builder=_norms(_ConstantStatistics),
    ),
    Mutant(
        "running statistics in training",
        TRAINING_GRADIENTS,
        missed_by=ALL | {"exact gradients"},
        builder=_norms(_AlwaysFrozen),
    ),
    Mutant(
        "folded with the epsilon of Keras' default",
        PREPARED,
        missed_by=ALL | ALL_GRADIENTS,
        builder=_folded_with(epsilon=lambda eps: 1e-3),
    ),
    Mutant(
        "folded without scaling the bias",
        PREPARED,
        missed_by=ALL | ALL_GRADIENTS,
        net="biased",
        builder=_folded_with(scaled=False),
    ),
)
