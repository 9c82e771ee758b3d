"""The configuration of a training run: options of the command, or the same names in a TOML file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from resnet_spec import RecipeName
from resnet_spec.hints import did_you_mean
from resnet_spec.validate import type_mistakes

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, reading

Augmentation = Literal["crop", "shift", "shift-mirror", "none"]

RESOLVED = "resolved"
"""The table of a run's file that says what followed from the options; it is not read."""

CHANGEABLE = frozenset({"folder", "framework", "workers", "compile", "devices"})
"""The options that may change when a run is resumed; with its native data, not the framework."""


@dataclass(frozen=True)
class Config:
    """The options of a run.

    Without `architecture` it is that of the file `weights`, or resnet18; without `learning_rate`
    (0.0) it is that of the recipe. Raises `ParityError` that names every mistake.
    """

    folder: str
    framework: Literal["torch", "keras"] = "torch"
    architecture: str = ""
    weights: str = ""
    epochs: int = 30
    batch_size: int = 32
    image_size: int = 224
    augmentation: Augmentation = "crop"
    val_split: float = 0.0
    recipe: RecipeName = "paper"
    learning_rate: float = 0.0
    ema: float = 0.0
    freeze_backbone: int = 0
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = "float32"
    compile: bool = False
    seed: int = 0
    workers: int = 0
    native_data: bool = False
    devices: int = 1
    sync_batchnorm: bool = False

    def __post_init__(self) -> None:
        mistakes = [*type_mistakes(self)] or [
            f"{name} must be at least {least}, not {getattr(self, name)}"
            for name, least in _LEAST.items()
            if not getattr(self, name) >= least
        ]
        if mistakes:
            raise ParityError("\n  - ".join(["the configuration cannot be used:", *mistakes]))


_LEAST = {
    "epochs": 1,
    "batch_size": 2,  # a norm in training needs two images
    "image_size": 1,
    "learning_rate": 0,
    "ema": 0,
    "freeze_backbone": 0,
    "seed": 0,
    "workers": 0,
    "devices": 1,
}


def read_config(path: Path) -> dict[str, Any]:
    """The options that a TOML file sets. Raises `ParityError` that names the file and the key."""
    check_readable(path)
    with reading(path, "a TOML file", "correct it"):
        found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    found.pop(RESOLVED, None)
    known = {field.name: field.type for field in fields(Config)}
    for name in found.keys() - known.keys():
        raise ParityError(f"{path}: unknown option {name!r}{did_you_mean(name, known)}")
    return {
        name: float(value) if known[name] == "float" and type(value) is int else value
        for name, value in found.items()
    }


def make_config(given: Mapping[str, Any], begun: Mapping[str, Any] | None = None) -> Config:
    """The configuration of the options that are given, over those of a run that was begun.

    Raises `ParityError`, if they do not fit each other.
    """
    begun = begun or {}
    changeable = CHANGEABLE - {"framework"} if begun.get("native_data") else CHANGEABLE
    for name, value in begun.items():
        if name not in changeable and given.get(name, value) != value:
            option = name.replace("_", "-")
            raise ParityError(
                f"the run was begun with --{option} {value}, not {given[name]}; leave the option "
                "out, or begin another run with --out, whose --weights may be the "
                "last.safetensors of this one"
            )
    options = {**begun, **given}
    if not options.get("folder"):
        raise ParityError("name a folder of photographs, one folder a class")
    return Config(**options)


def to_toml(config: Config, resolved: Mapping[str, Mapping[str, Any]]) -> str:
    """The configuration as TOML, with tables of what followed from it."""
    lines = [f"{name} = {_value(value)}" for name, value in asdict(config).items()]
    for table, values in resolved.items():
        lines += ["", f"[{RESOLVED}.{table}]"]
        lines += [f"{_value(name)} = {_value(value)}" for name, value in values.items()]
    return "\n".join([*lines, ""])


def _value(value: Any) -> str:
    """A text, a number or a truth value; JSON writes them as TOML does, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
