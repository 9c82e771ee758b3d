"""Checkpoint files of TensorFlow, read without it: its own reader trusts the sizes that they state.

Version 2, since 2016: `NAME.index` is a table from names to entries, which say where in
`NAME.data-00000-of-00001` the numbers are. Version 1: one file, a table that holds the numbers too.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_parity.files import shown
from resnet_parity.weights.formats.bfloat16 import widened
from resnet_parity.weights.formats.checksums import crc32c, masked
from resnet_parity.weights.formats.hdf5 import Source
from resnet_parity.weights.formats.protobuf import Message, message, number, text, varint, view
from resnet_parity.weights.formats.stored import StoredTensor

_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"
_FOOTER = 48
_MAX_INDEX = 2**26
"""The largest table of names, in bytes; that of a resnet1202 has less than one megabyte."""

_MAX_TENSORS = 2**16

_DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    9: "int64",
    10: "bool",
    14: "bfloat16",
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
STRING = 7
"""The numbers of dtypes."""

_V1_VALUES = {"float32": (5, "<f4"), "float64": (6, "<f8")}
"""The fields of numbers in version 1."""


@dataclass(frozen=True)
class Bundle:
    """The tensors of a checkpoint by their names, and its object graph, if it has one."""

    version: int
    tensors: dict[str, StoredTensor]
    graph: memoryview | None


def is_table(path: Path) -> bool:
    """Whether a file is a table of TensorFlow."""
    with path.open("rb") as file:
        file.seek(0, 2)
        if file.tell() < _FOOTER:
            return False
        file.seek(-len(_MAGIC), 2)
        return file.read() == _MAGIC


def read_bundle(prefix: Path, source: Source) -> Bundle:
    """Return the tensors of a checkpoint of version 2."""
    with source.reading():
        index = prefix.with_name(f"{prefix.name}.index").read_bytes()
        if len(index) > _MAX_INDEX:
            raise source.error(f": its index has more than {_MAX_INDEX:,} bytes")
        entries = dict(_entries(memoryview(index)))
        header = message(entries.pop(b"", memoryview(b"")))
        shards = number(header, 1, 1)
        if number(header, 2):
            raise source.error(" was written on a machine of the other byte order")
        if len(entries) > _MAX_TENSORS or not 0 < shards <= _MAX_TENSORS:
            raise source.error(f" states {len(entries):,} tensors in {shards:,} files")
        return _bundle(prefix, source, entries, shards)


def _bundle(prefix: Path, source: Source, entries: dict[bytes, memoryview], shards: int) -> Bundle:
    tensors: dict[str, StoredTensor] = {}
    graph, total, sizes = None, 0, {}
    for key, value in entries.items():
        name, entry = key.decode(), message(value)
        shard, size = number(entry, 3), number(entry, 5)
        data = prefix.with_name(f"{prefix.name}.data-{shard:05d}-of-{shards:05d}")
        if data not in sizes:
            sizes[data] = data.stat().st_size
        place = number(entry, 4)
        if place + size > sizes[data] or shard >= shards:
            raise source.error(f": {shown(name)} is not in {data.name}, which may be cut off")
        total += size
        crc = number(entry, 6)
        if number(entry, 1) == STRING:
            if name == "_CHECKPOINTABLE_OBJECT_GRAPH":
                graph = _one_string(_content(data, place, size))
            continue
        dtype = _dtype(entry, 1, name, source)
        shape = _shape(view(entry[2][-1]) if 2 in entry else memoryview(b""))
        if 7 in entry:
            raise source.error(f": {shown(name)} is stored in parts; save it without a partitioner")
        if math.prod(shape) * _itemsize(dtype) != size:
            raise source.error(f": {shown(name)} of {shape} {dtype} has {size:,} bytes")
        tensors[name] = _stored(name, source, shape, dtype, (data, place, size, crc))
    if total > sum(sizes.values()):
        raise source.error(": its tensors overlap in the file")
    return Bundle(2, tensors, graph)


def _stored(
    name: str,
    source: Source,
    shape: tuple[int, ...],
    dtype: str,
    where: tuple[Path, int, int, int | None],
) -> StoredTensor:
    data, place, size, crc = where

    def read() -> np.ndarray:
        with source.reading():
            content = _content(data, place, size)
            if crc is not None and masked(crc32c(content)) != crc:
                raise ValueError(f"{shown(name)} has another checksum than stated")
            bits = np.frombuffer(content, "<u2" if dtype == "bfloat16" else np.dtype(dtype))
            return (widened(bits) if dtype == "bfloat16" else bits).reshape(shape)

    return StoredTensor(shape, dtype, read)


def _content(data: Path, place: int, size: int) -> bytes:
    with data.open("rb") as file:
        file.seek(place)
        content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{data.name} is cut off")
    return content


def _one_string(content: bytes) -> memoryview:
    """The only string of a tensor: its length, four bytes of a checksum, its bytes."""
    data = memoryview(content)
    length, place = varint(data, 0)
    if place + 4 + length != len(data):
        raise ValueError("the object graph has another length than stated")
    return data[place + 4 :]


def _dtype(entry: Message, key: int, name: str, source: Source) -> str:
    dtype = _DTYPES.get(number(entry, key))
    if dtype is None:
        raise source.error(f": {shown(name)} has the dtype {number(entry, key)}, no number")
    return dtype


def _itemsize(dtype: str) -> int:
    return 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize


def _shape(data: memoryview) -> tuple[int, ...]:
    shape = tuple(number(message(extent), 1) for extent in message(data)[2])
    if len(shape) > 32 or any(extent >= 2**63 for extent in shape):
        raise ValueError("a shape has more than 32 axes, or an unknown extent")
    return shape


def _entries(table: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys and values of a table."""
    footer = table[-_FOOTER:]
    if bytes(footer[-len(_MAGIC) :]) != _MAGIC:
        raise ValueError("it does not end as a table of TensorFlow does")
    _, place = varint(footer, 0)
    _, place = varint(footer, place)
    start, place = varint(footer, place)
    size, place = varint(footer, place)
    end = 0
    for _, handle in _block(table, start, size):
        start, place = varint(handle, 0)
        size, _ = varint(handle, place)
        if start < end:
            raise ValueError("its blocks overlap")
        end = start + size
        yield from _block(table, start, size)


