"""The texts in attributes of an HDF5 file, read without the HDF5 library.

From a damaged file, the library takes as much memory as the length of a text states, and where a
heap of texts is filled with zeros it does not return.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

_SIZES = {0: 13, 1: 13, 2: 9, 3: 9}
"""Where each version of the first block states how many bytes an address and a size have."""

_CONTINUATION, _ATTRIBUTE = 0x10, 0x0C
_FIXED, _VARIABLE = 3, 9
"""The classes of the two types of text."""

_MAX_BYTES = 2**26
"""The largest part of a file that may be read for its attributes."""


@dataclass
class AttributeFile:
    """An open file, or what begins in it at `start`; the HDF5 library keeps the descriptor."""

    descriptor: int
    start: int = 0
    left: int = _MAX_BYTES
    heaps: dict[int, dict[int, bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        start = self.read(0, 32)
        at = _SIZES.get(start[8])
        if at is None or start[at : at + 2] != b"\x08\x08":
            raise ValueError("its first block is of an unknown version")

    def read(self, place: int, size: int) -> bytes:
        """Return bytes of the file, all of them."""
        self.left -= size
        if self.left < 0:
            raise ValueError(f"its attributes have more than {_MAX_BYTES:,} bytes")
        content = os.pread(self.descriptor, size, self.start + place) if place < 2**62 else b""
        if len(content) != size:
            raise ValueError("an attribute is cut off")
        return content

    def texts(self, address: int) -> dict[str, list[str]]:
        """The attributes that are texts, or none, of the object at an address."""
        found = {}
        for kind, data in self._messages(address):
            if kind == _ATTRIBUTE:
                name, values = self._attribute(data)
                if values is not None:
                    found[name] = values
        return found

    def _messages(self, address: int) -> Iterator[tuple[int, bytes]]:
        """The messages in the header of an object, which is one block or more."""
        version, size = struct.unpack("<BxxxxxxxI", self.read(address, 12))
        if version != 1:
            raise ValueError("it was written in a layout that Keras does not use")
        blocks = [(address + 16, size)]
        for start, length in blocks:
            block, place = self.read(start, length), 0
            while place + 8 <= length:
                kind, size = struct.unpack_from("<HH", block, place)
                data = block[place + 8 : place + 8 + size]
                if kind == _CONTINUATION:
                    blocks.append(struct.unpack("<QQ", data[:16]))
                yield kind, data
                place += 8 + size

    def _attribute(self, data: bytes) -> tuple[str, list[str] | None]:
        """The name and the texts of an attribute; None for another type."""
        version, *sizes = struct.unpack_from("<BxHHH", data)
        place, parts = 9 if version == 3 else 8, []
        for size in sizes:
            parts.append(data[place : place + size])
            place += -(-size // 8) * 8 if version == 1 else size
        name, dtype, space = parts
        kind, (width,) = dtype[0] & 15, struct.unpack_from("<I", dtype, 4)
        rank, start = space[1], 8 if space[0] == 1 else 4
        extents = struct.unpack_from(f"<{rank}Q", space, start)
        number = math.prod(extents)
        content = data[place : place + number * width]
        values: list[str] | None = None
        if number == 0:
            values = []  # an empty list is an array of float64 without elements
        elif len(content) != number * width or version not in (1, 2, 3):
            raise ValueError("an attribute has another size than stated")
        elif kind == _FIXED and width:
            items = (content[at : at + width] for at in range(0, len(content), width))
            values = [item.rstrip(b"\0").decode() for item in items]
        elif kind == _VARIABLE and width == 16 and dtype[1] & 15 == 1:
            values = [self._text(*item) for item in struct.iter_unpack("<IQI", content)]
        return name.rstrip(b"\0").decode(), values

    def _text(self, length: int, address: int, number: int) -> str:
        if length == 0:
            return ""
        if address not in self.heaps:
            self.heaps[address] = dict(self._heap(address))
        if (entry := self.heaps[address].get(number)) is None or len(entry) < length:
            raise ValueError("a text is not where an attribute refers to it")
        return entry[:length].decode()

    def _heap(self, address: int) -> Iterator[tuple[int, bytes]]:
        """The entries of a heap by their numbers; the number 0 is the free part at the end."""
        mark, size = struct.unpack("<5s3xQ", self.read(address, 16))
        if mark != b"GCOL\x01":
            raise ValueError("there is no heap of texts where an attribute refers to it")
        heap, place = self.read(address, size), 16
        while place + 16 <= size:
            number, length = struct.unpack_from("<H6xQ", heap, place)
            if number == 0:
                return
            yield number, heap[place + 16 : place + 16 + length]
            place += 16 + (length + 7) // 8 * 8
