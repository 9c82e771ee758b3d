"""`.keras` files of others: what is not Keras' own is refused by name, and nothing in them runs."""

from __future__ import annotations

import copy
import io
import json
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from parity_tests.support import mutated
from resnet_parity import cli
from resnet_parity.diagnose import keras_files, keras_names
from resnet_parity.diagnose.loading import load
from resnet_parity.errors import ParityError

Config = dict[str, Any]
MEMBERS = ("metadata.json", "config.json", "model.weights.h5")


def small_model() -> keras.Model:
    """A residual net with a nested model that was compiled, operators, and random statistics."""
    image = keras.Input((12, 17, 3), name="image")
    x = layers.Conv2D(4, 3, kernel_regularizer="l2", activation="relu", name="conv1")(image)
    x = layers.BatchNormalization(gamma_constraint="non_neg", name="bn1")(x)
    body = keras.Sequential([keras.Input((10, 15, 4)), layers.Conv2D(4, 1, name="inner")])
    body.compile("sgd", "mse", metrics=["mae"])
    x = layers.Dropout(0.5, seed=1)(x + body(x))
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    model = keras.Model(image, layers.Dense(5, name="fc")(x))
    model.compile(keras.optimizers.Adam(), keras.losses.Huber(), metrics=["accuracy"])
    return with_random_weights(model)


def with_random_weights(model: keras.Model) -> keras.Model:
    draw = np.random.default_rng(3)
    for weight in model.weights:
        if keras.backend.is_float_dtype(weight.dtype):
            positive = "variance" in weight.name
            weight.assign(draw.uniform(0.5, 1.5, weight.shape) - (0 if positive else 1))
    return model


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> dict[str, bytes]:
    """The members of the small model's file."""
    path = tmp_path_factory.mktemp("keras") / "small.keras"
    small_model().save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in MEMBERS}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(members: dict[str, bytes], name: str = "net.keras", method: int = 0) -> str:
    with warnings.catch_warnings(), zipfile.ZipFile(name, "w", method) as archive:
        warnings.simplefilter("ignore")
        for member, content in members.items():
            archive.writestr(member, content)
    return name


def with_config(saved: dict[str, bytes], config: Any) -> str:
    return write(saved | {"config.json": json.dumps(config).encode()})


def config_of(saved: dict[str, bytes]) -> Config:
    return json.loads(saved["config.json"])


def refused(capsys, name: str = "net.keras") -> str:
    """The message of the command, which exits with 2 before a framework is needed."""
    assert cli.main(["diagnose", name, "resnet18"]) == 2
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    (message,) = [line for line in lines if line.startswith("resnet-parity: error: ")]
    assert "Traceback" not in printed.err
    assert message.isascii()
    assert name in message
    return message


def entry(module: Any, name: Any, config: Any = None, **more: Any) -> Config:
    return {"module": module, "class_name": name, "config": config or {}, **more}


def function(module: Any, name: Any) -> Config:
    return entry(module, "function", name, registered_name=name)


LAMBDA = entry("keras.layers", "Lambda", {"name": "f", "function": "x"})

