"""The archive of a `.keras` file: its members and its config are checked before they are read."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, shown
from resnet_parity.weights.formats import archives
from resnet_parity.weights.formats.archives import Member
from resnet_parity.weights.formats.arrays import without_repetition
from resnet_parity.weights.formats.hdf5 import Source

CONFIG, WEIGHTS = "config.json", "model.weights.h5"

KIND = "a .keras file"
SAVE_AGAIN = "save it again with model.save(...)"

MAX_CONFIG = 2**24
"""The largest config.json, in bytes; a resnet1202 has a quarter of it."""

_MAX_VALUES = 2**20
"""The largest number of values in a config.json; a resnet1202 has a quarter of it."""


def members(source: Source, allowed: Collection[str] = ()) -> dict[str, Member]:
    """The members of an archive by name; it may hold nothing but those allowed, if they are given.

    Raises unless there are a config and weights.
    """
    check_readable(source.path)
    with source.reading():
        found = archives.members(source.path, source.fix)
    if allowed and (others := [name for name in found if name not in allowed]):
        raise source.error(f" holds {shown(others[0])} in its archive, which Keras does not write")
    if missing := {CONFIG, WEIGHTS} - {*found}:
        if "model.weights.npz" in found:
            raise source.error(
                " holds its weights as pickles in model.weights.npz, which Keras no longer reads"
            )
        raise source.error(f" has no {min(missing)} of a Keras model")
    return found


def read_config(source: Source, found: Mapping[str, Member]) -> dict[str, Any]:
    """Return the config.json of an archive."""
    config = read_json(source, found[CONFIG])
    if not isinstance(config, dict):
        raise source.error(f" is not {source.kind}: its {CONFIG} does not describe a model")
    return config


def read_json(source: Source, member: Member) -> Any:
    """Return a member of an archive that is a JSON text."""
    if member.size > MAX_CONFIG:
        raise source.too_large(f": its {member.name} has more than {MAX_CONFIG:,} bytes")
    with source.reading():
        return parse_config(source, member.read(), member.name)


def parse_config(source: Source, text: bytes, name: str) -> Any:
    """Return a JSON text of a file, once its size is checked."""
    if len(text) > MAX_CONFIG:
        raise source.too_large(f": its {name} has more than {MAX_CONFIG:,} bytes")
    if sum(text.count(mark) for mark in (b"{", b"[", b",")) > _MAX_VALUES:
        raise source.too_large(f": its {name} has more than {_MAX_VALUES:,} values")
    return json.loads(text, object_pairs_hook=without_repetition)


def unpack(source: Source, name: str, target: Path) -> None:
    """Write a member of the archive to another file."""
    with (
        source.reading(),
        zipfile.ZipFile(source.path) as archive,
        archive.open(name) as member,
    ):
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
