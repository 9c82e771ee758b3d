"""Damaged and hostile files of Keras and TensorFlow: each is refused in one message, soon."""

from __future__ import annotations

import json
import shutil
import struct
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from parity_tests.support import python
from resnet_parity.errors import ParityError
from resnet_parity.weights.formats.checksums import crc32c, masked
from resnet_parity.weights.formats.keras_files import open_keras
from resnet_parity.weights.formats.tensorflow_files import open_tensorflow

_SECONDS = 2.0
"""The processor time that a refusal may take."""

CONFIG = {
    "module": "keras",
    "class_name": "Sequential",
    "config": {
        "name": "net",
        "layers": [
            {"class_name": "Conv2D", "config": {"name": "conv", "strides": [1, 1]}},
            {"class_name": "BatchNormalization", "config": {"name": "bn"}},
        ],
    },
}


def variables() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(3)
    shapes = {"conv2d": [(3, 3, 3, 4)], "batch_normalization": [(4,)] * 4}
    return {
        f"layers/{group}/vars/{index}": draw.normal(size=shape).astype("f4")
        for group, each in shapes.items()
        for index, shape in enumerate(each)
    }


def write_weights(path: Path) -> None:
    """A file in the layout of Keras 3."""
    with h5py.File(path, "w") as file:
        for name, values in variables().items():
            file[name] = values
        for group, name in (("conv2d", "conv"), ("batch_normalization", "bn")):
            file[f"layers/{group}/vars"].attrs["name"] = name


