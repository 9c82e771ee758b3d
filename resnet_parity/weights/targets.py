"""The formats that weights are written in: one file, or a folder that another library opens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_spec import Architecture, to_json

from resnet_parity.adapters.libraries import LIBRARIES
from resnet_parity.adapters.libraries.base import Library
from resnet_parity.adapters.libraries.keras_libraries import KerasHub, ResNetKeras, write_preset
from resnet_parity.adapters.libraries.torch_libraries import (
    Timm,
    Torchvision,
    Transformers,
    write_timm,
)
from resnet_parity.errors import ParityError
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats.marks import write_mark
from resnet_parity.weights.formats.numpy_files import write_detectron2, write_npz
from resnet_parity.weights.formats.safetensors_files import write_safetensors
from resnet_parity.weights.formats.torch_files import write_torch
from resnet_parity.weights.identify import counters
from resnet_parity.weights.naming import Dialect, to_dialect

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Notes:
    """The dtype to write, and what is noted beside the tensors."""

    dtype: str = "float32"
    is_proven: bool = True
    labels: tuple[str, ...] = ()

    def metadata(self, arch: Architecture) -> dict[str, str]:
        """Texts for the metadata of a file."""
        found = {"architecture": arch.name, "spec": to_json(arch)}
        return found if self.is_proven else found | {"proven": "no, written with --no-prove"}


Write = Callable[[Path, Architecture, Weights, Dialect, Notes], None]
"""Writes the weights of an architecture, in a dialect."""


@dataclass(frozen=True)
class Target:
    """A format. `suffix` is that of the file, empty for a folder.

    `dialect` names the tensors; None if the user chooses. `library` opens what was written.
    """

    name: str
    text: str
    suffix: str
    write: Write
    dialect: str | None = None
    library: Library | None = None
    has_dtypes: bool = False
    """Whether it can be written in float16 and bfloat16."""

    def names(self, arch: Architecture, chosen: str | None) -> Dialect:
        """The dialect in which the tensors are written. Raises `ParityError` for no such one."""
        if chosen and self.dialect:
            raise ParityError(f"--names is not used: {self.name} has names of its own")
        name = chosen or self.dialect or "torchvision"
        if name not in DIALECTS:
            raise ParityError(f"unknown dialect {name!r}; it is one of: {', '.join(DIALECTS)}")
        if arch.preactivation and self.dialect and f"{name}-v2" in DIALECTS:
            name = f"{name}-v2"
        if self.name == "timm" and arch.preactivation:
            name = "timm-v2"
        if self.name == "hf" and not arch.num_classes:
            name = "hf-body"
        return DIALECTS[name]

    def opened_by(self, dialect: Dialect, arch: Architecture) -> Library | None:
        """The library that opens the file: that of the format, or one that builds the network."""
        libraries = (self.library,) if self.library else ()
        if self.suffix in (".pth", ".safetensors"):
            libraries = LIBRARIES.get(dialect.name, ())
        return next((each for each in libraries if each.usable(arch, dialect.name)), None)


def with_counters(dialect: Dialect, arch: Architecture, tensors: Weights) -> dict[str, np.ndarray]:
    """The tensors with the step counters of torch, zero, as its state dicts have them."""
    if dialect.conv_axes != "oihw":
        return dict(tensors)
    return {**tensors, **{name: np.zeros((), "int64") for name in counters(dialect, "", arch)}}


def _torch(path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes) -> None:
    tensors = with_counters(names, arch, to_dialect(names, arch, weights))
    write_torch(path, tensors, notes.metadata(arch), notes.dtype)


def _safetensors(
    path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes
) -> None:
    tensors = with_counters(names, arch, to_dialect(names, arch, weights))
    write_safetensors(path, tensors, notes.metadata(arch), notes.dtype)


def _npz(path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes) -> None:
    write_npz(path, to_dialect(names, arch, weights), notes.dtype)
    write_mark(path, notes.metadata(arch))


def _detectron2(
    path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes
) -> None:
    metadata = notes.metadata(arch)
    del metadata["spec"]  # its readers take texts of this length for no fact
    write_detectron2(path, to_dialect(names, arch, weights), metadata)


def _keras(path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes) -> None:
    library = ResNetKeras()
    model = library.build(arch, "float32")
    library.set_weights(model, to_dialect(names, arch, weights))
    model.save(path) if path.suffix == ".keras" else model.save_weights(path)
    write_mark(path, notes.metadata(arch))


def _hugging_face(
    path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes
) -> None:
    config = Transformers().config(arch, notes.labels) | {"dtype": notes.dtype}
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    _safetensors(path / "model.safetensors", arch, weights, names, notes)


def _timm(path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes) -> None:
    write_timm(path, arch)
    _safetensors(path / "model.safetensors", arch, weights, names, notes)


def _torchvision(
    path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes
) -> None:
    _torch(path / "model.pth", arch, weights, names, notes)


def _kerashub(
    path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes
) -> None:
    write_preset(path, arch, to_dialect(names, arch, weights))
    write_mark(path / "model.weights.h5", notes.metadata(arch))


def _applications(
    path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes
) -> None:
    library = LIBRARIES["keras-applications"][0]
    model = library.build(arch, "float32")
    library.set_weights(model, to_dialect(names, arch, weights))
    model.save_weights(path / "model.weights.h5")
    write_mark(path / "model.weights.h5", notes.metadata(arch))


_ALL = (
    Target("torch", "a state dict of PyTorch", ".pth", _torch, has_dtypes=True),
    Target("safetensors", "a safetensors file", ".safetensors", _safetensors, has_dtypes=True),
    Target("npz", "an archive of NumPy arrays", ".npz", _npz),
    Target("keras", "a Keras model of stock layers", ".keras", _keras, "keras", ResNetKeras()),
    Target(
        "weights-h5", "the weights of resnet_keras", ".weights.h5", _keras, "keras", ResNetKeras()
    ),
    Target("detectron2", "a pickle of NumPy arrays", ".pkl", _detectron2, "detectron2"),
    Target(
        "torchvision",
        "a folder with model.pth",
        "",
        _torchvision,
        "torchvision",
        Torchvision(),
        True,
    ),
    Target(
        "timm",
        'a folder for timm.create_model("local-dir:FOLDER", pretrained=True)',
        "",
        _timm,
        "torchvision",
        Timm(),
        True,
    ),
    Target("hf", "a folder for transformers", "", _hugging_face, "hf", Transformers(), True),
    Target("kerashub", "a preset of KerasHub", "", _kerashub, "kerashub", KerasHub()),
    Target(
        "keras-applications",
        "a folder with model.weights.h5",
        "",
        _applications,
        "keras-applications",
        LIBRARIES["keras-applications"][0],
    ),
)

TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
"""By the name that `--to` takes."""
