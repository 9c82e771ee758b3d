"""One function per architecture, such as `resnet_torch.resnet50`, made from the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from inspect import Parameter, signature
from typing import Any, TypeVar

from resnet_spec.architecture import Architecture, ArchitectureError
from resnet_spec.hints import unknown_option
from resnet_spec.registry import GROUPS

Model = TypeVar("Model")


def constructors(
    create_model: Callable[..., Model], module: str
) -> dict[str, Callable[..., Model]]:
    """A function that builds it for every row of the registry, by name, as members of `module`.

    A function takes the options of `create_model`. Its signature also lists every other field of
    the row, with the row's value as its default.
    """
    rows = (row for group in GROUPS.values() for row in group)
    return {row.name: _constructor(create_model, module, row) for row in rows}


def _constructor(
    create_model: Callable[..., Model], module: str, row: Architecture
) -> Callable[..., Model]:
    def build(*positional, **options) -> Model:
        if positional:  # torchvision's first one is pretrained
            given = f"{row.name}({', '.join(map(repr, positional))}): options are given by name"
            hint = unknown_option("pretrained", ())
            raise ArchitectureError(f"{given}. If you meant pretrained, {hint}")
        return create_model(row, **options)

    build.__name__ = build.__qualname__ = row.name
    build.__module__ = module
    build.__doc__ = describe(row)
    build.__signature__ = _signature(create_model, row)  # pyright: ignore[reportFunctionMemberAccess]
    return build


def _signature(create_model: Callable[..., object], row: Architecture):
    """The keyword-only parameters of `create_model`, and its `**overrides` spelled out."""
    whole = signature(create_model)
    own = [each for each in whole.parameters.values() if each.kind is Parameter.KEYWORD_ONLY]
    names = {each.name for each in own}
    kind = Parameter.KEYWORD_ONLY
    overrides = [
        Parameter(field.name, kind, default=getattr(row, field.name), annotation=field.type)
        for field in fields(row)
        if field.name not in names
    ]
    return whole.replace(parameters=[*own, *overrides])


def describe(row: Architecture) -> str:
    """The docstring of a row's function: its blocks, the fields off their default, its source."""
    blocks = "-".join(str(stage.blocks) for stage in row.stages)
    sections = [
        f"{row.name}: {row.block} blocks {blocks}.",
        "\n".join(f"* {field}" for field in _changed(row) if not field.startswith("source=")),
        f"Source: {row.source}.\nTakes the options of `create_model`.",
    ]
    return "\n\n".join(section for section in sections if section)


def _changed(part: Any) -> list[str]:
    """The fields of a dataclass that differ from their default, as `name=value`."""
    values = ((field, getattr(part, field.name)) for field in fields(part))
    return [
        f"{field.name}={_short(value)}"
        for field, value in values
        if field.default not in (MISSING, value)
    ]


def _short(value: Any) -> str:
    """The repr of a value, of a dataclass without the fields that have their default."""
    if not is_dataclass(value):
        return repr(value)
    return f"{type(value).__name__}({', '.join(_changed(value))})"
