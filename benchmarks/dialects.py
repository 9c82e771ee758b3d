"""Every dialect: a network is written in it, read back, and run by the library with these names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from resnet_spec import Architecture, get_architecture

from benchmarks.provenance import Measured, Results, versions
from resnet_parity.probes import random_weights
from resnet_parity.weights.converting import save_weights
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats.safetensors_files import write_safetensors
from resnet_parity.weights.identify import fields_of
from resnet_parity.weights.loading import Loaded, load_weights
from resnet_parity.weights.naming import Dialect, tensor_names, to_dialect
from resnet_parity.weights.proof import REFERENCE, Proof
from resnet_parity.weights.targets import TARGETS

SEED = 0
CLASSES = 10

PACKAGES = ("torch", "torchvision", "timm", "transformers", "tensorflow", "keras", "keras-hub")
"""Packages whose versions are recorded."""

_NETS = {
    "timm-v2": "resnetv2_18",
    "kerashub-v2": "resnetv2_18",
    "keras-applications": "keras_resnet50",
    "keras-applications-v2": "keras_resnet50v2",
    "akamaster": "resnet20",
    "kuangliu": "resnet18_small",
    "weiaicunzai": "resnet18_small",
    "xresnet": "resnet18d",
    "xresnet-2019": "resnet18d",
    "caffe2": "resnet50_v1",
    "gluon": "resnet50_v1",
    "paddle": "resnet50",
}
"""The smallest network that is typical of a dialect, where that is not resnet18."""

_FORMATS = {
    "torchvision": ("torchvision", "timm"),
    "timm-v2": ("timm",),
    "hf": ("hf",),
    "hf-body": ("hf",),
    "kerashub": ("kerashub",),
    "kerashub-v2": ("kerashub",),
    "keras-applications": ("keras-applications",),
    "keras-applications-v2": ("keras-applications",),
    "keras": ("keras", "weights-h5"),
    "detectron2": ("detectron2",),
}
"""The formats that a dialect is written in, where that is not a file with `--names`."""


def network(dialect: Dialect) -> Architecture:
    """The network that a dialect is measured on, without a head where it has no name for one."""
    row = get_architecture(_NETS.get(dialect.name, "resnet18"))
    classes = CLASSES if "fc" in dialect.roles else 0
    return replace(row, num_classes=classes, **fields_of(dialect, row))


def measure(name: str) -> Measured:
    """Write a network in every format of a dialect, read each file back and run it.

    `save_weights` runs the file in the library that opens it, and raises `ParityError` where its
    outputs are not those of the NumPy reference.
    """
    dialect = DIALECTS[name]
    arch = network(dialect)
    weights = random_weights(arch, SEED, "float32")
    with TemporaryDirectory() as folder:
        if "running_mean" in dialect.norm:
            files = [*_files(dialect, arch, weights, Path(folder))]
        else:
            files = [_without_statistics(dialect, arch, weights, Path(folder, "net.safetensors"))]
    found = versions()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    passed = all(each["identified"] and each["bitwise"] for each in files)
    figures = {"architecture": arch.name, "num_classes": arch.num_classes, "files": files}
    return Measured(figures, found, passed)


def _files(
    dialect: Dialect, arch: Architecture, weights: dict[str, np.ndarray], folder: Path
) -> Iterator[dict[str, Any]]:
    """The figures of each format."""
    formats = _FORMATS.get(dialect.name)
    plain = folder / "plain.safetensors"  # as others write it: it does not state its architecture
    write_safetensors(plain, to_dialect(dialect, arch, weights, "net."))
    found = _read_back(load_weights(plain), dialect, arch, weights)
    for to in formats or ("safetensors",):
        path = folder / f"{to}{TARGETS[to].suffix}"
        names = None if formats else dialect.name
        converted = save_weights(path, weights, to, architecture=arch, names=names)
        assert converted.dialect == dialect.name and converted.proof is not None
        written = _read_back(load_weights(path), dialect, arch, weights)
        figures = {name: found[name] and written[name] for name in found}
        yield {"to": to, **figures, **_run(converted.proof)}


def _run(proof: Proof) -> dict[str, Any]:
    """The library that opened the file, None where none did, and its largest errors."""
    if proof.target == REFERENCE:
        return {"opened_by": None}
    errors: dict[str, float] = {}
    for each in proof.comparisons:
        errors[each.dtype] = max(errors.get(each.dtype, 0.0), float(f"{each.error:.1e}"))
    return {"opened_by": proof.target.rpartition(" ")[0], "errors": errors}


def _read_back(
    loaded: Loaded, dialect: Dialect, arch: Architecture, weights: dict[str, np.ndarray]
) -> dict[str, bool]:
    """Whether the file, read without any option, gives the network, and its tensors bitwise."""
    same = (loaded.weights[name].tobytes() == array.tobytes() for name, array in weights.items())
    return {
        "identified": loaded.architecture == arch and loaded.report.dialect == dialect.name,
        "bitwise": loaded.weights.keys() == weights.keys() and all(same),
    }


def _without_statistics(
    dialect: Dialect, arch: Architecture, weights: dict[str, np.ndarray], path: Path
) -> dict[str, Any]:
    """The figures of a dialect that is read alone, because its norms have no statistics."""
    names = tensor_names(dialect, arch) or {}
    stored = {parameter.name for parameter in names.values()}
    made_up = {
        name: np.full_like(array, 1 - arch.bn_eps if name.endswith("running_var") else 0)
        for name, array in weights.items()
        if name not in stored
    }
    whole = replace(dialect, norm={**DIALECTS["torchvision"].norm, **dialect.norm})
    tensors = to_dialect(whole, arch, weights)
    write_safetensors(path, {name: tensors[name] for name in names})
    return {"to": None, **_read_back(load_weights(path), dialect, arch, weights | made_up)}


RESULTS = Results("dialects", 1, {each.name: network(each) for each in DIALECTS.values()}, measure)