def write_legacy(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(CONFIG)
        file.attrs["keras_version"] = "3.0.0"
        top = file.create_group("model_weights")
        top.attrs["layer_names"] = ["conv", "bn"]
        names = {"conv": ["kernel"], "bn": ["gamma", "beta", "moving_mean", "moving_variance"]}
        values = iter(variables().values())
        for layer, words in names.items():
            group = top.create_group(layer)
            group.attrs["weight_names"] = [f"{layer}/{word}" for word in words]
            for word in words:
                group[f"{layer}/{word}"] = next(values)


def write_archive(path: Path, **members: bytes | dict) -> None:
    weights = path.with_name("inner.h5")
    write_weights(weights)
    content = {"metadata.json": {"keras_version": "3.0.0"}, "config.json": CONFIG}
    content |= {"model.weights.h5": weights.read_bytes()}
    content |= {name.replace("__", "."): value for name, value in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in content.items():
            archive.writestr(name, value if isinstance(value, bytes) else json.dumps(value))


def write_shards(path: Path) -> None:
    write_weights(path.with_name("net_00000.weights.h5"))
    size = sum(values.nbytes for values in variables().values())
    places = {"/layers/conv2d/vars": "net_00000.weights.h5"}
    path.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": places}))


def number(value: int) -> bytes:
    """A number of variable length."""
    content = bytearray()
    while value > 127:
        content.append(value & 127 | 128)
        value >>= 7
    return bytes([*content, value])


def entry(key: int, value: int | bytes) -> bytes:
    """A field of a protocol buffer."""
    if isinstance(value, int):
        return number(key << 3) + number(value)
    return number(key << 3 | 2) + number(len(value)) + value


def block(entries: dict[bytes, bytes]) -> bytes:
    """A block of a table, with its checksum."""
    content = b"".join(
        number(0) + number(len(key)) + number(len(value)) + key + value
        for key, value in entries.items()
    )
    content += struct.pack("<II", 0, 1) + b"\0"
    return content + struct.pack("<I", masked(crc32c(content)))


def table(entries: dict[bytes, bytes], magic: int = 0xDB4775248B80FB57) -> bytes:
    """A table of TensorFlow, of one block."""
    data, meta = block(entries), block({})
    handle = number(0) + number(len(data) - 5)
    index = block({b"\xff": handle})
    footer = number(len(data)) + number(len(meta) - 5)
    footer += number(len(data) + len(meta)) + number(len(index) - 5)
    return data + meta + index + footer.ljust(40, b"\0") + struct.pack("<Q", magic)


NUMBERS = np.arange(12, dtype="f4")


def tensor(
    shape: tuple[int, ...] = (3, 4), dtype: int = 1, place: int = 0, size: int = 48, *more: bytes
) -> bytes:
    """An entry of an index, by default one that is right."""
    extents = b"".join(entry(2, entry(1, extent)) for extent in shape)
    crc = number(6 << 3 | 5) + struct.pack("<I", masked(crc32c(NUMBERS.tobytes())))
    content = entry(1, dtype) + entry(2, extents) + entry(4, place) + entry(5, size) + crc
    return content + b"".join(more)


HEADER = entry(1, 1)


def write_checkpoint(path: Path, header: bytes = HEADER, **entries: bytes) -> None:
    """A checkpoint of one tensor, unless entries are given."""
    named = {name.encode(): value for name, value in (entries or {"w": tensor()}).items()}
    Path(f"{path}.index").write_bytes(table({b"": header, **named}))
    Path(f"{path}.data-00000-of-00001").write_bytes(NUMBERS.tobytes())


FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "weights": ("net.weights.h5", write_weights),
    "legacy": ("net.h5", write_legacy),
    "archive": ("net.keras", write_archive),
    "shards": ("net.weights.json", write_shards),
    "checkpoint": ("net", write_checkpoint),
}


def read(path: Path) -> int:
    """Read all numbers of a file; returns how many tensors it has."""
    of_tensorflow = path.name == "net" or path.is_dir()
    tensors = (open_tensorflow if of_tensorflow else open_keras)(path).groups[""]
    return len([each.read() for each in tensors.values()])


@pytest.mark.parametrize("kind", FORMATS)
def test_the_files_are_read_before_they_are_damaged(kind, tmp_path):
    name, write = FORMATS[kind]
    write(tmp_path / name)
    assert read(tmp_path / name) == (1 if kind == "checkpoint" else 5)


def changed(change: Callable[[h5py.File], object]) -> Callable[[Path], None]:
    """A change of the HDF5 file, which is made."""

    def write(path: Path) -> None:
        (write_legacy if path.name == "net.h5" else write_weights)(path)
        with h5py.File(path, "r+") as file:
            change(file)

    return write


CONV = "layers/conv2d/vars"
LAYER = "model_weights/bn"


def replaced(name: str, **arguments: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **arguments)

    return change


def linked(name: str, target: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name] = file[target] if isinstance(target, str) else target

    return change


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset(f"{CONV}/1", layout)


def attribute(name: str, value: object, where: str = LAYER) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[where].attrs[name] = value

    return change


def zeros_in_names(path: Path) -> None:
    """The HDF5 library itself does not return from this file."""
    write_weights(path)
    content = path.read_bytes()
    at = content.index(b"GCOL") + 16
    path.write_bytes(content[:at] + bytes(64) + content[at + 64 :])


def long_name(path: Path) -> None:
    """A text of four gigabytes, which the HDF5 library allocates."""
    write_weights(path)
    content = bytearray(path.read_bytes())
    heap = struct.pack("<Q", content.index(b"GCOL"))
    at = content.index(struct.pack("<I", 4) + heap)
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)


