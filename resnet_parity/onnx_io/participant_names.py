"""Who can be compared, by name: a framework, its export, or a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from onnx import ModelProto

from resnet_parity.errors import ParityError
from resnet_parity.onnx_io.reading import read_model

FRAMEWORKS = ("torch", "keras")
EXPORTS = ("torch.onnx", "keras.onnx")


def read_files(names: Sequence[str]) -> dict[str, ModelProto]:
    """The models of those names that are files; a file of the name goes before an export.

    Raises `ParityError` for a name that is nothing or stands twice, and as `read_model` does.
    """
    if len(set(names)) != len(names):
        raise ParityError("each of them is named once")
    return {name: read_model(Path(name)) for name in names if _is_file(name)}


def _is_file(name: str) -> bool:
    if name in FRAMEWORKS or (name in EXPORTS and not Path(name).exists()):
        return False
    if not Path(name).exists():
        known = ", ".join((*FRAMEWORKS, *EXPORTS))
        raise ParityError(f"{name!r} is no file that is there, and none of: {known}")
    return True
