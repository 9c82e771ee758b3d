"""Checks that a frozen dataclass holds what the annotations of its fields say."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

_KINDS = {int: "an integer", float: "a float", bool: "True or False", str: "text"}


def type_mistakes(value: Any, prefix: str = "") -> Iterator[str]:
    """One message per field, nested ones included, whose value has another type than annotated."""
    for field, kind in _hints(type(value)).items():
        yield from _mistyped(prefix + field, getattr(value, field), kind)


@lru_cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _mistyped(where: str, value: Any, kind: Any) -> Iterator[str]:
    if isinstance(kind, UnionType):
        if value is not None:
            (kind,) = (each for each in get_args(kind) if each is not NoneType)
            yield from _mistyped(where, value, kind)
    elif get_origin(kind) is Literal:
        if value not in get_args(kind):
            yield f"{where} must be one of {', '.join(get_args(kind))}, not {value!r}"
    elif get_origin(kind) is tuple:
        item = get_args(kind)[0]
        if not isinstance(value, tuple):
            yield f"{where} must be a tuple of {item.__name__}, not {type(value).__name__}"
            return
        for index, each in enumerate(value):
            yield from _mistyped(f"{where}[{index}]", each, item)
    elif kind in _KINDS:
        if type(value) is not kind:  # a bool is no integer here
            yield f"{where} must be {_KINDS[kind]}, not {value!r}"
    elif isinstance(value, kind):
        yield from type_mistakes(value, f"{where}.")
    else:
        yield f"{where} must be a {kind.__name__}, not {type(value).__name__}"


def unwrap_scalars(instance: Any) -> None:
    """Replace NumPy scalars in a frozen dataclass by Python's, as its constructor ends.

    A nested dataclass is the caller's and stays as it is; a copy takes its place.
    """
    for field in fields(instance):
        object.__setattr__(instance, field.name, _unwrapped(getattr(instance, field.name)))


def _unwrapped(value: Any) -> Any:
    if isinstance(value, tuple):
        items = tuple(map(_unwrapped, value))
        return value if all(map(operator.is_, items, value)) else items
    if getattr(value, "shape", None) == ():  # this module does not import NumPy
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        before = {field.name: getattr(value, field.name) for field in fields(value)}
        after = {name: _unwrapped(each) for name, each in before.items()}
        changed = {name: each for name, each in after.items() if each is not before[name]}
        return replace(value, **changed) if changed else value
    return value


def integers(value: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Every integer in a dataclass, nested ones included, as (path, value): ("stem.kernel", 7)."""
    if type(value) is int:
        yield prefix, value
    elif isinstance(value, tuple):
        for index, each in enumerate(value):
            yield from integers(each, f"{prefix}[{index}]")
    elif is_dataclass(value):
        dot = "." if prefix else ""
        for field in fields(value):
            yield from integers(getattr(value, field.name), f"{prefix}{dot}{field.name}")
