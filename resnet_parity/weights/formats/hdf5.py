"""HDF5 files as data: plain arrays of numbers and hard links, checked before they are read."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.adapters.loading import require
from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, reading, shown
from resnet_parity.weights.formats.archives import Part
from resnet_parity.weights.formats.bfloat16 import widened
from resnet_parity.weights.formats.hdf5_attributes import AttributeFile
from resnet_parity.weights.formats.stored import StoredTensor

MAGIC = b"\x89HDF"

MAX_DEPTH = 100
"""How deep groups, or values of a config, may be nested."""

_MAX_BYTES = 4 * 2**30
"""The largest unpacked size of a file; a ResNet-152 in float64 has half a gigabyte."""

_MAX_EXPANSION = 100
"""How often larger than the file its content may be; Keras compresses nothing."""

_EXPANDED = 2**26
"""The size in bytes up to which content may be expanded further."""

_MAX_OBJECTS = 2**16
"""The largest number of groups and arrays; a resnet1202 with its optimizer has a third of it."""

_MAX_NAME = 1000
"""The longest path of an object, in characters."""

_FILTERS = {"shuffle", "fletcher32", "deflate", "gzip"}
_NUMBERS = "fiub"
"""The kinds of NumPy dtypes that weights may have; bfloat16 is stored as two bytes, V2."""


@dataclass(frozen=True)
class Source:
    """A user's file, as messages name it: what it should be, what to do if it is not."""

    path: Path
    kind: str
    fix: str
    if_large: str = ""
    """What to do if its content is too large; by default `fix`."""

    def reading(self) -> AbstractContextManager[None]:
        """Turn whatever a reader raises into one `ParityError`."""
        return reading(self.path, self.kind, self.fix)

    def error(self, text: str) -> ParityError:
        """The error that says `text` of the file."""
        return ParityError(f"{self.path}{text}; {self.fix}")

    def too_large(self, text: str) -> ParityError:
        """The error that says `text` of a file that is too large."""
        return ParityError(f"{self.path}{text}; {self.if_large or self.fix}")


def magic(path: Path) -> bytes:
    """The first four bytes of a file."""
    check_readable(path)
    with reading(path, "a file", "check its permissions"), path.open("rb") as file:
        return file.read(4)


def check_expansion(source: Source, name: str, size: int, stored: int) -> None:
    """Raise if content is far larger than what holds it."""
    if size > _MAX_BYTES or (size > _EXPANDED and size > _MAX_EXPANSION * stored):
        raise source.too_large(f": {name} unpacks from {stored:,} to {size:,} bytes, too many")


def open_file(file: Path | Part, source: Source) -> Any:
    """Return an HDF5 file, which its objects keep open."""
    require("h5py")
    h5py = importlib.import_module("h5py")
    with source.reading():
        return h5py.File(file, "r", locking=False)


@contextmanager
def opened(file: Path, source: Source) -> Iterator[Any]:
    """An HDF5 file, closed at exit."""
    content = open_file(file, source)
    try:
        yield content
    finally:
        with source.reading():
            content.close()


@dataclass(frozen=True)
class Contents:
    """The groups and arrays of a file by their paths, which begin with a slash; all are checked."""

    groups: dict[str, Any]
    arrays: dict[str, Any]
    source: Source
    attributes: AttributeFile

    def texts(self, place: str) -> dict[str, list[str]]:
        """The attributes of a group that are texts. One in parts, `layer_names0` ..., is joined."""
        h5py = importlib.import_module("h5py")
        with self.source.reading():
            found = self.attributes.texts(h5py.h5o.get_info(self.groups[place].id).addr)
        for name in [name.removesuffix("0") for name in found if name.endswith("_names0")]:
            parts = [*takewhile(found.__contains__, (f"{name}{part}" for part in count()))]
            found.setdefault(name, [text for part in parts for text in found[part]])
        return found


def contents(file: Any, source: Source, part: Part | None = None) -> Contents:
    """Return the objects of a file, which may be a part of another one.

    Raises unless all are groups and plain arrays of numbers, and no link leads elsewhere.
    """
    with source.reading():
        groups, arrays = _objects(file, source)
        if part is None:
            attributes = AttributeFile(file.id.get_vfd_handle())
        else:
            attributes = AttributeFile(part.fileno(), part.start)
        return Contents(groups, arrays, source, attributes)


def _objects(file: Any, source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    h5py = importlib.import_module("h5py")
    groups, arrays = {"": file}, {}
    waiting, seen, total = [(file, "", 0)], set(), 0
    while waiting:
        group, where, depth = waiting.pop()
        for name in group:
            child_path = f"{where}/{name}"
            place = f": its weights hold {shown(child_path)}"
            link = group.id.links.get_info(name.encode("utf-8", "surrogateescape")).type
            if link != h5py.h5l.TYPE_HARD:
                kind = "an external" if link == h5py.h5l.TYPE_EXTERNAL else "a soft"
                raise source.error(f"{place}, {kind} link")
            if len(child_path) > _MAX_NAME or not is_name(name):
                raise source.error(f"{place}, which is no name of a layer")
            child = group[name]
            address = h5py.h5o.get_info(child.id).addr
            if address in seen or depth > MAX_DEPTH:
                raise source.error(f"{place}, a link back or too deep")
            seen.add(address)
            if len(seen) > _MAX_OBJECTS:
                raise source.too_large(f": it has more than {_MAX_OBJECTS:,} arrays")
            if isinstance(child, h5py.Group):
                groups[child_path] = child
                waiting.append((child, child_path, depth + 1))
                continue
            if problem := _array_problem(h5py, child):
                raise source.error(f"{place}, {problem}")
            arrays[child_path] = child
            total += child.nbytes
    check_expansion(source, "its HDF5 content", total, file.id.get_filesize())
    return groups, arrays


def is_name(name: str) -> bool:
    """Whether the name of an object can be printed, and is no step in a path."""
    return 0 < len(name) <= _MAX_NAME and name.isprintable() and name not in (".", "..")


def _array_problem(h5py: Any, child: Any) -> str:
    """Why an object of an HDF5 file is not a plain array; empty if it is."""
    if not isinstance(child, h5py.Dataset):
        return "which is no array"
    if child.is_virtual or child.external:
        return "whose values are in another file"
    dtype = child.dtype
    number = dtype.kind in _NUMBERS or dtype == np.dtype("V2")
    if not number or dtype.hasobject or child.shape is None:
        return f"of type {dtype}, which is no number"
    if unknown := set(child._filters) - _FILTERS:
        return f"compressed by the filter {shown(min(unknown))}"
    if child.chunks and math.prod(child.chunks) * dtype.itemsize > 2 * _EXPANDED:
        return f"in chunks of {math.prod(child.chunks):,} values"
    return ""


def stored(array: Any, source: Source) -> StoredTensor:
    """Return an array of a file that was checked."""
    dtype = "bfloat16" if array.dtype.kind == "V" else array.dtype.name

    def read() -> np.ndarray:
        with source.reading():
            numbers = array[()]
            if dtype == "bfloat16":
                return widened(np.asarray(numbers).view(np.uint16))
            return np.asarray(numbers)

    return StoredTensor(tuple(array.shape), dtype, read)
