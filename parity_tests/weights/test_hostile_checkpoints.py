"""Hostile and damaged files of PyTorch, safetensors and NumPy are refused with one error, fast."""

from __future__ import annotations

import io
import json
import math
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch._utils import _rebuild_tensor_v2

from parity_tests.support import mutated
from resnet_parity.errors import ParityError
from resnet_parity.weights.formats.arrays import checked_shape
from resnet_parity.weights.formats.numpy_files import open_npz, open_pickle, write_detectron2
from resnet_parity.weights.formats.safetensors_files import open_safetensors, write_safetensors
from resnet_parity.weights.formats.shards import open_shards
from resnet_parity.weights.formats.stored import Checkpoint
from resnet_parity.weights.formats.torch_files import open_torch

SECONDS = 2
NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)
TENSORS = {"w": NUMBERS, "b": np.arange(5, dtype=np.int64)}
STATE = {name: torch.from_numpy(values) for name, values in TENSORS.items()}

Reader = Callable[[Path], Checkpoint]


def read_all(open_file: Reader, path: Path) -> None:
    """Open a file, and read the tensors whose shapes a caller would accept."""
    for tensors in open_file(path).groups.values():
        for tensor in tensors.values():
            if math.prod(tensor.shape) < 1000:
                assert tensor.read().shape == tensor.shape


def opened(open_file: Reader, path: Path) -> None:
    open_file(path)


def refused(open_file: Reader, path: Path, late: bool = False) -> str:
    """The message of the refusal, at the latest when the tensors are read if it may be `late`."""
    start = time.process_time()
    with pytest.raises(ParityError) as refusal:
        (read_all if late else opened)(open_file, path)
    assert time.process_time() - start < SECONDS
    message = str(refusal.value)
    assert str(path.parent) in message and len(message) < 600
    message.encode()
    return message


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def torch_file(data: Any = STATE, new: bool = True) -> bytes:
    content = io.BytesIO()
    torch.save(data, content, _use_new_zipfile_serialization=new)
    return content.getvalue()