BIG = {"shape": (60_000, 60_000), "dtype": "f4", "chunks": (64, 64)}
HDF5: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "external link": (
        "net.weights.h5",
        changed(linked("x", h5py.ExternalLink("/etc/passwd", "/"))),
        "an external link",
    ),
    "soft link": ("net.h5", changed(linked("x", h5py.SoftLink("/model_weights"))), "a soft link"),
    "link back": ("net.weights.h5", changed(linked(f"{CONV}/x", "layers")), "a link back"),
    "array twice": ("net.weights.h5", changed(linked(f"{CONV}/1", f"{CONV}/0")), "a link back"),
    "virtual": ("net.weights.h5", changed(virtual), "in another file"),
    "external values": (
        "net.weights.h5",
        changed(replaced(f"{CONV}/0", shape=(4,), dtype="f4", external=[("/etc/passwd", 0, 16)])),
        "in another file",
    ),
    "texts": ("net.h5", changed(replaced(f"{LAYER}/bn/beta", data=["a", "b"])), "no number"),
    "references": (
        "net.h5",
        changed(replaced(f"{LAYER}/bn/beta", shape=(2,), dtype=h5py.ref_dtype)),
        "no number",
    ),
    "records": (
        "net.weights.h5",
        changed(replaced(f"{CONV}/0", shape=(2,), dtype=[("a", "f4"), ("b", "f4")])),
        "no number",
    ),
    "an enormous array": ("net.weights.h5", changed(replaced(f"{CONV}/0", **BIG)), "unpacks from"),
    "a bomb": (
        "net.weights.h5",
        changed(
            replaced(f"{CONV}/0", data=np.zeros(2**25, "f4"), compression="gzip", chunks=(2**20,))
        ),
        "unpacks from",
    ),
    "a rare filter": (
        "net.weights.h5",
        changed(replaced(f"{CONV}/0", data=np.zeros(3), chunks=(3,), scaleoffset=2)),
        "by the filter scaleoffset",
    ),
    "deep groups": (
        "net.weights.h5",
        changed(lambda file: file.create_group("/".join("a" * 150))),
        "too deep",
    ),
    "an escape": (
        "net.weights.h5",
        changed(lambda file: file.create_group("layers/a\x1b[2J")),
        "no name of a layer",
    ),
    "a step up": (
        "net.weights.h5",
        changed(lambda file: file.create_group("layers/..")),
        "no name of a layer",
    ),
    "a layer name with a step up": (
        "net.weights.h5",
        changed(attribute("name", "../conv", CONV)),
        "no name of a layer",
    ),
    "a layer name with an escape": (
        "net.weights.h5",
        changed(attribute("name", "a\x1b[2J", CONV)),
        "no name of a layer",
    ),
    "no weights": ("net.weights.h5", changed(lambda file: file.pop("layers")), "no weights"),
    "zeros in names": ("net.weights.h5", zeros_in_names, "where an attribute refers to"),
    "a long name": ("net.weights.h5", long_name, "where an attribute refers to"),
    "a group for an array": (
        "net.weights.h5",
        changed(lambda file: file.create_group(f"{CONV}/1")),
        "no array",
    ),
    "five variables": (
        "net.weights.h5",
        changed(lambda file: file.create_dataset("layers/batch_normalization/vars/4", data=[1.0])),
        "holds 5 variables",
    ),
    "two layers of one name": (
        "net.weights.h5",
        changed(attribute("name", "bn", CONV)),
        "holds bn twice",
    ),
    "a missing group": (
        "net.h5",
        changed(attribute("layer_names", ["conv", "other"], "model_weights")),
        "has no group for it",
    ),
    "a missing array": ("net.h5", changed(attribute("weight_names", ["bn/other"])), "no array"),
    "an array of another layer": (
        "net.h5",
        changed(attribute("weight_names", ["../conv/conv/kernel"])),
        "no array",
    ),
    "an absolute name": (
        "net.h5",
        changed(attribute("weight_names", ["/model_weights/conv/conv/kernel"])),
        "no array",
    ),
    "a name twice": ("net.h5", changed(attribute("weight_names", ["bn/beta"] * 2)), "listed twice"),
    "names of a wrong type": (
        "net.h5",
        changed(attribute("layer_names", 7, "model_weights")),
        "no weights",
    ),
    "no names": (
        "net.h5",
        changed(lambda file: file["model_weights"].attrs.pop("layer_names")),
        "no weights",
    ),
    "a config that is no JSON": (
        "net.h5",
        changed(attribute("model_config", "{", "/")),
        "is damaged",
    ),
    "a config of lists": (
        "net.h5",
        changed(attribute("model_config", "[" * 100_000 + "]" * 100_000, "/")),
        "is damaged",
    ),
    "a config that is too large": (
        "net.h5",
        changed(attribute("model_config", "[" + "1," * 2**21 + "1]", "/")),
        "more than 1,048,576 values",
    ),
    "a config of 65 MB": (
        "net.h5",
        changed(attribute("model_config", " " * 65 * 2**20, "/")),
        "more than 67,108,864 bytes",
    ),
    "a layer without a name": (
        "net.h5",
        changed(
            attribute("model_config", '{"config": {"layers": [{"class_name": "Dense"}]}}', "/")
        ),
        "which is no layer",
    ),
    "a newer layout": (
        "net.weights.h5",
        lambda path: h5py.File(path, "w", libver="latest").create_dataset("a/vars/0", data=[1.0]),
        "a layout that Keras does not use",
    ),
    "empty": ("net.h5", lambda path: path.write_bytes(b""), "is not a file of Keras"),
    "a web page": ("net.h5", lambda path: path.write_bytes(b"<html>"), "a web page"),
    "none": ("net.h5", lambda path: None, "does not exist"),
}


