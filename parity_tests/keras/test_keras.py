"""The Keras implementation: an idiomatic functional model of stock layers."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    ArchitectureError,
    Stage,
    Stem,
    make_plan,
)

import resnet_keras
from parity_tests.support import (
    EVERYTHING,
    ONE_OF_EACH_KIND,
    SMALL,
    TINY,
    USERS,
    light,
    python,
    random,
)

STOCK = {
    "InputLayer",
    "ZeroPadding2D",
    "Conv2D",
    "BatchNormalization",
    "ReLU",
    "MaxPooling2D",
    "AveragePooling2D",
    "Permute",
    "Identity",
    "Activation",
    "Multiply",
    "Add",
    "GlobalAveragePooling2D",
    "Dense",
}

ELSEWHERE = """
import sys, numpy, keras
assert not any(name.startswith("resnet_") for name in sys.modules)
try:
    import resnet_keras
except ModuleNotFoundError:
    pass
else:
    sys.exit("this project must not be importable here")
model = keras.saving.load_model(sys.argv[1])
numpy.save(sys.argv[3], model(numpy.load(sys.argv[2]), training=False))
"""


@pytest.mark.parametrize(
    "arch", light([SMALL, USERS[0], EVERYTHING], [EVERYTHING]), ids=lambda arch: arch.name
)
def test_a_saved_model_loads_where_this_project_is_not(arch, tmp_path):
    probe = random(arch.name, "float32")
    model = resnet_keras.create_model(arch)
    resnet_keras.set_weights(model, probe.weights)
    images = np.einsum("nchw->nhwc", probe.images)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images)
    # -I keeps the working folder and PYTHONPATH out; -S keeps out the editable install.
    site = str(next(p for p in keras.__path__)).removesuffix("/keras")
    code = f"import sys; sys.path.append({site!r})\n{ELSEWHERE}"
    files = [str(tmp_path / name) for name in ("model.keras", "images.npy", "logits.npy")]
    result = python("-I", "-S", "-c", code, *files, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.load(files[2]), np.asarray(model(images, training=False)))


FEW = ["resnet18_small", "resnet34_c", "keras_resnet50v2", "seresnext50_32x4d", "resnetv2_50d"]


@pytest.mark.parametrize("name", light(ONE_OF_EACH_KIND, FEW))
def test_only_stock_layers(name):
    model = getattr(resnet_keras, name)()
    assert {type(layer).__name__ for layer in model.layers} <= STOCK
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert type(model).__module__.startswith("keras.")
    assert model.architecture == ARCHITECTURES[name]
    same = [layer for layer in model.layers if getattr(layer, "padding", "") == "same"]
    assert all(
        isinstance(layer, keras.layers.AveragePooling2D) or layer.strides == (1, 1)
        for layer in same
    )  # where "same" pads both sides alike, or an average leaves the padding out
    assert not any(isinstance(layer, keras.layers.Conv2D) for layer in same)
    keras.backend.clear_session()


@pytest.mark.full
def test_a_deep_net_saves_and_loads(tmp_path):
    """Keras walks a model by recursion: `create_model` raises the limit, a loading user must."""
    stem = Stem(4, kernel=3, stride=1, pool=None)
    deep = Architecture("deep", "basic", (Stage(120, 4),), stem=stem, num_classes=3)
    limit = sys.getrecursionlimit()
    model = resnet_keras.create_model(deep)
    assert sys.getrecursionlimit() == limit < len(model.layers)
    model.save(tmp_path / "deep.keras")
    images = np.ones((1, 8, 8, 3), "float32")
    with pytest.raises(RecursionError):
        keras.saving.load_model(tmp_path / "deep.keras")
    sys.setrecursionlimit(100_000)
    try:
        loaded = keras.saving.load_model(tmp_path / "deep.keras")
    finally:
        sys.setrecursionlimit(limit)
    np.testing.assert_array_equal(loaded(images), model(images))


def test_spatial_size_is_dynamic():
    model = resnet_keras.create_model(TINY)
    for size in ((32, 48), (33, 65)):
        assert model(np.zeros((2, *size, 3), "float32")).shape == (2, 10)


def test_dtype_reaches_every_layer_and_the_global_policy_stays():
    keras.config.set_dtype_policy("float32")
    model = resnet_keras.create_model(TINY, dtype="float64")
    assert {layer.compute_dtype for layer in model.layers} == {"float64"}
    assert {variable.dtype for variable in model.variables} == {"float64"}
    assert model.input.dtype == "float64"
    assert keras.config.dtype_policy().name == "float32"


def test_mixed_precision_policy_is_kept():
    """Layers compute in half precision, variables and the input are float32."""
    model = resnet_keras.create_model(TINY, dtype="mixed_bfloat16")
    assert {layer.compute_dtype for layer in model.layers[1:]} == {"bfloat16"}
    assert {variable.dtype for variable in model.variables} == {"float32"}
    assert model.input.dtype == "float32"


def test_the_policy_comes_back_after_an_error():
    with pytest.raises(ValueError, match="float65"):
        resnet_keras.create_model(TINY, dtype="float65")
    assert keras.config.dtype_policy().name == "float32"


def test_zero_init_residual():
    model = resnet_keras.create_model("resnet50", zero_init_residual=True)
    weights = resnet_keras.get_weights(model)
    for block in make_plan(ARCHITECTURES["resnet50"]).blocks:
        assert not weights[f"{block.name}.bn3.weight"].any()
        assert weights[f"{block.name}.bn2.weight"].all()


def test_a_keras_json_that_says_channels_first_changes_nothing():
    """Every layer is given its layout."""
    keras.config.set_image_data_format("channels_first")
    try:
        model = resnet_keras.create_model(TINY)
        assert model(np.zeros((2, 32, 48, 3), "float32")).shape == (2, 10)
    finally:
        keras.config.set_image_data_format("channels_last")


def test_the_input_is_called_image():
    assert [each.name for each in resnet_keras.create_model(TINY).inputs] == ["image"]


def test_a_bad_name_is_refused():
    with pytest.raises(ArchitectureError, match="did you mean"):
        resnet_keras.create_model("resnet51")
