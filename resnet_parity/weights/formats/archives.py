"""Members of a zip archive, read at their place in the file after their sizes were checked."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from resnet_parity.errors import ParityError
from resnet_parity.files import shown

_MAX_DIRECTORY = 8 * 2**20
"""The largest list of members, in bytes; that of a resnet1202 with its optimizer has 2 MB."""

_MAX_MEMBERS = 2**15
"""The largest number of members; a resnet1202 with its optimizer has 11,000."""

_MAX_BYTES = 4 * 2**30
"""The largest unpacked size of a member; a ResNet-152 in float64 has half a gigabyte."""

_MAX_EXPANSION = 100
"""How often larger than its stored bytes a member may be ..."""

_EXPANDED = 2**26
"""... once it has more bytes than these."""


class _Bounded(io.FileIO):
    """A file for `zipfile`, which reads the whole list of members at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise ValueError(f"its list of members has more than {_MAX_DIRECTORY:,} bytes")
        return super().read(size) or b""


class Part(io.RawIOBase):
    """A part of a file as a file of its own, to read; `start` is its place in the file."""

    def __init__(self, path: Path, start: int, size: int) -> None:
        self.file = path.open("rb", buffering=0)
        self.start, self.size, self.place = start, size, 0

    def readinto(self, buffer: Any, /) -> int:
        part = memoryview(buffer)[: max(self.size - self.place, 0)]
        self.file.seek(self.start + self.place)
        count = self.file.readinto(part)
        self.place += count
        return count

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self.place = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        )
        return self.place

    def tell(self) -> int:
        return self.place

    def fileno(self) -> int:
        return self.file.fileno()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        super().close()
        self.file.close()


@dataclass(frozen=True)
class Member:
    """One member: its name, its size, and how its bytes are stored."""

    path: Path
    name: str
    size: int
    stored: int
    """The number of bytes in the archive."""
    deflated: bool
    crc: int
    """The checksum; PyTorch writes 0 if it is set to compute none."""
    header: int
    """The place of its header in the archive."""

    def start(self) -> int:
        """The place of its bytes in the archive."""
        with self.path.open("rb") as file:
            return self.found(file)

    def found(self, file: BinaryIO) -> int:
        """The place of its bytes, once its header was compared with the list of members."""
        file.seek(self.header)
        mark, method, name, extra = struct.unpack("<4s4xH16xHH", file.read(30))
        same = file.read(name).decode("utf-8", "replace") == self.name
        if mark != b"PK\3\4" or bool(method) != self.deflated or not same:
            raise ValueError(f"the header of its member {shown(self.name)} is wrong")
        return self.header + 30 + name + extra

    def part(self) -> Part:
        """Its bytes as a file, checked; it must not be deflated."""
        part, crc = Part(self.path, self.start(), self.size), 0
        for chunk in iter(lambda: part.read(2**20), b""):
            crc = zlib.crc32(chunk, crc)
        if crc != self.crc:
            raise ValueError(f"its member {shown(self.name)} has another checksum than stated")
        return part

    def head(self, size: int) -> bytes:
        """Its first bytes, or all if there are fewer; unchecked."""
        with self.path.open("rb") as file:
            file.seek(self.found(file))
            content = file.read(self.stored if size > self.size else min(self.stored, size))
        if self.deflated:
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(content, size)
        return content

    def read(self) -> bytes:
        """Its bytes, checked."""
        content = self.head(self.size + 1)
        if len(content) != self.size:
            raise ValueError(f"its member {shown(self.name)} has another size than stated")
        self.check(content)
        return content

    def check(self, content: bytes | memoryview) -> None:
        """Raise unless the bytes have the checksum of the archive."""
        if self.crc and zlib.crc32(content) != self.crc:
            raise ValueError(f"its member {shown(self.name)} has another checksum than stated")


def members(path: Path, fix: str) -> dict[str, Member]:
    """Return the members of an archive by name; none has been read."""
    with _Bounded(path) as file, zipfile.ZipFile(file) as archive:
        infos, size = archive.infolist(), file.seek(0, io.SEEK_END)
    if len(infos) > _MAX_MEMBERS:
        raise ValueError(f"it has more than {_MAX_MEMBERS:,} members")
    found: dict[str, Member] = {}
    for info in infos:
        name = info.filename
        problem = ""
        if name in found:
            problem = "is in it twice"
        elif info.flag_bits & 1:
            problem = "is encrypted"
        elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            problem = f"is compressed by method {info.compress_type} of zip, which is not supported"
        elif info.header_offset + info.compress_size > size or (
            info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size
        ):
            problem = "is longer than the file"
        elif info.file_size > max(_EXPANDED, _MAX_EXPANSION * info.compress_size) or (
            info.file_size > _MAX_BYTES
        ):
            problem = f"unpacks from {info.compress_size:,} to {info.file_size:,} bytes"
        if problem:
            raise ParityError(f"{path}: its member {shown(name)} {problem}; {fix}")
        found[name] = Member(
            path,
            name,
            info.file_size,
            info.compress_size,
            info.compress_type == zipfile.ZIP_DEFLATED,
            info.CRC,
            info.header_offset,
        )
    return found
