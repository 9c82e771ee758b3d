"""Files of Keras and TensorFlow: each is read bitwise under the names of Keras, as data."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from keras.src.backend.common import global_state
from keras.src.legacy.saving import legacy_h5_format

from resnet_spec import ARCHITECTURES, get_architecture

import resnet_keras
from parity_tests.weights.test_hostile_keras_files import entry
from resnet_keras.contexts import deep_recursion
from resnet_parity.errors import ParityError
from resnet_parity.files import replacing, writing
from resnet_parity.probes import random_weights
from resnet_parity.weights.converting import save_weights
from resnet_parity.weights.formats import open_checkpoint
from resnet_parity.weights.formats.checksums import crc32c
from resnet_parity.weights.formats.keras_files import open_keras
from resnet_parity.weights.formats.keras_writing import write_keras
from resnet_parity.weights.formats.stored import Checkpoint
from resnet_parity.weights.formats.tensorflow_files import open_tensorflow
from resnet_parity.weights.targets import TARGETS

tf: Any = import_module("tensorflow")
Arrays = Mapping[str, np.ndarray]
NESTED = {"c1", "b1", "c2", "b2"}
"""The layers of the model inside the model."""


def small_model() -> keras.Model:
    """A trained net with a nested model, in which names sort in another order than layers."""
    image, inside = keras.Input((12, 17, 3), name="image"), keras.Input((None, None, 4))
    x = layers.Conv2D(6, (3, 2), strides=2, name="c2")(inside)
    x = layers.BatchNormalization(epsilon=1.001e-5, name="b2")(x)
    x = layers.Conv2D(4, 1, use_bias=False, name="c1")(x)
    body = keras.Model(inside, layers.BatchNormalization(name="b1")(x), name="body")
    x = layers.ZeroPadding2D(((3, 2), (1, 0)), name="pad")(image)
    x = layers.Conv2D(4, 3, name="stem")(x) + 1
    x = layers.Dropout(0.5, name="drop")(body(x))
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, layers.Dense(5, name="fc")(x), name="whole")
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", run_eagerly=True)
    draw = np.random.default_rng(7)
    model.train_on_batch(draw.normal(size=(2, 12, 17, 3)), draw.normal(size=(2, 5)))
    for weight in model.weights:
        weight.assign(draw.uniform(0.5, 1.5, weight.shape))
    return model


def weights_of(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights by the names that they should have, in the order of the layers."""
    return {
        ("body/" if weight.path.split("/")[0] in NESTED else "") + weight.path: weight.numpy()
        for weight in model.weights
    }


def save_legacy(model: keras.Model, path: Path) -> None:
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)


WRITERS: dict[str, tuple[str, Callable[[keras.Model, Path], object]]] = {
    ".keras": ("net.keras", lambda model, path: model.save(path)),
    "folder": ("folder", lambda model, path: model.save(path, zipped=False)),
    ".weights.h5": ("net.weights.h5", lambda model, path: model.save_weights(path)),
    "shards": (
        "net.weights.json",
        lambda model, path: model.save_weights(path, max_shard_size=700 / 2**30),
    ),
    "legacy .h5": ("net.h5", lambda model, path: model.save(path)),
    "legacy weights": ("weights.h5", save_legacy),
    "checkpoint": ("tf/net", lambda model, path: tf.train.Checkpoint(model).write(str(path))),
    "checkpoint of a model": (
        "of/net",
        lambda model, path: tf.train.Checkpoint(net=model).save(str(path)),
    ),
    "export": ("export", lambda model, path: model.export(path, verbose=False)),
    "SavedModel": ("saved", lambda model, path: tf.saved_model.save(model, str(path))),
}
OF_TENSORFLOW = {"checkpoint", "checkpoint of a model", "export", "SavedModel"}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return small_model()


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory) -> dict[str, Path]:
    """The model in every format."""
    folder, paths = tmp_path_factory.mktemp("saved"), {}
    for kind, (name, write) in WRITERS.items():
        paths[kind] = folder / name
        paths[kind].parent.mkdir(exist_ok=True)
        write(model, paths[kind])
    paths["checkpoint of a model"] = folder / "of"
    return paths