def with_members(**members: bytes | dict) -> Callable[[Path], None]:
    return lambda path: write_archive(path, **members)


def nested(depth: int) -> dict:
    config: dict = {"class_name": "Dense", "config": {"name": "fc"}}
    for _ in range(depth):
        config = {"class_name": "Sequential", "config": {"name": "n", "layers": [config]}}
    return config


def index(**changes: object) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_shards(path)
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return write


def placed(name: object) -> Callable[[Path], None]:
    return index(weight_map={"/layers/conv2d/vars": name})


def same_shard_twice(path: Path) -> None:
    write_shards(path)
    shutil.copy(path.with_name("net_00000.weights.h5"), path.with_name("net_1.weights.h5"))
    places = {"/a": ["net_00000.weights.h5", "net_1.weights.h5"]}
    size = 2 * sum(values.nbytes for values in variables().values())
    path.write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": places}))


ARCHIVES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "weights that are text": ("net.keras", with_members(model__weights__h5=b"x" * 99), "damaged"),
    "a bomb of weights": (
        "net.keras",
        with_members(model__weights__h5=b"\x89HDF\r\n\x1a\n" + bytes(2**27)),
        "unpacks from",
    ),
    "a bomb of a config": ("net.keras", with_members(config__json=b" " * 2**25), "16,777,216"),
    "no config": ("net.keras", with_members(config__json=b"[1]"), "does not describe a model"),
    "a deep config": ("net.keras", with_members(config__json=nested(150)), "more than 100 deep"),
    "a name twice": (
        "net.keras",
        with_members(config__json=b'{"config": 1, "config": 2}'),
        "twice in one object",
    ),
    "a layer that is a number": (
        "net.keras",
        with_members(config__json={"config": {"layers": [5]}}),
        "which is no layer",
    ),
    "a layer named with a step up": (
        "net.keras",
        with_members(config__json={"config": {"layers": [{"class_name": "A", "name": "../a"}]}}),
        "which is no layer",
    ),
    "pickles": (
        "net.keras",
        lambda path: zipfile.ZipFile(path, "w").writestr("model.weights.npz", b"x"),
        "as pickles in model.weights.npz",
    ),
    "a shard in another folder": ("net.weights.json", placed("../net.weights.h5"), "no file of"),
    "an absolute shard": ("net.weights.json", placed("/etc/passwd"), "no file of its own folder"),
    "a shard that is a number": ("net.weights.json", placed(7), "no file of its own folder"),
    "a shard that is an object": (
        "net.weights.json",
        placed({"a": 1}),
        "is not a file of Keras weights",
    ),
    "a missing shard": ("net.weights.json", placed("net_7.weights.h5"), "does not exist"),
    "a shard that is the index": ("net.weights.json", placed("net.weights.json"), "damaged"),
    "too many shards": (
        "net.weights.json",
        placed([f"{each}.weights.h5" for each in range(2000)]),
        "names 2,000 files",
    ),
    "no shards": ("net.weights.json", index(weight_map={}), "names 0 files"),
    "a list of shards": ("net.weights.json", index(weight_map=[1]), "damaged"),
    "another size": ("net.weights.json", index(metadata={"total_size": 5}), "and not 5"),
    "no size": ("net.weights.json", index(metadata={}), "damaged"),
    "an array in two shards": ("net.weights.json", same_shard_twice, "two of its files hold"),
    "an index that is no JSON": (
        "net.weights.json",
        lambda path: path.write_bytes(b"{"),
        "damaged",
    ),
}


