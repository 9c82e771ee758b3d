"""Values as JSON and plain arrays, so that two processes can talk without pickles.

JSON takes what it has; everything else is a list of a word and what it needs: `["array", 3]` is the
fourth of the arrays that travel beside, `["model", 5]` a thing that stays where it was made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import resnet_spec

SPECS = {
    name: each
    for name, each in vars(resnet_spec).items()
    if isinstance(each, type) and dataclasses.is_dataclass(each)
}
"""The classes that may travel: the frozen rows of the specification, and nothing else."""


def pack(value: Any, arrays: list[np.ndarray], keep: Callable[[Any], int]) -> Any:
    """JSON for that value. Arrays are appended to `arrays`; `keep` numbers what must stay here."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return ["array", len(arrays) - 1]

    def each(values: Any) -> list[Any]:
        return [pack(item, arrays, keep) for item in values]

    if isinstance(value, Mapping):
        return ["dict", each(value), each(value.values())]
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple", *each(value)]
    if SPECS.get(type(value).__name__) is type(value):
        fields = [field.name for field in dataclasses.fields(value)]
        return ["spec", type(value).__name__, fields, *each(getattr(value, f) for f in fields)]
    return ["model", keep(value)]


def unpack(data: Any, arrays: Mapping[int, np.ndarray], kept: Callable[[int], Any]) -> Any:
    """The value behind that JSON; `kept` finds what did not travel."""
    if not isinstance(data, list):
        return data
    word, *rest = data

    def each(items: list[Any]) -> list[Any]:
        return [unpack(item, arrays, kept) for item in items]

    if word == "array":
        return arrays[rest[0]]
    if word == "dict":
        return dict(zip(each(rest[0]), each(rest[1]), strict=True))
    if word == "spec":
        name, fields, *values = rest
        return SPECS[name](**dict(zip(fields, each(values), strict=True)))
    if word == "model":
        return kept(rest[0])
    return each(rest) if word == "list" else tuple(each(rest))
