"""Readers and writers of checkpoint files, one module per format; nothing in a file is run.

Each reader has a function `open_...(path) -> Checkpoint` (see `stored`), which checks names,
shapes and sizes before it reads numbers, and raises `ParityError` that names the file, the tensor,
the fix.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, is_folder
from resnet_parity.weights.formats.stored import Checkpoint
from resnet_parity.weights.formats.tensor_bundles import is_table

_FOLDER = ("model.safetensors", "model.weights.h5", "pytorch_model.bin", "saved_model.pb")
"""The file that holds the weights in a folder of a library; another one is found by its suffix."""

_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".keras", ".h5", ".npz", ".pkl")


_WITH_CONFIG = (".safetensors", ".bin", ".index.json", "model.weights.h5")
"""Files that Hugging Face libraries and KerasHub write beside a config.json."""


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint of any format, which its first bytes tell, not its name.

    Raises `ParityError` for a file that is damaged or of no known format.
    """
    if is_folder(path):
        return _open_folder(path)
    found = _open_file(path)
    found = replace(found, files=found.files or (path,))
    return _with_config(found, path) if path.name.endswith(_WITH_CONFIG) else found


def _with_config(found: Checkpoint, path: Path) -> Checkpoint:
    from resnet_parity.weights.formats.library_config import config_beside

    facts = config_beside(path)
    files = (*found.files, path.with_name("config.json")) if facts else found.files
    return replace(found, metadata={**found.metadata, **facts}, files=files)


def _open_file(path: Path) -> Checkpoint:
    if ".data-" in path.name or path.suffix == ".index" or _is_prefix(path):
        return _open_tensorflow(path)
    check_readable(path)
    head = _head(path)
    if path.name.endswith(".weights.json"):
        return _open_keras(path)
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    if head.startswith(b"\x89HDF"):
        return _open_keras(path)
    if head.startswith(b"PK"):
        return _open_archive(path)
    if head[8:9] == b"{":
        return _open_safetensors(path)
    if is_table(path):  # a checkpoint of TensorFlow 1 in one file
        return _open_tensorflow(path)
    return _open_pickle(path, head)


def _is_prefix(path: Path) -> bool:
    """Whether a path is what the files of a checkpoint of TensorFlow begin with."""
    return not path.exists() and Path(f"{path}.index").exists()


def _open_tensorflow(path: Path) -> Checkpoint:
    from resnet_parity.weights.formats.tensorflow_files import open_tensorflow

    return open_tensorflow(path)


def _open_folder(path: Path) -> Checkpoint:
    """The checkpoint in a folder, as Hugging Face, timm, KerasHub and TensorFlow lay it out."""
    if (path / "saved_model.pb").exists() or any(path.glob("*.index")):
        return _open_tensorflow(path)
    if (path / "task.weights.h5").is_file():
        return _open_preset(path)
    if _is_keras_folder(path):
        files = (path / "config.json", path / "model.weights.h5")
        return replace(_open_keras(path), files=files)
    indexes = [*path.glob("*.index.json"), *path.glob("*.weights.json")]
    named = [path / name for name in _FOLDER if (path / name).is_file()]
    files = (each for each in sorted(path.iterdir()) if each.is_file())
    others = [each for each in files if each.suffix in _SUFFIXES]
    found = named[:1] or indexes or others
    if not found:
        raise ParityError(f"{path} is a folder that holds no checkpoint; name a file")
    if len(found) > 1:
        listed = ", ".join(each.name for each in found[:5])
        raise ParityError(f"{path} holds {len(found)} checkpoints ({listed}); name a file")
    return open_checkpoint(found[0])


def _is_keras_folder(path: Path) -> bool:
    """Whether a folder is a model that Keras saved without an archive; no preset of KerasHub."""
    config = path / "config.json"
    if not (config.is_file() and (path / "model.weights.h5").is_file()):
        return False
    with config.open("rb") as file:
        return b"keras_hub" not in file.read(2**20)


def _open_preset(path: Path) -> Checkpoint:
    """A preset of KerasHub that has a head: its weights are in a file of their own."""
    files = (path / "model.weights.h5", path / "task.weights.h5")
    backbone, task = map(_open_keras, files)
    merged = {
        group: {**tensors, **task.groups.get(group, {})}
        for group, tensors in backbone.groups.items()
    }
    found = replace(backbone, path=path, groups=merged, files=files)
    return _with_config(found, path / "model.weights.h5")


def _open_shards(path: Path) -> Checkpoint:
    from resnet_parity.weights.formats.shards import open_shards

    return open_shards(path)


def _open_keras(path: Path) -> Checkpoint:
    from resnet_parity.weights.formats.keras_files import open_keras

    return open_keras(path)


def _open_safetensors(path: Path) -> Checkpoint:
    from resnet_parity.weights.formats.safetensors_files import open_safetensors

    return open_safetensors(path)


def _open_archive(path: Path) -> Checkpoint:
    """A zip archive: of Keras, NumPy or PyTorch."""
    if path.suffix in (".keras", ".npz"):
        from resnet_parity.weights.formats.marks import read_comment

        if path.suffix == ".keras":
            found = _open_keras(path)
        else:
            from resnet_parity.weights.formats.numpy_files import open_npz

            found = open_npz(path)
        return replace(found, metadata={**found.metadata, **read_comment(path)})
    from resnet_parity.weights.formats.torch_files import open_torch

    return open_torch(path)


def _open_pickle(path: Path, head: bytes) -> Checkpoint:
    """A pickle of NumPy arrays, or of PyTorch before its archives."""
    if head.startswith(b"\x80") or path.suffix in (".pkl", ".pickle", ".pdparams"):
        from resnet_parity.weights.formats.numpy_files import open_pickle

        return open_pickle(path)
    if path.suffix == ".onnx":
        raise ParityError(f"{path} is an ONNX file; `resnet-parity convert` and `import` read it")
    from resnet_parity.weights.formats.torch_files import open_torch

    return open_torch(path)


def is_onnx(path: Path) -> bool:
    """Whether a path names an ONNX file, or one of no other name that begins as ONNX files do."""
    if path.suffix == ".onnx" or is_folder(path):
        return path.suffix == ".onnx"
    if not path.exists():
        return False
    named = path.suffix in _SUFFIXES or path.name.endswith((".tar", ".th", ".json", ".index"))
    # The first field of a model is the version of the format.
    return not named and not is_safetensors(path) and _head(path).startswith(b"\x08")


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as a safetensors file does."""
    return _head(path)[8:9] == b"{"


def is_other_checkpoint(path: Path) -> bool:
    """Whether a file begins as one of Keras, PyTorch or NumPy does."""
    return _head(path).startswith((b"\x89HDF", b"PK", b"\x80")) and not is_safetensors(path)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(16)