OBJECTS: dict[str, tuple[Config, str]] = {
    "lambda": (LAMBDA, "keras.layers.Lambda"),
    **{
        f"keras layers.{name}": (entry("keras", f"layers.{name}"), f"keras.layers.{name}")
        for name in (*keras_names.UNSAFE_LAYERS, "Conv2D")
    },
    **{
        f"keras.layers {name}": (entry("keras.layers", name), f"keras.layers.{name}")
        for name in (*keras_names.UNSAFE_LAYERS, "Layer", "deserialize", "NoSuchLayer")
    },
    **{
        f"{module} {name}": (function(module, name), f"{module}.{name}")
        for module, name in (
            *(("keras", "models.load_model"), ("keras.models", "load_model")),
            *(("keras", "utils.get_file"), ("keras.utils", "get_file")),
            *(("keras", "datasets.mnist.load_data"), ("keras.datasets.mnist", "load_data")),
            *(("keras.activations", "get"), ("keras.initializers", "deserialize")),
            *(("builtins", "eval"), ("os", "system"), ("keras.saving", "load_model")),
        )
    },
    "a class as a function": (entry("keras.models", "load_model"), "keras.models.load_model"),
    "a module of another": (entry("keras.src.models.os", "system"), "keras.src.models.os.system"),
    "a class of Keras' own source": (entry("keras.src.layers", "Lambda"), "keras.src.layers.Lam"),
    "a model's subclass": (entry("keras.src.models.cloning", "Functional"), "keras.src.models.clo"),
    "no module": ({"class_name": "Lambda", "config": {}}, "Lambda"),
    "a module that is null": (entry(None, "Lambda"), "Lambda"),
    "an empty module": (entry("", "Lambda"), "Lambda"),
    "no config": ({"module": "keras.layers", "class_name": "Lambda"}, "keras.layers.Lambda"),
    "a list as the class": (entry("keras.layers", ["Lambda"]), "keras.layers.['Lambda']"),
    "a list as the module": (entry(["keras.layers"], "Lambda"), "['keras.layers'].Lambda"),
    "a number as the class": (entry("keras.layers", 1), "keras.layers.1"),
    "a function without a name": (function("keras.activations", ["relu"]), "['relu']"),
    "a lambda's code": ({"class_name": "__lambda__", "config": {"value": "4wEAAA=="}}, "a lambda"),
    "a type": (
        entry("tensorflow", "__typespec__", [], spec_name="TensorSpec", registered_name=None),
        "tensorflow.__typespec__",
    ),
    "a registered name": (
        entry("keras.layers", "ReLU", registered_name="mine>Thing"),
        "keras.layers.ReLU as mine>Thing",
    ),
    "a user's class": (entry("mine", "Block", registered_name="mine>Block"), "mine.Block"),
    "another library's": (entry("keras_hub.src.models.resnet", "ResNet"), "keras_hub.src.models.r"),
    "full-width letters": (entry("keras.layers", "\uff2cambda"), r"'\uff2cambda'"),
    "an invisible letter": (entry("keras.layers", "Dense\u200b"), r"'Dense\u200b'"),
    "a terminal's escape": (entry("\x1b[2Jos", "sys\ntem"), r"'\x1b[2Jos'.'sys\ntem'"),
    "a case": (entry("Keras.Layers", "dense"), "Keras.Layers.dense"),
    "a Keras 2 model": (entry("keras.src.engine.functional", "Functional"), "of Keras 2; load"),
    "a long name": (entry("x" * 10_000, "y"), "x" * 80 + " ..."),
}
"""Objects that no file may hold, and how the message names each."""


def plant(saved: dict[str, bytes], planted: Any) -> None:
    """Put an object in the place of an activation in the config of a saved model."""
    config = config_of(saved)
    config["config"]["layers"][1]["config"]["activation"] = planted
    with_config(saved, config)


@pytest.mark.parametrize("case", OBJECTS)
def test_an_object_that_is_not_keras_own_is_refused_by_name(case, saved, here, capsys):
    planted, shown = OBJECTS[case]
    plant(saved, planted)
    message = refused(capsys)
    assert shown in message
    assert "at config.layers[1].config.activation, which " in message
    assert len(message) < 600
    assert re.search("module:callable|save it again", message)


def wrapper(name: str, **more: Any) -> Config:
    return entry("keras.layers", name, {"name": "w", "layer": LAMBDA, **more})


def in_layer(key: str, value: Any) -> Callable[[Config], None]:
    return lambda config: config["config"]["layers"][1].update({key: value})


def in_config(key: str, value: Any) -> Callable[[Config], None]:
    return lambda config: config["config"]["layers"][1]["config"].update({key: value})


PLACES: dict[str, tuple[Callable[[Config], None], str]] = {
    **{
        name: (lambda c, n=name: c["config"]["layers"].insert(1, wrapper(n)), "[1].config.layer")
        for name in ("TimeDistributed", "Bidirectional", "Wrapper", "SpectralNormalization")
    },
    "a wrapper in a wrapper": (
        lambda c: c["config"]["layers"].append(wrapper("Wrapper", inner=wrapper("Wrapper"))),
        ".config.inner.config.layer",
    ),
    "a cell": (in_config("cells", [[LAMBDA]]), ".config.cells[0][0]"),
    "an initializer": (in_config("kernel_initializer", LAMBDA), ".config.kernel_initializer"),
    "a dtype": (in_config("dtype", LAMBDA), ".config.dtype"),
    "the build config": (in_layer("build_config", {"a": LAMBDA}), "[1].build_config.a"),
    "a call": (in_layer("inbound_nodes", [{"args": [LAMBDA]}]), "[1].inbound_nodes[0].args[0]"),
    "an unknown key": (in_layer("anything", {"deep": [LAMBDA]}), "[1].anything.deep[0]"),
    "a strange key": (in_layer("\x1b[2J\u202e", LAMBDA), r"[1].\x1b[2J\u202e'"),
    "a long key": (in_layer("x" * 9_999, LAMBDA), " ..."),
    "a value's config": (
        in_config("x", {"class_name": "__slice__", "config": {"start": LAMBDA}}),
        ".config.x.config.start",
    ),
    "a nested model": (
        lambda c: c["config"]["layers"].append(entry("keras", "Sequential", {"layers": [LAMBDA]})),
        ".config.layers[0]",
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_it_is_found_wherever_keras_would_build_it(place, saved, here, capsys):
    plant, where = PLACES[place]
    config = config_of(saved)
    plant(config)
    with_config(saved, config)
    message = refused(capsys)
    assert re.search(r"holds keras.layers.Lambda at '?config.layers\[", message)
    assert len(message) < 600
    assert f"{where}, which would run code from the file" in message


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (LAMBDA, "holds keras.layers.Lambda as the model, which would run code"),
        (entry("os", "system"), "holds os.system as the model, which is none of Keras' own"),
        ([1], "does not describe a model"),
        ({}, "describes a None, not a model"),
        (entry("keras.layers", "Dense"), "describes a Dense, not a model"),
    ],
)
def test_the_config_must_be_that_of_a_model(config, message, saved, here, capsys):
    with_config(saved, config)
    said = refused(capsys)
    assert message in said
    assert re.search("module:callable|save it again", said)


