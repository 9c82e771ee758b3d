"""Read and write safetensors files, one or several with an index."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.errors import ParityError
from resnet_parity.files import atomic_file, check_readable, reading, shown, writing
from resnet_parity.weights.formats.arrays import (
    bits,
    cast_all,
    checked_shape,
    finished,
    without_repetition,
)
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor

_KIND = "a safetensors file"
_WRITE_AGAIN = "copy or write it again"

_MAX_HEADER = 2**22
"""The largest header, in bytes; that of a resnet1202 has a megabyte."""

_DTYPES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    **{f"F{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}


def open_safetensors(path: Path) -> Checkpoint:
    """Return the tensors and the metadata of a file."""
    check_readable(path)
    with reading(path, _KIND, _WRITE_AGAIN):
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(_MAX_HEADER, size - 8):
                raise ValueError(f"its header would have {length:,} bytes")
            header = json.loads(file.read(length), object_pairs_hook=without_repetition)
        if not isinstance(header, dict):
            raise ValueError("its header is no object")
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("its metadata are no texts")
        places = {name: _place(path, name, entry) for name, entry in header.items()}
        end = 0
        for name, (_, _, first, last) in sorted(places.items(), key=lambda item: item[1][2:]):
            if first != end:
                raise ValueError(f"its tensor {shown(name)} does not begin where another ends")
            end = last
        if end != size - 8 - length:
            raise ValueError(f"its tensors have {end:,} bytes, the file {size - 8 - length:,}")
    tensors = {
        name: StoredTensor(shape, dtype, partial(_read, path, 8 + length + first, shape, dtype))
        for name, (dtype, shape, first, _) in places.items()
    }
    return Checkpoint(path, "safetensors", {"": tensors}, metadata)


def _place(path: Path, name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """The dtype, shape, and first and last byte of a tensor."""
    if not isinstance(entry, dict) or {*entry} != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"its tensor {shown(name)} has no dtype, shape and place")
    kind, dtype = entry["dtype"], _DTYPES.get(str(entry["dtype"]))
    if dtype is None:
        raise ParityError(f"{path}: {shown(name)} is of dtype {shown(kind)}; save it as float32")
    shape, offsets = checked_shape(entry["shape"]), entry["data_offsets"]
    if not isinstance(offsets, list) or [type(offset) for offset in offsets] != [int, int]:
        raise ValueError(f"its tensor {shown(name)} has no place")
    first, last = offsets
    if last - first != math.prod(shape) * bits(dtype).itemsize:
        raise ValueError(f"its tensor {shown(name)} has another size than its shape")
    return dtype, shape, first, last


def _read(path: Path, start: int, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    with reading(path, _KIND, _WRITE_AGAIN):
        values = np.fromfile(path, bits(dtype), math.prod(shape), offset=start)
        if len(values) != math.prod(shape):
            raise ValueError("it is truncated")
        return finished(values.reshape(shape), dtype)


def write_safetensors(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    dtype: str | None = None,
) -> None:
    """Write a file whose bytes depend on nothing but the tensors and the metadata.

    Floating-point tensors become `dtype`, if it is given.
    """
    words = {numpy: word for word, numpy in _DTYPES.items()}
    header: dict[str, Any] = {
        "__metadata__": {"format": "pt", **dict(sorted((metadata or {}).items()))}
    }
    end = 0
    for name, values, kind in cast_all(tensors, dtype):
        first, end = end, end + values.nbytes
        header[name] = {"dtype": words[kind], "shape": values.shape, "data_offsets": [first, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with atomic_file(path) as file, writing(path):
        file.write(len(text).to_bytes(8, "little") + text)
        for _, values, kind in cast_all(tensors, dtype):
            file.write(values.astype(bits(kind), copy=False).tobytes())