def torch_members(data: Any = STATE) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(torch_file(data))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def npy(head: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data


def entry(dtype: Any = "F32", shape: Any = (3,), places: Any = (0, 12)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": places}


class Storage:
    """A storage in a pickle written here."""

    def __init__(
        self, of: str = "FloatStorage", key: Any = "0", count: Any = 12, view: Any = ()
    ) -> None:
        self.identifier = ("storage", getattr(torch, of), key, "cpu", count, *view)


class Call:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = (function, args)

    def __reduce__(self) -> Any:
        return self.call


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return obj.identifier if isinstance(obj, Storage) else None


def pickled(data: Any) -> bytes:
    content = io.BytesIO()
    Pickler(content, 2).dump(data)
    return content.getvalue()


def tensor(offset: Any = 0, shape: Any = (3, 4), strides: Any = (4, 1), **storage: Any) -> Call:
    return Call(_rebuild_tensor_v2, Storage(**storage), offset, shape, strides, False, {})


def with_pickle(content: bytes, **members: bytes) -> bytes:
    """An archive of torch.save with another pickle."""
    return zipped({"net/data.pkl": content, "net/data/0": NUMBERS.tobytes(), **members})


def shared(depth: int) -> Any:
    """A list that holds the same list twice, and so on: small, and without end to walk."""
    inner: Any = []
    for _ in range(depth):
        inner = [inner, inner]
    return inner


def looped() -> Any:
    loop: dict[str, Any] = {"w": 1}
    loop["self"] = loop
    return loop


PROGRAM = b"cos\nsystem\n(X\x11\0\0\0touch hostile-rantR."
TORCH: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "page": lambda: b"<!DOCTYPE html><html>404",
    "pointer": lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "gzip": lambda: b"\x1f\x8b\x08" + bytes(30),
    "tar": lambda: b"net.pth".ljust(257, b"\0") + b"ustar" + bytes(250),
    "tar of PyTorch": lambda: b"sys_info".ljust(257, b"\0") + b"ustar" + bytes(250),
    "noise": lambda: Random(1).randbytes(1000),
    "pickle": lambda: pickle.dumps({"w": NUMBERS}),
    "program": lambda: with_pickle(PROGRAM),
    "program beside the magic number": lambda: (
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + PROGRAM
    ),
    "empty archive": lambda: zipped({}),
    "archive of others": lambda: zipped({"a.txt": b"a"}),
    "two pickles": lambda: zipped({"a/data.pkl": b"N.", "b/data.pkl": b"N."}),
    "compressed": lambda: zipped(torch_members({"w": torch.zeros(999)}), zipfile.ZIP_DEFLATED),
    "method": lambda: zipped(torch_members(), zipfile.ZIP_LZMA),
    "bomb": lambda: zipped({"net/data.pkl": bytes(2**26 + 1)}, zipfile.ZIP_DEFLATED),
    "large pickle": lambda: zipped(
        {"net/data.pkl": np.random.default_rng(0).bytes(2**20) + bytes(2**26)}, zipfile.ZIP_DEFLATED
    ),
    "many members": lambda: zipped({f"n/{i}": b"" for i in range(33_000)}),
    "another header": lambda: torch_file().replace(b"/data.pkl", b"/data.pkm", 1),
    "byteorder": lambda: with_pickle(pickled({"w": tensor()}), **{"net/byteorder": b"middle"}),
    "TorchScript": lambda: with_pickle(b"N.", **{"net/constants.pkl": b""}),
    "no numbers": lambda: zipped({"net/data.pkl": pickled({"w": tensor()})}),
    "few numbers": lambda: with_pickle(pickled({"w": tensor(count=13, shape=(13,), strides=(1,))})),
    "many numbers": lambda: with_pickle(pickled({"w": tensor(count=2**40)})),
    "two sizes": lambda: with_pickle(pickled({"w": tensor(), "v": tensor(of="HalfStorage")})),
    "beyond": lambda: with_pickle(pickled({"w": tensor(offset=1)})),
    "huge step": lambda: with_pickle(pickled({"w": tensor(strides=(2**40, 1))})),
    "huge shape": lambda: with_pickle(pickled({"w": tensor(shape=(2**30, 2**30))})),
    "endless shape": lambda: with_pickle(pickled({"w": tensor(shape=(2**70, 1))})),
    "many axes": lambda: with_pickle(pickled({"w": tensor(shape=(1,) * 40, strides=(1,) * 40)})),
    "negative offset": lambda: with_pickle(pickled({"w": tensor(offset=-1)})),
    "negative shape": lambda: with_pickle(pickled({"w": tensor(shape=(-3, -4))})),
    "negative steps": lambda: with_pickle(pickled({"w": tensor(strides=(-4, 1))})),
    "few steps": lambda: with_pickle(pickled({"w": tensor(strides=(1,))})),
    "text as shape": lambda: with_pickle(pickled({"w": tensor(shape="34")})),
    "truth as shape": lambda: with_pickle(pickled({"w": tensor(shape=(True, 4))})),
    "fraction as offset": lambda: with_pickle(pickled({"w": tensor(offset=0.0)})),
    "view beyond": lambda: with_pickle(pickled({"w": tensor(view=[("1", 4, 12)])})),
    "view without a place": lambda: with_pickle(pickled({"w": tensor(view=[("1", -1, 5)])})),
    "no storage": lambda: with_pickle(
        pickled({"w": Call(_rebuild_tensor_v2, 1, 0, (3,), (1,), False, {})})
    ),
    "few arguments": lambda: with_pickle(pickled({"w": Call(_rebuild_tensor_v2, 1)})),
    "path as key": lambda: with_pickle(pickled({"w": tensor(key="../../etc/passwd")})),
    "number as key": lambda: with_pickle(pickled({"w": tensor(key=0)})),
    "function as storage": lambda: with_pickle(
        b"(X\x07\0\0\0storagecos\nsystem\nX\1\0\0\0" + b"0U\3cpuK\1tQ."
    ),
    "text as identifier": lambda: with_pickle(b"Pnet\n."),
    "loop": lambda: with_pickle(pickled(looped())),
    "shared": lambda: with_pickle(pickled({"a": shared(40)})),
    "shared state": lambda: with_pickle(pickled({"optimizer": shared(40)})),
    "deep": lambda: with_pickle(b"]" * 200_000 + b"a" * 199_999 + b"."),
    "long keys": lambda: with_pickle(
        b"}X" + struct.pack("<I", 10**6) + b"k" * 10**6 + b"q\0}" + b"h\0}" * 30 + b"s" * 31 + b"."
    ),
    "long list at many places": lambda: with_pickle(
        b"(" + b"N" * 90_000 + b"lq\x000(" + b"h\0" * 90_000 + b"l."
    ),
    "list made many times": lambda: with_pickle(
        b"(" + b"N" * 90_000 + b"lq\x000cbuiltins\nset\nq\x010(" + b"h\1h\0\x85R" * 50_000 + b"l."
    ),
    "steps": lambda: with_pickle(b"N0" * 1_000_000 + b"N."),
    "names": lambda: with_pickle(b"cos\nsystem\n0" * 500_000 + b"N."),
    "empty stack": lambda: with_pickle(b"0."),
    "no mark": lambda: with_pickle(b"t."),
    "no end": lambda: with_pickle(b"]"),
    "two ends": lambda: with_pickle(b"NN."),
    "unknown memo": lambda: with_pickle(b"h\5."),
    "memo with gaps": lambda: with_pickle(b"Nr\xff\xff\xff\xff."),
    "long number": lambda: with_pickle(b"I" + b"9" * 100_000 + b"\n."),
    "long binary number": lambda: with_pickle(
        b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6 + b"."
    ),
    "negative length": lambda: with_pickle(b"\x8b" + struct.pack("<i", -5) + b"."),
    "huge text": lambda: with_pickle(b"X\xff\xff\xff\xffabc."),
    "huge bytes": lambda: with_pickle(b"\x8e" + b"\xff" * 8 + b"abc."),
    "extension": lambda: with_pickle(b"\x82\1."),
    "buffer": lambda: with_pickle(b"\x97."),
    "items of a name": lambda: with_pickle(b"cos\nsystem\nK\1K\2s."),
    "state of a number": lambda: with_pickle(b"K\1}b."),
    "append to a dict": lambda: with_pickle(b"}K\1a."),
    "call without a tuple": lambda: with_pickle(b"cos\nsystem\nK\1R."),
    "dict of a number": lambda: with_pickle(b"ccollections\nOrderedDict\nK\1\x85R."),
    "subclass of itself": lambda: with_pickle(
        b"ctorch._tensor\n_rebuild_from_type_v2\nq\0(h\0h\0(h\0h\0)NtNtR."
    ),
    "scalar": lambda: with_pickle(
        b"}X\1\0\0\0acnumpy._core.multiarray\nscalar\n(cnumpy\ndtype\nX\2\0\0\0f8\x85RU\3abctRs."
    ),
}
"""What makes each file that `open_torch` refuses."""

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2)


