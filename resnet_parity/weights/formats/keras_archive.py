"""The archive of a `.keras` file: its members and its config are checked before they are read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, shown
from resnet_parity.weights.formats.hdf5 import Source, check_expansion

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

KIND = "a .keras file"
SAVE_AGAIN = "save it again with model.save(...)"

MAX_CONFIG = 2**24
"""The largest config.json, in bytes; a resnet1202 has a quarter of it."""

_MAX_VALUES = 2**20
"""The largest number of values in a config.json; a resnet1202 has a quarter of it."""


@contextmanager
def opened(source: Source, members: Container[str] | None = None) -> Iterator[zipfile.ZipFile]:
    """The archive; it may hold nothing but `members`, if they are given."""
    check_readable(source.path)
    with source.reading(), zipfile.ZipFile(source.path) as archive:
        _check_members(source, archive.infolist(), members)
        yield archive


def _check_members(
    source: Source, members: list[zipfile.ZipInfo], allowed: Container[str] | None
) -> None:
    names: set[str] = set()
    for member in members:
        if member.filename in names or (allowed and member.filename not in allowed):
            twice = "twice " if member.filename in names else ""
            raise source.error(
                f" holds {shown(member.filename)} {twice}in its archive, which Keras does not write"
            )
        names.add(member.filename)
        if member.flag_bits & 1:
            raise source.error(" is encrypted")
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise source.error(
                f" is compressed by method {member.compress_type} of zip, which is not supported"
            )
        check_expansion(source, member.filename, member.file_size, member.compress_size)
    if missing := {CONFIG, WEIGHTS} - names:
        if "model.weights.npz" in names:
            raise source.error(
                " holds its weights as pickles in model.weights.npz, which Keras no longer reads"
            )
        raise source.error(f" has no {min(missing)} of a Keras model")


def read_config(source: Source, archive: zipfile.ZipFile) -> dict[str, Any]:
    """Return the config.json of an archive."""
    if archive.getinfo(CONFIG).file_size > MAX_CONFIG:
        raise source.too_large(f": its {CONFIG} has more than {MAX_CONFIG:,} bytes")
    config = parse_config(source, archive.read(CONFIG), CONFIG)
    if not isinstance(config, dict):
        raise source.error(f" is not {source.kind}: its {CONFIG} does not describe a model")
    return config


def parse_config(source: Source, text: bytes, name: str) -> Any:
    """Return a JSON text of a file, once its size is checked."""
    if len(text) > MAX_CONFIG:
        raise source.too_large(f": its {name} has more than {MAX_CONFIG:,} bytes")
    if sum(text.count(mark) for mark in (b"{", b"[", b",")) > _MAX_VALUES:
        raise source.too_large(f": its {name} has more than {_MAX_VALUES:,} values")

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """A JSON object; another reader may take the other value of a key that stands twice."""
        node = dict(pairs)
        if len(node) != len(pairs):
            raise ValueError(f"a key stands twice in one object of its {name}")
        return node

    return json.loads(text, object_pairs_hook=object_of)


def unpack(source: Source, archive: zipfile.ZipFile, name: str, target: Path) -> None:
    """Write a member of the archive to another file."""
    with archive.open(name) as member:
        try:
            with target.open("wb") as file:
                while chunk := member.read(2**20):
                    file.write(chunk)
        except OSError as error:
            if error.filename is None and error.errno is None:
                raise
            raise ParityError(
                f"{source.path} cannot be unpacked into {target.parent}: {error.strerror}; set "
                "TMPDIR to a folder with enough space"
            ) from error