def test_a_key_that_stands_twice_is_refused(saved, here, capsys):
    """Another reader may take the first value, and check what Keras does not load."""
    twice = b'{"module": "keras", "class_name": "Sequential", "class_name": "Lambda"}'
    write(saved | {"config.json": twice})
    assert "a name is twice" in refused(capsys)


BOMBS = {
    "values": (b'{"a": [' + b"{}," * 3_000_000 + b"1]}", "has more than 1,048,576 values"),
    "bytes": (b'{"a": "' + b"x" * 2**24 + b'"}', "has more than 16,777,216 bytes"),
    "depth": (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "is nested more than 100 deep"),
    "recursion": (b"[" * 500_000, "recursion"),
    "digits": (b'{"a": ' + b"9" * 9_999 + b"}", "digits"),
    "encoding": (b'{"a": "\xff"}', "can't decode byte"),
    "cut": (b'{"a": ', "Expecting value"),
}


def array(kind: str, dtype: Any) -> Config:
    return {"class_name": kind, "config": {"value": [0], "dtype": dtype}}


EXCESSES: dict[str, tuple[Config, str]] = {
    **{
        f"{kind} of {dtype}": (array(kind, dtype), f"holds an array at {{}}, of type {dtype}")
        for kind in ("__numpy__", "__tensor__")
        for dtype in ("S1500000000", "U9", "V1500000000", "O", None, [["a", "S9"]], "float128")
    },
    **{
        f"{name} {key}": (
            entry(module, name, {key: value}),
            f"holds {name} with {key} {shown} at {{}}, which is more than",
        )
        for module, name, key, value, shown in (
            ("keras.src.ops.numpy", "Split", "indices_or_sections", 10**9, 10**9),
            ("keras.src.ops.numpy", "Split", "indices_or_sections", 1e400, "inf"),
            ("keras.layers", "RandomGaussianBlur", "kernel_size", [3, 10**5], 10**5),
            ("keras.layers", "Conv2D", "dilation_rate", 10**6, 10**6),
            ("keras.layers", "MelSpectrogram", "fft_length", 10**6, 10**6),
            ("keras.layers", "MelSpectrogram", "num_mel_bins", 10**6, 10**6),
            ("keras.layers", "RandAugment", "num_ops", 10**9, 10**9),
            ("keras.layers", "AugMix", "num_chains", 10**9, 10**9),
            ("keras.layers", "AugMix", "chain_depth", 10**9, 10**9),
            ("keras.layers", "SpectralNormalization", "power_iterations", 10**9, 10**9),
        )
    },
    **{
        f"{name} unroll": (
            entry("keras.layers", name, {"unroll": True}),
            f"holds {name} with unroll True at {{}}, which copies it for each step",
        )
        for name in ("RNN", "SimpleRNN", "LSTM", "GRU", "ConvLSTM2D")
    },
}
"""Objects of Keras that allocate or repeat what a setting claims, and how the message says it."""


@pytest.mark.parametrize("case", EXCESSES)
def test_a_setting_that_claims_too_much_is_refused(case, saved, here, capsys):
    planted, shown = EXCESSES[case]
    plant(saved, planted)
    message = refused(capsys)
    assert shown.format("config.layers[1].config.activation") in message
    assert re.search("module:callable|save it again", message)


def test_a_call_without_a_tensor_is_refused(saved, here, capsys):
    """Keras would run the layer on the file's numbers while it loads the model."""
    for arguments in ({"args": [array("__numpy__", "float32")]}, {"args": [], "kwargs": {}}):
        config = config_of(saved)
        config["config"]["layers"][1]["inbound_nodes"] = [arguments]
        with_config(saved, config)
        message = refused(capsys)
        assert "a call without a tensor at config.layers[1].inbound_nodes[0], which" in message


