"""`fit` and what Keras users do around it: the model learns, and its weights can be taken out."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import callbacks

from resnet_spec import ArchitectureError, Recipe

import resnet_keras
import resnet_torch
from parity_tests.support import TINY, light, python
from resnet_keras.optimizer import get_momentum, sgd
from resnet_keras.training import cross_entropy, for_training, tensorflow, train_step
from resnet_parity.tolerances import limit

NET = replace(TINY, num_classes=3)
STRING = "sparse_categorical_crossentropy"


def data() -> tuple[np.ndarray, np.ndarray]:
    """Noise, and one brighter colour, which is the class."""
    stream = np.random.default_rng(0)
    labels = stream.integers(0, 3, 48)
    images = stream.normal(scale=0.3, size=(48, 32, 48, 3)).astype("float32")
    images[np.arange(48), :, :, labels] += 1.5
    return images, labels


def built(**options: Any) -> keras.Model:
    keras.utils.set_random_seed(1)
    given: dict[str, Any] = {"classifier_activation": "softmax"} | options
    return resnet_keras.create_model(NET, **given)


def assert_close(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert np.abs(ours - theirs).max() <= limit("keras habits", "float32")


def fitted(model: keras.Model, loss: Any = STRING, compiled: Any = None, **options: Any) -> float:
    """The share of right answers after three epochs."""
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss, **compiled or {})
    images, labels = data()
    given: dict[str, Any] = {"batch_size": 16, "epochs": 3, "verbose": 0} | options
    model.fit(images, labels, **given)
    return accuracy(model)


def accuracy(model: keras.Model) -> float:
    images, labels = data()
    return float(np.mean(model.predict(images, verbose=0).argmax(-1) == labels))


def test_a_string_loss_learns_from_probabilities_and_not_from_logits():
    assert fitted(built()) == 1
    assert fitted(built(classifier_activation=None)) < 0.5
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert fitted(built(classifier_activation=None), loss) == 1


def test_probabilities_are_the_softmax_of_the_logits():
    model, images = built(dtype="mixed_float16"), data()[0]
    logits = keras.Model(model.input, model.get_layer("fc").output).predict(images, verbose=0)
    found = model.predict(images, verbose=0)
    assert found.dtype == "float32"
    wide = logits.astype("float32")
    exponents = np.exp(wide - wide.max(-1, keepdims=True))
    assert_close(np.log(found), np.log(exponents / exponents.sum(-1, keepdims=True)))
    assert built(dtype="float64")(images[:1]).dtype == "float64"


def test_an_activation_needs_classes_and_is_no_option_of_pytorch():
    with pytest.raises(ArchitectureError, match="needs classes"):
        built(num_classes=0)
    activation: dict[str, Any] = {"classifier_activation": "softmax"}
    with pytest.raises(ArchitectureError, match=r"model\(images\)\.softmax\(1\)"):
        resnet_torch.create_model(NET, **activation)


def test_the_loss_of_a_recipe_refuses_probabilities():
    features = built(num_classes=0, classifier_activation=None)
    headed = keras.Sequential([features, keras.layers.Dense(3, activation="softmax")])
    for model in (built(), headed):
        with pytest.raises(ValueError, match="takes logits"):
            cross_entropy(model, Recipe())
    cross_entropy(built(classifier_activation=None), Recipe())


FIX = r"keras\.ops\.transpose\(images, \(0, 2, 3, 1\)\)"


@pytest.mark.parametrize("how", ["__call__", "predict", "fit", "resnet", "train_step"])
def test_images_in_the_other_layout_are_refused_with_the_transpose(how):
    images, labels = data()
    wrong = images.transpose(0, 3, 1, 2)
    model = built(classifier_activation=None)
    recipe = Recipe()
    optimizer = sgd(model, recipe)
    calls: dict[str, Callable[[], Any]] = {
        "__call__": lambda: model(wrong),
        "predict": lambda: model.predict(wrong, verbose=0),
        "fit": lambda: (model.compile("sgd", STRING), model.fit(wrong, labels, verbose=0)),
        "resnet": lambda: resnet_keras.resnet(keras.Input((3, 32, 48)), NET),
        "train_step": lambda: train_step(
            model, optimizer, cross_entropy(model, recipe), wrong, labels, 0.1
        ),
    }
    with pytest.raises(ValueError, match=FIX):
        calls[how]()
    assert model(np.asarray(keras.ops.transpose(wrong, (0, 2, 3, 1)))).shape == (48, 3)


def test_images_in_the_other_layout_are_refused_by_pytorch_too():
    torch = pytest.importorskip("torch")
    model, images = resnet_torch.create_model(NET), torch.zeros(2, 32, 48, 3)
    with pytest.raises(ValueError, match=r"images\.permute\(0, 3, 1, 2\)"):
        model(images)
    assert model(images.permute(0, 3, 1, 2)).shape == (2, 3)
    with pytest.raises(RuntimeError, match="to have 3 channels, but got 5"):
        model(torch.zeros(2, 5, 32, 48))


def plain(folder: Path) -> None:
    assert fitted(built()) == 1


def with_callbacks(folder: Path) -> None:
    best = folder / "best.keras"
    every = [
        callbacks.ModelCheckpoint(best, save_best_only=True),
        callbacks.EarlyStopping(patience=2),
        callbacks.ReduceLROnPlateau(patience=1),
        callbacks.CSVLogger(folder / "log.csv"),
        callbacks.TerminateOnNaN(),
    ]
    model = built()
    metrics = {"metrics": ["accuracy"]}
    assert fitted(model, compiled=metrics, validation_data=data(), callbacks=every) == 1
    loaded = keras.saving.load_model(best)
    assert resnet_keras.architecture_of(loaded) == NET
    assert accuracy(loaded) == 1


def class_weight(folder: Path) -> None:
    assert fitted(built(), class_weight={0: 1.0, 1: 2.0, 2: 3.0}) == 1


def mixed_float16(folder: Path) -> None:
    assert fitted(built(dtype="mixed_float16")) == 1


def frozen_norms(folder: Path) -> None:
    model = built()
    for layer in model.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    before = resnet_keras.get_weights(model)
    fitted(model)
    after = resnet_keras.get_weights(model)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    norms = {name for name in before if "bn" in name or "downsample.1" in name}
    assert changed == before.keys() - norms
    assert not for_training(model).get_layer("bn1").trainable


def quantized(folder: Path) -> None:
    model = built()
    fitted(model)
    with warnings.catch_warnings(action="ignore"):  # one for each layer that has no such form
        model.quantize("int8")
    assert accuracy(model) == 1
    model.save(folder / "int8.keras")
    # Its optimizer has a slot for the old kernel, which Keras refuses to load.
    loaded = keras.saving.load_model(folder / "int8.keras", compile=False)
    np.testing.assert_array_equal(*(m.predict(data()[0], verbose=0) for m in (model, loaded)))
    assert resnet_keras.architecture_of(loaded) == NET


def lora(folder: Path) -> None:
    model = built()
    for name in ("fc", "layer1_0_conv1"):
        model.get_layer(name).enable_lora(2)
    assert fitted(model) == 1
    merged = built()
    resnet_keras.set_weights(merged, resnet_keras.get_weights(model))
    ours, theirs = (m.predict(data()[0], verbose=0) for m in (model, merged))
    assert_close(ours, theirs)


class Interrupt(callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


def backup_and_restore(folder: Path) -> None:
    """Training that is interrupted and continued ends where training in one go does."""
    whole, options = built(), {"epochs": 4, "shuffle": False}
    fitted(whole, **options)
    backup = callbacks.BackupAndRestore(folder / "backup")
    with pytest.raises(KeyboardInterrupt):
        fitted(built(), callbacks=[backup, Interrupt()], **options)
    resumed = resnet_keras.create_model(NET, classifier_activation="softmax")
    fitted(resumed, callbacks=[callbacks.BackupAndRestore(folder / "backup")], **options)
    expected = resnet_keras.get_weights(whole)
    for name, array in resnet_keras.get_weights(resumed).items():
        assert_close(array, expected[name])


def random_seed(folder: Path) -> None:
    one, other = (resnet_keras.get_weights(built()) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def channels_first(folder: Path) -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        model = built()
        assert fitted(model) == 1
        assert resnet_keras.architecture_of(keras.models.clone_model(model)) == NET
    finally:
        keras.config.set_image_data_format("channels_last")


def loaded_then_trained(folder: Path) -> None:
    """`for_training` and the optimiser take a loaded model."""
    built(classifier_activation=None).save(folder / "model.keras")
    model, recipe = for_training(keras.saving.load_model(folder / "model.keras")), Recipe()
    optimizer, loss = sgd(model, recipe), cross_entropy(model, recipe)
    images, labels = data()
    losses = [train_step(model, optimizer, loss, images, labels, 0.05) for _ in range(4)]
    assert losses[-1] < losses[0]
    assert any(buffer.any() for buffer in get_momentum(model, optimizer).values())


def tf_data(folder: Path) -> None:
    tf = tensorflow()
    assert tf
    batches = tf.data.Dataset.from_tensor_slices(data()).shuffle(48, seed=0).batch(16).prefetch(1)
    model = built()
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), STRING)
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    assert accuracy(model) == 1


def jit_compile(folder: Path) -> None:
    assert fitted(built(), compiled={"jit_compile": True}) == 1


def mirrored(folder: Path) -> None:
    tf = tensorflow()
    assert tf
    with tf.distribute.MirroredStrategy().scope():
        model = built()
        assert fitted(model) == 1
    weights = resnet_keras.get_weights(model)
    resnet_keras.set_weights(model, {name: array + 1 for name, array in weights.items()})
    changed = resnet_keras.get_weights(model)
    assert all(np.array_equal(changed[name], array + 1) for name, array in weights.items())


EVERYWHERE = [
    with_callbacks,
    class_weight,
    mixed_float16,
    frozen_norms,
    quantized,
    lora,
    backup_and_restore,
    random_seed,
    channels_first,
    loaded_then_trained,
]
TENSORFLOW = [tf_data, jit_compile, mirrored]
QUICK = [with_callbacks, frozen_norms, quantized, lora, random_seed, loaded_then_trained, tf_data]


@pytest.mark.parametrize("habit", light([*EVERYWHERE, *TENSORFLOW], QUICK))
def test_a_habit_of_keras_users(habit, tmp_path):
    habit(tmp_path)
    keras.backend.clear_session()


SCRIPT = """
import tempfile
from pathlib import Path
from parity_tests.keras import test_fit
for habit in (test_fit.plain, *test_fit.EVERYWHERE):
    habit(Path(tempfile.mkdtemp()))
    print(habit.__name__)
"""


@pytest.mark.full
@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_the_habits_on_another_backend(backend):
    result = python("-c", SCRIPT, KERAS_BACKEND=backend)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [each.__name__ for each in (plain, *EVERYWHERE)]
