"""The random numbers of every probe: SplitMix64, so that any language can draw them again.

The name of a stream is a text. Its state starts at the 64-bit FNV-1a hash of the name in UTF-8.
Draw number i (from zero) is, in unsigned 64-bit arithmetic that wraps around::

    z = state + (i + 1) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    draw = z ^ (z >> 31)

FNV-1a starts at 0xCBF29CE484222325 and, per byte, xors the byte and multiplies by 0x100000001B3.

An integer below n is ``(draw >> 32) * n >> 32``. A number in [0, 1) is ``(draw >> 11) * 2**-53``.
A permutation of n is the order that sorts n draws; of equal draws, the earlier comes first.

Sources: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators", figure 17;
https://prng.di.unimi.it/splitmix64.c; http://www.isthe.com/chongo/tech/comp/fnv/.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FNV_OFFSET, _FNV_PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF


def fnv1a(text: str) -> int:
    """The 64-bit FNV-1a hash of a text."""
    state = _FNV_OFFSET
    for byte in text.encode():
        state = (state ^ byte) * _FNV_PRIME & _MASK
    return state


class Stream:
    """One named stream of draws; each call continues where the last one stopped."""

    def __init__(self, name: str) -> None:
        self._state = np.uint64(fnv1a(name))
        self._drawn = 0

    def draws(self, count: int) -> np.ndarray:
        """The next `count` raw 64-bit draws."""
        index = np.arange(self._drawn + 1, self._drawn + count + 1, dtype=np.uint64)
        self._drawn += count
        z = self._state + index * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

    def below(self, bound: int, count: int) -> np.ndarray:
        """`count` integers in [0, bound), as int64; `bound` at most 2**32."""
        return ((self.draws(count) >> np.uint64(32)) * np.uint64(bound) >> np.uint64(32)).astype(
            np.int64
        )

    def uniform(self, count: int) -> np.ndarray:
        """`count` float64 numbers in [0, 1)."""
        return (self.draws(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def permutation(self, length: int) -> np.ndarray:
        """The numbers 0 ... length - 1 in random order, as int64."""
        return np.argsort(self.draws(length), kind="stable")
