"""Read and write arrays of NumPy: `.npz` archives, and pickles such as those of detectron2."""

from __future__ import annotations

import math
import mmap
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.errors import ParityError
from resnet_parity.files import atomic_file, check_readable, reading, shown, writing
from resnet_parity.weights.formats import opcodes, pickles
from resnet_parity.weights.formats.archives import Member, members
from resnet_parity.weights.formats.arrays import (
    READABLE,
    Order,
    bits,
    cast_all,
    checked_shape,
    dtype_named,
    finished,
)
from resnet_parity.weights.formats.nested import checkpoint
from resnet_parity.weights.formats.pickled_arrays import ARRAYS
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor
from resnet_parity.weights.formats.torch_files import is_torch, open_torch

_ARCHIVE, _PICKLE = "a .npz file", "a pickle of arrays"
_SAVE_ARCHIVE = "copy it again, or save it again with numpy.savez(...)"
_SAVE_PICKLE = "copy it again, or save its arrays with numpy.savez(...)"

_MAX_HEADER = 2**10
"""The largest header of an array, in bytes; NumPy writes 118."""

_HEADER = re.compile(
    rb"\{'descr': '([^']{1,20})', 'fortran_order': (True|False), "
    rb"'shape': \(([0-9L, ]{0,400})\),? ?\}\s*"
)


def open_npz(path: Path) -> Checkpoint:
    """Return the arrays of a `.npz` file. Objects in it are named and not read."""
    check_readable(path)
    with reading(path, _ARCHIVE, _SAVE_ARCHIVE):
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                raise ParityError(f"{path} is one array without a name; save numpy.savez(...)")
        tensors: dict[str, StoredTensor] = {}
        contents: list[str] = []
        for member in members(path, _SAVE_ARCHIVE).values():
            name = member.name.removesuffix(".npy")
            if name == member.name:
                raise ValueError(f"its member {shown(name)} is no .npy file")
            found = _tensor(member)
            if isinstance(found, StoredTensor):
                tensors[name] = found
            else:
                contents.append(f"{shown(name)}: an array of dtype {shown(found)}, not read")
        if not tensors:
            raise ParityError(f"{path} holds no arrays of numbers; {_SAVE_ARCHIVE}")
    return Checkpoint(path, "NumPy archive", {"": tensors}, contents=tuple(contents))


def _tensor(member: Member) -> StoredTensor | str:
    """The array in a member, whose header alone is read; the dtype of one that is not read."""
    head = member.head(_MAX_HEADER)
    width = {1: 2, 2: 4, 3: 4}.get(head[6] if head.startswith(b"\x93NUMPY") else 0, 0)
    start = 8 + width + int.from_bytes(head[8 : 8 + width], "little")
    match = _HEADER.fullmatch(head[8 + width : start])
    if not width or start > len(head):
        raise ValueError(f"its member {shown(member.name)} has no header of NumPy")
    if not match:
        return "unknown"
    dtype, order = dtype_named(match[1].decode("latin-1"))
    if dtype not in READABLE:
        return dtype
    shape = checked_shape([int(n) for n in re.findall(r"\d+", match[3].decode())])
    if member.size != start + math.prod(shape) * bits(dtype).itemsize:
        raise ValueError(f"its member {shown(member.name)} has another size than its shape")
    axes = "F" if match[2] == b"True" else "C"
    return StoredTensor(shape, dtype, partial(_read, member, start, dtype, order, shape, axes))


def _read(
    member: Member, start: int, dtype: str, order: Order, shape: tuple[int, ...], axes: Any
) -> np.ndarray:
    with reading(member.path, _ARCHIVE, _SAVE_ARCHIVE):
        values = np.frombuffer(member.read(), bits(dtype, order), offset=start)
        return finished(values.reshape(shape, order=axes), dtype)


def open_pickle(path: Path) -> Checkpoint:
    """Return the arrays of a pickle: of detectron2, Caffe2, PaddlePaddle, or a plain dict.

    A file of `torch.save` is read as such.
    """
    check_readable(path)
    if is_torch(path):
        return open_torch(path)
    with (
        reading(path, _PICKLE, _SAVE_PICKLE),
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream,
    ):
        found = checkpoint(path, "pickle of arrays", pickles.load(stream, ARRAYS))
    return _without_momentum(found)


def _without_momentum(found: Checkpoint) -> Checkpoint:
    """Leave out the state of Caffe2's optimizer, which is beside its blobs."""
    groups, count = {}, 0
    for where, tensors in found.groups.items():
        groups[where] = {n: t for n, t in tensors.items() if not n.endswith("_momentum")}
        count += len(tensors) - len(groups[where])
    line = (f"momentum of the optimizer: {count} tensors",) if count else ()
    return replace(found, groups=groups, contents=found.contents + line)


def write_npz(path: Path, tensors: Mapping[str, np.ndarray], dtype: str | None = None) -> None:
    """Write an archive of arrays, whose floating-point ones become `dtype`, if it is given."""
    if dtype == "bfloat16":
        raise ParityError(f"{path}: NumPy has no bfloat16; choose float16 or float32")
    arrays: dict[str, Any] = {name: values for name, values, _ in cast_all(tensors, dtype)}
    with atomic_file(path) as file, writing(path):
        np.savez(file, **arrays)


def write_detectron2(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    dtype: str | None = None,
) -> None:
    """Write the pickle that detectron2 reads, whose names it matches with those of its model."""
    if dtype == "bfloat16":
        raise ParityError(f"{path}: NumPy has no bfloat16; choose float16 or float32")
    model = opcodes.entries(
        (name, _pickled_array(values)) for name, values, _ in cast_all(tensors, dtype)
    )
    texts = {"__author__": "resnet-parity", **(metadata or {})}
    facts = {key: opcodes.text(text) for key, text in texts.items()}
    facts["matching_heuristics"] = b"\x88"
    start = b"\x80\x03}" + opcodes.text("model") + b"}"
    with atomic_file(path) as file, writing(path):
        file.writelines(chain([start], model, [b"s"], opcodes.entries(facts.items()), [b"."]))


def _pickled_array(values: np.ndarray) -> bytes:
    """The opcodes of an array, as NumPy 1 writes them; NumPy 2 reads these, not the reverse."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    order = b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\0t"
    return b"".join(
        [
            opcodes.name("numpy.core.multiarray", "_reconstruct")
            + opcodes.name("numpy", "ndarray"),
            b"K\0\x85C\1b\x87R(K\1" + opcodes.integers(values.shape),
            opcodes.name("numpy", "dtype") + opcodes.text(little.dtype.str[1:]) + b"\x89\x88\x87R",
            b"(K\3" + opcodes.text(little.dtype.str[0]) + order + b"b\x89",
            b"B" + little.nbytes.to_bytes(4, "little"),
            little.tobytes(),
            b"tb",
        ]
    )
