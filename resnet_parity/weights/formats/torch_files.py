"""Read and write the files of `torch.save`. Reading takes no PyTorch, and runs nothing of them.

A file is a zip archive, or, until PyTorch 1.5, a row of pickles with the numbers after them. Both
are pickles that refer to storages, and tensors are views of storages.
"""

from __future__ import annotations

import codecs
import math
import mmap
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import numpy as np

from resnet_parity.errors import ParityError
from resnet_parity.files import atomic_file, check_readable, reading, shown, writing
from resnet_parity.weights.formats import opcodes, pickles
from resnet_parity.weights.formats.archives import Member, members
from resnet_parity.weights.formats.arrays import (
    READABLE,
    Order,
    Refused,
    bits,
    cast_all,
    checked_shape,
    finished,
    is_size,
    refused_dtype,
)
from resnet_parity.weights.formats.nested import checkpoint
from resnet_parity.weights.formats.pickled_arrays import ARRAYS
from resnet_parity.weights.formats.pickles import Name
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor

_KIND = "a file of torch.save"
_SAVE_AGAIN = "copy it again, or save it again with torch.save(model.state_dict(), ...)"

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""The numbers with which a file begins that is no archive."""
_READABLE = (
    "readable are files of PyTorch, safetensors, Keras, TensorFlow, NumPy and ONNX; if it is one, "
    "it is damaged: copy it again"
)
_PRINTED = bytes(range(32, 256)) + b"\t\n\r"
_MAGIC_BYTES = _MAGIC.to_bytes(10, "little")

_MAX_PICKLE = 2**26
"""The largest pickle that is compressed, in bytes; a resnet1202 with its optimizer has 2 MB."""

_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
    "_UntypedStorage": "uint8",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "qint8",
    "QUInt8Storage": "quint8",
    "QInt32Storage": "qint32",
}


@dataclass(frozen=True)
class _Storage:
    """The numbers that tensors are views of."""

    key: str
    dtype: str
    count: int
    first: int = 0
    """The number of the file's storage where a view of it begins."""


@dataclass(frozen=True)
class _Place:
    """Where a storage is in the file."""

    start: int
    size: int
    order: Order = "<"
    member: Member | None = None

    def read(self, path: Path, first: int, size: int) -> np.ndarray:
        """Some bytes of it. If these are all, their checksum is compared."""
        start = self.start + (self.member.start() if self.member else 0)
        content = np.fromfile(path, np.uint8, size, offset=start + first)
        if len(content) != size:
            raise ValueError("it is truncated")
        if self.member and size == self.member.size:
            self.member.check(content.data)
        return content