@pytest.mark.parametrize("case", BOMBS)
def test_a_config_is_limited_before_it_is_parsed(case, saved, here, capsys):
    content, message = BOMBS[case]
    write(saved | {"config.json": content}, method=zipfile.ZIP_DEFLATED)
    assert Path("net.keras").stat().st_size < 100_000
    said = refused(capsys)
    assert message in said
    assert re.search("module:callable|save it again", said)


ARCHIVES: dict[str, tuple[dict[str, bytes], str]] = {
    "path traversal": ({"../../evil": b"x"}, "holds ../../evil in its archive"),
    "an absolute path": ({"/etc/passwd": b"x"}, "holds /etc/passwd in its archive"),
    "an escape": ({"a\x1b[2J": b"x"}, r"holds 'a\x1b[2J' in its archive"),
    "another file": ({"assets/vocabulary.txt": b"x"}, "holds assets/vocabulary.txt in its"),
    "npz weights": ({"model.weights.npz": b"x"}, "holds model.weights.npz in its archive"),
    "a zip as the config": ({"config.json": b"PK\x03\x04" + bytes(60)}, "Expecting value"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_an_archive_holds_what_keras_writes_and_nothing_else(case, saved, here, capsys):
    extra, message = ARCHIVES[case]
    write(saved | extra)
    assert message in refused(capsys)


def patched(saved: dict[str, bytes], offset: int, value: int) -> None:
    """Write the file with a two-byte field of the first member's headers changed.

    The offset is that in the central directory, two more than in the local header.
    """
    content = bytearray(Path(write(saved)).read_bytes())
    for start in (
        content.rindex(b"PK\x01\x02") + offset,
        content.index(b"PK\x03\x04") + offset - 2,
    ):
        content[start : start + 2] = value.to_bytes(2, "little")
    Path("net.keras").write_bytes(content)


def test_damaged_archives_are_refused_in_one_message(saved, here, capsys):
    said = {}
    for flag, value in (("encrypted", 1), ("compression", 99), ("bzip2", 12)):
        patched(saved, 8 if flag == "encrypted" else 10, value)
        said[flag] = refused(capsys)
    whole = Path(write(saved)).read_bytes()
    for cut in (0, 3, 100, len(whole) // 2, len(whole) - 1):
        Path("net.keras").write_bytes(whole[:cut])
        said[f"cut {cut}"] = refused(capsys)
    write({"inner.keras": whole})
    said["zip in zip"] = refused(capsys)
    write(saved | {"config.json": b""})
    said["empty config"] = refused(capsys)
    for missing in ("config.json", "model.weights.h5"):
        write({name: content for name, content in saved.items() if name != missing})
        said[missing] = refused(capsys)
    with zipfile.ZipFile("net.keras", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("config.json", saved["config.json"])
    said["twice"] = refused(capsys)
    link = zipfile.ZipInfo("config.json")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile("net.keras", "w") as archive:
        archive.writestr(link, "/etc/hostname")
        archive.writestr("model.weights.h5", b"")
    said["a symbolic link"] = refused(capsys)
    Path("net.keras").write_bytes(saved["model.weights.h5"])
    said["HDF5"] = refused(capsys)
    assert "is encrypted" in said["encrypted"]
    assert "compressed by method 99" in said["compression"]
    assert "compressed by method 12" in said["bzip2"]
    assert "holds inner.keras in its archive" in said["zip in zip"]
    assert "has no config.json" in said["config.json"]
    assert "has no model.weights.h5" in said["model.weights.h5"]
    assert "its member config.json is in it twice" in said["twice"]
    assert "is an HDF5 file, which may hold code; if you trust" in said["HDF5"]
    rest = [text for case, text in said.items() if "cut" in case or "link" in case]
    assert all("is not a .keras file, or is damaged; save it again" in text for text in rest)


def test_an_unreadable_file_is_not_blamed_on_the_output(saved, here, capsys, monkeypatch):
    write(saved)

    def denied(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied", "net.keras")

    monkeypatch.setattr(Path, "open", denied)
    assert "net.keras cannot be read: Permission denied" in refused(capsys)


def test_members_that_overlap_are_refused(saved, here, capsys):
    """Two entries of the directory share one member, which multiplies what a file unpacks to."""
    content = bytearray(Path(write(saved)).read_bytes())
    starts = [match.start() for match in re.finditer(b"PK\x01\x02", content)]
    first = content[starts[0] + 42 : starts[0] + 46]
    content[starts[1] + 42 : starts[1] + 46] = first
    Path("net.keras").write_bytes(content)
    assert "is not a .keras file, or is damaged" in refused(capsys)


def weights_with(saved: dict[str, bytes], change: Callable[[h5py.File], object]) -> str:
    memory = io.BytesIO(saved["model.weights.h5"])
    with h5py.File(memory, "a") as file:
        change(file)
    return write(saved | {"model.weights.h5": memory.getvalue()})


CONV = "layers/conv2d/vars"


def replaced(file: h5py.File, **options: Any) -> None:
    del file[CONV]["0"]
    file[CONV].create_dataset("0", **options)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 3, 3, 4))
    del file[CONV]["0"]
    file[CONV].create_virtual_dataset("0", layout)


def large(file: h5py.File) -> None:
    replaced(file, shape=(30_000, 30_000), dtype="f4", chunks=(64, 64))


CHUNK = {"shape": (9_000, 9_000), "dtype": "f4", "chunks": (9_000, 9_000)}
WEIGHTS: dict[str, tuple[Callable[[h5py.File], object], str]] = {
    "external link": (
        lambda f: f.__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")),
        "its weights hold /x, an external link",
    ),
    "soft link": (lambda f: f.__setitem__("x", h5py.SoftLink("/layers")), "/x, a soft link"),
    "link back": (lambda f: f[CONV].__setitem__("x", f["layers"]), f"/{CONV}/x, a link back"),
    "twice": (lambda f: f[CONV].__setitem__("9", f[CONV]["0"]), f"/{CONV}/9, a link back"),
    "virtual": (virtual, f"/{CONV}/0, whose values are in another file"),
    "external values": (
        lambda f: replaced(f, shape=(3,), dtype="f4", external=[("/etc/passwd", 0, 12)]),
        "whose values are in another file",
    ),
    "texts": (lambda f: replaced(f, data=["a", "b"]), "of type object, which is no number"),
    "references": (
        lambda f: replaced(f, shape=(2,), dtype=h5py.ref_dtype),
        "of type object, which is no number",
    ),
    "an enormous array": (large, "unpacks from "),
    "an enormous chunk": (lambda f: replaced(f, **CHUNK), "in chunks of 81,000,000 values"),
    "a rare filter": (
        lambda f: replaced(f, data=np.zeros(3), chunks=(3,), scaleoffset=2),
        "compressed by the filter scaleoffset",
    ),
    "a named type": (lambda f: f.__setitem__("t", np.dtype("f4")), "/t, which is no array"),
    "an escape": (
        lambda f: f.__setitem__("a\x1b", np.array(["x"], "S1")),
        r"'/a\x1b', which is no name",
    ),
    "deep groups": (lambda f: f.create_group("/".join("a" * 150)), "too deep"),
    "wrong shape": (
        lambda f: replaced(f, data=np.zeros((3, 3, 3, 5), "f4")),
        "its weights do not fit its config in layer conv1: ",
    ),
    "fewer arrays": (
        lambda f: f[CONV].__delitem__("1"),
        "its weights do not fit its config in layer conv1: ",
    ),
    "a group in its place": (
        lambda f: replaced_by_group(f),
        "its weights do not fit its config in layer conv1: ",
    ),
    "a layer less": (
        lambda f: f["layers"].__delitem__("dense"),
        "its weights do not fit its config in layer fc: ",
    ),
}


def replaced_by_group(file: h5py.File) -> None:
    del file[CONV]["0"]
    file[CONV].create_group("0")


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_are_plain_arrays_that_fit(case, saved, here, capsys):
    change, message = WEIGHTS[case]
    weights_with(saved, change)
    assert message in refused(capsys)


def test_weights_that_are_no_hdf5_are_refused(saved, here, capsys):
    write(saved | {"model.weights.h5": b"\x89HDF\r\n\x1a\n" + bytes(100)})
    assert "is not a .keras file, or is damaged" in refused(capsys)


def layer(model: Config, name: str) -> Config:
    (found,) = [each for each in model["config"]["layers"] if each["config"]["name"] == name]
    return found["config"]


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("fc", "units", 10**12, "layer fc would bring the weights to 4,0"),
        ("conv1", "filters", 10**9, "layer conv1 would bring the weights to 27,0"),
        ("image", "batch_shape", [None, 12, 17], "cannot be loaded: "),
        ("conv1", "filters", 5, "cannot be loaded: "),
        ("conv1", "filters", "many", "cannot be loaded: "),
        ("conv1", "padding", None, "cannot be loaded: "),
        ("conv1", "unknown", 1, "cannot be loaded: "),
    ],
)
def test_a_config_that_does_not_fit_its_weights(name, field, value, message, saved, here, capsys):
    config = config_of(saved)
    layer(config, name)[field] = value
    with_config(saved, config)
    assert message in refused(capsys)


def test_feature_maps_are_limited_before_the_model_runs(here, capsys):
    image = keras.Input((99_999, 99_999, 3), name="image")
    keras.Model(image, layers.GlobalAveragePooling2D()(image)).save("net.keras")
    assert "layer image makes a tensor of 99999x99999x3, more than" in refused(capsys)


def enlarged(image: Any) -> Any:
    return layers.GlobalAveragePooling2D()(layers.UpSampling2D(10**5, name="up")(image))


def nested(*shape: int | None) -> keras.Model:
    image = keras.Input(shape)
    return keras.Model(image, enlarged(image))


def in_sequence(*shape: int | None) -> keras.Model:
    pool = layers.GlobalAveragePooling2D()
    return keras.Sequential([keras.Input(shape), layers.UpSampling2D(10**5, name="up"), pool])


def called(model: Any, *shape: int | None) -> keras.Model:
    image = keras.Input(shape)
    return keras.Model(image, model(layers.MaxPooling2D(1)(image)))


def called_twice() -> keras.Model:
    """The first call of a layer makes a small tensor, the second a large one."""
    image, up = keras.Input((12, 17, 3)), layers.UpSampling2D(10**3, name="up")
    return keras.Model(image, layers.GlobalAveragePooling2D()(up(up(image))))


def per_step() -> keras.Model:
    image = keras.Input((12, 17, 3))
    steps = layers.TimeDistributed(in_sequence(17, 3, 1))(layers.Reshape((12, 17, 3, 1))(image))
    return keras.Model(image, layers.Flatten()(steps))


def of_sevenfold_sizes(head: Callable[[Any], Any]) -> keras.Model:
    """A model that takes no image of the default sizes."""
    image = keras.Input((None, None, 3))
    maps = image + layers.UpSampling2D(7)(layers.MaxPooling2D(7)(image))
    return keras.Model(image, head(layers.Resizing(12, 17)(maps)))


LARGE = {
    "sequential": lambda: in_sequence(12, 17, 3),
    "of any size": lambda: nested(None, None, 3),
    "sequential of any size": lambda: in_sequence(None, None, 3),
    "nested": lambda: called(nested(12, 17, 3), 12, 17, 3),
    "nested sequential": lambda: called(in_sequence(12, 17, 3), 12, 17, 3),
    "nested twice": lambda: called(called(in_sequence(12, 17, 3), 12, 17, 3), 12, 17, 3),
    "nested of any size": lambda: called(nested(None, None, 3), 12, 17, 3),
    "pipeline": lambda: called(
        layers.Pipeline([layers.UpSampling2D(10**5, name="up"), layers.CenterCrop(2, 2)]), 12, 17, 3
    ),
    "called twice": called_twice,
    "per step": per_step,
    "of sevenfold sizes": lambda: of_sevenfold_sizes(nested(12, 17, 3)),
}


@pytest.mark.parametrize("case", LARGE)
def test_feature_maps_of_every_layer_are_limited(case, here, capsys):
    LARGE[case]().save("net.keras")
    message = refused(capsys)
    assert re.search(r"layer up makes a tensor of \d+x\d+x\d, more than 536,870,912", message)
    assert message.endswith("pass module:callable")


def test_a_model_that_takes_other_sizes_only_is_loaded(here):
    of_sevenfold_sizes(layers.Dense(5)).save("net.keras")
    assert load("net.keras", "keras", 0).model(np.ones((1, 14, 21, 3))).shape == (1, 12, 17, 5)


def test_a_mean_per_pixel_is_limited_before_it_is_made(here, capsys):
    """Normalization copies its mean for every pixel; no weight counts it."""
    image = keras.Input((12, 17, 3))
    maps = layers.Normalization(axis=(1, 2, 3), mean=0.5, variance=2.0, name="norm")(image)
    keras.Model(image, maps).save("net.keras")
    with zipfile.ZipFile("net.keras") as archive:
        members = {name: archive.read(name) for name in MEMBERS}
    config = config_of(members)
    config["config"]["layers"][1]["build_config"]["input_shape"] = [None, 10**5, 10**5, 3]
    with_config(members, config)
    assert "layer norm makes a tensor of 100000x100000x3, more than" in refused(capsys)


def test_a_file_of_keras_own_layers_is_loaded_as_it_was_saved(saved, here):
    """The training configuration, which may name anything, is not loaded."""
    config = config_of(saved)
    thing = {"module": "mine", "class_name": "Thing", "config": {}, "registered_name": "mine>T"}
    config["compile_config"]["loss"] = thing
    (body,) = [each for each in config["config"]["layers"] if each["class_name"] == "Sequential"]
    assert body["compile_config"]
    body["compile_config"]["optimizer"] = LAMBDA
    weights_with(
        saved | {"config.json": json.dumps(config).encode()},
        lambda file: file.attrs.__setitem__("model_config", json.dumps(LAMBDA)),
    )
    model = load("net.keras", "keras", 0).model
    images = np.random.default_rng(0).normal(size=(2, 12, 17, 3)).astype("float32")
    expected = small_model()
    assert np.array_equal(model.predict(images, verbose=0), expected.predict(images, verbose=0))
    assert not model.compiled


def image_layers(image: keras.KerasTensor) -> keras.KerasTensor:
    """Every layer of Keras that takes feature maps and gives feature maps, in one sequence."""
    stock = layers
    for each in (
        *(stock.RandomFlip(seed=1), stock.RandomCrop(20, 25, seed=2), stock.RandomRotation(0.1)),
        *(stock.RandomZoom(0.1), stock.RandomTranslation(0.1, 0.1), stock.RandomContrast(0.1)),
        *(stock.RandomBrightness(0.1), stock.Resizing(24, 27), stock.CenterCrop(22, 25)),
        *(stock.Rescaling(1 / 255, 0.1), stock.Normalization(mean=0.5, variance=2.0)),
        *(stock.GaussianNoise(0.1), stock.ZeroPadding2D(((1, 0), (0, 1))), stock.Cropping2D(1)),
        stock.Conv2D(4, 3, kernel_initializer=keras.initializers.HeNormal(seed=1), use_bias=False),
        *(stock.BatchNormalization(gamma_initializer="zeros"), stock.ReLU(6.0)),
        *(stock.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), stock.LeakyReLU(0.1)),
        *(stock.SeparableConv2D(4, 3, padding="same"), stock.PReLU(shared_axes=[1, 2])),
        *(stock.Conv2DTranspose(4, 2, strides=2), stock.ELU(), stock.MaxPooling2D(3, 2, "same")),
        *(stock.SpectralNormalization(stock.Conv2D(4, 1)), stock.GroupNormalization(2)),
        *(stock.LayerNormalization(), stock.RMSNormalization(), stock.UnitNormalization()),
        *(stock.Activation("gelu"), stock.Activation(keras.ops.silu), stock.Softmax()),
        *(stock.Dropout(0.1), stock.SpatialDropout2D(0.1), stock.GaussianDropout(0.1)),
        *(stock.AlphaDropout(0.1), stock.ActivityRegularization(0.1), stock.Identity()),
        *(stock.UpSampling2D(2, interpolation="bilinear"), stock.AveragePooling2D(2)),
        *(stock.AdaptiveAveragePooling2D((5, 7)), stock.Permute((2, 1, 3)), stock.Masking()),
        stock.AdaptiveMaxPooling2D((4, 5)),
        stock.Dense(6, kernel_regularizer=keras.regularizers.L1L2(0.1, 0.2)),
    ):
        image = each(image)
    return image


