"""Files: checks before reading and writing, and writing that leaves no partial file."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from resnet_parity.errors import ParityError

_PREFIX, _SUFFIX = ".resnet-parity-", ".tmp"
"""The names of temporary files begin and end so."""

_OTHER_FILES = {
    b"version https://git-lfs": "a pointer of Git LFS, not the file; get that with `git lfs pull`",
    b"\x1f\x8b": "compressed by gzip; unpack it with `gunzip`",
    b"bzh": "compressed by bzip2; unpack it with `bunzip2`",
    b"\xfd7zxz": "compressed by xz; unpack it with `unxz`",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it with `unzstd`",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; extract it and name the file in it",
    b"rar!": "a RAR archive; extract it and name the file in it",
    b"<?xml": "XML, such as the error of a download; download the raw file",
    b"<!doctype html": "a web page, not the file; download the raw file",
    b"<html": "a web page, not the file; download the raw file",
    b"\x89png": "a PNG image, which holds no weights",
    b"\xff\xd8\xff": "a JPEG image, which holds no weights",
    b"gif8": "a GIF image, which holds no weights",
    b"%pdf": "a PDF document, which holds no weights",
}
"""What a file is instead, by its first bytes in lower case. None of the formats begins so."""

_LONGEST = max(map(len, _OTHER_FILES))


def check_readable(path: Path) -> None:
    """Raise `ParityError` unless `path` is a file."""
    status = _status(path, "read")
    if status is None or not stat.S_ISREG(status.st_mode):
        raise ParityError(f"{path} {'is not a file' if status else 'does not exist'}")
    with suppress(OSError), path.open("rb") as file:  # the reader reports what cannot be read
        start = file.read(_LONGEST)
        for beginning, what in _OTHER_FILES.items():
            if start.lower().startswith(beginning):
                raise ParityError(f"{path} is {what}")


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder. Raises `ParityError` for an impossible name."""
    status = _status(path, "read")
    return status is not None and stat.S_ISDIR(status.st_mode)


def is_file(path: Path) -> bool:
    """Whether `path` is a file. Raises `ParityError` for an impossible name."""
    status = _status(path, "read")
    return status is not None and stat.S_ISREG(status.st_mode)


@contextmanager
def reading(path: Path | str, kind: str, fix: str) -> Iterator[None]:
    """Turn whatever a reader raises of a user's file into one `ParityError`.

    `kind` is what the file should be, and `fix` what the user can do.
    """
    try:
        yield
    except (ParityError, MemoryError):
        raise
    except Exception as error:  # decoders raise many types for a damaged file
        if isinstance(error, OSError) and error.strerror:
            raise ParityError(f"{path} cannot be read: {error.strerror}") from error
        raise ParityError(f"{path} is not {kind}, or is damaged; {fix}: {brief(error)}") from error


def state_of(path: Path) -> tuple[int, int, int]:
    """Numbers that change when a file is replaced or written: inode, size, time."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def brief(error: BaseException | str) -> str:
    """The first line of a message, shortened if it is long."""
    line = (str(error).strip() or type(error).__name__).partition("\n")[0]
    return line if len(line) <= 200 else f"{line[:200]} ..."


def check_writable(path: Path) -> None:
    """Raise `ParityError` if a file cannot be written; called before the work, not after it."""
    status = _status(path, "written")
    if status and not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise ParityError(f"{path} is {kind}; name a file")
    target = _target(path)
    if not target.parent.is_dir():
        raise ParityError(f"{path} cannot be written: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK) or (status and not os.access(path, os.W_OK)):
        raise ParityError(f"{path} cannot be written: permission denied")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `ParityError` which says that `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise ParityError(f"{path} cannot be written: {error.strerror or brief(error)}") from error


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Write a file at once or not at all; see `atomic_file`."""
    with atomic_file(path) as file, writing(path):
        file.write(content)


def write_all_atomically(contents: Mapping[Path, bytes]) -> None:
    """Write several files; none of them if one cannot be written."""
    with ExitStack() as stack:
        for path, content in contents.items():
            file = stack.enter_context(atomic_file(path))
            with writing(path):
                file.write(content)
                file.flush()


@contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A temporary file in the same folder, which is renamed if nothing fails.

    A symbolic link stays and its target is written; an existing file keeps its mode. Temporary
    files of processes that were killed are deleted. Raises `ParityError` for its own steps; the
    caller writes within `writing`.
    """
    check_writable(path)
    target = _target(path)
    with writing(path):
        _delete_abandoned(target.parent)
        file = _temporary(target.parent)
    with file as temporary:
        try:
            yield temporary
            with writing(path):
                temporary.flush()
                _set_mode(temporary.fileno(), target)
                os.fsync(temporary.fileno())
                Path(temporary.name).replace(target)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path in a temporary folder beside `path`; the file written there replaces `path`.

    It has the same suffix, and a library can write it by its own means, within `writing`. Raises
    `ParityError` for its own steps.
    """
    check_writable(path)
    target = _target(path)
    with _temporary_folder(path, target.parent) as folder:
        yield folder / path.name
        with writing(path):
            with (folder / path.name).open("rb") as written:
                _set_mode(written.fileno(), target)
                os.fsync(written.fileno())
            (folder / path.name).replace(target)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give a new folder in a temporary one beside `path`; it becomes `path`, if nothing fails.

    Raises `ParityError` for its own steps; the caller writes within `writing`.
    """
    check_new_folder(path)
    target = _target(path)
    with _temporary_folder(path, target.parent) as folder:
        new = folder / path.name
        with writing(path):
            new.mkdir()
        yield new
        with writing(path):
            new.replace(target)


def check_not_source(path: Path, source: str) -> None:
    """Raise `ParityError` if a file to write is the one that was read, or in the folder that was.

    `source` is empty if nothing was read from a file.
    """
    read, written = Path(os.path.realpath(source)), _target(path)
    if source and (written == read or (read.is_dir() and read in written.parents)):
        raise ParityError(f"{path} is what is read, or inside it; name another one with --out")


def check_new_folder(path: Path) -> None:
    """Raise `ParityError` if a folder cannot be made, or holds something already."""
    _status(path, "written")
    target = _target(path)
    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise ParityError(f"{path} exists already; name a new folder")
    if not target.parent.is_dir():
        raise ParityError(f"{path} cannot be written: there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK):
        raise ParityError(f"{path} cannot be written: permission denied")


def _status(path: Path, purpose: str) -> os.stat_result | None:
    """The status of a file, None if there is none. Raises `ParityError` for an impossible name."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ParityError(f"{path} cannot be {purpose}: {error.strerror}") from error
    except ValueError as error:  # a null byte
        raise ParityError(f"{str(path)!r} cannot be {purpose}: {error}") from error


def _target(path: Path) -> Path:
    """The file that a symbolic link leads to, which need not exist; else `path` in full."""
    return Path(os.path.realpath(path))


def _temporary(folder: Path) -> IO[bytes]:
    """A new temporary file; its lock says that it is in use."""
    while True:
        file = tempfile.NamedTemporaryFile(  # noqa: SIM115, the caller closes it
            dir=folder, prefix=_PREFIX, suffix=_SUFFIX, delete=False
        )
        with suppress(OSError):  # a file system without locks; there no file is taken as abandoned
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # another process deleted it before it was locked


@contextmanager
def _temporary_folder(path: Path, parent: Path) -> Iterator[Path]:
    """A new temporary folder, to write `path`; its lock says that it is in use."""
    with writing(path):
        _delete_abandoned(parent)
        made = tempfile.TemporaryDirectory(
            dir=parent, prefix=_PREFIX, suffix=_SUFFIX, ignore_cleanup_errors=True
        )
    with made as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            with suppress(OSError):  # a file system without locks; there no folder is abandoned
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(descriptor)


def _set_mode(descriptor: int, target: Path) -> None:
    """Give a temporary file the mode and the group of the file that it replaces."""
    try:
        status = target.stat()
    except FileNotFoundError:
        os.fchmod(descriptor, 0o666 & ~_umask())
        return
    with suppress(OSError):  # a group that this user is not in
        os.fchown(descriptor, -1, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _delete_abandoned(folder: Path) -> None:
    """Delete temporary files and folders that no process holds a lock on: theirs was killed."""
    for path in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):  # of another user, locked, or deleted by another process
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            finally:
                os.close(descriptor)


def _umask() -> int:
    """The permissions that a new file does not get. The umask can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def shown(name: object, longest: int = 80) -> str:
    """A name of a file's content for a message: shortened, and as ASCII unless it is plain."""
    text = name if isinstance(name, str) and name.isascii() and name.isprintable() else ascii(name)
    return text if len(text) <= longest else f"{text[:longest]} ..."
