"""Each row of `resnet_spec.differences`: what both frameworks do, and the effect of ignoring it."""

from __future__ import annotations

from functools import cache
from typing import Any

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from resnet_spec import ChannelPad, MaxPool, Recipe

import resnet_keras.fit
import resnet_keras.layers
import resnet_keras.optimizer
import resnet_keras.training
import resnet_torch.fit
import resnet_torch.layers
import resnet_torch.optimizer
import resnet_torch.training
from parity_tests.support import TINY
from parity_tests.training.noise import Noise
from resnet_parity.adapters.keras import training_state as keras_state
from resnet_parity.adapters.torch import training_state as torch_state
from resnet_parity.compare import relative_error
from resnet_parity.probes import random_weights
from resnet_parity.tolerances import limit

GENERATOR = np.random.default_rng(0)
VISIBLE = limit("naive comparison", "logits")
"""A naive comparison accepts smaller errors; every difference but `dtype` causes larger ones."""


def images(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape)


def nhwc(x: np.ndarray) -> np.ndarray:
    return np.einsum("nchw->nhwc", x)


def nchw(x) -> np.ndarray:
    return np.einsum("nhwc->nchw", keras.ops.convert_to_numpy(x))


def torch_conv(x: np.ndarray, kernel: np.ndarray, **options) -> np.ndarray:
    return functional.conv2d(torch.from_numpy(x), torch.from_numpy(kernel), **options).numpy()


def keras_conv(x: np.ndarray, kernel: np.ndarray, **options) -> np.ndarray:
    return nchw(keras.ops.conv(nhwc(x), kernel, **options))


def test_layout():
    torch_model = resnet_torch.create_model(TINY, dtype=torch.float64).eval()
    keras_model = resnet_keras.create_model(TINY, dtype="float64")
    assert torch_model.conv1(torch.zeros(2, 3, 8, 12, dtype=torch.float64)).shape == (2, 16, 4, 6)
    assert keras_model.input_shape == (None, None, None, 3)
    assert keras_model.get_layer("conv1").compute_output_shape((2, 14, 18, 3)) == (2, 4, 6, 16)
    resnet_keras.set_weights(keras_model, resnet_torch.get_weights(torch_model))
    x = images(2, 3, 3, 3)  # H = W = C, so the shape is the same in both layouts
    with torch.no_grad():
        expected = torch_model(torch.from_numpy(x)).numpy()
    right, wrong = (np.asarray(keras_model(each, training=False)) for each in (nhwc(x), x))
    assert relative_error(expected, right) < limit("float64", "taps")
    assert relative_error(expected, wrong) > VISIBLE


def test_kernel_layout():
    x, kernel = images(2, 4, 8, 10), images(5, 4, 3, 3)
    expected = torch_conv(x, kernel)
    right = keras_conv(x, np.einsum("oihw->hwio", kernel))
    swapped = keras_conv(x, np.einsum("oihw->whio", kernel))
    assert relative_error(expected, right) < limit("float64", "taps")
    assert swapped.shape == expected.shape
    assert relative_error(expected, swapped) > VISIBLE


def test_dense_kernel():
    x, kernel = images(2, 6), images(6, 6)
    expected = functional.linear(torch.from_numpy(x), torch.from_numpy(kernel)).numpy()
    layer = layers.Dense(6, use_bias=False, dtype="float64")
    layer.build(x.shape)
    layer.kernel.assign(np.einsum("oi->io", kernel))
    assert relative_error(expected, np.asarray(layer(x))) < limit("float64", "taps")
    layer.kernel.assign(kernel)  # the shape fits, the values are wrong
    assert relative_error(expected, np.asarray(layer(x))) > VISIBLE


def test_conv_padding():
    kernel = images(5, 4, 3, 3)
    hwio = np.einsum("oihw->hwio", kernel)
    for size, blind in (((8, 10), False), ((7, 9), True)):
        x = images(2, 4, *size)
        expected = torch_conv(x, kernel, stride=2, padding=1)
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        right = keras_conv(padded, hwio, strides=2, padding="valid")
        same = keras_conv(x, hwio, strides=2, padding="same")
        assert relative_error(expected, right) < limit("float64", "taps")
        assert same.shape == expected.shape
        error = relative_error(expected, same)
        assert (error < limit("float64", "taps")) if blind else (error > VISIBLE)