def stock_model() -> keras.Model:
    image = keras.Input((25, 30, 3))
    maps = image_layers(image)
    kinds = (layers.Add, layers.Subtract, layers.Multiply, layers.Average, layers.Maximum)
    for kind in (*kinds, layers.Minimum, layers.Concatenate):
        maps = kind()([maps, layers.Conv2D(maps.shape[-1], 1)(maps)])
    ops = keras.ops
    maps = ops.relu((maps * 2.0 - maps / 3.0) ** 2 + ops.sqrt(ops.absolute(maps)))
    maps = ops.pad(maps, ((0, 0), (1, 1), (1, 0), (0, 0)))[:, ::2, 1:]
    maps = ops.concatenate([maps, ops.transpose(maps, (0, 1, 2, 3))], axis=-1)
    pooled = [layers.GlobalAveragePooling2D()(maps), ops.mean(maps, axis=(1, 2))]
    flat = layers.Dot(1)([*pooled]) + layers.Dense(5)(layers.Flatten()(maps))
    return with_random_weights(keras.Model(image, flat))


def quantized_model() -> keras.Model:
    model = keras.Sequential([keras.Input((12, 17, 3)), layers.Flatten(), layers.Dense(5)])
    model.quantize("int8")
    return model


def mixed_model() -> keras.Model:
    image = keras.Input((12, 17, 3))
    maps = layers.Conv2D(4, 3, dtype="mixed_bfloat16")(image)
    return keras.Model(image, layers.Flatten(dtype=keras.DTypePolicy("float32"))(maps))


