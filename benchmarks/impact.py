"""What each difference costs where it is ignored, and each mutant, measured: data for the page.

Run as a module it writes `docs/results/impact.json`.
"""

from __future__ import annotations

import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from dataclasses import replace
from functools import cache, partial
from importlib import import_module
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

from resnet_spec import Architecture, Pool, get_architecture

import resnet_keras
import resnet_keras.blocks
import resnet_keras.layers
import resnet_torch
from benchmarks import provenance
from parity_tests.checks.mutants import ALL, MUTANTS, Mutant, MutantAdapter, _same_padding
from parity_tests.lockstep.training_mutants import FULL, TRAINING_MUTANTS, TrainingMutant
from parity_tests.support import TINY, exact, random, training
from resnet_parity.adapters.keras import training_state as keras_state
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.torch import training_state as torch_state
from resnet_parity.compare import relative_error
from resnet_parity.lockstep.free import free_steps
from resnet_parity.lockstep.workload import make_workload
from resnet_parity.probes import Probe, random_probe, random_weights

NET = "resnet50"
Damage = tuple[float | None, str]
"""A number, where there is one, and what it is, in words that have a place for it."""


@cache
def probe(name: str = NET, **options: Any) -> Probe:
    """A small image of unequal sides and random weights, and the oracle's logits."""
    return random_probe(get_architecture(name, **options), 0, "float32")


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Of images (N, H, W, C)."""
    return np.asarray(model(images, training=False))


def of_logits(found: np.ndarray, right: Probe, net: str = NET) -> Damage:
    error = relative_error(right.expected["logits"], found)
    assert found.shape == right.expected["logits"].shape
    return error, f"relative error {{}} in the logits of {net}, of the same shape"


def keras_model(weights: dict[str, np.ndarray], arch: Architecture) -> keras.Model:
    model = resnet_keras.create_model(arch)
    resnet_keras.set_weights(model, weights)
    return model


def nhwc(images: np.ndarray) -> np.ndarray:
    return np.einsum("nchw->nhwc", images)


def layout() -> Damage:
    """The right extents, and the pixels in the order of the other framework."""
    right = probe()
    n, c, h, w = right.images.shape
    model = keras_model(right.weights, right.architecture)
    return of_logits(logits(model, right.images.reshape(n, h, w, c)), right)


def kernel_layout() -> Damage:
    """Height and width exchanged, as of (out, in, W, H)."""
    right = probe()
    turned = {
        name: np.ascontiguousarray(value.swapaxes(2, 3)) if value.ndim == 4 else value
        for name, value in right.weights.items()
    }
    model = keras_model(turned, right.architecture)
    return of_logits(logits(model, nhwc(right.images)), right)


def dense_kernel() -> Damage:
    """As many classes as features."""
    right = probe(num_classes=2048)
    turned = right.weights | {"fc.weight": np.ascontiguousarray(right.weights["fc.weight"].T)}
    model = keras_model(turned, right.architecture)
    return of_logits(logits(model, nhwc(right.images)), right, f"{NET} with 2,048 classes")


def conv_padding() -> Damage:
    """ "same" at every convolution of the blocks."""
    right = probe()
    with pytest.MonkeyPatch.context() as patch:
        _same_padding(patch)
        model = keras_model(right.weights, right.architecture)
    return of_logits(logits(model, nhwc(right.images)), right)


def pool_padding() -> Damage:
    """Zeros around a map that holds negative numbers."""
    right = probe("resnetv2_50")
    stem = replace(right.architecture.stem, pool=Pool(border="zero"))
    model = keras_model(right.weights, replace(right.architecture, stem=stem))
    return of_logits(logits(model, nhwc(right.images)), right, "resnetv2_50")


def refused(plant: Callable[[pytest.MonkeyPatch], None], name: str, size: tuple[int, int]) -> str:
    """The kind of error that a planted defect meets, or nothing."""
    arch = get_architecture(name)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        try:
            model = keras_model(random_weights(arch, 0, "float32"), arch)
            logits(model, np.zeros((1, *size, 3), "float32"))
        except Exception as error:
            return type(error).__name__
    return ""


def average_edge() -> Damage:
    """The default of both frameworks, at a size that leaves a row over."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def average_pool(x, spec):
            return layers.AveragePooling2D(spec.kernel, strides=spec.stride)(x)

        patch.setitem(
            resnet_keras.blocks.SHORTCUT_LAYERS, resnet_keras.layers.AveragePool, average_pool
        )

    even, odd = (refused(plant, "resnet50d", size) for size in ((64, 96), (65, 97)))
    assert odd and not even
    return None, f"resnet50d works at 64x96, and ends with {odd} at 65x97"


