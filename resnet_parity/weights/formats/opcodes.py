"""Opcodes of pickles, to write what `pickles` reads and Python too; no memo, so order is all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def text(value: str) -> bytes:
    content = value.encode()
    return b"X" + len(content).to_bytes(4, "little") + content


def integers(values: Iterable[int]) -> bytes:
    """A tuple of integers of 32 bits."""
    return (
        b"(" + b"".join(b"J" + value.to_bytes(4, "little", signed=True) for value in values) + b"t"
    )


def name(module: str, attribute: str) -> bytes:
    """A class or function."""
    return f"c{module}\n{attribute}\n".encode()


def entries(pairs: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """The entries of a dict, set at once."""
    yield b"("
    for key, value in pairs:
        yield text(key)
        yield value
    yield b"u"