def test_pool_padding():
    x = images(2, 4, 8, 10) - 1
    pad = layers.ZeroPadding2D(1, dtype="float64")
    pool = layers.MaxPooling2D(3, strides=2, padding="valid", dtype="float64")
    expected = functional.max_pool2d(torch.from_numpy(x), 3, 2, 1).numpy()
    assert relative_error(expected, nchw(pool(pad(nhwc(x))))) > VISIBLE
    image = keras.Input((None, None, 4))  # the layer of this project, with preactivation:
    ours = resnet_keras.layers.max_pool(image, MaxPool("p", 3, 2, 1, border="lowest"))
    narrow, lowest = x.astype("float32"), expected.astype("float32")
    np.testing.assert_array_equal(nchw(keras.Model(image, ours)(nhwc(narrow))), lowest)
    x = np.maximum(x, 0)  # after a ReLU the zeros change nothing
    expected = functional.max_pool2d(torch.from_numpy(x), 3, 2, 1).numpy()
    np.testing.assert_array_equal(nchw(pool(pad(nhwc(x)))), expected)


def test_average_edge():
    x = images(2, 4, 7, 9)
    theirs = torch.nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    expected = theirs(torch.from_numpy(x)).numpy()
    right = layers.AveragePooling2D(2, 2, padding="same", dtype="float64")(nhwc(x))
    default = layers.AveragePooling2D(2, 2, dtype="float64")(nhwc(x))
    counted = functional.avg_pool2d(torch.from_numpy(np.pad(x, ((0, 0),) * 2 + ((0, 1),) * 2)), 2)
    assert relative_error(expected, nchw(right)) < limit("float64", "taps")
    assert nchw(default).shape == (2, 4, 3, 4) != expected.shape
    assert relative_error(expected, counted.numpy()) > VISIBLE  # zeros beyond the edge count


def test_channel_padding():
    x, spec = images(2, 4, 6, 8).astype("float32"), ChannelPad("p", 4, before=1, after=3)
    expected = np.pad(x, ((0, 0), (1, 3), (0, 0), (0, 0)))
    ours = resnet_torch.layers.channel_pad(spec)(torch.from_numpy(x)).numpy()
    image = keras.Input((None, None, 4))
    model = keras.Model(image, resnet_keras.layers.channel_pad(image, spec))
    np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(nchw(model(nhwc(x))), expected)
    unpermuted = layers.ZeroPadding2D(((0, 0), (1, 3)))(nhwc(x))
    assert unpermuted.shape == (2, 6, 12, 4)  # the width has grown instead of the channels


def _train_once(module: nn.BatchNorm2d, layer, x: np.ndarray) -> None:
    module.double().train()(torch.from_numpy(x))
    layer(nhwc(x), training=True)


def test_bn_momentum():
    x = images(2, 4, 8, 10) + 3
    module: Any = resnet_torch.create_model(TINY).bn1
    assert module.momentum == 0.1
    assert resnet_keras.create_model(TINY).get_layer("bn1").momentum == 0.9
    module, layer = (
        nn.BatchNorm2d(4, momentum=0.1),
        layers.BatchNormalization(momentum=0.9, dtype="float64"),
    )
    _train_once(module, layer, x)
    right = np.asarray(layer.moving_mean)
    expected = module.state_dict()["running_mean"].numpy()
    assert relative_error(expected, right) < limit("float64", "waived rounding of taps")
    copied = layers.BatchNormalization(momentum=0.1, dtype="float64")
    copied(nhwc(x), training=True)
    assert relative_error(expected, np.asarray(copied.moving_mean)) > VISIBLE


def test_bn_variance():
    x = images(2, 4, 2, 3)  # 12 values per channel
    module = nn.BatchNorm2d(4, momentum=0.1)
    stock = layers.BatchNormalization(momentum=0.9, dtype="float64")
    _train_once(module, stock, x)
    batch = x.var(axis=(0, 2, 3))
    ours = module.state_dict()["running_var"].numpy()
    close = limit(
        "float64", "waived rounding of taps"
    )  # the stock layer rounds its momentum to float32
    assert relative_error(0.9 + 0.1 * batch * 12 / 11, ours) < limit("float64", "taps")
    assert relative_error(0.9 + 0.1 * batch, np.asarray(stock.moving_variance)) < close
    assert relative_error(ours, np.asarray(stock.moving_variance)) > VISIBLE
    layer = resnet_keras.training.BatchNormalization(momentum=0.9, dtype="float64")
    layer(nhwc(x), training=True)
    assert relative_error(ours, np.asarray(layer.moving_variance)) < limit("float64", "taps")


STEPS = ((0.5, np.array([[1.0, -2.0]])), (0.125, np.array([[0.5, 3.0]])), (0.125, np.zeros((1, 2))))
"""Learning rates and gradients of a tensor that starts at one."""


