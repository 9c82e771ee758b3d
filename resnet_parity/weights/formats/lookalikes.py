"""Files that have the suffix of weights, and are something else."""

from __future__ import annotations

from pathlib import Path

from resnet_parity.errors import ParityError

_STARTS = {
    b"version https://git-lfs": "is a pointer of Git LFS, not the file itself; run: git lfs pull",
    b"<!doctype": "is a web page, not weights; download the file again",
    b"<html": "is a web page, not weights; download the file again",
    b"<?xml": "is XML, such as the error of a download; download the file again",
    b"\x1f\x8b": "is compressed by gzip; unpack it with gunzip, and name the file in it",
    b"BZh": "is compressed by bzip2; unpack it with bunzip2, and name the file in it",
    b"\xfd7zXZ": "is compressed by xz; unpack it with unxz, and name the file in it",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it with unzstd, and name the file in it",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive; extract it, and name the file in it",
    b"Rar!": "is a RAR archive; extract it, and name the file in it",
}


def refuse_lookalike(path: Path) -> None:
    """Raise `ParityError` for a file that is empty, a pointer, a web page or a plain archive."""
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise ParityError(f"{path} is empty; copy or download it again")
    for start, problem in _STARTS.items():
        if head.lstrip()[: len(start)].lower() == start.lower():
            raise ParityError(f"{path} {problem}")
    if head[257:262] == b"ustar":
        raise ParityError(f"{path} is a tar archive; {_tar_fix(path, head)}")


def _tar_fix(path: Path, head: bytes) -> str:
    if head[:100].rstrip(b"\0") in (b"sys_info", b"pickle", b"tensors", b"storages"):
        return (
            "PyTorch before 0.1.10 wrote such; if you trust it, write it again:\n"
            f"    torch.save(torch.load({str(path)!r}, weights_only=False), 'new.pth')"
        )
    return "extract it with tar -xf, and name the file in it"