def row(
    keys: Any = ("0",), count: int = 12, numbers: bytes = NUMBERS.tobytes(), protocol: int = 1001
) -> bytes:
    """A file of PyTorch before 1.6 with one storage."""
    parts = [pickle.dumps(protocol, 2), pickle.dumps({}, 2), pickled({"w": tensor(view=[None])})]
    return b"".join([MAGIC, *parts, pickle.dumps(keys, 2), struct.pack("<q", count), numbers])


ROWS: dict[str, Callable[[], bytes]] = {
    "protocol": lambda: row(["0"], protocol=1000),
    "tuple of keys": lambda: row(("0",)),
    "numbers as keys": lambda: row([0]),
    "no keys": lambda: row([]),
    "another key": lambda: row(["1"]),
    "more keys": lambda: row(["0", "1"]),
    "a key twice": lambda: row(["0", "0"], numbers=2 * NUMBERS.tobytes()),
    "fewer numbers": lambda: row(["0"], count=11),
    "more numbers": lambda: row(["0"], count=2**62),
    "negative count": lambda: row(["0"], count=-1),
    "truncated numbers": lambda: row(["0"], numbers=NUMBERS.tobytes()[:-1]),
    "truncated count": lambda: row(["0"], numbers=b"")[:-3],
    "other magic number": lambda: row(["0"]).replace(MAGIC, MAGIC[:-1] + b"0N."),
}
"""Files of PyTorch before 1.6."""


def test_a_row_is_read(tmp_path):
    (tmp_path / "net.pth").write_bytes(row(["0"]))
    found = open_torch(tmp_path / "net.pth").groups[""]["w"].read()
    assert np.array_equal(found, NUMBERS)


SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "short": lambda: b"\1\0\0",
    "no header": lambda: safetensors(b""),
    "huge header": lambda: safetensors({}, length=2**63),
    "long header": lambda: safetensors({}, length=2**40),
    "large header": lambda: safetensors(b"{}" + b" " * 2**23),
    "many tensors": lambda: safetensors(
        {str(i): entry(shape=(0,), places=(0, 1)) for i in range(60_000)}
    ),
    "no JSON": lambda: safetensors(b"}{"),
    "no text": lambda: safetensors(b'{"\xff": 1}'),
    "deep": lambda: safetensors(b"[" * 10**6),
    "list": lambda: safetensors([1]),
    "twice": lambda: safetensors(
        b'{"w": %b, "w": %b}' % ((json.dumps(entry()).encode(),) * 2), bytes(12)
    ),
    "number as entry": lambda: safetensors({"w": 1}),
    "more in an entry": lambda: safetensors({"w": entry() | {"more": 1}}, bytes(12)),
    "float8": lambda: safetensors({"w": entry("F8_E4M3", (12,))}, bytes(12)),
    "unknown dtype": lambda: safetensors({"w": entry("F128")}, bytes(12)),
    "list as dtype": lambda: safetensors({"w": entry(["F32"])}, bytes(12)),
    "negative shape": lambda: safetensors({"w": entry(shape=(-1, -3))}, bytes(12)),
    "fraction as shape": lambda: safetensors({"w": entry(shape=(3.0,))}, bytes(12)),
    "huge shape": lambda: safetensors({"w": entry(shape=(2**40, 2**40))}, bytes(12)),
    "endless shape": lambda: safetensors(
        b'{"w": {"dtype": "F32", "data_offsets": [0, 12], "shape": [%b]}}' % (b"9" * 5000)
    ),
    "another shape": lambda: safetensors({"w": entry(shape=(4,))}, bytes(12)),
    "negative place": lambda: safetensors({"w": entry(places=(-12, 0))}, bytes(12)),
    "reversed place": lambda: safetensors({"w": entry(places=(12, 0))}, bytes(12)),
    "text as place": lambda: safetensors({"w": entry(places="ab")}, bytes(12)),
    "three places": lambda: safetensors({"w": entry(places=(0, 12, 12))}, bytes(12)),
    "beyond": lambda: safetensors({"w": entry(places=(0, 12))}, bytes(11)),
    "overlap": lambda: safetensors({"w": entry(), "v": entry()}, bytes(12)),
    "gap": lambda: safetensors({"w": entry(places=(4, 16))}, bytes(16)),
    "rest": lambda: safetensors({"w": entry()}, bytes(13)),
    "metadata": lambda: safetensors({"__metadata__": {"a": 1}, "w": entry()}, bytes(12)),
    "not a number": lambda: safetensors({"w": entry(shape=(math.nan,))}, bytes(12)),
}

HEAD = "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n"
NPZ: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "noise": lambda: Random(2).randbytes(1000),
    "array": lambda: npy(HEAD, bytes(12)),
    "empty archive": lambda: zipped({}),
    "other member": lambda: zipped({"w.txt": b"a"}),
    "no header": lambda: zipped({"w.npy": b"abc"}),
    "version": lambda: zipped({"w.npy": b"\x93NUMPY\7\0\0\0"}),
    "objects": lambda: zipped({"w.npy": npy(HEAD.replace("<f4", "|O"), PROGRAM)}),
    "records": lambda: zipped({"w.npy": npy(HEAD.replace("'<f4'", "[('a', '<f4')]"), bytes(12))}),
    "program": lambda: zipped({"w.npy": npy("__import__('os').system('touch hostile-ran')")}),
    "deep header": lambda: zipped({"w.npy": npy(HEAD.replace("3,", "(" * 900), bytes(12))}),
    "long header": lambda: zipped({"w.npy": npy(HEAD + " " * 60_000, bytes(12))}),
    "digits": lambda: zipped({"w.npy": npy(HEAD.replace("3,", "1" * 399), bytes(12))}),
    "huge shape": lambda: zipped({"w.npy": npy(HEAD.replace("3,", "9" * 14), bytes(12))}),
    "few numbers": lambda: zipped({"w.npy": npy(HEAD, bytes(11))}),
    "bomb": lambda: zipped(
        {"w.npy": npy(HEAD.replace("3,", f"{2**24}"), bytes(2**26))}, zipfile.ZIP_DEFLATED
    ),
    "method": lambda: zipped({"w.npy": npy(HEAD, bytes(12))}, zipfile.ZIP_BZIP2),
    "complex": lambda: zipped({"w.npy": npy(HEAD.replace("<f4", "<c8"), bytes(24))}),
}

RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85C\1b\x87R"


def array_pickle(state: bytes) -> bytes:
    return b"\x80\x03}X\1\0\0\0w" + RECONSTRUCT + b"(K\1" + state + b"tbs."


F4 = b"cnumpy\ndtype\nX\2\0\0\0f4\x85R"
PICKLES: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "noise": lambda: Random(3).randbytes(1000),
    "program": lambda: PROGRAM,
    "storage": lambda: pickled({"w": tensor()}),
    "objects": lambda: pickle.dumps({"w": np.array([{}], dtype=object)}),
    "records": lambda: pickle.dumps({"w": np.zeros(3, "f4,f4")}),
    "few numbers": lambda: array_pickle(b"K\3\x85" + F4 + b"\x89C\x04abcd"),
    "huge shape": lambda: array_pickle(b"J\xff\xff\xff\x7f\x85" + F4 + b"\x89C\x04abcd"),
    "negative shape": lambda: array_pickle(b"J\xff\xff\xff\xff\x85" + F4 + b"\x89C\0"),
    "no dtype": lambda: array_pickle(b"K\1\x85N\x89C\x04abcd"),
    "list of numbers": lambda: array_pickle(b"K\1\x85" + F4 + b"\x89]"),
    "no state": lambda: b"\x80\x03}X\1\0\0\0w" + RECONSTRUCT + b"s.",
    "number as state": lambda: b"\x80\x03}X\1\0\0\0w" + RECONSTRUCT + b"K\1bs.",
    "axes in no order": lambda: (
        b"\x80\x03}X\1\0\0\0wcnumpy._core.numeric\n_frombuffer\n(C\x10"
        + bytes(16)
        + F4
        + b"K\2K\2\x86X\1\0\0\0KK\0K\0\x86tRs."
    ),
    "wide text": lambda: array_pickle(
        b"K\1\x85" + F4 + b"\x89X\x0a\0\0\0abc\xe2\x82\xac\xe2\x82\xacd"
    ),
    "huge bytes": lambda: array_pickle(
        b"K\1\x85" + F4 + b"\x89\x8e" + b"\xff" * 7 + b"\x7f" + b"abcd"
    ),
}

KINDS = {
    "torch": (TORCH, open_torch, "net.pth"),
    "legacy": (ROWS, open_torch, "net.pth"),
    "safetensors": (SAFETENSORS, open_safetensors, "net.safetensors"),
    "npz": (NPZ, open_npz, "net.npz"),
    "pickle": (PICKLES, open_pickle, "net.pkl"),
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, (files, *_) in KINDS.items() for name in files]
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_hostile_file_is_refused(kind, name, tmp_path, monkeypatch):
    files, open_file, file = KINDS[kind]
    monkeypatch.chdir(tmp_path)
    path = tmp_path / file
    content = files[name]()
    path.write_bytes(content)
    refused(open_file, path)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_bytes() == content


def test_the_program_in_these_files_would_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(PROGRAM)
    assert [path.name for path in tmp_path.iterdir()] == ["hostile-ran"]