def opened(kind: str, path: Path) -> Checkpoint:
    return (open_tensorflow if kind in OF_TENSORFLOW else open_keras)(path)


def numbers(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint, each with the shape and dtype that was stated."""
    arrays = {}
    for name, tensor in checkpoint.groups[""].items():
        arrays[name] = tensor.read()
        assert arrays[name].shape == tensor.shape
        assert tensor.dtype in (arrays[name].dtype.name, "bfloat16")
    return arrays


def assert_bitwise(found: Arrays, expected: Arrays) -> None:
    assert {*found} == {*expected}
    for name, values in expected.items():
        assert found[name].dtype == values.dtype
        assert np.array_equal(found[name], values), name


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_read_bitwise_under_the_names_of_keras(kind, model, saved):
    checkpoint, expected = opened(kind, saved[kind]), weights_of(model)
    found = numbers(checkpoint)
    assert_bitwise(numbers(open_checkpoint(saved[kind])), found)
    if kind in OF_TENSORFLOW:  # its variables have no name of the model that contains them
        expected = {name.removeprefix("body/"): values for name, values in expected.items()}
    assert_bitwise(found, expected)
    assert checkpoint.metadata["names"] == "in the file"
    if kind not in (".weights.h5", "shards"):  # these hold no order
        assert [*found] == [*expected]
    if kind not in ("legacy weights", "export"):
        assert any(line.startswith("optimizer: ") for line in checkpoint.contents)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_files_of_a_checkpoint_are_all_that_it_needs(kind, saved, tmp_path):
    folder, checkpoint = saved["folder"].parent, open_checkpoint(saved[kind])
    for file in checkpoint.files:
        copy = tmp_path / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    again = open_checkpoint(tmp_path / saved[kind].relative_to(folder))
    assert_bitwise(numbers(again), numbers(checkpoint))


@pytest.mark.parametrize("kind", [".keras", "folder", "legacy .h5"])
def test_a_config_states_facts(kind, saved):
    facts = opened(kind, saved[kind]).metadata["layers"]
    assert isinstance(facts, dict)
    (operation,) = [name for name in facts if "add" in name]
    # The legacy file does not say that an operation is no layer.
    assert facts[operation]["class"] == ("Add" if kind == "legacy .h5" else "keras.ops.Add")
    assert facts[operation]["calls"] == ((("stem", 0, 0),),)
    assert facts["image"]["batch_shape"] == (None, 12, 17, 3)
    assert facts["pad"] == {
        "class": "ZeroPadding2D",
        "padding": ((3, 2), (1, 0)),
        "data_format": "channels_last",
        "calls": ((("image", 0, 0),),),
    }
    assert facts["body"]["outputs"] == (("body/b1", 0, 0),)
    assert facts["body/c2"]["strides"] == (2, 2)
    assert facts["body/c2"]["kernel_size"] == (3, 2)
    assert facts["body/b2"]["epsilon"] == 1.001e-5
    assert facts["body/c1"]["use_bias"] is False
    assert facts["fc"]["units"] == 5


def forget_names(file: h5py.File) -> None:
    """Delete the names of layers, as files before Keras 3.6 have none."""

    def forget(_: str, each: h5py.Group | h5py.Dataset) -> None:
        each.attrs.pop("name", None)

    file.visititems(forget)


def test_an_old_file_names_layers_by_their_order(saved, tmp_path, model):
    """Keras 2.13 named the groups of layers otherwise."""
    path = tmp_path / "old.weights.h5"
    path.write_bytes(saved[".weights.h5"].read_bytes())
    with h5py.File(path, "r+") as file:
        forget_names(file)
        file.move("layers/functional/layers", "layers/functional/_layer_checkpoint_dependencies")
        file.move("layers", "_layer_checkpoint_dependencies")
    checkpoint = open_keras(path)
    assert checkpoint.metadata["names"] == "by order"
    expected = weights_of(model)
    old = {"stem": "conv2d", "fc": "dense", "body/c2": "conv2d", "body/c1": "conv2d_1"}
    old |= {"body/b2": "batch_normalization", "body/b1": "batch_normalization_1"}
    renamed = {}
    for name, values in expected.items():
        layer, _, variable = name.rpartition("/")
        outer = "functional/" if layer.startswith("body/") else ""
        renamed[f"{outer}{old[layer]}/{variable}"] = values
    assert_bitwise(numbers(checkpoint), renamed)


def test_the_config_names_layers_where_the_weights_do_not(saved, tmp_path, model):
    with zipfile.ZipFile(saved[".keras"]) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = tmp_path / "weights.h5"
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        forget_names(file)
    path = tmp_path / "old.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members | {"model.weights.h5": weights.read_bytes()}).items():
            archive.writestr(name, content)
    assert open_keras(path).metadata["names"] == "in the file"
    assert_bitwise(numbers(open_keras(path)), weights_of(model))


@pytest.mark.parametrize(("scale", "center"), [(False, True), (True, False), (False, False)])
def test_a_batch_norm_without_scale_or_center(scale, center, tmp_path):
    norm = layers.BatchNormalization(scale=scale, center=center, name="bn")
    net = keras.Sequential([keras.Input((3, 4, 2)), norm])
    for index, weight in enumerate(net.weights):
        weight.assign(np.full(weight.shape, index + 1.0))
    expected = {f"bn/{weight.name}": weight.numpy() for weight in net.weights}
    for name in ("net.keras", "net.h5", "net.weights.h5"):
        (net.save_weights if "weights" in name else net.save)(tmp_path / name)
        found = numbers(open_keras(tmp_path / name))
        if name == "net.weights.h5" and scale + center == 1:  # it does not say which of the two
            found = dict(zip(expected, found.values(), strict=True))
            assert "bn/gamma_or_beta" in open_keras(tmp_path / name).groups[""]
        assert_bitwise(found, expected)


def write_h5(path: Path, groups: Mapping[str, Arrays], where: str = "/", **attributes: Any) -> None:
    """Write a file in the layout of Keras 1 and 2."""
    with h5py.File(path, "w") as file:
        top = file.require_group(where)
        names = [name.encode() for name in groups]
        legacy_h5_format.save_attributes_to_hdf5_group(top, "layer_names", names)
        for key, value in attributes.items():
            file.attrs[key] = value
        for name, weights in groups.items():
            group = top.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in weights]
            for weight, values in weights.items():
                group[weight] = values


def random_arrays(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(5)
    return {name: draw.normal(size=shape).astype("f4") for name, shape in shapes.items()}


def test_a_file_of_keras_1(tmp_path):
    convolution = random_arrays({"conv1_W_1:0": (7, 7, 3, 4), "conv1_b_1:0": (4,)})
    words = ("gamma", "beta", "running_mean", "running_std")
    norm = random_arrays({f"bn_conv1_{word}_1:0": (4,) for word in words})
    inner = random_arrays({"res2a_W:0": (1, 1, 4, 2), "dense_2_b_3:0": (4,)})
    groups = {"input_1": {}, "conv1": convolution, "bn_conv1": norm, "model_1": inner}
    write_h5(tmp_path / "resnet50.h5", groups)
    checkpoint = open_keras(tmp_path / "resnet50.h5")
    assert checkpoint.metadata == {"keras_version": "1", "names": "in the file"}
    assert_bitwise(
        numbers(checkpoint),
        {
            "conv1/kernel": convolution["conv1_W_1:0"],
            "conv1/bias": convolution["conv1_b_1:0"],
            "bn_conv1/gamma": norm["bn_conv1_gamma_1:0"],
            "bn_conv1/beta": norm["bn_conv1_beta_1:0"],
            "bn_conv1/moving_mean": norm["bn_conv1_running_mean_1:0"],
            "bn_conv1/moving_variance": norm["bn_conv1_running_std_1:0"],
            "model_1/res2a/kernel": inner["res2a_W:0"],
            "model_1/dense_2/bias": inner["dense_2_b_3:0"],
        },
    )


def test_a_file_of_keras_2(tmp_path):
    """A nested model is one group; TensorFlow numbers a scope or variable that it used before."""
    nested = random_arrays(
        {
            "conv1/kernel:0": (3, 3, 3, 4),
            "conv1_bn/gamma:0": (4,),
            "block/conv/kernel_2:0": (1, 1, 4, 4),
            "conv1_bn/moving_variance:0": (4,),
        }
    )
    head = random_arrays({"dense_1_2/kernel_1:0": (4, 3), "dense_1_2/bias:0": (3,)})
    groups = {"resnet50": nested, "dense_1": head, "renamed": {"old/bias:0": np.ones(2, "f4")}}
    config = {
        "class_name": "Sequential",
        "config": [{"class_name": "Dense", "config": {"name": "dense_1", "output_dim": 3}}],
    }
    attributes = {"keras_version": b"2.2.4", "backend": b"tensorflow"}
    write_h5(
        tmp_path / "whole.h5",
        groups,
        "model_weights",
        model_config=json.dumps(config).encode(),
        **attributes,
    )
    checkpoint = open_keras(tmp_path / "whole.h5")
    assert checkpoint.metadata["keras_version"] == "2.2.4"
    assert checkpoint.metadata["layers"] == {
        "dense_1": {"class": "Dense", "units": 3, "calls": ((("", 0, 0),),)}
    }
    found = numbers(checkpoint)
    assert [*found] == [
        "resnet50/conv1/kernel",
        "resnet50/conv1_bn/gamma",
        "resnet50/conv1_bn/moving_variance",
        "resnet50/block/conv/kernel",
        "dense_1/kernel",
        "dense_1/bias",
        "renamed/bias",
    ]
    assert np.array_equal(found["resnet50/block/conv/kernel"], nested["block/conv/kernel_2:0"])
    assert np.array_equal(found["dense_1/kernel"], head["dense_1_2/kernel_1:0"])


def test_names_in_several_attributes(tmp_path):
    """The names of many layers are in `layer_names0`, `layer_names1` ..."""
    names = [f"{'x' * 400}{index}" for index in range(200)]
    tensors = {f"{name}/bias": np.full(1, index, "f4") for index, name in enumerate(names)}
    groups = {name: {f"{name}/bias:0": tensors[f"{name}/bias"]} for name in names}
    write_h5(tmp_path / "many.h5", groups)
    with h5py.File(tmp_path / "many.h5") as file:
        assert "layer_names" not in file.attrs
    found = numbers(open_keras(tmp_path / "many.h5"))
    assert [*found] == [*tensors]
    assert_bitwise(found, tensors)


KERNEL = (3, 3, 4, 8)
THEANO: dict[str, tuple[str, tuple[int, ...], dict[str, bytes]]] = {
    "backend": ("net.h5", KERNEL, {"backend": b"theano"}),
    "name": ("resnet50_tf_dim_ordering_th_kernels.h5", KERNEL, {}),
    "shape": ("net.h5", (8, 4, 3, 3), {}),
}


@pytest.mark.parametrize("case", THEANO)
def test_kernels_of_theano_are_refused(case, tmp_path):
    name, shape, attributes = THEANO[case]
    kernel = {"c/kernel:0": np.ones(shape, "f4")}
    write_h5(tmp_path / name, {"c": kernel}, "/", **attributes)
    with pytest.raises(ParityError, match="kernels of Theano"):
        open_keras(tmp_path / name)


def test_quantised_layers_and_lora(tmp_path):
    net = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="head")])
    net.layers[0].enable_lora(2)
    net.layers[0].lora_kernel_b.assign(np.ones((2, 3)))
    net.save(tmp_path / "lora.h5")
    with pytest.raises(ParityError, match="layer head adds LoRA"):
        open_keras(tmp_path / "lora.h5")
    net.save_weights(tmp_path / "merged.weights.h5")
    merged = numbers(open_keras(tmp_path / "merged.weights.h5"))
    assert np.array_equal(merged["head/kernel"], net.layers[0].kernel.numpy())
    scaled = random_arrays({"head/kernel": (4, 3), "head/kernel_scale": (3,)})
    write_h5(tmp_path / "float8.h5", {"head": scaled})
    plain = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="head")])
    plain.layers[0].quantize("int8")
    for name in ("int8.h5", "int8.keras", "int8.weights.h5", "float8.h5"):
        if name != "float8.h5":
            (plain.save_weights if "weights" in name else plain.save)(tmp_path / name)
        with pytest.raises(ParityError, match="layer head is quantised"):
            open_keras(tmp_path / name)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_dtypes(dtype, tmp_path):
    image = keras.Input((4,))
    net = keras.Model(image, layers.Dense(3, name="head", dtype=dtype)(image))
    expected = net.layers[1].kernel.numpy().astype("f4" if dtype == "bfloat16" else dtype)
    tf.train.Checkpoint(net).write(str(tmp_path / "net"))
    for name in ("net.h5", "net.keras", "net.weights.h5"):
        (net.save_weights if "weights" in name else net.save)(tmp_path / name)
    for path in (*sorted(tmp_path.glob("net.*[ks5]")), tmp_path / "net"):
        checkpoint = opened("checkpoint" if path.name == "net" else "", path)
        tensor = checkpoint.groups[""]["head/kernel"]
        assert tensor.dtype == dtype
        assert_bitwise({"": tensor.read()}, {"": expected})


def test_a_subclassed_model(tmp_path):
    class Net(keras.Model):
        def __init__(self):
            super().__init__(name="net")
            self.first = layers.Conv2D(4, 3, name="stem")
            self.blocks = [layers.Conv2D(4, 1, name="a"), layers.Conv2D(4, 1, name="b")]
            self.body = keras.Sequential([layers.Conv2D(2, 1, name="inner")], name="body")

        def call(self, inputs):
            outputs = self.first(inputs)
            for block in self.blocks:
                outputs = block(outputs)
            return self.body(outputs)

    net = Net()
    net(np.ones((1, 5, 6, 3)))
    net.save_weights(tmp_path / "net.weights.h5")
    found = numbers(open_keras(tmp_path / "net.weights.h5"))
    pairs = {
        "stem": net.first,
        "a": net.blocks[0],
        "b": net.blocks[1],
        "body/inner": net.body.layers[0],
    }
    assert_bitwise(
        found,
        {
            f"{name}/{weight.name}": weight.numpy()
            for name, layer in pairs.items()
            for weight in layer.weights
        },
    )


@pytest.fixture(scope="module")
def slim(tmp_path_factory) -> Path:
    """A folder with checkpoints of TensorFlow 1, of both versions of the format."""
    folder = tmp_path_factory.mktemp("slim")
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        kernel = v1.get_variable("resnet_v1_50/conv1/weights", (7, 7, 3, 4))
        gamma = v1.get_variable("resnet_v1_50/conv1/BatchNorm/gamma", (4,))
        v1.train.get_or_create_global_step()
        loss = tf.reduce_sum(kernel) + tf.reduce_sum(gamma)
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(loss)
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            v1.train.Saver().save(session, str(folder / "model.ckpt"), global_step=7)
            saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
            saver.save(session, str(folder / "old.ckpt"), latest_filename="old")
    return folder


@pytest.mark.parametrize("name", ["model.ckpt-7", "model.ckpt-7.index", "old.ckpt", "."])
def test_a_checkpoint_of_tensorflow_1_keeps_its_names(name, slim):
    checkpoint = open_tensorflow(slim / name)
    assert_bitwise(numbers(open_checkpoint(slim / name)), numbers(checkpoint))
    reader = tf.train.load_checkpoint(str(slim / name.removesuffix(".index")))
    names = {"resnet_v1_50/conv1/weights", "resnet_v1_50/conv1/BatchNorm/gamma"}
    assert_bitwise(numbers(checkpoint), {name: reader.get_tensor(name) for name in names})
    assert checkpoint.contents


def test_numbers_are_those_of_tensorflows_own_reader(tmp_path):
    """Every dtype, sizes around those of the checksum's lanes, no dimension, no element."""
    draw = np.random.default_rng(3)
    dtypes = ("f4", "f8", "f2", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    values = {
        dtype.strip("?") or "b": draw.integers(0, 2, (3, 5)).astype(dtype) for dtype in dtypes
    }
    sizes = (0, 1, 1023, 1024, 1025, 40_000, 300_001)
    values |= {f"n{size}": draw.normal(size=size).astype("f4") for size in sizes}
    module = tf.Module()
    for name, array in values.items():
        setattr(module, name, tf.Variable(array, name=f"layer/{name}"))
    prefix = str(tmp_path / "net")
    tf.train.Checkpoint(module).write(prefix)
    found, reader = numbers(open_tensorflow(Path(prefix))), tf.train.load_checkpoint(prefix)
    expected = {
        f"layer/{name}": reader.get_tensor(f"{name}/.ATTRIBUTES/VARIABLE_VALUE") for name in values
    }
    assert_bitwise(found, expected)


def test_a_checksum_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    zeros, whole = bytes(5000), np.random.default_rng(1).bytes(100_003)
    assert crc32c(whole) != crc32c(whole[:-1] + bytes([whole[-1] ^ 1])) != crc32c(zeros)


def test_variables_without_names_are_named_by_their_place(tmp_path):
    module = tf.Module()
    module._conv1, module.blocks = tf.Variable(np.ones((3, 3, 3, 4), "f4")), [tf.Variable([1.0])]
    tf.saved_model.save(module, str(tmp_path / "net"))
    checkpoint = open_tensorflow(tmp_path / "net")
    assert checkpoint.metadata["names"] == "by order"
    assert {*checkpoint.groups[""]} == {"_conv1", "blocks/0"}


def test_a_saved_model_of_keras_2_names_its_nested_layers(saved, tmp_path, model):
    """Keras 2 describes the model in a file beside it, a message of one field for each object."""
    folder = tmp_path / "saved"
    shutil.copytree(saved["SavedModel"], folder)
    with zipfile.ZipFile(saved[".keras"]) as archive:
        config = archive.read("config.json")
    root = entry(2, 0) + entry(3, b"root") + entry(4, b"_tf_keras_network") + entry(5, config)
    layer = entry(2, 1) + entry(3, b"root.layer-0") + entry(5, b"{}")
    (folder / "keras_metadata.pb").write_bytes(entry(1, layer) + entry(1, root))
    checkpoint = open_tensorflow(folder)
    assert_bitwise(numbers(checkpoint), weights_of(model))
    facts = checkpoint.metadata["layers"]
    assert isinstance(facts, dict)
    assert facts["body/c2"]["strides"] == (2, 2)


def test_what_is_written_opens_in_keras(model, tmp_path):
    write_keras(tmp_path / "net.keras", model)
    model.save_weights(tmp_path / "net.weights.h5")
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert_bitwise(weights_of(again), weights_of(model))
    for weight in again.weights:
        weight.assign(np.zeros(weight.shape))
    again.load_weights(tmp_path / "net.weights.h5")
    assert_bitwise(weights_of(again), weights_of(model))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net.keras", "net.weights.h5"]


def objects_of(file: Path | BytesIO) -> dict[str, Any]:
    """The attributes of every group and array of an HDF5 file, and the bits of the arrays."""
    found: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        bits = (item.shape, item.dtype, item[()].tobytes()) if hasattr(item, "shape") else ()
        found[name] = (dict(item.attrs), *bits)

    with h5py.File(file) as content:
        content.visititems(add)
    return found


def members_of(path: Path) -> tuple[list[str], Any, dict[str, Any]]:
    """The members of a `.keras` file, its config and its arrays; the addresses of objects go."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        config = re.sub(r'"shared_object_id": \d+', "", archive.read("config.json").decode())
        weights = BytesIO(archive.read("model.weights.h5"))
        return archive.namelist(), config, objects_of(weights)


WRITTEN = ("resnet20", "resnet18d", "resnetv2_18_small", "seresnet18")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in WRITTEN else pytest.mark.full) for n in ARCHITECTURES],
)
def test_an_architecture_is_written_as_keras_writes_it(name, tmp_path, monkeypatch):
    arch = get_architecture(name, num_classes=7)
    weights = random_weights(arch, 0, "float32")
    model = resnet_keras.create_model(arch)
    resnet_keras.set_weights(model, weights)
    with deep_recursion():
        model.save(tmp_path / "theirs.keras")
        with monkeypatch.context() as patched:
            patched.setattr(keras.initializers.VarianceScaling, "__call__", None)  # draws nothing
            for to in ("keras", "weights-h5"):
                path = tmp_path / f"ours{TARGETS[to].suffix}"
                save_weights(path, weights, to, architecture=arch, proven=False)
        assert members_of(tmp_path / "ours.keras") == members_of(tmp_path / "theirs.keras")
        model.save_weights(tmp_path / "theirs.weights.h5")
        theirs, ours = (objects_of(tmp_path / f"{of}.weights.h5") for of in ("theirs", "ours"))
        assert ours == theirs
        again = keras.saving.load_model(tmp_path / "ours.keras")
    assert_bitwise(resnet_keras.get_weights(again), weights)
    assert not global_state.get_global_attribute("uninitialized_variables")


def test_a_file_is_written_whole_or_not_at_all(tmp_path, model):
    path = tmp_path / "net.keras"
    path.write_bytes(b"before")
    abandoned = tmp_path / ".resnet-parity-killed.tmp"
    abandoned.mkdir()
    (abandoned / "net.keras").write_bytes(b"x")

    class Full:
        def save(self, folder: str, zipped: bool) -> None:
            Path(folder, "config.json").write_bytes(b"half")
            raise OSError(28, "No space left on device")

    full = pytest.raises(ParityError, match=r"net\.keras cannot be written: No space left")
    with full, replacing(path) as new, writing(path):
        write_keras(new, Full())
    assert [each.name for each in tmp_path.iterdir()] == ["net.keras"]
    assert path.read_bytes() == b"before"
    path.chmod(0o640)
    with replacing(path) as new:
        new.write_bytes(b"after")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"after", 0o640)


@pytest.mark.full
def test_resnet50_of_keras_applications(tmp_path):
    net = keras.applications.ResNet50(weights=None, classes=7)
    draw = np.random.default_rng(2)
    for weight in net.weights:
        weight.assign(draw.uniform(0.5, 1.5, weight.shape))
    expected = {weight.path: weight.numpy() for weight in net.weights}
    net.save(tmp_path / "net.keras")
    net.save(tmp_path / "net.h5")
    net.save_weights(tmp_path / "net.weights.h5")
    tf.train.Checkpoint(net).write(str(tmp_path / "net"))
    for name in ("net.keras", "net.h5", "net.weights.h5"):
        assert_bitwise(numbers(open_keras(tmp_path / name)), expected)
    assert_bitwise(numbers(open_tensorflow(tmp_path / "net")), expected)
