"""Arrays of NumPy in a pickle: shape, dtype and bytes, without a call of NumPy's functions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from resnet_parity.weights.formats.arrays import (
    READABLE,
    Order,
    Refused,
    bits,
    checked_shape,
    dtype_named,
    finished,
    refused_dtype,
)
from resnet_parity.weights.formats.pickles import Buildable, Instance, Name
from resnet_parity.weights.formats.stored import StoredTensor


@dataclass(eq=False, repr=False)
class _DType(Buildable):
    """A dtype by name; its state holds the order of its bytes."""

    name: str
    order: Order = "<"

    def build(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.order = ">"


@dataclass(eq=False, repr=False)
class PickledArray(Buildable):
    """An array, which is empty until it takes its state."""

    tensor: StoredTensor | Refused = field(default_factory=partial(Refused, "has no numbers"))

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
        return refused_dtype(dtype.name if isinstance(dtype, _DType) else "unknown")
    shape, kind = checked_shape(shape), bits(dtype.name, dtype.order)
    axes = range(len(shape)) if axes is None else checked_shape(axes)
    if sorted(axes) != [*range(len(shape))]:
        raise ValueError("its pickle has an array whose axes are in no order")
    if not isinstance(data, bytes | bytearray | str):
        raise ValueError("its pickle has an array whose numbers are no bytes")
    if len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"its pickle has an array of shape {shape} with {len(data):,} bytes")

    def read() -> np.ndarray:
        content = data.encode("latin-1") if isinstance(data, str) else data
        values = np.frombuffer(content, kind).reshape(shape, order=order)  # type: ignore[arg-type]
        return finished(values.transpose(axes), dtype.name)

    return StoredTensor(tuple(shape[axis] for axis in axes), dtype.name, read)


def _dtype(name: Any, *_: Any) -> _DType:
    """The dtype of a short name such as `f4`, or of a class such as `ml_dtypes.bfloat16`."""
    if isinstance(name, Name):
        name = name.path.rpartition(".")[2]
    return _DType(*dtype_named(name if isinstance(name, str) else "unknown"))


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
