"""The numbers that the oracle computes with: float64, or integers times a power of two.

Integers times a power of two are exact. Each such value carries an upper bound on every partial
sum that any order of summation can reach. A bound below 2^24 proves that float32 arithmetic cannot
round there; below 2^53 that float64 cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Value:
    """The output of one operation: `array` times two to the power of `exponent`.

    In a float64 pass, `term_sizes` is set where the array is small and its sums may cancel: it is
    the size of each sum if its terms were independent. An error is measured against that size where
    it is larger than the value. `averaged_cells` is the number of cells of a mean, because some
    engines add them one after another.

    In an exact pass, `bound` is the largest sum of absolute terms that any order of summation can
    reach on the way to this value, in a unit that divides every term. `inexact_because` says why
    the value is not exact; empty where it is.
    """

    array: np.ndarray
    exponent: int = 0
    term_sizes: np.ndarray | None = None
    averaged_cells: int = 1
    bound: int = 0
    inexact_because: str = ""

    @property
    def is_exact(self) -> bool:
        return np.issubdtype(self.array.dtype, np.integer)

    @property
    def scale(self) -> float:
        """The L2 norm that the array would have if the terms of its sums were independent."""
        return 0.0 if self.term_sizes is None else float(np.linalg.norm(self.term_sizes))

    def astype(self, dtype: str) -> np.ndarray:
        return np.ldexp(self.array.astype(dtype), self.exponent)


def weight_value(weights: Weights, name: str, like: Value) -> Value:
    """A tensor of the weights, as integers in an exact pass, else as float64."""
    return in_largest_unit(Value(weights[name].astype(like.array.dtype)))


def total(*values: Value) -> Value:
    """The sum of values of one shape."""
    first, *rest = values
    if not rest:
        return first
    if not first.is_exact:
        return Value(sum((each.array for each in rest), first.array))
    exponent = min(each.exponent for each in values)
    arrays = [integers_at(each, exponent) for each in values]
    magnitude = sum(np.abs(array) for array in arrays)
    bound = largest(np.asarray(magnitude)) >> common_trailing_zeros(*arrays)
    return in_lowest_terms(Value(np.asarray(sum(arrays)), exponent, bound=bound))


def sum_of_products(contract: Callable[..., np.ndarray], x: Value, y: Value) -> Value:
    """Sums of products of two values; `contract` is bilinear and adds no terms of its own.

    Exact values are multiplied in float64, because NumPy has a fast matrix product for it. Float64
    holds integers up to 2^53, and no probe is accepted whose bound is above that.
    """
    if not x.is_exact:
        return Value(contract(x.array, y.array))
    x, y = in_largest_unit(x), in_largest_unit(y)
    first, second = x.array.astype("float64"), y.array.astype("float64")
    bound = largest(contract(np.abs(first), np.abs(second)))
    with np.errstate(invalid="ignore"):  # the bound shows an overflow
        array = contract(first, second).astype(np.int64)
    return in_lowest_terms(Value(array, x.exponent + y.exponent, bound=bound))


def in_largest_unit(value: Value) -> Value:
    """The same numbers in the largest power of two that divides them all."""
    if not value.is_exact:
        return value
    bits = common_trailing_zeros(value.array)
    return replace(value, array=value.array >> bits, exponent=value.exponent + bits)


def common_trailing_zeros(*arrays: np.ndarray) -> int:
    """The number of trailing zero bits that all integers share; 0 where all are zero."""
    bits = 0
    for array in arrays:
        bits |= int(np.bitwise_or.reduce(array, axis=None))
    return (bits & -bits).bit_length() - 1 if bits else 0


def integers_at(value: Value, exponent: int) -> np.ndarray:
    """The integers of a value in units of two to `exponent`, which is at most the value's own."""
    return value.array << (value.exponent - exponent)


def in_lowest_terms(value: Value) -> Value:
    """The same numbers with an exponent as near to zero as possible, where it is negative."""
    if value.exponent >= 0:
        return value
    zeros = common_trailing_zeros(value.array)
    bits = min(zeros, -value.exponent) if value.array.any() else -value.exponent
    return replace(value, array=value.array >> bits, exponent=value.exponent + bits)


def largest(magnitudes: np.ndarray) -> int:
    return int(magnitudes.max())
