"""The heaps of an HDF5 file that hold its names: the HDF5 library does not return from some.

Where a heap is filled with zeros, as in an incomplete copy, the library looks at the same place
for ever: an entry with the number 0 and the size 0 ends where it begins.
"""

from __future__ import annotations

import struct
from pathlib import Path

_MARK = b"GCOL\x01"
_HEADER = 16
_PIECE = 2**24

_SIZES = {0: 13, 1: 13, 2: 9, 3: 9}
"""Where each version of the first block states how many bytes an address and a size have."""


def check_heaps(file: Path) -> None:
    """Raise `ValueError` unless every heap of names in a file is made of entries that end."""
    with file.open("rb") as content:
        start = content.read(32)
        at = _SIZES.get(start[8]) if len(start) == 32 else None
        if at is None or start[at : at + 2] != b"\x08\x08":
            raise ValueError("its first block is of an unknown version")
        place, rest = 0, b""
        content.seek(0)
        while piece := content.read(_PIECE):
            data, found = rest + piece, -1
            after = content.tell()
            while (found := data.find(_MARK, found + 1)) >= 0:
                content.seek(place - len(rest) + found)
                _check_heap(content.read(_HEADER), content.read)
            content.seek(after)
            place, rest = after, data[1 - len(_MARK) :]


def _check_heap(header: bytes, read) -> None:
    if len(header) < _HEADER:
        raise ValueError("a heap of names is cut off")
    (size,) = struct.unpack("<8xQ", header)
    entries = read(min(size, 2**32) - _HEADER) if size > _HEADER else b""
    place = 0
    while place + _HEADER <= len(entries):
        number, length = struct.unpack_from("<H6xQ", entries, place)
        needed = _HEADER + (length + 7) // 8 * 8 if number else length
        if not 0 < needed <= len(entries) - place:
            raise ValueError("a heap of names has an entry of a wrong size")
        place += needed