def checkpoint(**entries: bytes) -> Callable[[Path], None]:
    return lambda path: write_checkpoint(path, **entries)


def graph(content: bytes, length: int | None = None) -> Callable[[Path], None]:
    """A checkpoint with an object graph."""

    def write(path: Path) -> None:
        text = number(len(content) if length is None else length) + bytes(4) + content
        write_checkpoint(
            path, w=tensor(), _CHECKPOINTABLE_OBJECT_GRAPH=tensor((), 7, 48, len(text))
        )
        with Path(f"{path}.data-00000-of-00001").open("ab") as file:
            file.write(text)

    return write


def node(*children: tuple[str, int], key: str = "") -> bytes:
    parts = [entry(1, entry(1, child) + entry(2, name.encode())) for name, child in children]
    about = entry(1, b"VARIABLE_VALUE") + entry(2, b"a/kernel") + entry(3, key.encode())
    return entry(1, b"".join(parts) + (entry(2, about) if key else b""))


def damaged_index(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        write_checkpoint(path)
        file = Path(f"{path}.index")
        file.write_bytes(change(file.read_bytes()))

    return write


def damaged_numbers(path: Path) -> None:
    write_checkpoint(path)
    Path(f"{path}.data-00000-of-00001").write_bytes(NUMBERS[::-1].tobytes())


def latest(text: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        (path / "checkpoint").write_bytes(text)

    return write


CHECKPOINTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "an enormous shape": ("net", checkpoint(w=tensor((2**40, 2**40))), "has 48 bytes"),
    "an enormous size": ("net", checkpoint(w=tensor((2**40,), 1, 0, 2**42)), "be cut off"),
    "a place after the end": ("net", checkpoint(w=tensor((3, 4), 1, 8, 48)), "be cut off"),
    "a negative place": ("net", checkpoint(w=tensor((3, 4), 1, 2**64 - 8, 48)), "be cut off"),
    "a negative extent": ("net", checkpoint(w=tensor((2**64 - 1, 4))), "unknown extent"),
    "40 axes": ("net", checkpoint(w=tensor((1,) * 40)), "more than 32 axes"),
    "tensors that overlap": (
        "net",
        checkpoint(**{f"w{each}": tensor() for each in range(50)}),
        "overlap",
    ),
    "a resource": ("net", checkpoint(w=tensor((3, 4), 20)), "the dtype 20"),
    "parts": ("net", checkpoint(w=tensor((3, 4), 1, 0, 48, entry(7, b""))), "stored in parts"),
    "another byte order": (
        "net",
        lambda path: write_checkpoint(path, entry(1, 1) + entry(2, 1)),
        "the other byte order",
    ),
    "many files": ("net", lambda path: write_checkpoint(path, entry(1, 2**40)), "files"),
    "a file that is not there": (
        "net",
        lambda path: write_checkpoint(path, entry(1, 3)),
        "No such file",
    ),
    "other numbers": ("net", damaged_numbers, "another checksum"),
    "another index": ("net", damaged_index(lambda data: data[:9] + b"?" + data[10:]), "checksum"),
    "a cut index": ("net", damaged_index(lambda data: data[:-1]), "does not end"),
    "an empty index": ("net", damaged_index(lambda data: b""), "does not end"),
    "a handle after the end": (
        "net",
        damaged_index(lambda data: data[:-48] + b"\xff" * 9 + data[-39:]),
        "damaged",
    ),
    "no variables": ("net", checkpoint(w=tensor((), 1, 0, 4)), "holds no variables"),
    "a graph longer than its file": ("net", graph(b"", 2**60), "another length"),
    "a graph of numbers": ("net", graph(b"\x08\x01" * 9), "a number stands where a message"),
    "a graph that is cut": ("net", graph(entry(1, b"\x0a\x7f")), "cut off"),
    "a graph of itself": ("net", graph(node(("a", 0), ("b", 0))), "holds no variables"),
    "a child that is not there": ("net", graph(node(("a", 7))), "damaged"),
    "a variable that is not there": ("net", graph(node(key="other")), "holds no variables"),
    "a part of a SavedModel": (
        "net",
        lambda path: (path.mkdir(), (path / "saved_model.pb").write_bytes(b"")),
        "weights are in its graph",
    ),
    "a path out of the folder": ("net", latest(b'model_checkpoint_path: "../../x"\n'), "holds no"),
    "an empty folder": ("net", lambda path: path.mkdir(), "holds no saved_model.pb"),
    "nothing": ("net", lambda path: None, "there is no file net.index"),
    "another file": ("net", lambda path: path.write_bytes(b"x" * 99), "no checkpoint"),
    "a table of names alone": ("net", lambda path: path.write_bytes(table({b"": b""})), "damaged"),
}

CASES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    **{f"HDF5: {name}": case for name, case in HDF5.items()},
    **{f"archive: {name}": case for name, case in ARCHIVES.items()},
    **{f"TensorFlow: {name}": case for name, case in CHECKPOINTS.items()},
}


