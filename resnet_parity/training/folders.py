"""A folder of photographs: one folder a class, as torchvision's `ImageFolder` and Keras read it.

`train/` and `val/` each hold the folders of the classes; without them the folder itself does, and a
part of each class is kept for validation. Unlike both, this does not search the folders in that of
a class; they count among the other files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from PIL import Image

from resnet_parity.errors import ParityError
from resnet_parity.files import is_folder, reading
from resnet_parity.probes.splitmix import Stream


@dataclass(frozen=True)
class Sample:
    """A photograph and the number of its class."""

    path: Path
    label: int


@dataclass(frozen=True)
class Photographs:
    """The samples in the order of their names; `others` are no pictures of a class."""

    classes: tuple[str, ...]
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    others: tuple[Path, ...] = ()


def read_photographs(folder: str | Path, *, val_split: float = 0.0, seed: int = 0) -> Photographs:
    """Find the classes and the photographs in a folder; no picture is opened.

    `val_split` is the part of each class that is kept for validation, where there is no `val/`.

    Raises `ParityError` that names the folder that is wrong.
    """
    folder = Path(folder)
    if not is_folder(folder):
        raise ParityError(f"{folder} is no folder of photographs")
    if not 0 <= val_split < 1:
        raise ParityError(f"--val-split must lie in [0, 1), not {val_split}")
    is_split = is_folder(folder / "train")
    classes, train, others = read_samples(folder / "train" if is_split else folder, None)
    if is_split and is_folder(folder / "val"):
        if val_split:
            raise ParityError(f"{folder} has a folder val; leave --val-split out")
        _, val, more = read_samples(folder / "val", classes)
        return Photographs(classes, train, val, others + more)
    if not val_split:
        other = _validation_of_another_name(folder) if is_split else ""
        fix = f"rename {other!r}" if other else "add one"
        raise ParityError(f"{folder} has no folder val; {fix}, or keep a part with --val-split 0.2")
    kept = {*_for_validation(train, val_split, seed)}
    rest = tuple(each for each in train if each not in kept)
    return Photographs(classes, rest, tuple(each for each in train if each in kept), others)


def _validation_of_another_name(folder: Path) -> str:
    """The name of a folder that others use for `val`, such as `validation`; empty without one."""
    names = [each.name for each in _visible(folder) if is_folder(each)]
    return next((name for name in names if name.lower().startswith(("val", "test", "dev"))), "")


def read_samples(
    folder: Path, known: tuple[str, ...] | None
) -> tuple[tuple[str, ...], tuple[Sample, ...], tuple[Path, ...]]:
    """The classes, the samples and the files of no picture of one folder of classes.

    Raises `ParityError` for a class that is not `known`, and for a folder that holds none.
    """
    names = tuple(each.name for each in _visible(folder) if is_folder(each))
    if not names:
        is_flat = any(pictures(folder))
        hint = "it holds pictures, not one folder a class" if is_flat else "it is empty"
        raise ParityError(f"{folder} holds no classes: {hint}")
    if known is None and len(names) == 1:
        if not any(pictures(folder / names[0])):
            raise ParityError(_no_pictures(folder / names[0]))
        raise ParityError(
            f"{folder} holds one class, {names[0]!r}; training needs two or more, each in a folder"
        )
    if unknown := [name for name in names if known is not None and name not in known]:
        raise ParityError(
            f"{folder / unknown[0]} is a class that was not trained; known: {_some(known or ())}"
        )
    classes, samples, others = known or names, [], []
    for name in names:
        found = [*pictures(folder / name)]
        if not found:
            raise ParityError(_no_pictures(folder / name))
        samples += [Sample(path, classes.index(name)) for path in found]
        known_files = {*found}
        others += [each for each in _visible(folder / name) if each not in known_files]
    others += [each for each in _visible(folder) if each.name not in names]
    return classes, tuple(samples), tuple(others)


def _some(names: Sequence[str]) -> str:
    more = f", and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(map(repr, names[:8])) + more


def _no_pictures(folder: Path) -> str:
    inner = [each for each in _visible(folder) if is_folder(each)]
    if folder.name.lower().startswith("train") and inner:
        return (
            f"{folder} holds folders and no pictures; if they are the classes, rename it to train"
        )
    if any(any(pictures(each)) for each in inner):
        return (
            f"{folder} holds folders and no pictures; a class is one folder of pictures: name "
            f"{folder} itself, or move the pictures up"
        )
    return f"{folder} holds no pictures (.jpg, .png, .webp ...); add some, or delete it"


def _visible(folder: Path) -> list[Path]:
    with reading(folder, "a folder of photographs", "name another"):
        return sorted(each for each in folder.iterdir() if not each.name.startswith("."))


def pictures(folder: Path) -> Iterator[Path]:
    """The pictures of a folder by their suffixes, in the order of their names.

    A pipe or a link to nothing counts as one, so that it is named when it is read.
    """
    suffixes = _suffixes()
    for each in _visible(folder):
        if each.suffix.lower() in suffixes and not is_folder(each):
            yield each


def _suffixes() -> set[str]:
    """The suffixes of the formats that Pillow opens as pictures."""
    known = Image.registered_extensions()
    return {suffix for suffix, kind in known.items() if kind in Image.OPEN} - {".pdf", ".eps"}


def _for_validation(samples: Sequence[Sample], part: float, seed: int) -> Iterator[Sample]:
    """The samples of each class for validation: at least one, and one at least is left."""
    for label, group in groupby(samples, key=lambda sample: sample.label):
        own = [*group]
        if len(own) < 2:
            raise ParityError(f"{own[0].path.parent} holds one picture; a split needs two a class")
        count = min(max(1, round(len(own) * part)), len(own) - 1)
        order = Stream(f"split/{seed}/{label}").permutation(len(own))
        yield from (own[index] for index in order[:count])
