"""Messages of protocol buffers as plain data, by the numbers of their fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

Value = int | memoryview
Message = dict[int, list[Value]]


def varint(data: memoryview, place: int) -> tuple[int, int]:
    """Return a number of variable length, and the place after it."""
    number = shift = 0
    while shift < 64:
        byte = data[place]
        place += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, place
        shift += 7
    raise ValueError("a number has more than ten bytes")


def fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """Yield the number and the value of each field of a message."""
    place = 0
    while place < len(data):
        key, place = varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = varint(data, place)
        else:
            size = {1: 8, 5: 4}.get(kind)
            if kind == 2:
                size, place = varint(data, place)
            if size is None or place + size > len(data):
                raise ValueError("a message is cut off, or has a field of an unknown kind")
            value = data[place : place + size]
            place += size
        yield key >> 3, value


def message(data: Value) -> Message:
    """Return all fields of a message."""
    found: Message = defaultdict(list)
    for number, value in fields(view(data)):
        found[number].append(value)
    return found


def view(value: Value) -> memoryview:
    """A value that must be bytes."""
    if isinstance(value, int):
        raise ValueError("a number stands where a message should be")
    return value


def number(found: Message, key: int, default: int = 0) -> int:
    """The value of a field that must be a number."""
    value = found[key][-1] if key in found else default
    if isinstance(value, memoryview):
        if len(value) not in (4, 8):
            raise ValueError("a message stands where a number should be")
        return int.from_bytes(value, "little")
    return value


def text(found: Message, key: int) -> str:
    """The value of a field that must be a text; empty if there is none."""
    return bytes(view(found[key][-1])).decode() if key in found else ""
