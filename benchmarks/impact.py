"""The impact of each difference that is ignored, and of each mutant."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from functools import cache
from importlib import import_module
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers

from resnet_spec import Architecture, Pool, Recipe, get_architecture

import resnet_keras
import resnet_keras.blocks
import resnet_keras.layers
import resnet_torch
import resnet_torch.training
from benchmarks.provenance import Measured, Results, versions
from parity_tests.checks.mutants import ALL, MUTANTS, Mutant, MutantAdapter, same_padding
from parity_tests.lockstep.training_mutants import FULL, TRAINING_MUTANTS, TrainingMutant
from parity_tests.support import TINY, exact, find, random, training
from parity_tests.training.noise import Noise
from resnet_keras.fit import fit
from resnet_parity.adapters.keras import training_state as keras_state
from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.torch import training_state as torch_state
from resnet_parity.compare import relative_error
from resnet_parity.lockstep.free import free_steps
from resnet_parity.lockstep.workload import make_workload
from resnet_parity.probes import Probe, random_probe, random_weights

NET = "resnet50"
Impact = tuple[float | None, str]
"""A number, None where there is none, and its meaning: a text with a place {} for the number."""


@cache
def probe(name: str = NET, **options: Any) -> Probe:
    """A random probe: a small image of unequal sides, random weights, and the oracle's logits."""
    return random_probe(get_architecture(name, **options), 0, "float32")


