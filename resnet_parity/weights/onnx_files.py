"""ONNX files as checkpoints: read as `import` does, written as `export` does, both with checks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from resnet_spec import Architecture

from resnet_parity.adapters.loading import require
from resnet_parity.files import check_readable
from resnet_parity.progress import Progress

_PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch")
"""PyTorch as well: the noise floor of the float32 check is its own error."""


def import_onnx(
    path: Path, progress: Progress
) -> tuple[Architecture, dict[str, np.ndarray], tuple[str, ...]]:
    """The weights of an ONNX file, verified by the checks of `import`, and notes in words.

    Raises `ParityError`.
    """
    check_readable(path)
    require(*_PACKAGES)

    from resnet_parity.onnx_io.imports import import_verified
    from resnet_parity.onnx_io.reading import read_model

    taken = import_verified(read_model(path), str(path), progress)
    return taken.architecture, taken.weights, tuple(taken.notes)


def export_onnx(
    arch: Architecture, weights: Mapping[str, np.ndarray], progress: Progress
) -> tuple[bytes, tuple[str, ...]]:
    """The content of an ONNX file, and the verdicts of the checks of `export` in words.

    Raises `ParityError`.
    """
    require(*_PACKAGES)

    from resnet_parity.onnx_io.export import export_verified
    from resnet_parity.onnx_io.exporters import ExportOptions

    options = ExportOptions(framework="torch", dynamic=("batch", "size"))
    content, verdicts = export_verified(arch, weights, options, progress=progress)
    return content, tuple(f"{each.check} check: {each.engine}, {each.figure}" for each in verdicts)
