"""An architecture as JSON and back. Files of weights and graphs carry it as metadata."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.registry import get_architecture

_LONGEST = 20_000
"""In characters; resnet152 takes 700."""


def to_json(arch: str | Architecture) -> str:
    """Every field of an architecture, those with their default included."""
    return json.dumps(asdict(get_architecture(arch)), separators=(",", ":"))


def from_json(text: str) -> Architecture:
    """The architecture that `to_json` wrote; the text may come from an untrusted file.

    Raises `ArchitectureError` if it is not JSON, has other fields, or cannot be built.
    """
    if len(text) > _LONGEST:
        raise ArchitectureError(f"a spec of {len(text)} characters is too long for an architecture")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f"the spec is not JSON: {error}") from error
    return _built("the spec", data, Architecture)


def _built(where: str, value: Any, kind: Any) -> Any:
    """Convert a JSON value to the annotated type; `Architecture` refuses what does not fit."""
    options = [each for each in get_args(kind) if each is not NoneType]
    if NoneType in get_args(kind):
        return None if value is None else _built(where, value, options[0])
    if get_origin(kind) is tuple and isinstance(value, list):
        return tuple(_built(where, each, options[0]) for each in value)
    if is_dataclass(kind):
        names = {field.name for field in fields(kind)}
        if not isinstance(value, dict) or set(value) != names:
            raise ArchitectureError(f"{where} takes the fields {sorted(names)}")
        hints = get_type_hints(kind)
        parts = {name: _built(f"{where}.{name}", value[name], hints[name]) for name in value}
        return kind(**parts)  # pyright: ignore[reportCallIssue]
    return value
