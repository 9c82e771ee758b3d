"""The config.json that Hugging Face libraries keep beside weights, read as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from resnet_parity.files import reading
from resnet_parity.weights.formats.arrays import without_repetition
from resnet_parity.weights.formats.keras_config import backbone_facts

_MAX_CONFIG = 2**22
"""The largest config.json, in bytes; the labels of 20,000 classes have a megabyte."""

_MAX_LABEL = 500


def config_beside(path: Path) -> dict[str, object]:
    """Facts of the config.json in the folder of a file, if it describes a model.

    `config` are its fields, `labels` the names of classes in their order, `preprocessor` the fields
    of preprocessor_config.json, `kerashub` those of a `ResNetBackbone`.
    """
    config = _read(path.with_name("config.json"))
    if backbone := backbone_facts(config):
        return {"kerashub": backbone}
    if not {"model_type", "architecture"} & {*config}:
        return {}
    found: dict[str, object] = {"config": config}
    if processor := _read(path.with_name("preprocessor_config.json")):
        found["preprocessor"] = processor
    if isinstance(name := config.get("architecture"), str):
        found["config.architecture"] = name
    if labels := _labels(config):
        found["labels"] = labels
    return found


def _read(place: Path) -> dict[str, Any]:
    """The fields in a file; none if there is no such file, or it holds something else."""
    if not place.is_file():
        return {}
    with reading(place, f"the {place.name} of a model", "fetch it again, or move it away"):
        if place.stat().st_size > _MAX_CONFIG:
            raise ValueError(f"it has more than {_MAX_CONFIG:,} bytes")
        config = json.loads(place.read_bytes(), object_pairs_hook=without_repetition)
    return config if isinstance(config, dict) else {}


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    """The names of the classes, if the config has one for each number from 0 on."""
    stated = config.get("id2label") or config.get("label_names")
    if isinstance(stated, list):
        stated = {str(index): label for index, label in enumerate(stated)}
    if not isinstance(stated, dict):
        return ()
    labels = [stated.get(str(index)) for index in range(len(stated))]
    fine = all(isinstance(label, str) and len(label) <= _MAX_LABEL for label in labels)
    return tuple(map(str, labels)) if fine else ()