@pytest.mark.parametrize("make", [stock_model, quantized_model, mixed_model])
@pytest.mark.filterwarnings("ignore")
def test_whatever_keras_saves_of_its_own_layers_is_loaded(make, here):
    model = make()
    model.save("net.keras")
    loaded = load("net.keras", "keras", 0).model
    draw = np.random.default_rng(0)
    images = draw.uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    # By default Keras' random layers change images in inference, too.
    expected, found = (np.asarray(m(images, training=False), "float32") for m in (model, loaded))
    assert np.array_equal(found, expected)
    assert len(np.unique(expected)) > 8
    assert 1e-3 < expected.std() < 1e3


def stock_layers() -> Iterator[tuple[str, type]]:
    for name, value in vars(layers).items():
        if isinstance(value, type) and issubclass(value, keras.Layer):
            yield name, value


def test_the_table_names_every_layer_of_keras_once():
    """A new layer of Keras must be put on one of the lists."""
    from keras.src.api_export import get_name_from_symbol

    allowed = {name for module, name in keras_names.ALLOWED if module == "keras.layers"}
    canonical = set()
    for _, kind in stock_layers():
        module, _, name = get_name_from_symbol(kind).rpartition(".")
        if kind is not keras.Layer:
            assert module == "keras.layers"
            canonical.add(name)
    assert canonical == allowed | set(keras_names.UNSAFE_LAYERS)
    assert not allowed & set(keras_names.UNSAFE_LAYERS)


