"""The formats that weights are written in: one file, or a folder that another library opens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resnet_spec import Architecture, to_json
from resnet_spec.hints import did_you_mean

from resnet_parity.adapters.libraries import LIBRARIES
from resnet_parity.adapters.libraries.base import Library
from resnet_parity.adapters.libraries.keras_libraries import (
    KerasApplications,
    KerasHub,
    ResNetKeras,
    write_preset,
)
from resnet_parity.adapters.libraries.torch_libraries import (
    Timm,
    Torchvision,
    Transformers,
    write_timm,
)
from resnet_parity.errors import ParityError
from resnet_parity.progress import Progress
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats.keras_writing import write_keras
from resnet_parity.weights.formats.marks import write_mark
from resnet_parity.weights.formats.numpy_files import write_detectron2, write_npz
from resnet_parity.weights.formats.safetensors_files import write_safetensors
from resnet_parity.weights.formats.torch_files import write_torch
from resnet_parity.weights.identify import counters
from resnet_parity.weights.naming import Dialect, to_dialect
from resnet_parity.weights.onnx_files import export_onnx
from resnet_parity.weights.target_table import FORMATS

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

Export = Callable[[Architecture, Weights, Progress], tuple[bytes, tuple[str, ...]]]
"""Makes the content of a file that has checks of its own, and their verdicts in words."""

Naming = Callable[[Architecture], str]
"""The name of the dialect of an architecture."""


@dataclass(frozen=True)
class Target:
    """A format of `FORMATS`, and how it is written: by `write`, or by `export`.

    `naming` names the tensors; None if the user chooses. `library` opens what was written; for a
    state dict, it is any of PyTorch that builds the network.
    """

    name: str
    write: Write | None
    naming: Naming | None = None
    library: Library | None = None
    is_state_dict: bool = False
    export: Export | None = None

    @property
    def text(self) -> str:
        return FORMATS[self.name].text

    @property
    def suffix(self) -> str:
        return FORMATS[self.name].suffix

    @property
    def takes(self) -> tuple[str, ...]:
        """The options of `OPTIONS` that it takes."""
        return FORMATS[self.name].takes

    def names(self, arch: Architecture, chosen: str | None) -> Dialect:
        """The dialect in which the tensors are written. Raises `ParityError` for no such one."""
        chosen = self.library_named(chosen)
        naming = self.naming or _NAMINGS.get(chosen)
        return DIALECTS[naming(arch) if naming else chosen]

    def library_named(self, chosen: str | None) -> str:
        """The dialect or the library that `--names` means. Raises `ParityError` for no such one."""
        if chosen and self.naming:
            raise ParityError(f"--names is not used: {self.name} has names of its own")
        name = (chosen or "torchvision").lower()
        name = ALIASES.get(name, name)
        if name not in (*DIALECTS, *_NAMINGS):
            near = did_you_mean(name, [*DIALECTS, *ALIASES])
            raise ParityError(
                f"unknown dialect {chosen!r}{near}; it is one of: {', '.join(DIALECTS)}"
            )
        return name

    def opened_by(self, dialect: Dialect, arch: Architecture) -> Library | None:
        """The library that opens the file: that of the format, or one that builds the network."""
        libraries = (self.library,) if self.library else ()
        if self.is_state_dict:
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
    write_detectron2(path, to_dialect(names, arch, weights), notes.metadata(arch))


def _keras(path: Path, arch: Architecture, weights: Weights, names: Dialect, notes: Notes) -> None:
    with ResNetKeras().holding(arch, to_dialect(names, arch, weights)) as model:
        write_keras(path, model) if path.suffix == ".keras" else model.save_weights(path)
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
    with KerasApplications().holding(arch, to_dialect(names, arch, weights)) as model:
        model.save_weights(path / "model.weights.h5")
    write_mark(path / "model.weights.h5", notes.metadata(arch))


def _named(plain: str, preactivation: str = "", body: str = "") -> Naming:
    """The naming of a library, which may have other names for networks without a head."""

    def name(arch: Architecture) -> str:
        if arch.preactivation and preactivation:
            return preactivation
        return body if body and not arch.num_classes else plain

    return name


_NAMINGS: dict[str, Naming] = {
    "timm": _named("torchvision", preactivation="timm-v2"),
    "hf": _named("hf", body="hf-body"),
    "kerashub": _named("kerashub", preactivation="kerashub-v2"),
    "keras-applications": _named("keras-applications", preactivation="keras-applications-v2"),
}
"""The libraries that have several dialects."""

ALIASES = {
    **dict.fromkeys(("torch", "pytorch", "resnet_torch", "canonical"), "torchvision"),
    **dict.fromkeys(("transformers", "huggingface", "hugging-face"), "hf"),
    **dict.fromkeys(("keras-hub", "keras_hub"), "kerashub"),
    **dict.fromkeys(("keras.applications", "keras_applications"), "keras-applications"),
    **dict.fromkeys(("mmdet", "mmcls", "mmseg", "mmcv"), "mmpretrain"),
    "resnet_keras": "keras",
    "fastai": "xresnet",
    "paddleclas": "paddle",
    "flax": "jax-resnet",
}
"""Other names of dialects, which people write."""

_ALL = (
    Target("torch", _torch, is_state_dict=True),
    Target("safetensors", _safetensors, is_state_dict=True),
    Target("npz", _npz),
    Target("keras", _keras, _named("keras"), ResNetKeras()),
    Target("weights-h5", _keras, _named("keras"), ResNetKeras()),
    Target("detectron2", _detectron2, _named("detectron2")),
    Target("onnx", None, _named("torchvision"), export=export_onnx),
    Target("torchvision", _torchvision, _named("torchvision"), Torchvision()),
    Target("timm", _timm, _NAMINGS["timm"], Timm()),
    Target("hf", _hugging_face, _NAMINGS["hf"], Transformers()),
    Target("kerashub", _kerashub, _NAMINGS["kerashub"], KerasHub()),
    Target(
        "keras-applications", _applications, _NAMINGS["keras-applications"], KerasApplications()
    ),
)

TARGETS: dict[str, Target] = {target.name: target for target in _ALL}
"""By the name that `--to` takes."""
