"""Tensors in several files, whose index says which file has which tensor."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, reading, shown
from resnet_parity.weights.formats.arrays import without_repetition
from resnet_parity.weights.formats.safetensors_files import open_safetensors
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor
from resnet_parity.weights.formats.torch_files import open_torch

_KIND = "an index of shards"
_COPY_AGAIN = "copy the folder again"

_MAX_INDEX = 2**22
"""The largest index, in bytes; that of a resnet1202 has a megabyte."""

_READERS: dict[str, Callable[[Path], Checkpoint]] = {
    ".safetensors": open_safetensors,
    ".bin": open_torch,
}


def open_shards(path: Path) -> Checkpoint:
    """Return the tensors of all files of `*.safetensors.index.json` or `*.bin.index.json`.

    The files are in the folder of the index, and each holds the tensors that the index names.
    """
    check_readable(path)
    with reading(path, _KIND, _COPY_AGAIN):
        if path.stat().st_size > _MAX_INDEX:
            raise ValueError(f"it has more than {_MAX_INDEX:,} bytes")
        index = json.loads(path.read_bytes(), object_pairs_hook=without_repetition)
        places = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(places, dict) or not places:
            raise ValueError("it has no weight_map")
        expected: defaultdict[str, set[str]] = defaultdict(set)
        for name, file in places.items():
            if not _is_plain(file):
                raise ParityError(f"{path}: {shown(file)} is no name of a shard in its folder")
            expected[file].add(name)
    tensors: dict[str, StoredTensor] = {}
    for file, names in expected.items():
        found = _READERS[Path(file).suffix](path.with_name(file)).groups.get("", {})
        if different := sorted({*found} ^ names):
            raise ParityError(
                f"{path.with_name(file)}: {shown(different[0])} is in it or in the index, "
                f"{path.name}, but not in both; {_COPY_AGAIN}"
            )
        tensors |= found
    kind = "safetensors" if path.name.endswith(".safetensors.index.json") else "PyTorch"
    files = (path, *(path.with_name(file) for file in expected))
    return Checkpoint(path, f"{kind}, {len(expected)} shards", {"": tensors}, files=files)


def _is_plain(file: Any) -> bool:
    """Whether a name is that of a shard, without a folder."""
    plain = isinstance(file, str) and file.isprintable() and len(file) < 256
    return plain and not {"/", "\\", ":"} & {*file} and Path(file).suffix in _READERS