def _block(table: memoryview, start: int, size: int) -> Iterator[tuple[bytes, memoryview]]:
    """Yield the keys and values of one block; keys leave out what they share with the last."""
    if start + size + 5 > len(table):
        raise ValueError("a block is not in the file")
    block, kind = table[start : start + size], table[start + size]
    (crc,) = struct.unpack("<I", table[start + size + 1 : start + size + 5])
    if masked(crc32c(table[start : start + size + 1])) != crc:
        raise ValueError("a block has another checksum than stated")
    if kind:
        raise ValueError("a block is compressed")
    (restarts,) = struct.unpack("<I", block[-4:])
    end, place, key = size - 4 - 4 * restarts, 0, b""
    while place < end:
        shared, place = varint(block, place)
        own, place = varint(block, place)
        length, place = varint(block, place)
        if shared > len(key) or place + own + length > end:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + bytes(block[place : place + own])
        place += own
        yield key, block[place : place + length]
        place += length


def read_table(path: Path, source: Source) -> Bundle:
    """Return the tensors of a checkpoint of version 1."""
    with source.reading():
        with path.open("rb") as file:
            table = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        entries = _entries(table)
        key, first = next(entries)
        if key:
            raise ValueError("it begins with no list of its tensors")
        stated = {}
        for each in message(view(message(first)[1][-1]))[1]:
            about = message(each)
            shape = _shape(view(about[2][-1]) if 2 in about else memoryview(b""))
            stated[text(about, 1)] = shape, _DTYPES.get(number(about, 3), "")
        tensors = {}
        for _, value in entries:
            part = message(view(message(value)[2][-1]))
            name = text(part, 1)
            shape, dtype = stated.pop(name)
            if dtype in _V1_VALUES:
                numbers = message(view(part[3][-1]))
                tensors[name] = _stored_in_table(name, source, shape, dtype, numbers)
        if stated:
            raise source.error(f" does not hold {shown(min(stated))}, which it lists")
    return Bundle(1, tensors, None)


def _stored_in_table(
    name: str, source: Source, shape: tuple[int, ...], dtype: str, numbers: Message
) -> StoredTensor:
    field, kind = _V1_VALUES[dtype]
    content = view(numbers[field][-1]) if field in numbers else memoryview(b"")
    if len(content) != math.prod(shape) * np.dtype(kind).itemsize:
        raise source.error(
            f": {shown(name)} of {shape} {dtype} has {len(content):,} bytes; if it is stored in "
            "parts, save it without a partitioner"
        )
    return StoredTensor(shape, dtype, lambda: np.frombuffer(content, kind).reshape(shape).copy())
