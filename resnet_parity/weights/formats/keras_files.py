"""Read the files of Keras as data, of every version; no framework is imported, no model is built.

Tensors are named `layer/variable`, after the models that contain the layer, with the variables in
the words of Keras (`kernel`, `moving_variance`), whatever a file calls them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from resnet_parity.errors import ParityError
from resnet_parity.files import shown
from resnet_parity.weights.formats import hdf5, keras_archive, keras_groups, keras_legacy
from resnet_parity.weights.formats.hdf5 import Source
from resnet_parity.weights.formats.keras_archive import CONFIG, WEIGHTS, parse_config
from resnet_parity.weights.formats.keras_config import (
    ConfigLayer,
    all_facts,
    backbone_facts,
    layers_of,
)
from resnet_parity.weights.formats.marks import ATTRIBUTE, parse_mark
from resnet_parity.weights.formats.stored import Checkpoint

_FIX = "save it again with model.save(...) or model.save_weights(...)"
_ABOUT = "metadata.json"
_MAX_SHARDS = 1000


def open_keras(path: Path) -> Checkpoint:
    """Return the content of a `.keras`, `.h5`, `.weights.h5` or `.weights.json` file.

    A folder that holds the members of a `.keras` file is read too. In `metadata`, `names` is
    `in the file`, or `by order` where a file names its layers by class and number alone; `layers`
    are facts of the config. Raises `ParityError`.
    """
    if path.is_dir():
        return _open_folder(path)
    head = hdf5.magic(path)
    if head == hdf5.MAGIC:
        return _open_hdf5(path)
    if head[:2] == b"PK":
        return _open_archive(path)
    if path.suffix == ".json":
        return _open_shards(path)
    raise _source(path).error(" is not a file of Keras weights, or is damaged")


def _source(path: Path) -> Source:
    return Source(path, "a file of Keras weights", _FIX)


def _open_hdf5(path: Path) -> Checkpoint:
    source = _source(path)
    file = hdf5.contents(hdf5.open_file(path, source), source)
    if "/model_weights" in file.groups or "layer_names" in file.texts(""):
        return keras_legacy.read(source, file)
    facts = parse_mark((file.texts("").get(ATTRIBUTE) or [""])[0])
    return _checkpoint(source, ".weights.h5", [file], (), facts)


def _open_archive(path: Path) -> Checkpoint:
    source = Source(path, keras_archive.KIND, keras_archive.SAVE_AGAIN)
    found = keras_archive.members(source)
    config = keras_archive.read_config(source, found)
    about = keras_archive.read_json(source, found[_ABOUT]) if _ABOUT in found else None
    if found[WEIGHTS].deflated:
        with tempfile.TemporaryDirectory() as folder:
            keras_archive.unpack(source, WEIGHTS, Path(folder, WEIGHTS))
            file = hdf5.open_file(Path(folder, WEIGHTS), source)
        content = hdf5.contents(file, source)
    else:
        with source.reading():
            part = found[WEIGHTS].part()
        content = hdf5.contents(hdf5.open_file(part, source), source, part)
    return _open_model(source, ".keras", content, config, about)


def _open_folder(path: Path) -> Checkpoint:
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise ParityError(f"{path} has no {name}; name a file, or a folder of a Keras model")
    source = Source(path, "a folder of a Keras model", _FIX)
    file = hdf5.open_file(path / WEIGHTS, source)
    with source.reading():
        config = parse_config(source, _text(path / CONFIG), CONFIG)
        about = path / _ABOUT
        stated = parse_config(source, _text(about), _ABOUT) if about.is_file() else None
        content = hdf5.contents(file, source)
        return _open_model(source, "folder of .keras", content, config, stated)


def _text(path: Path) -> bytes:
    """The text of a file, cut one byte after the largest config."""
    with path.open("rb") as file:
        return file.read(keras_archive.MAX_CONFIG + 1)


def _open_model(
    source: Source, kind: str, content: hdf5.Contents, config: Any, about: Any
) -> Checkpoint:
    layers = layers_of(config, source)
    metadata: dict[str, object] = {}
    if isinstance(about, dict) and isinstance(about.get("keras_version"), str):
        metadata["keras_version"] = about["keras_version"][:80]
    if backbone := backbone_facts(config):
        metadata["kerashub"] = backbone
    return _checkpoint(source, kind, [content], layers, metadata)


def _open_shards(path: Path) -> Checkpoint:
    source = _source(path)
    with source.reading():
        index = parse_config(source, _text(path), "index")
        places = index["weight_map"].values()
        names = {
            name: None
            for place in places
            for name in (place if isinstance(place, list) else [place])
        }
        total = int(index["metadata"]["total_size"])
    if not names or len(names) > _MAX_SHARDS:
        raise source.error(f" names {len(names):,} files of weights")
    parts = []
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or "\\" in name:
            raise source.error(f" names {shown(name)}, which is no file of its own folder")
        shard = _source(path.with_name(name))
        hdf5.magic(shard.path)
        parts.append(hdf5.contents(hdf5.open_file(shard.path, shard), shard))
    if (size := sum(each.nbytes for part in parts for each in part.arrays.values())) != total:
        raise ParityError(
            f"{path}: its files hold {size:,} bytes of weights and not {total:,}; fetch all of "
            "them again"
        )
    found = _checkpoint(source, ".weights.json", parts, (), {})
    return replace(found, files=(path, *(path.with_name(name) for name in names)))


def _checkpoint(
    source: Source,
    kind: str,
    parts: Iterable[hdf5.Contents],
    layers: tuple[ConfigLayer, ...],
    metadata: dict[str, object],
) -> Checkpoint:
    """Read a file, or its parts, in the layout of Keras 3."""
    reader = keras_groups.Reader(source, keras_groups.merged(source, parts))
    reader.visit("", "", layers)
    if not reader.tensors:
        raise source.error(" holds no weights of a Keras layer")
    metadata["names"] = "by order" if reader.unnamed else "in the file"
    if layers:
        metadata["layers"] = dict(all_facts(layers))
    return Checkpoint(source.path, kind, {"": reader.tensors}, metadata, tuple(reader.contents()))