def _torch_descent(**options) -> np.ndarray:
    value = torch.ones(1, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([value], lr=1, momentum=0.5, **options)
    for rate, gradient in STEPS:
        optimizer.param_groups[0]["lr"] = rate
        value.grad = torch.from_numpy(gradient)
        optimizer.step()
    return value.detach().numpy()


def _keras_descent(kind, **options) -> np.ndarray:
    value = keras.Variable(np.ones((1, 2)), dtype="float64")
    optimizer = kind(1.0, momentum=0.5, **options)
    for rate, gradient in STEPS:
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [value])
    return np.asarray(value)


OURS, STOCK = resnet_keras.optimizer.CoupledSGD, keras.optimizers.SGD


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_buffer(nesterov):
    expected = _torch_descent(nesterov=nesterov)
    ours, stock = (_keras_descent(kind, nesterov=nesterov) for kind in (OURS, STOCK))
    assert relative_error(expected, ours) < limit("float64", "taps")
    assert relative_error(expected, stock) > VISIBLE


def test_weight_decay():
    expected = _torch_descent(weight_decay=0.25)
    ours, stock = _keras_descent(OURS, l2=0.25), _keras_descent(STOCK, weight_decay=0.25)
    assert relative_error(expected, ours) < limit("float64", "taps")
    assert relative_error(expected, stock) > VISIBLE


def test_labels():
    logits, labels = images(4, 10), np.array([1, 0, 9, 9])
    recipe = Recipe(label_smoothing=0.1)
    torch_model = resnet_torch.create_model(TINY, dtype=torch.float64)
    keras_model = resnet_keras.create_model(TINY, dtype="float64")
    theirs = resnet_torch.training.cross_entropy(torch_model, recipe)
    expected = theirs(torch.from_numpy(logits), torch.from_numpy(labels)).numpy()
    one_hot = keras.utils.to_categorical(labels, 10)
    ours = resnet_keras.training.cross_entropy(keras_model, recipe)(one_hot, logits)
    assert relative_error(expected, np.asarray(ours)) < limit("float64", "taps")
    stock = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)(one_hot, logits)
    assert not relative_error(expected, np.asarray(stock)) < VISIBLE


@pytest.mark.parametrize(
    "framework", [resnet_torch, resnet_keras], ids=lambda framework: framework.__name__
)
def test_conv_init(framework):
    """Variance 2 / fan-out, and tails that a truncated normal does not have."""
    weights = framework.get_weights(framework.create_model("resnet18"))
    for name in ("layer1.0.conv1.weight", "layer4.1.conv2.weight", "layer3.0.downsample.0.weight"):
        kernel = weights[name]
        deviation = np.sqrt(2 / (kernel.shape[0] * kernel.shape[2] * kernel.shape[3]))
        assert kernel.std() / deviation == pytest.approx(1, abs=5 / np.sqrt(kernel.size))
        assert np.abs(kernel).max() > 3 * deviation
    bound = 1 / np.sqrt(512)
    for name in ("fc.weight", "fc.bias"):
        assert 0.9 * bound < np.abs(weights[name]).max() <= bound
        assert weights[name].std() / bound == pytest.approx(1 / np.sqrt(3), rel=0.1)


def test_one_feature():
    x = images(2, 3, 32, 48).astype("float32")
    options: Any = {"features_only": True, "out_indices": (2,)}
    (single,) = resnet_torch.create_model(TINY, **options)(torch.from_numpy(x))
    unpacked = resnet_keras.create_model(TINY, **options)(nhwc(x))
    assert single.shape == (2, 32, 4, 6)
    assert unpacked.shape == (2, 4, 6, 32)
    both = resnet_keras.create_model(TINY, features_only=True, out_indices=(1, 2))(nhwc(x))
    assert [each.shape[-1] for each in both] == [16, 32]


def test_dtype():
    x = images(2, 3, 16, 24)
    torch_model = resnet_torch.create_model(TINY, dtype=torch.float64).eval()
    weights = resnet_torch.get_weights(torch_model)
    keras_model = resnet_keras.create_model(TINY, dtype="float64")
    resnet_keras.set_weights(keras_model, weights)
    assert {layer.compute_dtype for layer in keras_model.layers} == {"float64"}
    assert keras_model.input.dtype == "float64"
    with torch.no_grad():
        expected = torch_model(torch.from_numpy(x)).numpy()
    right = np.asarray(keras_model(nhwc(x), training=False))
    assert relative_error(expected, right) < limit("float64", "taps")
    with_narrow_input = keras.Sequential([keras.Input((16, 24, 3), dtype="float32"), keras_model])
    for rounded in (with_narrow_input(nhwc(x)), keras_model.predict(nhwc(x), verbose=0)):
        error = relative_error(expected, np.asarray(rounded))
        assert limit("float64", "taps") < error < limit("float64", "waived rounding of taps")


