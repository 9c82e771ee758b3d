"""bfloat16 in NumPy, which has no such dtype: its bits are the upper half of those of float32."""

from __future__ import annotations

import numpy as np


def widened(bits: np.ndarray) -> np.ndarray:
    """Return the float32 numbers of bfloat16 bits, exactly."""
    return np.asarray(bits.astype(np.uint32) << 16).view(np.float32)


def rounded(values: np.ndarray) -> np.ndarray:
    """Return the bfloat16 bits of float32 numbers, rounded to the nearest, ties to even."""
    bits = np.asarray(values, np.float32).view(np.uint32)
    even = bits + (0x7FFF + ((bits >> 16) & 1))
    return np.where(np.isnan(values), (bits >> 16) | 0x40, even >> 16).astype(np.uint16)