@dataclass
class _Tensors:
    """The storages to which a pickle refers, and the functions that make tensors of them."""

    path: Path
    storages: dict[str, _Storage] = field(default_factory=dict)
    places: dict[str, _Place] = field(default_factory=dict)
    """The places of the storages, which are known once the pickle was read."""

    def load(self, stream: pickles.Stream) -> Any:
        rebuilt = {
            "_rebuild_tensor": self.rebuild,
            "_rebuild_tensor_v2": self.rebuild,
            "_rebuild_tensor_v3": self.rebuild_typed,
            "_rebuild_parameter": lambda data, *_: data,
            "_rebuild_parameter_with_state": lambda data, *_: data,
            **{name: partial(_refused, why) for name, why in _REFUSED.items()},
        }
        self.table = {
            **ARRAYS,
            **{f"torch._utils.{name}": function for name, function in rebuilt.items()},
            "torch._tensor._rebuild_from_type": self.rebuild_subclass,
            "torch._tensor._rebuild_from_type_v2": self.rebuild_subclass,
            "torch.tensor._rebuild_from_type": self.rebuild_subclass,
            "torch.Size": lambda sizes=(): sizes,
            "torch.device": lambda kind, *_: kind,
            "torch.serialization._get_layout": lambda name: name,
        }
        return pickles.load(stream, self.table, self.storage)

    def storage(self, identifier: Any) -> Any:
        """The storage, or the class of a module, that an identifier in the pickle means."""
        if not isinstance(identifier, tuple) or len(identifier) < 2:
            raise ValueError("its pickle refers to something else than a storage")
        kind, *rest = identifier
        if kind == "module":
            return rest[0]
        if kind != "storage" or len(rest) not in (4, 5):
            raise ValueError("its pickle refers to something else than a storage")
        of, key, _, count, *view = rest
        dtype = _STORAGES.get(of.path.rpartition(".")[2]) if isinstance(of, Name) else None
        if dtype is None:
            raise ValueError("its pickle has a storage of a type that is not known")
        if not isinstance(key, str) or not is_size(count):
            raise ValueError("its pickle has a storage without a size")
        storage = _Storage(key, dtype, count)
        earlier = self.storages.setdefault(key, storage)
        if (earlier.dtype, earlier.count) != (dtype, count) and earlier.count and count:
            raise ValueError(f"its pickle has storage {shown(key)} with two sizes")
        return _view(storage, view[0]) if view and view[0] is not None else storage

    def rebuild(
        self, storage: Any, offset: Any, size: Any, strides: Any, *rest: Any
    ) -> StoredTensor | Refused:
        """A tensor: a view of a storage, whose numbers are read later."""
        if not isinstance(storage, _Storage):
            raise ValueError("its pickle has a tensor without a storage")
        if storage.dtype not in READABLE:
            return refused_dtype(storage.dtype)
        if len(rest) > 2 and rest[2]:  # conjugated or negated when it is read
            return Refused("is a lazily negated view; save a clone() of it")
        shape, strides = checked_shape(size), checked_shape(strides)
        if len(shape) != len(strides) or not is_size(offset):
            raise ValueError("its pickle has a tensor without a place in its storage")
        span = 1 + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
        span = span if math.prod(shape) else 0
        if offset + span > storage.count:
            raise ValueError(f"its pickle has a tensor of shape {shape} beyond its storage")
        offset += storage.first
        read = partial(self.read, storage.key, storage.dtype, offset, span, shape, strides)
        return StoredTensor(shape, storage.dtype, read)

    def rebuild_typed(
        self, storage: Any, offset: Any, size: Any, strides: Any, *rest: Any
    ) -> StoredTensor | Refused:
        """A tensor of one of the newer dtypes, whose storage has none."""
        dtype = rest[2].path.rpartition(".")[2] if isinstance(rest[2], Name) else "unknown"
        if dtype not in READABLE or not isinstance(storage, _Storage):
            return refused_dtype(dtype)
        count = storage.count // np.dtype(dtype).itemsize
        typed = _Storage(storage.key, dtype, count)
        return self.rebuild(typed, offset, size, strides, *rest[:2], *rest[3:])

    def rebuild_subclass(self, function: Any, _: Any, args: Any, *state: Any) -> Any:
        """A tensor of another class, from the function that makes the tensor."""
        known = self.table.get(function.path) if isinstance(function, Name) else None
        if known is None or not isinstance(args, tuple):
            return Refused("is of a class that is not known; save a plain tensor")
        return known(*args)

    def read(
        self,
        key: str,
        dtype: str,
        offset: int,
        span: int,
        shape: tuple[int, ...],
        strides: tuple[int, ...],
    ) -> np.ndarray:
        if not span:
            return finished(np.zeros(shape, bits(dtype)), dtype)
        place, size = self.places[key], bits(dtype).itemsize
        content = place.read(self.path, offset * size, span * size)
        values = content.view(bits(dtype, place.order))
        steps = [step * size for step in strides]
        return finished(np.lib.stride_tricks.as_strided(values, shape, steps), dtype)


_REFUSED = {
    "_rebuild_sparse_tensor": "is sparse; save it as to_dense()",
    "_rebuild_qtensor": "is quantised; save it as dequantize(), or the weights before",
    "_rebuild_nested_tensor": "is a nested tensor; save it as to_padded_tensor(0)",
    "_rebuild_meta_tensor_no_storage": "is on the meta device, without numbers; save the weights",
    "_rebuild_wrapper_subclass": "is of a class without numbers; save a plain tensor",
    "_rebuild_device_tensor_from_numpy": "is of another device; save it after cpu()",
    "_rebuild_device_tensor_from_cpu_tensor": "is of another device; save it after cpu()",
    "_rebuild_xla_tensor": "is of another device; save it after cpu()",
}
"""The tensors that are no views of a storage, by the function that makes them."""


def _refused(reason: str, *_: Any) -> Refused:
    return Refused(reason)


