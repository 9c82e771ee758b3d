"""Files: checks before reading and writing, and writing that leaves no partial file."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from resnet_parity.errors import ParityError


def check_readable(path: Path) -> None:
    """Raise `ParityError` unless `path` is a file."""
    if not path.is_file():
        raise ParityError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")


def check_writable(path: Path) -> None:
    """Raise `ParityError` if a file cannot be written; called before the work, not after it."""
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "not a regular file"
        raise ParityError(f"{path} is {kind}; name a file")
    if not path.parent.is_dir():
        raise ParityError(f"{path} cannot be written: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise ParityError(f"{path} cannot be written: permission denied")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder, then rename it; raises `ParityError`."""
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as temporary:
            try:
                temporary.write(content)
                temporary.close()
                Path(temporary.name).chmod(0o666 & ~_umask())
                Path(temporary.name).replace(path)
            except BaseException:
                Path(temporary.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise ParityError(f"{path} cannot be written: {error.strerror}") from error


def _umask() -> int:
    """The permissions that a new file does not get. The umask can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