def logits(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The logits of images (N, H, W, C)."""
    return np.asarray(model(images, training=False))


def of_logits(found: np.ndarray, right: Probe, net: str = NET) -> Impact:
    """The relative error of wrong logits, which must have the right shape."""
    error = relative_error(right.expected["logits"], found)
    assert found.shape == right.expected["logits"].shape
    return error, f"relative error {{}} in the logits of {net}, of the same shape"


def keras_model(weights: dict[str, np.ndarray], arch: Architecture) -> keras.Model:
    model = resnet_keras.create_model(arch)
    resnet_keras.set_weights(model, weights)
    return model


def nhwc(images: np.ndarray) -> np.ndarray:
    return np.einsum("nchw->nhwc", images)


def layout() -> Impact:
    """Images of the right shape, whose pixels are in the order of the other framework."""
    right = probe()
    n, c, h, w = right.images.shape
    model = keras_model(right.weights, right.architecture)
    return of_logits(logits(model, right.images.reshape(n, h, w, c)), right)


def kernel_layout() -> Impact:
    """Kernels read as (out, in, W, H): height and width swapped."""
    right = probe()
    turned = {
        name: np.ascontiguousarray(value.swapaxes(2, 3)) if value.ndim == 4 else value
        for name, value in right.weights.items()
    }
    model = keras_model(turned, right.architecture)
    return of_logits(logits(model, nhwc(right.images)), right)


def dense_kernel() -> Impact:
    """A dense kernel that is not transposed; 2,048 classes and features make it square."""
    right = probe(num_classes=2048)
    turned = right.weights | {"fc.weight": np.ascontiguousarray(right.weights["fc.weight"].T)}
    model = keras_model(turned, right.architecture)
    return of_logits(logits(model, nhwc(right.images)), right, f"{NET} with 2,048 classes")


def conv_padding() -> Impact:
    """Padding "same" for every convolution of the blocks."""
    right = probe()
    with pytest.MonkeyPatch.context() as patch:
        same_padding(patch)
        model = keras_model(right.weights, right.architecture)
    return of_logits(logits(model, nhwc(right.images)), right)


def pool_padding() -> Impact:
    """A max-pool that pads with zeros a map that holds negative numbers."""
    right = probe("resnetv2_50")
    stem = replace(right.architecture.stem, pool=Pool(border="zero"))
    model = keras_model(right.weights, replace(right.architecture, stem=stem))
    return of_logits(logits(model, nhwc(right.images)), right, "resnetv2_50")


def refused(plant: Callable[[pytest.MonkeyPatch], None], name: str, size: tuple[int, int]) -> str:
    """The type of the error that a planted defect raises; empty where it raises none."""
    arch = get_architecture(name)
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        try:
            model = keras_model(random_weights(arch, 0, "float32"), arch)
            logits(model, np.zeros((1, *size, 3), "float32"))
        except Exception as error:
            return type(error).__name__
    return ""


def average_edge() -> Impact:
    """Average pools as both frameworks default to, on a map whose last row fills no window."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def average_pool(x, spec):
            return layers.AveragePooling2D(spec.kernel, strides=spec.stride)(x)

        patch.setitem(
            resnet_keras.blocks.SHORTCUT_LAYERS, resnet_keras.layers.AveragePool, average_pool
        )

    even, odd = (refused(plant, "resnet50d", size) for size in ((64, 96), (65, 97)))
    assert odd and not even
    return None, f"resnet50d works at 64x96, and ends with {odd} at 65x97"


def channel_padding() -> Impact:
    """Zeros for new channels that are added to the columns instead."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        def channel_pad(x, spec):
            return layers.ZeroPadding2D(((0, 0), (spec.before, spec.after)))(x)

        patch.setitem(
            resnet_keras.blocks.SHORTCUT_LAYERS, resnet_keras.layers.ChannelPad, channel_pad
        )

    error = refused(plant, "resnet34_a", (64, 96))
    assert error
    return None, f"resnet34_a ends with {error}"


def labels() -> Impact:
    """Keras' cross entropy with its default `from_logits=False`, given logits."""
    generator = np.random.default_rng(0)
    values, truth = generator.normal(size=(64, 10)), generator.integers(0, 10, 64)
    one_hot = keras.utils.to_categorical(truth, 10)
    right, wrong = (
        float(np.asarray(keras.losses.CategoricalCrossentropy(**options)(one_hot, values)))
        for options in ({"from_logits": True}, {})
    )
    return wrong, f"{{}} instead of {right:.2f}, the loss of 64 random logits of 10 classes"


def one_feature() -> Impact:
    """A loop over the feature maps of a backbone that has only one."""
    options: Any = {"features_only": True, "out_indices": (4,)}
    images = np.zeros((5, 32, 48, 3), "float32")
    turns = len(list(resnet_keras.create_model("resnet18", **options)(images)))
    return turns, "{} turns of a loop over the one map of resnet18, of a batch of 5"


def conv_init() -> Impact:
    """The standard deviation of `HeNormal` over that of this project, layer by layer."""
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


def dtype() -> Impact:
    """`predict` of a float64 model, given float64 images."""
    right = random_probe(get_architecture(NET), 0, "float64")
    model = resnet_keras.create_model(NET, dtype="float64")
    resnet_keras.set_weights(model, right.weights)
    return of_logits(model.predict(nhwc(right.images), verbose=0), right, f"{NET} in float64")


def train_mode() -> Impact:
    """The images of a validation batch that a model in training mode normalises."""
    right = random_probe(TINY, 0, "float64")
    model = resnet_torch.create_model(TINY, dtype=torch.float64)
    resnet_torch.set_weights(model, right.weights)
    found = model(torch.from_numpy(right.images)).detach().numpy()
    return of_logits(found, right, "a small net")


def freezing() -> Impact:
    """The running means of a frozen norm after one batch in training mode."""
    model, _, _ = torch_state.start(TINY, random_weights(TINY, 0, "float64"), Recipe(), "float64")
    model = resnet_torch.training.freeze_backbone(model).train()
    before = resnet_torch.get_weights(model)["bn1.running_mean"]
    model(torch.from_numpy(np.einsum("nhwc->nchw", Noise(1).load(0, 0)[0]).astype("float64")))
    after = resnet_torch.get_weights(model)["bn1.running_mean"]
    return relative_error(before, after), "relative error {} in a frozen running mean after a batch"


def zero_grad() -> Impact:
    """Two steps whose gradients are added up."""
    weights, images = random_weights(TINY, 0, "float64"), Noise(2)
    kernels = []
    for is_zeroed in (True, False):
        model, optimizer, loss = torch_state.start(TINY, weights, Recipe(0.05), "float64")
        for index in range(2):
            image, label = map(torch.from_numpy, images.load(0, index))
            if is_zeroed:
                optimizer.zero_grad()
            loss(model(image.permute(0, 3, 1, 2).double()), label).backward()
            optimizer.step()
        kernels.append(resnet_torch.get_weights(model)["fc.weight"])
    words = "relative error {} in the classifier's kernel after two steps of a small net"
    return relative_error(*kernels), words


def metrics() -> Impact:
    """A mean of means over batches of 32 images, and a last one of 4."""
    losses = np.random.default_rng(0).exponential(size=100)
    batches = [losses[index : index + 32] for index in range(0, 100, 32)]
    mean = float(np.mean([batch.mean() for batch in batches]))
    return mean, f"{{}} instead of {losses.mean():.3g}, the mean of 100 losses in batches of 32"


def schedule() -> Impact:
    """A cosine in steps, given to Keras' callback, which counts epochs."""
    recipe = Recipe(schedule="cosine", period=90 * 100)
    right = recipe.learning_rate_at(90 * 100 - 1)
    words = f"a rate of {{}} instead of {right:.1g} at the end of 90 epochs of 100 steps"
    return recipe.learning_rate_at(89), words


def loss_scale() -> Impact:
    """The share of normal gradients of deviation 1e-8 that are zero in float16."""
    gradients = np.random.default_rng(0).normal(scale=1e-8, size=10_000)
    lost, scaled = ((each.astype("float16") == 0).mean() for each in (gradients, gradients * 2**15))
    return float(lost), f"{{}} of gradients near 1e-8 become zero, and {scaled:.2g} with a scale"


def ema() -> Impact:
    """The weights from which a second `fit` with Keras' stock optimiser goes on."""
    model, _, loss = keras_state.start(
        TINY, random_weights(TINY, 0, "float64"), Recipe(), "float64"
    )
    kernels: list[np.ndarray] = []

    def keep(*_: Any) -> None:
        kernels.append(resnet_keras.get_weights(model)["fc.weight"])

    optimizer = keras.optimizers.SGD(0.05, use_ema=True, ema_momentum=0.99)
    fit(model, optimizer, loss, Recipe(0.05), Noise(8), Noise(1), epochs=range(1), on_epoch=keep)
    keep()
    words = "relative error {} in the classifier's kernel after 8 steps of a small net"
    return relative_error(kernels[0], kernels[1]), words


def shuffle() -> Impact:
    """The share of pairs of images in a batch of 8 that are in one batch of the next epoch, too."""
    batches: list[np.ndarray] = []

    class Numbers(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 8

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            batches.append(np.arange(8 * index, 8 * index + 8))
            return batches[-1][:, None], batches[-1][:, None]

    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(Numbers(), epochs=2, shuffle=True, verbose=0)
    first, second = ({(i, j) for x in batches[at:][:8] for i in x for j in x} for at in (-16, -8))
    share = len(first & second) / len(first)
    return share, f"{{}} of the pairs in a batch of 8 meet again, by chance {7 / 63:.2g}"


def in_training(name: str) -> Callable[[], Impact]:
    """A function that measures the impact of the training mutant of that name."""
    mutant = next(each for each in TRAINING_MUTANTS if each.name == name)
    return lambda: _training_impact(mutant)


def _training_impact(mutant: TrainingMutant) -> Impact:
    """The error in the kind of quantity that the mutant changes first, after that float64 step."""
    count = mutant.diverges_at + 1
    workload = make_workload(TINY, FULL, 0, (32, 48), 4)
    weights = random_weights(TINY, 0, "float64")
    with pytest.MonkeyPatch.context() as patch:
        mutant.plant(patch)
        *_, last = free_steps(workload, (torch_state, keras_state), weights, count)
    steps = "one step" if count == 1 else f"{count} steps"
    words = f"relative error {{}} in the {mutant.kind} after {steps} of a small net"
    return last.worst[mutant.kind].error, words


RESNET50 = get_architecture(NET)

DIFFERENCES: dict[str, tuple[Architecture | None, Callable[[], Impact]]] = {
    "layout": (RESNET50, layout),
    "kernel-layout": (RESNET50, kernel_layout),
    "dense-kernel": (get_architecture(NET, num_classes=2048), dense_kernel),
    "conv-padding": (RESNET50, conv_padding),
    "pool-padding": (get_architecture("resnetv2_50"), pool_padding),
    "average-edge": (get_architecture("resnet50d"), average_edge),
    "channel-padding": (get_architecture("resnet34_a"), channel_padding),
    "bn-momentum": (TINY, in_training("inverted momentum")),
    "bn-variance": (TINY, in_training("biased variance")),
    "momentum-buffer": (TINY, in_training("learning rate folded into the buffer")),
    "weight-decay": (TINY, in_training("decoupled decay")),
    "labels": (None, labels),
    "one-feature": (
        get_architecture("resnet18", features_only=True, out_indices=(4,)),
        one_feature,
    ),
    "conv-init": (RESNET50, conv_init),
    "dtype": (RESNET50, dtype),
    "train-mode": (TINY, train_mode),
    "freezing": (TINY, freezing),
    "zero-grad": (TINY, zero_grad),
    "metrics": (None, metrics),
    "schedule": (None, schedule),
    "loss-scale": (None, loss_scale),
    "ema": (TINY, ema),
    "shuffle": (None, shuffle),
}
"""Each difference: the spec that its impact is measured on, None for a loss, and how."""


def of_mutant(mutant: Mutant) -> Impact:
    """A mutant's impact on the logits, or on the gradients where the logits are equal."""
    adapter: Any = MutantAdapter(keras_adapter(), mutant)
    if "prepared" in mutant.killed_by:
        right = random(mutant.net, "float32")
        copied = right.architecture, right.weights, right.images, "eager", "float32"
        error = relative_error(right.expected["logits"], adapter.prepared(*copied)["logits"])
        return error, "relative error {} in the logits of the prepared model"
    if mutant.killed_by & ALL:
        right = random(mutant.net, "float64")
        model = adapter.build(right.architecture, right.weights, right.dtype)
        found = adapter.run(model, right.images, "eager")["logits"]
        return relative_error(right.expected["logits"], found), "relative error {} in the logits"
    by_batch = "float64 gradients" in mutant.killed_by
    right = training(mutant.net, "float64") if by_batch else exact(mutant.net, "float64")
    model = adapter.build(right.architecture, right.weights, right.dtype)
    found = adapter.gradients(
        model, right.images, right.cotangents, "eager", training=right.training
    )
    # Relative to the size of their terms, as in the checks, because some gradients cancel out.
    errors = (
        relative_error(value, found[name], right.scales.get(name, 0.0))
        for name, value in right.gradients.items()
    )
    return max(errors), "relative error {} in the worst gradient"


def measure(row: str) -> Measured:
    """Measure the impact of one difference or mutant, by its name."""
    if row in DIFFERENCES:
        (value, words), is_warned = observed(DIFFERENCES[row][1])
        figures: dict[str, Any] = {"table": "differences", **_figures(value, words)}
        figures["silent"] = None if value is None else not is_warned
    else:
        with eager_functions():
            mutant = next(each for each in (*MUTANTS, *TRAINING_MUTANTS) if each.name == row)
            is_trained = isinstance(mutant, TrainingMutant)
            found = _training_impact(mutant) if is_trained else of_mutant(mutant)
        figures = {"table": "mutants", **_figures(*found), **_expected(mutant)}
    return Measured(figures, versions(torch_adapter(), keras_adapter()))


def _figures(value: float | None, words: str) -> dict[str, Any]:
    return {"value": None if value is None else float(f"{value:.3g}"), "words": words}


def _expected(mutant: Mutant | TrainingMutant) -> dict[str, Any]:
    """The network of a mutant, and the checks that must notice it and that cannot."""
    if isinstance(mutant, TrainingMutant):
        return {"net": TINY.name, "killed_by": ["lockstep"], "missed_by": []}
    return {
        "net": mutant.net,
        "killed_by": sorted(mutant.killed_by),
        "missed_by": sorted(mutant.missed_by),
        "blind": mutant.blind,
    }


@contextmanager
def eager_functions() -> Iterator[None]:
    """Let TensorFlow run functions eagerly, so that no mutant meets a graph of another."""
    config = import_module("tensorflow").config
    config.run_functions_eagerly(True)
    try:
        yield
    finally:
        config.run_functions_eagerly(False)


def observed(run: Callable[[], Impact]) -> tuple[Impact, bool]:
    """An impact, and whether anything warned: Python's warnings, a log, or text on stderr."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # pyright: ignore[reportAttributeAccessIssue]
    loggers = [logging.getLogger(name) for name in ("", "tensorflow", "absl")]
    text = io.StringIO()
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings(record=True) as caught, redirect_stderr(text):
            warnings.simplefilter("always")
            # Correct models meet these warnings, too: Keras' own, and that of the first backward
            # pass of a PyTorch that was built for CUDA and finds none.
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            warnings.filterwarnings("ignore", "CUDA initialization", UserWarning)
            found = run()
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
    return found, bool(caught or records or text.getvalue())


RESULTS = Results(
    "impact",
    1,
    {name: spec for name, (spec, _) in DIFFERENCES.items()}
    | {mutant.name: find(mutant.net) for mutant in MUTANTS}
    | dict.fromkeys((mutant.name for mutant in TRAINING_MUTANTS), TINY),
    measure,
)