def _view(storage: _Storage, view: Any) -> _Storage:
    """A part of a storage, as PyTorch before 0.4 wrote it."""
    if not isinstance(view, tuple) or len(view) != 3 or not all(map(is_size, view[1:])):
        raise ValueError("its pickle has a view of a storage without a place")
    _, first, count = view
    if first + count > storage.count:
        raise ValueError("its pickle has a view beyond its storage")
    return _Storage(storage.key, storage.dtype, count, first)


def is_torch(path: Path) -> bool:
    """Whether a file begins as those of `torch.save` do."""
    with path.open("rb") as file:
        head = file.read(32)
    return head.startswith(b"PK") or _MAGIC_BYTES in head


def open_torch(path: Path) -> Checkpoint:
    """Return what a file of `torch.save` holds: its state dicts, and words on the rest."""
    check_readable(path)
    with reading(path, _KIND, _SAVE_AGAIN):
        if not is_torch(path):
            raise ParityError(f"{path} is {_other_kind(path)}")
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        return _open_archive(path) if zipped else _open_row(path)


def _other_kind(path: Path) -> str:
    """The kind of a file that no reader takes, and what to do."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        return "empty; copy it again"
    if head[257:262] != b"ustar":
        kind = "text in JSON" if head.lstrip()[:1] in (b"{", b"[") else "text"
        return f"{kind if _is_text(head) else 'of no known format'}, and no checkpoint; {_READABLE}"
    if head[:100].rstrip(b"\0") in (b"sys_info", b"pickle", b"tensors", b"storages"):
        line = f"torch.save(torch.load({str(path)!r}, weights_only=False), 'new.pth')"
        return f"of PyTorch before 0.1.10; if you trust it, write it again:\n    {line}"
    return "a tar archive; extract it with tar -xf, and name the file in it"


def _is_text(head: bytes) -> bool:
    """Whether a file begins as UTF-8, without control characters; its end may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not head.translate(None, _PRINTED)


def _open_archive(path: Path) -> Checkpoint:
    found = members(path, _SAVE_AGAIN)
    names = [name for name in found if name.rpartition("/")[2] == "data.pkl"]
    tensors = _Tensors(path)
    _refuse_programs(path, found)
    if len(names) != 1 or names[0].count("/") > 1:
        others = ", ".join(map(shown, [*found][:3]))
        raise ParityError(
            f"{path} is a zip archive, but not of torch.save: it holds {others or 'nothing'}; "
            f"{_SAVE_AGAIN}"
        )
    prefix = names[0].removesuffix("data.pkl")
    if found[names[0]].deflated and found[names[0]].size > _MAX_PICKLE:
        raise ParityError(
            f"{path}: its data.pkl has more than {_MAX_PICKLE:,} bytes; {_SAVE_AGAIN}"
        )
    root = tensors.load(BytesIO(found[names[0]].read()))
    order: Order = "<"
    if mark := found.get(f"{prefix}byteorder"):
        text = mark.read() if mark.size < 10 else b""
        if text not in (b"little", b"big"):
            raise ValueError("its byteorder is neither little nor big")
        order = "<" if text == b"little" else ">"
    for key, storage in tensors.storages.items():
        member, size = found.get(f"{prefix}data/{key}"), _bytes(storage)
        if size == 0:
            continue
        if member is None or member.size < size:
            raise ValueError(f"its member data/{shown(key)} has less than {size:,} bytes")
        if member.deflated:
            raise ParityError(f"{path} was compressed after torch.save; {_SAVE_AGAIN}")
        tensors.places[key] = _Place(0, member.size, order, member)
    return _described(path, "PyTorch", root)


def _refuse_programs(path: Path, found: Mapping[str, Member]) -> None:
    """Raise `ParityError` for an archive that holds a program."""
    parts = {part for name in found for part in name.split("/")[1:2]}
    new = str(path.with_name(f"{path.stem}-state-dict.pth"))
    for marks, kind, load in (
        ({"constants.pkl", "code"}, "TorchScript", "torch.jit.load({}).state_dict()"),
        (
            {"archive_format", "serialized_exported_program.json", "models"},
            "torch.export",
            "torch.export.load({}).state_dict",
        ),
    ):
        if marks & (parts | {*found}):
            line = f"torch.save({load.format(repr(str(path)))}, {new!r})"
            raise ParityError(
                f"{path} is a program of {kind}; if you trust it, write its state dict:\n    {line}"
            )