_LOADED = 0.03
"""The part of the mutants that Keras loads, because that takes longer than the checks."""


def mutated_config(config: Config, draw: Random) -> Config:
    """Values of a config exchanged for others, of the config or extreme."""
    config = copy.deepcopy(config)
    places: list[tuple[Any, Any]] = []
    waiting: list[Any] = [config]
    while waiting:
        node = waiting.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        places += [(node, key) for key in keys]
        waiting += [node[key] for key in keys if isinstance(node[key], dict | list)]
    odd = [None, [], {}, "", "Lambda", "os", 0, -1, 10**30, 1e400, True, [[]], "\ud800", LAMBDA]
    for _ in range(draw.choice((1, 1, 2, 5))):
        node, key = draw.choice(places)
        other, name = draw.choice(places)
        node[key] = draw.choice((*odd, copy.deepcopy(other[name])))
    return config


def outcome(read: Callable[[], object]) -> str:
    """Whether a mutant is read or refused; any other exception fails the test."""
    try:
        read()
    except ParityError as error:
        message = str(error)
        assert "\n" not in message
        assert len(message) < 1_000
        return "refused"
    return "read"


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.full)])
def test_a_mutant_is_read_or_refused_in_one_message(count, saved, here):
    """Archives, configs and weights are mutated; the last two are packed with a right checksum.

    No mutant that is read may name anything but classes and functions of Keras.
    """
    draw = Random(f"{count} mutants")
    whole, path = Path(write(saved)).read_bytes(), Path("net.keras")
    config, weights = config_of(saved), Path("model.weights.h5")
    seen: Counter[tuple[str, str]] = Counter()
    for _ in range(count):
        kind = draw.choice(("archive", "config", "weights"))
        if kind == "archive":
            path.write_bytes(mutated(whole, draw))
            seen[kind, outcome(lambda: keras_files.check_file(path))] += 1
            result = outcome(lambda: keras_files.unpack_weights(path, weights))
            seen["unpacked", result] += 1
            assert result == "refused" or weights.read_bytes() == saved["model.weights.h5"]
        elif kind == "config":
            with_config(saved, mutated_config(config, draw))
            seen[kind, outcome(lambda: keras_files.check_file(path))] += 1
        else:
            weights.write_bytes(mutated(saved["model.weights.h5"], draw))
            seen[kind, outcome(lambda: keras_files.check_weights(path, weights))] += 1
            write(saved | {"model.weights.h5": weights.read_bytes()})
        if draw.random() < _LOADED:
            seen["loaded", outcome(lambda: load("net.keras", "keras", 0))] += 1
    assert all(seen[kind, "refused"] for kind in ("archive", "unpacked", "config", "weights"))
    assert seen["config", "read"]
    assert seen["weights", "read"]


def test_every_name_of_the_tables_exists_in_keras():
    import importlib

    for module, name in keras_names.ALLOWED:
        found = getattr(importlib.import_module(module), name)
        assert isinstance(found, type), (module, name)
        assert not isinstance(found, keras.Model)
    for name in {name for _, name in keras_names.FUNCTIONS}:
        assert callable(getattr(keras.activations, name))
    assert not {name for _, name in keras_names.FUNCTIONS} & {"get", "serialize", "deserialize"}