def channel_padding() -> Damage:
    """Channels that are padded as if they were columns."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def channel_pad(x, spec):
            return layers.ZeroPadding2D(((0, 0), (spec.before, spec.behind)))(x)

        patch.setitem(
            resnet_keras.blocks.SHORTCUT_LAYERS, resnet_keras.layers.ChannelPad, channel_pad
        )

    error = refused(plant, "resnet34_a", (64, 96))
    assert error
    return None, f"resnet34_a ends with {error}"


def labels() -> Damage:
    """Keras' loss as it comes, given logits."""
    generator = np.random.default_rng(0)
    values, truth = generator.normal(size=(64, 10)), generator.integers(0, 10, 64)
    one_hot = keras.utils.to_categorical(truth, 10)
    right, wrong = (
        float(np.asarray(keras.losses.CategoricalCrossentropy(**options)(one_hot, values)))
        for options in ({"from_logits": True}, {})
    )
    return wrong, f"{{}} instead of {right:.2f}, the loss of 64 random logits of 10 classes"


def one_feature() -> Damage:
    """A loop over the maps."""
    options: Any = {"features_only": True, "out_indices": (4,)}
    images = np.zeros((5, 32, 48, 3), "float32")
    turns = len(list(resnet_keras.create_model("resnet18", **options)(images)))
    return turns, "{} turns of a loop over the one map of resnet18, of a batch of 5"


def conv_init() -> Damage:
    """The deviation of `HeNormal` over ours, layer by layer."""
    torch.manual_seed(0)
    ratios = []
    for name, kernel in resnet_torch.get_weights(resnet_torch.resnet50()).items():
        if kernel.ndim == 4:
            out, into, height, width = kernel.shape
            law = keras.initializers.HeNormal(seed=0)
            theirs = np.asarray(law((height, width, into, out)))
            ratios.append((float(theirs.std() / kernel.std()), name))
    (most, where), (second, _), *_, (least, _) = sorted(ratios, reverse=True)
    return most, (
        f"{{}} times our deviation in {where} of {NET}, {least:.2f} to {second:.2f} times elsewhere"
    )


def dtype() -> Damage:
    """`predict` of a float64 model."""
    right = random_probe(get_architecture(NET), 0, "float64")
    model = resnet_keras.create_model(NET, dtype="float64")
    resnet_keras.set_weights(model, right.weights)
    return of_logits(model.predict(nhwc(right.images), verbose=0), right, f"{NET} in float64")


def after_steps(mutant: TrainingMutant | None, count: int) -> dict[str, float]:
    """The distance of two implementations after so many steps in float64, by kind."""
    workload = make_workload(TINY, FULL, 0, (32, 48), 4)
    weights = random_weights(TINY, 0, "float64")
    with pytest.MonkeyPatch.context() as patch:
        if mutant:
            mutant.plant(patch)
        *_, last = free_steps(workload, (torch_state, keras_state), weights, count)
    return {kind: worst.error for kind, worst in last.worst.items()}


def in_training(name: str) -> Callable[[], Damage]:
    """What the mutant of that name costs, where it shows first."""
    mutant = next(each for each in TRAINING_MUTANTS if each.name == name)
    return lambda: _training_impact(mutant)


