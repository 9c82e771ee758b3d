"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from resnet_parity.errors import ParityError


def check_readable(path: Path) -> None:
    """Raise `ParityError` where there is no file of that name."""
    if not path.is_file():
        raise ParityError(f"{path} is {'no file' if path.exists() else 'not there'}")


def check_writable(path: Path) -> None:
    """Raise `ParityError` before the work rather than after it, where a file cannot be written."""
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no plain file"
        raise ParityError(f"{path} is {kind}; name a file")
    if not path.parent.is_dir():
        raise ParityError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ParityError(f"{path} cannot be written: permission denied")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under another name beside it, then give it its own; raises `ParityError`."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as beside:
            try:
                beside.write(content)
                beside.close()
                Path(beside.name).chmod(0o666 & ~_umask())
                Path(beside.name).replace(path)
            except BaseException:
                Path(beside.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ParityError(f"{path} cannot be written: {error.strerror}") from error


def _umask() -> int:
    """The permissions that new files do not get; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