def _open_row(path: Path) -> Checkpoint:
    """Read a file of PyTorch before 1.6: four pickles, then the storages."""
    tensors = _Tensors(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        if (pickles.load(stream), pickles.load(stream)) != (_MAGIC, _PROTOCOL):
            raise ValueError("it does not begin with the numbers of torch.save")
        pickles.load(stream)
        root, keys = tensors.load(stream), pickles.load(stream)
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError("its list of storages is no list")
        if len({*keys}) != len(keys) or {*keys} != {*tensors.storages}:
            raise ValueError("its list of storages is not that of its pickle")
        position = stream.tell()
        for key in keys:
            storage = tensors.storages[key]
            (count,) = struct.unpack("<q", stream[position : position + 8])
            position, size = position + 8, _bytes(storage)
            if count != storage.count or position + size > len(stream):
                raise ValueError(f"its storage {shown(key)} is truncated")
            tensors.places[key] = _Place(position, size)
            position += size
    return _described(path, "PyTorch, before 1.6", root)


def _described(path: Path, format: str, root: Any) -> Checkpoint:
    """The checkpoint in the data of a file, with what `write_torch` noted beside the tensors."""
    found = checkpoint(path, format, root)
    beside = root.attributes.get("_metadata") if isinstance(root, pickles.Ordered) else None
    noted = beside.get(METADATA) if isinstance(beside, dict) else None
    facts = {**noted} if isinstance(noted, dict) else {}
    texts = {name: text for name, text in facts.items() if isinstance(text, str)}
    return replace(found, metadata={**found.metadata, **texts})


def _bytes(storage: _Storage) -> int:
    return storage.count * bits(storage.dtype.removeprefix("q")).itemsize


METADATA = "resnet_parity"
"""The key in the `_metadata` of a state dict, which PyTorch keeps beside its tensors."""


def write_torch(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    dtype: str | None = None,
) -> None:
    """Write a state dict, which `torch.load(path, weights_only=True)` reads.

    Floating-point tensors become `dtype`, if it is given.
    """
    words = {ours: word for word, ours in _STORAGES.items() if word != "_UntypedStorage"}
    words["uint8"] = "ByteStorage"
    members, pairs = {}, []
    for key, (name, values, kind) in enumerate(cast_all(tensors, dtype)):
        if kind not in words:
            raise ParityError(f"{path}: {shown(name)} is of dtype {kind}, which torch files lack")
        steps = [step // values.itemsize for step in values.strides]
        pairs.append(
            (name, _pickled_tensor(words[kind], str(key), values.size, values.shape, steps))
        )
        members[f"data/{key}"] = (
            values.astype(bits(kind), copy=False).reshape(-1).view(np.uint8).data
        )
    ordered = opcodes.name("collections", "OrderedDict") + b")R"
    noted = opcodes.entries((fact, opcodes.text(value)) for fact, value in (metadata or {}).items())
    beside = (
        b"}" + opcodes.text("_metadata") + b"}" + opcodes.text(METADATA) + b"}" + b"".join(noted)
    )
    pickle = b"\x80\x02" + ordered + b"".join(opcodes.entries(pairs)) + beside + b"ssb."
    whole = {"data.pkl": pickle, "byteorder": b"little", **members, "version": b"3\n"}
    with atomic_file(path) as file, writing(path):
        _write_archive(file, whole)


def _pickled_tensor(
    storage: str, key: str, count: int, shape: Sequence[int], steps: Sequence[int]
) -> bytes:
    """The opcodes of a tensor that has a storage of its own."""
    return b"".join(
        [
            opcodes.name("torch._utils", "_rebuild_tensor_v2") + b"((",
            opcodes.text("storage") + opcodes.name("torch", storage) + opcodes.text(key),
            opcodes.text("cpu") + b"J" + count.to_bytes(4, "little") + b"tQK\0",
            opcodes.integers(shape) + opcodes.integers(steps) + b"\x89",
            opcodes.name("collections", "OrderedDict") + b")RtR",
        ]
    )


def _write_archive(file: IO[bytes], members: Mapping[str, bytes | memoryview]) -> None:
    """Write an archive whose members begin at multiples of 64 bytes, as PyTorch maps them."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, member in members.items():
            info = zipfile.ZipInfo(f"archive/{name}")
            padding = -(file.tell() + 30 + len(info.filename) + 4) % 64
            info.extra = struct.pack("<2sH", b"FB", padding) + bytes(padding)
            archive.writestr(info, member)
