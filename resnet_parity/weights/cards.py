"""The README.md of a folder: which network it is, where it comes from, what was proven."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from resnet_spec import parameter_count
from resnet_spec.text import printable

from resnet_parity.errors import ParityError
from resnet_parity.files import reading, state_of
from resnet_parity.weights.loading import Loaded
from resnet_parity.weights.opening import opening, preprocessing
from resnet_parity.weights.proof import Proof
from resnet_parity.weights.targets import Target


def card(
    loaded: Loaded,
    target: Target,
    proof: Proof | None,
    dtype: str = "float32",
    rounding: float | None = None,
) -> str:
    """The text of `README.md`; `rounding` is the relative error of the kernels in a smaller dtype.

    Raises `ParityError` if a file changed after it was loaded.
    """
    return "\n".join(_lines(loaded, target, proof, dtype, rounding)) + "\n"


def _lines(
    loaded: Loaded, target: Target, proof: Proof | None, dtype: str, rounding: float | None
) -> Iterator[str]:
    arch, report = loaded.architecture, loaded.report
    source = Path(report.file)
    yield from ("---", "license: # fill in: the licence of the source", "---", "")
    yield f"# {arch.name}, {arch.num_classes} classes, {arch.in_channels} image channels"
    yield ""
    yield f"{parameter_count(arch):,} parameters. {_plain(arch.source)}"
    yield ""
    if report.file:
        yield f"* Converted from `{_plain(source.name)}` ({report.format}, {report.dialect})."
    yield from _hashes((loaded.original or loaded).files)
    yield from (f"* Stated by {_plain(line)}." for line in report.stated)
    yield from (f"* Assumed: {_plain(line)}." for line in report.assumptions)
    yield from (f"* Folded: {_plain(line)}." for line in report.folded)
    yield from (f"* Made up: {_plain(line)}." for line in report.made_up)
    yield from (f"* Not converted: {_plain(line)}." for line in report.aside)
    if rounding is not None:
        yield (
            f"* Rounded to {dtype}: the kernels changed by {rounding:.1e} (relative L2). The proof "
            "is that of the rounded weights."
        )
    line = opening(target.name, arch, None, "FOLDER", rounding is not None)
    yield f"* To open it: `{line}`."
    yield "* It returns logits, without a softmax." if arch.num_classes else "* It has no head."
    if note := preprocessing(target.name, arch, "FOLDER"):
        yield f"* Preprocessing: {note}."
    yield ""
    if proof is None:
        yield "Not proven: written without running source and target."
        return
    yield f"Proven: {proof.text}."
    yield from (f"* folding {each.text}" for each in proof.folding)
    if not proof.comparisons:
        return
    yield ""
    yield "| image | dtype | relative L2 error | limit |"
    yield "| --- | --- | --- | --- |"
    for each in proof.comparisons:
        height, width = each.size
        yield f"| {height}x{width} | {each.dtype} | {each.error:.1e} | {each.limit:.1e} |"


def _plain(text: str) -> str:
    """A text of a stranger as one line without markup."""
    return printable(text).replace("`", "'").replace("<", "&lt;")


def _hashes(files: Mapping[Path, tuple[int, int, int]]) -> Iterator[str]:
    """The SHA-256 of each file that was loaded. Raises `ParityError` for one that changed."""
    for path, state in files.items():
        with reading(path, "a checkpoint", "load it again"), path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if state_of(path) != state:
                raise ParityError(f"{path} changed after it was loaded; load it again")
        name = "the source" if len(files) == 1 else f"`{_plain(path.name)}`"
        yield f"* SHA-256 of {name}: `{digest}`."