def _training_impact(mutant: TrainingMutant) -> Damage:
    count = mutant.departs + 1
    error = after_steps(mutant, count)[mutant.kind]
    steps = "one step" if count == 1 else f"{count} steps"
    return error, f"relative error {{}} in the {mutant.kind} after {steps} of a small net"


DIFFERENCES: dict[str, Callable[[], Damage]] = {
    "layout": layout,
    "kernel-layout": kernel_layout,
    "dense-kernel": dense_kernel,
    "conv-padding": conv_padding,
    "pool-padding": pool_padding,
    "average-edge": average_edge,
    "channel-padding": channel_padding,
    "bn-momentum": in_training("inverted momentum"),
    "bn-variance": in_training("biased variance"),
    "momentum-buffer": in_training("learning rate folded into the buffer"),
    "weight-decay": in_training("decoupled decay"),
    "labels": labels,
    "one-feature": one_feature,
    "conv-init": conv_init,
    "dtype": dtype,
}


def of_mutant(mutant: Mutant) -> Damage:
    """In the Keras implementation: of the logits, or of the gradients where forwards nothing differs."""
    framework: Any = MutantAdapter(keras_adapter(), mutant)
    if mutant.killed_by & ALL:
        right = random(mutant.net, "float64")
        model = framework.build(right.architecture, right.weights, right.dtype)
        found = framework.run(model, right.images, "eager")["logits"]
        return relative_error(right.expected["logits"], found), "relative error {} in the logits"
    by_batch = "float64 gradients" in mutant.killed_by
    right = training(mutant.net, "float64") if by_batch else exact(mutant.net, "float64")
    model = framework.build(right.architecture, right.weights, right.dtype)
    found = framework.gradients(
        model, right.images, right.cotangents, "eager", training=right.training
    )
    # Against the size of their terms, as the checks have it: some gradients cancel to nothing.
    errors = (
        relative_error(value, found[name], right.scales.get(name, 0.0))
        for name, value in right.gradients.items()
    )
    return max(errors), "relative error {} in the worst gradient"


def measure() -> Iterator[tuple[str, str, Callable[[], Damage]]]:
    """Everything to be found out, as (table, name, how)."""
    for name, find in DIFFERENCES.items():
        yield "differences", name, find
    import_module("tensorflow").config.run_functions_eagerly(True)
    for mutant in MUTANTS:
        yield "mutants", mutant.name, partial(of_mutant, mutant)
    for mutant in TRAINING_MUTANTS:
        yield "mutants", mutant.name, partial(_training_impact, mutant)


def told(find: Callable[[], Damage]) -> tuple[Damage, bool]:
    """A impact, and whether anything warned of it: Python's warnings, a log, or words on stderr."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # pyright: ignore[reportAttributeAccessIssue]
    loggers = [logging.getLogger(name) for name in ("", "tensorflow", "absl")]
    words = io.StringIO()
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught, redirect_stderr(words):
            warnings.simplefilter("always")
            # Keras' own, in a healthy pair as well.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            found = find()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    return found, bool(caught or records or words.getvalue())


def main() -> int:
    """Measure everything and write the file."""
    stamp = provenance.stamp("impact")
    versions = provenance.versions(torch_adapter(), keras_adapter())
    marks: dict[str, dict[str, Any]] = {
        mutant.name: {
            "net": mutant.net,
            "killed_by": sorted(mutant.killed_by),
            "missed_by": sorted(mutant.missed_by),
            "blind": mutant.blind,
        }
        for mutant in MUTANTS
    }
    data: dict[str, Any] = {"versions": versions, "differences": {}, "mutants": {}}
    for table, name, find in measure():
        (value, words), warned = told(find)
        entry = {"value": None if value is None else float(f"{value:.3g}"), "words": words}
        if table == "differences":
            entry["silent"] = None if value is None else not warned
        else:
            entry |= marks.get(name, {"net": TINY.name, "killed_by": ["lockstep"], "missed_by": []})
        data[table][name] = entry
        print(table, name, entry, flush=True)
    provenance.write("impact", stamp, data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