@pytest.mark.parametrize("case", CASES)
def test_a_hostile_file_is_refused_in_one_message(case, tmp_path, monkeypatch):
    name, write, message = CASES[case]
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name)
    before = sorted(tmp_path.rglob("*"))
    start = time.process_time()
    with pytest.raises(ParityError) as refusal:
        read(tmp_path / name)
    assert time.process_time() - start < _SECONDS
    said = str(refusal.value)
    assert message in said
    assert "net" in said
    assert "\n" not in said
    assert said.isascii()
    assert len(said) < 1000
    assert sorted(tmp_path.rglob("*")) == before


def cuts(content: bytes) -> Iterator[bytes]:
    for place in (*range(0, len(content), max(1, len(content) // 60)), len(content) - 1):
        yield content[:place]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_is_cut_is_refused(kind, tmp_path):
    name, write = FORMATS[kind]
    write(tmp_path / name)
    for file in sorted(each for each in tmp_path.iterdir() if each.name != "inner.h5"):
        whole = file.read_bytes()
        for part in cuts(whole):
            file.unlink()  # the HDF5 library takes an open file of the same inode for the same
            file.write_bytes(part)
            with pytest.raises(ParityError):
                read(tmp_path / name)
        file.write_bytes(whole)


MUTANTS = """
import faulthandler, sys, time
from pathlib import Path
from random import Random

from parity_tests.support import mutated
from parity_tests.weights.test_hostile_keras_files import FORMATS, read
from resnet_parity.errors import ParityError

for kind in sys.argv[3:]:
    folder, refused, slowest = Path(sys.argv[1], kind), 0, 0.0
    folder.mkdir()
    name, write = FORMATS[kind]
    write(folder / name)
    files = sorted(each for each in folder.iterdir() if each.name != "inner.h5")
    whole = {file: file.read_bytes() for file in files}
    for seed in range(int(sys.argv[2])):
        draw = Random(f"{kind} {seed}")
        faulthandler.dump_traceback_later(30, exit=True)
        file = draw.choice(files)
        file.unlink()
        file.write_bytes(mutated(whole[file], draw))
        start = time.process_time()
        try:
            read(folder / name)
        except ParityError as error:
            refused += 1
            assert "\\n" not in str(error) and len(str(error)) < 1000, (kind, seed, error)
        except Exception as error:
            raise AssertionError(f"mutant {seed} of {kind}") from error
        slowest = max(slowest, time.process_time() - start)
        file.unlink()
        file.write_bytes(whole[file])
    assert slowest < 2, (kind, slowest)
    assert refused, kind
assert not {"keras", "tensorflow"} & {*sys.modules}
"""


@pytest.mark.parametrize(
    ("count", "kinds"),
    [(60, [*FORMATS]), *(pytest.param(10_000, [kind], marks=pytest.mark.full) for kind in FORMATS)],
)
def test_a_mutant_is_read_or_refused(count, kinds, tmp_path):
    """In another process, which the HDF5 library could end; it imports no framework."""
    done = python("-c", MUTANTS, str(tmp_path), str(count), *kinds)
    assert done.returncode == 0, done.stderr
