"""Dtypes, shapes and bytes of tensors in files, whatever the format."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from resnet_parity.errors import ParityError
from resnet_parity.files import shown
from resnet_parity.weights.formats.bfloat16 import rounded, widened

READABLE = {
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64", "bfloat16"),
}
"""The dtypes of tensors that are read."""

Order = Literal["<", ">"]

_MAX_AXES = 16
_MAX_EXTENT = 2**48


@dataclass(frozen=True)
class Refused:
    """A tensor that is not read: why, and what to do."""

    reason: str


def refused_dtype(dtype: str) -> Refused:
    return Refused(f"is of dtype {shown(dtype)}; save it as float32")


def is_size(value: Any) -> bool:
    """Whether a value of a file is a number of things."""
    return type(value) is int and 0 <= value < _MAX_EXTENT


def checked_shape(shape: Any) -> tuple[int, ...]:
    """A shape of a file, once it is one."""
    if not isinstance(shape, tuple | list) or len(shape) > _MAX_AXES:
        raise ValueError("it has a tensor without a shape")
    if not all(map(is_size, shape)):
        raise ValueError("it has a tensor with an extent that is no size")
    return tuple(shape)


def dtype_named(name: str) -> tuple[str, Order]:
    """The dtype and the order of bytes of a short name of NumPy, such as `<f4`."""
    if re.fullmatch(r"[<>=|]?([iu][1248]|f[248]|b1|\?)", name):
        return np.dtype(name).name, ">" if name[0] == ">" else "<"
    return ("bfloat16" if re.fullmatch(r"[<|]?V2|bfloat16", name) else name), "<"


def bits(dtype: str, order: Order = "<") -> np.dtype:
    """The dtype of NumPy that reads the bytes of a readable dtype."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder(order)


def finished(values: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers in the order of bytes and axes of this machine; bfloat16 as float32."""
    copy = None if values.flags.writeable else True
    native = np.array(values, values.dtype.newbyteorder("="), order="C", copy=copy)
    return widened(native) if dtype == "bfloat16" else native


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; another reader may take the other value of a key that is in it twice."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a name is twice in one object of its JSON")
    return entries


def cast(name: str, values: np.ndarray, dtype: str | None) -> tuple[np.ndarray, str]:
    """A tensor as a file holds it, and its dtype; bfloat16 as bits. Raises `ParityError`.

    Floating-point numbers become `dtype`, if it is given, each rounded to the nearest, ties to
    even. Integers, such as counters, stay.
    """
    values = np.ascontiguousarray(values).reshape(values.shape)
    if dtype is None or values.dtype.kind != "f":
        return values, values.dtype.name
    if dtype == "bfloat16":
        return rounded(values.astype(np.float32)), dtype
    with np.errstate(over="ignore"):
        result = values.astype(dtype)
    if not np.array_equal(np.isfinite(result), np.isfinite(values)):
        raise ParityError(f"{name} has numbers beyond the range of {dtype}; choose bfloat16")
    return result, dtype


def as_stored(name: str, values: np.ndarray, dtype: str | None) -> np.ndarray:
    """The numbers that are read from a file to which `cast` numbers were written."""
    result, stored = cast(name, values, dtype)
    return widened(result) if stored == "bfloat16" else result


def cast_all(
    tensors: Mapping[str, np.ndarray], dtype: str | None
) -> Iterator[tuple[str, np.ndarray, str]]:
    """The name, the numbers and the dtype of each tensor as a file holds it."""
    for name, values in tensors.items():
        yield name, *cast(name, values, dtype)