@pytest.mark.parametrize(
    "value",
    [PROGRAM[:-1], b"}X\3\0\0\0\xed\xa0\x80K\1s", b"S'\\q'\n", b"cos\nsystem\n)R)R)R"],
    ids=["program", "half a character", "escape", "call of a call"],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_stands_beside_tensors_is_not_run(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "net.pth"
    path.write_bytes(with_pickle(pickled({"w": tensor()})[:-1] + b"X\1\0\0\0x" + value + b"s."))
    (tensors,) = open_torch(path).groups.values()
    assert [*tensors] == ["w"] and np.array_equal(tensors["w"].read(), NUMBERS)
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nothing", "is empty; copy it again"),
        ("page", "is a web page"),
        ("pointer", "is a pointer of Git LFS"),
        ("gzip", "is compressed by gzip"),
        ("tar", "is a tar archive; extract it"),
        ("tar of PyTorch", "is of PyTorch before 0.1.10; if you trust it"),
        ("archive of others", "is a zip archive, but not of torch.save"),
        ("TorchScript", "is a program of TorchScript"),
        ("compressed", "was compressed after torch.save"),
        ("loop", "is nested more than 50 deep, or holds itself"),
        ("method", "archive/data.pkl is compressed by method 14 of zip"),
        ("bomb", "to 67,108,865 bytes; copy it again"),
        ("large pickle", "its data.pkl has more than 67,108,864 bytes"),
        ("another header", "the header of its member archive/data.pkl is wrong"),
        ("list made many times", "its pickle has more than 524,288 steps"),
        ("long list at many places", "holds more than 524,288 objects"),
        ("shared", "holds more than 524,288 objects"),
        (
            "many members",
            "is not a file of torch.save, or is damaged; copy it again, or save it again with "
            "torch.save(model.state_dict(), ...): it has more than 32,768 members",
        ),
    ],
)
def test_a_file_of_another_kind_is_named(name, reason, tmp_path):
    path = tmp_path / "net.pth"
    path.write_bytes(TORCH[name]())
    assert reason in refused(open_torch, path)