LOOP = Recipe(0.01, schedule="cosine", period=4)


def _start(adapter) -> Any:
    return adapter.start(TINY, random_weights(TINY, 0, "float64"), LOOP, "float64")


@cache
def _run(framework: str) -> tuple[list[dict[str, float]], list[float]]:
    """The logs of two epochs of `fit`, and the learning rate of each step."""
    is_torch = framework == "torch"
    model, optimizer, loss = _start(torch_state if is_torch else keras_state)
    fit: Any = (resnet_torch if is_torch else resnet_keras).fit.fit
    logs: list[dict[str, float]] = []
    rates: list[float] = []

    def on_step(step, means):
        rate = optimizer.param_groups[0]["lr"] if is_torch else optimizer.learning_rate
        rates.append(float(rate))

    fit(
        *(model, optimizer, loss, LOOP, Noise(2), Noise(2, last=1)),
        epochs=range(2),
        on_step=on_step,
        on_epoch=lambda epoch, means: logs.append(dict(means)),
    )
    return logs, rates


def test_train_mode():
    x = images(4, 3, 32, 48)
    model, _, _ = _start(torch_state)
    before = resnet_torch.get_weights(model)["bn1.running_mean"]
    training = model(torch.from_numpy(x)).detach().numpy()
    assert relative_error(before, resnet_torch.get_weights(model)["bn1.running_mean"]) > VISIBLE
    model, _, _ = _start(torch_state)
    expected = model.eval()(torch.from_numpy(x)).detach().numpy()
    theirs, _, _ = _start(keras_state)
    found = np.asarray(theirs(nhwc(x), training=False))
    assert relative_error(expected, found) < limit("float64", "taps")
    assert relative_error(expected, training) > VISIBLE


def test_freezing():
    """Neither `fit` moves a frozen statistic; a loop in PyTorch without eval() does."""
    fitted = []
    for adapter, package in ((torch_state, resnet_torch), (keras_state, resnet_keras)):
        model, _, loss = _start(adapter)
        model = package.training.freeze_backbone(model)
        parts = model, package.optimizer.sgd(model, LOOP), loss
        before = package.get_weights(model)
        package.fit.fit(*parts, LOOP, Noise(2), Noise(1), epochs=range(1))
        after = package.get_weights(model)
        assert {name for name, each in after.items() if (each != before[name]).any()} == {
            "fc.weight",
            "fc.bias",
        }
        assert set(package.optimizer.get_momentum(*parts[:2])) == {"fc.weight", "fc.bias"}
        fitted.append(after["fc.weight"])
    assert relative_error(*fitted) < limit("lockstep", "float64")
    model, _, _ = _start(torch_state)
    frozen = resnet_torch.training.freeze_backbone(model).train()
    before = resnet_torch.get_weights(frozen)["bn1.running_mean"]
    frozen(torch.from_numpy(images(4, 3, 32, 48)))
    assert relative_error(before, resnet_torch.get_weights(frozen)["bn1.running_mean"]) > VISIBLE


def _loop(zeroed: bool) -> np.ndarray:
    """The classifier's kernel after the two steps of an epoch of a loop in PyTorch."""
    model, optimizer, loss = _start(torch_state)
    for index in range(2):
        optimizer.param_groups[0]["lr"] = LOOP.learning_rate_at(index)
        x, labels = Noise(2).load(0, index)
        if zeroed:
            optimizer.zero_grad()
        logits = model(torch.from_numpy(nchw(x).astype("float64")))
        loss(logits, torch.from_numpy(labels)).backward()
        optimizer.step()
    return resnet_torch.get_weights(model)["fc.weight"]


def test_zero_grad():
    fitted = []
    for adapter, package in ((torch_state, resnet_torch), (keras_state, resnet_keras)):
        state, fit = _start(adapter), package.fit.fit
        fit(*state, LOOP, Noise(2), Noise(1), epochs=range(1))
        fitted.append(package.get_weights(state[0])["fc.weight"])
    for each in fitted:
        assert relative_error(_loop(zeroed=True), each) < limit("lockstep", "float64")
    assert relative_error(_loop(zeroed=False), fitted[0]) > VISIBLE


