"""The numbers that the oracle computes with: float64, or integers times a power of two.

The latter are exact. Each knows the largest sum that any order of summation could meet on the way
to it, which proves that float32 or float64 arithmetic cannot round there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Value:
    """The output of one operation: `array` times two to the power of `exponent`.

    In a float64 pass `terms` are the sizes of the sums' terms, where few numbers are left that may
    cancel, so that errors are held against those where they are larger; `cells` counts those of a
    mean, which some engines sum one after another. In an exact pass `bound` is the largest sum of
    absolute terms that any order of summation could meet on the way to this value, in units that
    divide every term, and `flaw` says in words why the value is not exact, if it is not.
    """

    array: np.ndarray
    exponent: int = 0
    terms: np.ndarray | None = None
    cells: int = 1
    bound: int = 0
    flaw: str = ""

    @property
    def is_exact(self) -> bool:
        return np.issubdtype(self.array.dtype, np.integer)

    @property
    def scale(self) -> float:
        """The norm that the array would have if its terms were independent."""
        return 0.0 if self.terms is None else float(np.linalg.norm(self.terms))

    def astype(self, dtype: str) -> np.ndarray:
        return np.ldexp(self.array.astype(dtype), self.exponent)


def tensor(weights: Weights, name: str, like: Value) -> Value:
    """Weights for a pass of the same kind."""
    return coarse(Value(weights[name].astype(like.array.dtype)))


def total(*values: Value) -> Value:
    """The sum of values of one shape."""
    first, *rest = values
    if not rest:
        return first
    if not first.is_exact:
        return Value(sum((each.array for each in rest), first.array))
    exponent = min(each.exponent for each in values)
    arrays = [in_units(each, exponent) for each in values]
    magnitude = sum(np.abs(array) for array in arrays)
    bound = largest(np.asarray(magnitude)) >> common_bits(*arrays)
    return reduced(Value(np.asarray(sum(arrays)), exponent, bound=bound))


def products(contract: Callable[..., np.ndarray], x: Value, y: Value) -> Value:
    """Sums of products of two values; `contract` is bilinear and adds no terms of its own.

    Integers go through float64, for which NumPy has a fast matrix product, and which holds them up
    to a bound that no dtype of a probe exceeds.
    """
    if not x.is_exact:
        return Value(contract(x.array, y.array))
    x, y = coarse(x), coarse(y)
    first, second = x.array.astype("float64"), y.array.astype("float64")
    bound = largest(contract(np.abs(first), np.abs(second)))
    with np.errstate(invalid="ignore"):  # what does not fit is told by the bound
        array = contract(first, second).astype(np.int64)
    return reduced(Value(array, x.exponent + y.exponent, bound=bound))


def scaled(value: Value, factor: float) -> Value:
    """A value times zero or a power of two, of either sign in a float64 pass."""
    if not value.is_exact:
        return Value(value.array * factor)
    return reduced(replace(value, exponent=value.exponent + int(np.log2(factor))))


def coarse(value: Value) -> Value:
    """The same numbers in the largest unit that divides them all."""
    if not value.is_exact:
        return value
    bits = common_bits(value.array)
    return replace(value, array=value.array >> bits, exponent=value.exponent + bits)


def common_bits(*arrays: np.ndarray) -> int:
    """How often two divides every integer."""
    concatenate = 0
    for array in arrays:
        concatenate |= int(np.bitwise_or.reduce(array, axis=None))
    return (concatenate & -concatenate).bit_length() - 1 if concatenate else 0


def in_units(value: Value, exponent: int) -> np.ndarray:
    """The integers of a value in units of two to that power, which is not above its own."""
    return value.array << (value.exponent - exponent)


def reduced(value: Value) -> Value:
    """The same numbers with smaller integers, where they are fractions and need not be."""
    if value.exponent >= 0:
        return value
    bits = min(common_bits(value.array), -value.exponent) if value.array.any() else -value.exponent
    return replace(value, array=value.array >> bits, exponent=value.exponent + bits)


def largest(terms: np.ndarray) -> int:
    """The largest of some magnitudes."""
    return int(terms.max())
