"""ONNX files as checkpoints: read as `import` does, written as `export` does, both with checks."""

from __future__ import annotations

from pathlib import Path

from resnet_parity.adapters.loading import require
from resnet_parity.errors import ParityError
from resnet_parity.files import (
    check_not_source,
    check_readable,
    check_writable,
    state_of,
    write_atomically,
)
from resnet_parity.progress import Progress
from resnet_parity.weights.converting import Converted
from resnet_parity.weights.loading import Loaded, Report
from resnet_parity.weights.proof import prove_reading

_PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch")
"""PyTorch as well: the noise floor of the float32 check is its own error."""


def load_onnx(path: Path, progress: Progress) -> Loaded:
    """The weights of an ONNX file, verified by the checks of `import`. Raises `ParityError`."""
    check_readable(path)
    require(*_PACKAGES)
    files = {path: state_of(path)}

    from resnet_parity.onnx_io.imports import import_verified
    from resnet_parity.onnx_io.reading import read_model

    taken = import_verified(read_model(path), str(path), progress)
    arch = taken.architecture
    report = Report(
        str(path),
        "ONNX",
        "onnx",
        arch.name,
        arch.num_classes,
        arch.in_channels,
        "float32",
        len(taken.weights),
        assumptions=tuple(taken.notes),
    )
    return Loaded(arch, taken.weights, report, files=files)


def save_onnx(path: Path, loaded: Loaded, progress: Progress) -> Converted:
    """Write an ONNX file, verified by the checks of `export`. Raises `ParityError`."""
    if path.suffix != ".onnx":
        raise ParityError(f"{path} must end in .onnx, for an ONNX file")
    check_not_source(path, loaded.report.file)
    check_writable(path)
    require(*_PACKAGES)

    from resnet_parity.onnx_io.export import export_verified
    from resnet_parity.onnx_io.exporters import ExportOptions

    arch = loaded.architecture
    reading = prove_reading(loaded.original or loaded)
    options = ExportOptions(framework="torch", size=(arch.image_size, arch.image_size))
    content, verdicts = export_verified(arch, loaded.weights, options, progress=progress)
    write_atomically(path, content)
    lines = tuple(f"{each.check} check: {each.engine}, {each.figure}" for each in verdicts)
    return Converted(loaded, path, "onnx", "onnx", None, checks=lines, reading=reading)
