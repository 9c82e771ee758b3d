"""CRC-32C, the checksum in files of TensorFlow, computed in many lanes at once."""

from __future__ import annotations

from functools import lru_cache, reduce

import numpy as np

_SHIFTS = (0, 8, 16, 24)


def _step(state: np.ndarray) -> np.ndarray:
    """The state after one zero bit."""
    return (state >> 1) ^ np.where(state & 1, np.uint32(0x82F63B78), np.uint32(0))


def _table(bits: int) -> np.ndarray:
    """The states after that number of zero bits, by the bits that it loses."""
    state = np.arange(2**bits, dtype=np.uint32)
    for _ in range(bits):
        state = _step(state)
    return state


_BYTE, _PAIR = _table(8), _table(16)


def crc32c(data: bytes | memoryview) -> int:
    """The checksum of bytes."""
    content = np.frombuffer(data, np.uint8)
    lanes = 2 ** min(14, len(content).bit_length() // 2)
    row = len(content) // lanes // 2 * 2 if lanes > 32 else 0
    value, table = 0xFFFFFFFF, _BYTE.tolist()
    if row:
        value = _in_lanes(content[: lanes * row].reshape(lanes, row))
    for byte in content[lanes * row :].tolist():
        value = table[(value ^ byte) & 255] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _in_lanes(rows: np.ndarray) -> int:
    """The state after all rows of bytes, each of which has its own state until they are joined."""
    state = np.zeros(len(rows), np.uint32)
    state[0] = 0xFFFFFFFF
    for pairs in np.ascontiguousarray(rows.view("<u2").T):
        state = _PAIR[(state ^ pairs) & 0xFFFF] ^ (state >> 16)
    count = rows.shape[1]
    while len(state) > 1:
        state = _after_zeros(count, state[0::2]) ^ state[1::2]
        count *= 2
    return int(state[0])


def _after_zeros(count: int, states: np.ndarray) -> np.ndarray:
    """The states after `count` zero bytes."""
    tables = _zeros(count)
    parts = (table[(states >> shift) & 255] for table, shift in zip(tables, _SHIFTS, strict=True))
    return reduce(np.bitwise_xor, parts)


@lru_cache(256)
def _zeros(count: int) -> np.ndarray:
    """The states that `count` zero bytes make of each of the four bytes of a state."""
    states = np.arange(256, dtype=np.uint32) << np.array(_SHIFTS, np.uint32)[:, None]
    if count % 2:
        states = _BYTE[states & 255] ^ (states >> 8)
    return _after_zeros(count // 2, _after_zeros(count // 2, states)) if count > 1 else states


def masked(crc: int) -> int:
    """A checksum as it is stored."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