def test_an_encrypted_archive_is_refused(tmp_path):
    path, content = tmp_path / "net.pth", bytearray(zipped(torch_members()))
    content[content.find(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "archive/data.pkl is encrypted" in refused(open_torch, path)


def test_a_bomb_of_a_false_size_takes_no_memory(tmp_path):
    path = tmp_path / "net.pth"
    content = zipped({"net/data.pkl": bytes(2**26)}, zipfile.ZIP_DEFLATED)
    path.write_bytes(content.replace(struct.pack("<I", 2**26), struct.pack("<I", 100)))
    tracemalloc.start()
    try:
        assert "its member net/data.pkl has another size" in refused(open_torch, path)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_a_name_that_is_twice_in_an_archive_is_refused(tmp_path):
    path = tmp_path / "net.pth"
    for name in ("data.pkl", "data/0", "byteorder"):
        with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
            for member, content in torch_members().items():
                archive.writestr(member, content)
            archive.writestr(f"archive/{name}", b"")
        assert f"archive/{name} is in it twice" in refused(open_torch, path)


def boundaries(content: bytes, kind: str) -> set[int]:
    """The places in a file where a part of it begins or ends."""
    if kind in ("torch", "npz"):
        marks = (b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\7\10")
        starts = {n for n in range(len(content)) if content[n : n + 4] in marks}
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            starts |= {content.find(archive.read(name)) for name in archive.namelist()}
    elif kind == "safetensors":
        end = 8 + int.from_bytes(content[:8], "little")
        starts = {8, end, end + 40}
    else:
        starts = {n + 1 for n in range(len(content)) if content[n : n + 1] in b".\x80(tbRu"}
    starts.add(len(content))
    return {n + shift for n in starts for shift in (-1, 0, 1)} & {*range(len(content))}


def samples() -> dict[str, tuple[Reader, bytes]]:
    """A small good file of each format; without checksums, changes get further."""
    folder = io.BytesIO()
    np.savez(folder, **TENSORS)  # type: ignore[arg-type]
    data = {"state_dict": STATE, "epoch": 3, "optimizer": {"state": {0: {"m": torch.ones(2)}}}}
    torch.serialization.set_crc32_options(False)
    unchecked = torch_file(data)
    torch.serialization.set_crc32_options(True)
    return {
        "torch": (open_torch, torch_file(data)),
        "torch, unchecked": (open_torch, unchecked),
        "legacy": (open_torch, torch_file(data, False)),
        "npz": (open_npz, folder.getvalue()),
        "pickle": (open_pickle, pickle.dumps({"model": TENSORS, "cfg": np.float32(1)}, 4)),
        "pickle of protocol 0": (open_pickle, pickle.dumps({"model": TENSORS}, 0)),
    }


def written_samples(folder: Path) -> dict[str, tuple[Reader, bytes]]:
    write_safetensors(folder / "a", TENSORS, {"architecture": "resnet18"})
    write_detectron2(folder / "b", TENSORS)
    return {
        "safetensors": (open_safetensors, (folder / "a").read_bytes()),
        "detectron2": (open_pickle, (folder / "b").read_bytes()),
    }


@pytest.mark.parametrize("kind", ["torch", "legacy", "npz", "pickle", "safetensors", "detectron2"])
def test_a_truncated_file_is_refused(kind, tmp_path):
    open_file, content = (samples() | written_samples(tmp_path))[kind]
    path = tmp_path / "net"
    path.write_bytes(content)
    read_all(open_file, path)
    cuts = boundaries(content, kind)
    assert len(cuts) > 5
    for cut in cuts:
        path.write_bytes(content[:cut])
        refused(open_file, path)


def test_a_view_of_a_storage_is_read(tmp_path):
    """PyTorch before 0.4 wrote tensors that share numbers so."""
    path, view = tmp_path / "net.pth", [("1", 4, 6)]
    path.write_bytes(with_pickle(pickled({"w": tensor(1, (2,), (3,), view=view)})))
    assert open_torch(path).groups[""]["w"].read().tolist() == [5, 8]


@pytest.mark.parametrize("kind", ["torch", "npz"])
def test_a_flipped_bit_among_the_numbers_is_seen(kind, tmp_path):
    """The formats with checksums; the others cannot see it."""
    open_file, content = samples()[kind]
    path, start = tmp_path / "net", content.find(NUMBERS.tobytes())
    for place in range(start, start + NUMBERS.nbytes):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert "checksum" in refused(open_file, path, late=True)


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", [*samples(), "safetensors", "detectron2"])
def test_a_mutant_is_read_or_refused(kind, count, tmp_path):
    open_file, whole = (samples() | written_samples(tmp_path))[kind]
    path, draw, refusals = tmp_path / "net", Random(f"{kind}, {count}"), 0
    for _ in range(count):
        path.write_bytes(mutated(whole, draw))
        start = time.process_time()
        try:
            read_all(open_file, path)
        except ParityError as error:
            assert str(path) in str(error)
            refusals += 1
        assert time.process_time() - start < SECONDS
    assert refusals > count // 10


@pytest.mark.parametrize("shape", ["34", [True], [1.0], [-1], [2**48], [None], [1] * 17, 3, None])
def test_a_shape_is_a_list_of_sizes(shape):
    assert checked_shape([3, 0, 2**40]) == (3, 0, 2**40)
    with pytest.raises(ValueError, match="it has a tensor with"):
        checked_shape(shape)


INDEXES: dict[str, Callable[[], Any]] = {
    "above": lambda: {"weight_map": {"w": "../net.safetensors"}},
    "absolute": lambda: {"weight_map": {"w": "/net.safetensors"}},
    "below": lambda: {"weight_map": {"w": "sub/net.safetensors"}},
    "of Windows": lambda: {"weight_map": {"w": "C:net.safetensors", "b": "..\\net.safetensors"}},
    "suffix": lambda: {"weight_map": {"w": "net.py"}},
    "itself": lambda: {"weight_map": {"w": "model.safetensors.index.json"}},
    "missing": lambda: {"weight_map": {"w": "other.safetensors"}},
    "number": lambda: {"weight_map": {"w": 1}},
    "control": lambda: {"weight_map": {"w": "net\n.safetensors"}},
    "long": lambda: {"weight_map": {"w": "n" * 300 + ".safetensors"}},
    "fewer tensors": lambda: {"weight_map": {"w": "net.safetensors"}},
    "more tensors": lambda: {"weight_map": dict.fromkeys("wbx", "net.safetensors")},
    "no map": lambda: {"metadata": {}},
    "empty": lambda: {"weight_map": {}},
    "list": lambda: [1],
    "deep": lambda: "[" * 10**6,
    "twice": lambda: '{"weight_map": {"w": "net.safetensors", "w": "net.safetensors"}}',
    "large": lambda: (
        " " * 2**22 + json.dumps({"weight_map": dict.fromkeys(TENSORS, "net.safetensors")})
    ),
}


@pytest.mark.parametrize("name", INDEXES)
def test_a_hostile_index_is_refused(name, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for place in (tmp_path, folder):
        write_safetensors(place / "net.safetensors", TENSORS)
    path, index = folder / "model.safetensors.index.json", INDEXES[name]()
    path.write_text(json.dumps({"weight_map": dict.fromkeys(TENSORS, "net.safetensors")}))
    read_all(open_shards, path)
    path.write_text(index if isinstance(index, str) else json.dumps(index))
    refused(open_shards, path)
