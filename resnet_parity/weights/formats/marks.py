"""Facts beside the tensors of formats that have no place for them: which network, proven or not.

A zip archive holds them as its comment, an HDF5 file as an attribute; their own libraries ignore
both.
"""

from __future__ import annotations

import importlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from resnet_parity.files import reading
from resnet_parity.weights.formats.arrays import without_repetition

ATTRIBUTE = "resnet_parity"


def write_mark(path: Path, facts: Mapping[str, str]) -> None:
    """Add facts to a zip archive or an HDF5 file."""
    text = json.dumps(dict(facts))
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path, "a") as archive:
            archive.comment = text.encode()
        return
    with importlib.import_module("h5py").File(path, "a") as file:
        file.attrs[ATTRIBUTE] = text


def read_comment(path: Path) -> dict[str, object]:
    """The facts in the comment of a zip archive; none if something else wrote it."""
    with (
        reading(path, "a zip archive", "copy it again"),
        path.open("rb") as file,
        zipfile.ZipFile(file) as archive,
    ):
        return parse_mark(archive.comment.decode("utf-8", "replace"))


def parse_mark(text: str) -> dict[str, object]:
    """The facts in a text, which may come from an untrusted file."""
    try:
        facts = json.loads(text, object_pairs_hook=without_repetition)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(facts, dict):
        return {}
    return {key: value for key, value in facts.items() if isinstance(value, str)}
