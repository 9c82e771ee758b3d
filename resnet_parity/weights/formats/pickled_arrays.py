"""Arrays of NumPy in a pickle: shape, dtype and bytes, without a call of NumPy's functions."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from resnet_parity.files import shown
from resnet_parity.weights.formats.bfloat16 import widened
from resnet_parity.weights.formats.pickles import Buildable, Instance, Name
from resnet_parity.weights.formats.stored import StoredTensor

READABLE = {
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64", "bfloat16"),
}
"""The dtypes of tensors that are read."""

_MAX_AXES = 16


@dataclass(frozen=True)
class Refused:
    """A tensor that is not read, and what to do."""

    reason: str


@dataclass(eq=False, repr=False)
class _DType(Buildable):
    """A dtype by name; its state holds the order of its bytes."""

    name: str
    order: Literal["<", ">"] = "<"

    def build(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
            self.order = ">" if state[1] == ">" else "<"

    @property
    def bits(self) -> np.dtype:
        """The dtype that reads the bytes."""
        return np.dtype("uint16" if self.name == "bfloat16" else self.name).newbyteorder(self.order)


@dataclass(eq=False, repr=False)
class PickledArray(Buildable):
    """An array, which is empty until it takes its state."""

    tensor: StoredTensor | Refused = Refused("has no numbers")

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise ValueError("its pickle has an array without a shape and a dtype")
        shape, dtype, fortran, data = state[-4:]  # the first of five is a version
        self.tensor = _tensor(data, dtype, shape, "F" if fortran else "C")


def _tensor(
    data: Any, dtype: Any, shape: Any, order: str, axes: Any = None
) -> StoredTensor | Refused:
    """The array of some bytes, whose axes may then be brought into another order."""
    if not isinstance(dtype, _DType) or dtype.name not in READABLE:
        kind = shown(dtype.name) if isinstance(dtype, _DType) else "unknown"
        return Refused(f"is of dtype {kind}; save it as float32")
    shape = checked_shape(shape)
    axes = range(len(shape)) if axes is None else checked_shape(axes)
    if sorted(axes) != [*range(len(shape))]:
        raise ValueError("its pickle has an array whose axes are in no order")
    if not isinstance(data, bytes | bytearray | str):
        raise ValueError("its pickle has an array whose numbers are no bytes")
    if len(data) != math.prod(shape) * dtype.bits.itemsize:
        raise ValueError(f"its pickle has an array of shape {shape} with {len(data):,} bytes")

    def read() -> np.ndarray:
        content = data.encode("latin-1") if isinstance(data, str) else data
        values = np.frombuffer(content, dtype.bits).reshape(shape, order=order)  # type: ignore[arg-type]
        return finished(values.transpose(axes), dtype.name)

    return StoredTensor(tuple(shape[axis] for axis in axes), dtype.name, read)


def finished(values: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers in the order of bytes and axes of this machine; bfloat16 as float32."""
    copy = None if values.flags.writeable else True
    native = np.array(values, values.dtype.newbyteorder("="), order="C", copy=copy)
    return widened(native) if dtype == "bfloat16" else native


def checked_shape(shape: Any) -> tuple[int, ...]:
    """A shape of a file, once it is one."""
    if not isinstance(shape, tuple | list) or len(shape) > _MAX_AXES:
        raise ValueError("it has a tensor without a shape")
    if not all(type(extent) is int and 0 <= extent < 2**48 for extent in shape):
        raise ValueError("it has a tensor with an extent that is no size")
    return tuple(shape)


def _dtype(name: Any, *_: Any) -> _DType:
    """The dtype of a short name such as `f4`, or of a class such as `ml_dtypes.bfloat16`."""
    if isinstance(name, Name):
        name = name.path.rpartition(".")[2]
    if name == "bfloat16":
        return _DType(name)
    if isinstance(name, str) and re.fullmatch(r"[<>=|]?([iu][1248]|f[248]|b1|\?)", name):
        return _DType(np.dtype(name).name, ">" if name.startswith(">") else "<")
    return _DType(name if isinstance(name, str) else "unknown")


def _scalar(dtype: Any, data: Any = None) -> Any:
    """A number of NumPy as one of Python."""
    tensor = _tensor(data, dtype, (), "C") if isinstance(data, bytes | str) else None
    return tensor.read().item() if isinstance(tensor, StoredTensor) else Instance(dtype)


def _from_buffer(data: Any, dtype: Any, shape: Any, order: Any, axes: Any = None) -> PickledArray:
    if order == "K" and axes is not None:
        return PickledArray(_tensor(data, dtype, shape, "C", axes))
    return PickledArray(_tensor(data, dtype, shape, "F" if order == "F" else "C"))


ARRAYS = {
    "numpy.dtype": _dtype,
    "numpy.ndarray": lambda *_: PickledArray(),
    "numpy._core.multiarray._reconstruct": lambda *_: PickledArray(),
    "numpy._core.multiarray.scalar": _scalar,
    "numpy._core.numeric._frombuffer": _from_buffer,
}
"""The functions of NumPy in a pickle of arrays."""