def test_metrics():
    (ours, *_), _ = _run("torch")
    (theirs, *_), _ = _run("keras")
    assert ours.keys() == theirs.keys() == {"loss", "accuracy", "val_loss", "val_accuracy"}
    for name, value in ours.items():
        assert relative_error(np.array(value), np.array(theirs[name])) < limit(
            "lockstep", "float64"
        )
    values, counts = np.array([1.5, 0.5]), np.array([4, 1])  # two batches, the last one smaller
    tracker = keras.metrics.Mean()
    for value, count in zip(values, counts, strict=True):
        tracker.update_state(value, sample_weight=count)
    right = (values * counts).sum() / counts.sum()
    assert relative_error(right, np.array(tracker.result())) < limit("keras habits", "float32")
    assert abs(float(tracker.result()) - values.mean()) > VISIBLE


def test_schedule():
    expected = [LOOP.learning_rate_at(step) for step in range(4)]
    for framework in ("torch", "keras"):
        assert _run(framework)[1] == expected
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    rates: list[float] = []
    record = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: rates.append(float(model.optimizer.learning_rate))
    )
    by_epoch = keras.callbacks.LearningRateScheduler(LOOP.learning_rate_at)
    x = np.zeros((4, 2))
    model.fit(x, x[:, :1], batch_size=2, epochs=2, verbose=0, callbacks=[by_epoch, record])
    assert relative_error(np.array(expected[2:]), np.array(rates[2:])) > VISIBLE


def test_loss_scale():
    """float16 does not have the gradient, 2**-28; it has 2**-13, after a scale of 2**15."""
    small, found = 2.0**-14, []
    for scaler in (None, torch.amp.GradScaler("cpu", init_scale=2.0**15)):
        weight = nn.Parameter(torch.zeros(()))
        optimizer = torch.optim.SGD([weight], lr=1.0)
        loss = weight.half() * small * small
        (scaler.scale(loss) if scaler else loss).backward()
        scaler.step(optimizer) if scaler else optimizer.step()
        found.append(weight.item())
    assert found == [0, -small * small]
    variable = keras.Variable(0.0)
    keras_optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0))
    keras_optimizer.build([variable])
    scaled = keras_optimizer.scale_loss(keras.ops.convert_to_tensor(small * small))
    keras_optimizer.apply([keras.ops.cast(scaled, "float16")], [variable])
    assert float(variable) == -small * small


def test_ema():
    """After `fit` a model has the averages of its weights, those of PyTorch, but for ours."""
    x, fitted = np.random.default_rng(0).normal(size=(6, 1)), []
    for kind in (keras.optimizers.SGD, resnet_keras.optimizer.CoupledSGD):
        model = keras.Sequential([keras.Input((1,)), layers.Dense(1, use_bias=False)])
        model.set_weights([np.ones((1, 1))])
        trained: list[np.ndarray] = []
        record = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, to=trained, of=model: to.append(
                of.get_weights()[0]
            )
        )
        optimizer = kind(0.1, use_ema=True, ema_momentum=0.9)
        model.compile(optimizer, "mse")
        model.fit(x, 3 * x, batch_size=2, shuffle=False, verbose=0, callbacks=[record])
        fitted.append((model.get_weights()[0], trained))
    (averages, trained), (weights, _) = fitted
    linear = nn.Linear(1, 1, bias=False)
    ours = AveragedModel(linear, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    for value in trained:
        linear.load_state_dict({"weight": torch.from_numpy(value)})
        ours.update_parameters(linear)
    found = ours.get_parameter("module.weight").detach().numpy()
    assert relative_error(found, averages) < limit("keras habits", "float32")
    assert relative_error(trained[-1], averages) > VISIBLE
    np.testing.assert_array_equal(weights, trained[-1])


def test_shuffle():
    """Batches of numbers that were in one batch before stay together in Keras."""
    torch.manual_seed(0)
    loader = DataLoader(range(16), batch_size=4, shuffle=True)  # pyright: ignore[reportArgumentType]
    first, second = ({frozenset(batch.tolist()) for batch in loader} for _ in range(2))
    assert first != second
    loaded: list[tuple[int, ...]] = []

    class Numbers(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            batch = np.arange(4 * index, 4 * index + 4).reshape(4, 1)
            loaded.append(tuple(batch.ravel().tolist()))
            return batch, batch

    model = keras.Sequential([keras.Input((1,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(Numbers(), epochs=8, shuffle=True, verbose=0)
    assert len({*loaded}) == 4
    epochs = [tuple(loaded[index - 4 : index]) for index in range(len(loaded), 3, -4)]
    assert len({*epochs[:8]}) > 1
