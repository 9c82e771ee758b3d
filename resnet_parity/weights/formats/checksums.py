"""CRC-32C, the checksum in files of TensorFlow, computed in many lanes at once."""

from __future__ import annotations

import numpy as np

_BITS = np.uint32(1) << np.arange(32, dtype=np.uint32)


def _step(state: np.ndarray) -> np.ndarray:
    """The state after one zero bit."""
    return (state >> 1) ^ np.where(state & 1, np.uint32(0x82F63B78), np.uint32(0))


def _table(bits: int) -> np.ndarray:
    """The states that so many bits make of a state, by its lowest bits before."""
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
    zeros = _after_zeros(rows.shape[1])
    while len(state) > 1:
        state = _apply(zeros, state[0::2]) ^ state[1::2]
        zeros = _apply(zeros, zeros)
    return int(state[0])


def _after_zeros(count: int) -> np.ndarray:
    """The states that zero bytes make of each single bit."""
    result, power = _BITS, _BYTE[_BITS & 255] ^ (_BITS >> 8)
    while count:
        if count & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        count >>= 1
    return result


def _apply(matrix: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The states that a linear map, given by what it makes of each bit, makes of `states`."""
    result = np.zeros_like(states)
    for bit in range(32):
        result ^= np.where((states >> np.uint32(bit)) & 1, matrix[bit], np.uint32(0))
    return result


def masked(crc: int) -> int:
    """A checksum as it is stored."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
