"""Describe a checkpoint by its names and shapes, without the values of tensors, for `inspect`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resnet_spec import Architecture
from resnet_spec.text import printable

from resnet_parity.errors import ParityError
from resnet_parity.weights.formats import open_checkpoint
from resnet_parity.weights.formats.stored import Checkpoint
from resnet_parity.weights.identify import COUNTER
from resnet_parity.weights.loading import (
    Choice,
    UnknownNetworkError,
    check_dtypes,
    choose,
    given_architecture,
)
from resnet_parity.weights.remarks import Remarks, remarks

_SHOWN, _LONGEST, _LISTED = 8, 80, 40


@dataclass(frozen=True)
class Description:
    """A checkpoint and the network in it; `problem` says why it cannot be loaded, if so."""

    checkpoint: Checkpoint
    choice: Choice | None
    remarks: Remarks
    problem: str

    @property
    def architecture(self) -> Architecture | None:
        return self.choice.reading.architecture if self.choice else None

    @property
    def dtype(self) -> str:
        if self.choice is None:
            return ""
        tensors = self.choice.tensors
        return ", ".join(sorted({tensors[name].dtype for name in self.choice.reading.names}))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        reading = self.choice.reading if self.choice else None
        arch = self.architecture
        return {
            "file": str(self.checkpoint.path),
            "format": self.checkpoint.format,
            "groups": {name: len(each) for name, each in self.checkpoint.groups.items()},
            "step_counters": {n: _counters(each) for n, each in self.checkpoint.groups.items()},
            "dialect": reading and reading.dialect.name,
            "group": self.choice and self.choice.group,
            "prefix": reading and reading.prefix,
            "is_ema": bool(self.choice and self.choice.is_ema),
            "architecture": arch and arch.name,
            "num_classes": arch and arch.num_classes,
            "in_channels": arch and arch.in_channels,
            "dtype": self.dtype,
            "tensors": len(reading.names) if reading else 0,
            "names": []
            if reading
            else [n for each in self.checkpoint.groups.values() for n in each],
            "left_over": list(reading.left_over) if reading else [],
            "biases": list(reading.biases) if reading else [],
            "stated": list(self.remarks.stated),
            "assumptions": list(self.remarks.assumed),
            "aside": list(self.remarks.aside),
            "contents": [*self.checkpoint.contents, *(self.choice.others if self.choice else ())],
            "metadata": {key: str(value) for key, value in _facts(self.checkpoint).items()},
            "problem": self.problem,
        }

    def lines(self) -> Iterator[str]:
        """One fact a line."""
        path, names = printable(str(self.checkpoint.path)), self.checkpoint.groups
        yield f"{path}: {self.checkpoint.format}"
        for group, tensors in names.items():
            where = f"in {printable(group)!r}: " if group else ""
            counters = _counters(tensors)
            steps = f" and {counters} step counters" if counters else ""
            yield f"  {where}{len(tensors) - counters} tensors{steps}"
            if self.choice is None:
                listed = [*tensors.items()][:_LISTED]
                yield from (f"    {printable(n)} {each.shape}" for n, each in listed)
                if len(tensors) > _LISTED:
                    yield f"    ... and {len(tensors) - _LISTED} more (--json lists all)"
        for line in self.checkpoint.contents:
            yield f"  {printable(line)}"
        facts = _facts(self.checkpoint)
        for key in (
            each for each in facts if each != "spec"
        ):  # a page of JSON, whose architecture is a fact as well
            value = printable(str(facts[key]))
            more = " ..." if len(value) > _LONGEST else ""
            yield f"  {printable(key)} = {value[:_LONGEST]}{more}"
        if self.choice is None:
            return
        reading, arch = self.choice.reading, self.choice.reading.architecture
        yield f"network: {arch.name}, {arch.num_classes} classes, {arch.in_channels} image channels"
        yield f"  names of {reading.dialect.title} ({reading.dialect.name}), {self.dtype}"
        if self.choice.place:
            yield f"  at {printable(self.choice.place)}{', averaged' if self.choice.is_ema else ''}"
        if reading.biases:
            yield f"  {len(reading.biases)} biases of convolutions, to be folded into norms"
        yield from (f"  {line}" for line in self.choice.others)
        if reading.left_over:
            shown = ", ".join(map(printable, reading.left_over[:_SHOWN]))
            more = " ..." if len(reading.left_over) > _SHOWN else ""
            yield f"  left over, {len(reading.left_over)} tensors: {shown}{more}"
        yield from (f"  no part of it: {line}" for line in self.remarks.aside)
        yield from (f"stated by {line}" for line in self.remarks.stated)
        if self.remarks.assumed:
            yield "the file cannot say; assumed:"
        yield from (f"  {line}" for line in self.remarks.assumed)


def _counters(tensors: Collection[str]) -> int:
    """The number of step counters of torch, which are no weights."""
    return sum(name.endswith(COUNTER) for name in tensors)


def _facts(checkpoint: Checkpoint) -> dict[str, object]:
    """The facts in short words; that names are in the file is none."""
    return {
        key: value
        for key, value in checkpoint.metadata.items()
        if isinstance(value, str | int | float) and (key, value) != ("names", "in the file")
    }


def describe(
    path: Path,
    *,
    architecture: str | None = None,
    prefix: str | None = None,
    ema: bool = True,
) -> Description:
    """Describe a file or a folder. Raises `ParityError` for one that cannot be opened."""
    checkpoint = open_checkpoint(path)
    given = given_architecture(architecture)
    try:
        choice = choose(checkpoint, prefix=prefix, architecture=given, ema=ema)
    except ParityError as error:
        reason = error.reason if isinstance(error, UnknownNetworkError) else str(error)
        return Description(checkpoint, None, Remarks((), (), ()), reason)
    problem = ""
    try:
        check_dtypes(path, choice)
    except ParityError as error:
        problem = str(error)
    found = remarks(path, choice.reading, checkpoint.metadata, is_given=given is not None)
    return Description(checkpoint, choice, found, problem)
