"""Write the files of Keras, complete or not at all."""

from __future__ import annotations

import importlib
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from resnet_parity.adapters.loading import require
from resnet_parity.errors import ParityError
from resnet_parity.files import replacing, writing

_MAX_ATTRIBUTE = 64512
"""The largest attribute that Keras writes in one piece, in bytes."""

_VERSION = b"2.15.0"
"""The Keras whose names of weights a legacy file has; Keras 3 opens it too."""


def write_keras(path: Path, model: Any) -> None:
    """Write a Keras model to a `.keras` file, whose weights are never in memory as a whole.

    Keras itself would write them to memory, then to the file.
    """
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        model.save(folder, zipped=False)
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("metadata.json", "config.json", "model.weights.h5"):
                archive.write(Path(folder, name), name)


def write_legacy_h5(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write tensors named `layer/variable` to an `.h5` file, as `keras.applications` opens it.

    Keras takes the layers of such a file by their order, and the variables of each layer too: give
    those of each layer in one piece, in the order of `model.layers` and of `layer.weights`.
    """
    _check_suffix(path, ".h5")
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, values in tensors.items():
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[f"{layer}/{variable}:0"] = values
    require("h5py")
    h5py = importlib.import_module("h5py")
    with replacing(path) as new, writing(path), h5py.File(new, "w") as file:
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", _VERSION
        _write_names(file, "layer_names", [*layers])
        for layer, variables in sorted(layers.items()):
            group = file.create_group(layer)
            _write_names(group, "weight_names", [*variables])
            for name, values in variables.items():
                group.create_dataset(name, data=values)


def _check_suffix(path: Path, suffix: str) -> None:
    if not path.name.endswith(suffix):
        raise ParityError(f"{path} cannot be written: its name must end in {suffix}")


def _write_names(group: Any, attribute: str, names: Sequence[str]) -> None:
    """Write names as one attribute, or as several if they are too long for one."""
    texts = np.array([name.encode() for name in names])
    pieces = np.array_split(texts, -(-len(texts) // (_MAX_ATTRIBUTE // texts.itemsize)))
    for number, piece in enumerate(pieces):
        group.attrs[f"{attribute}{number}" if len(pieces) > 1 else attribute] = piece
