"""The differences of two architectures: fields, size, cost and tensors."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from rich.console import Console

from resnet_spec import Architecture, mac_count, parameter_count, parameters

from resnet_parity.reports.tables import json_data, new_table

_IGNORED = ("name", "source")
_SAME_LOGITS = {"bn_decay", "zero_init_residual", "image_size"}


def compare_json(first: Architecture, second: Architecture) -> dict[str, Any]:
    """The differences as plain data."""
    ours, theirs = ({p.name: p.shape for p in parameters(arch)} for arch in (first, second))
    shared = [name for name in ours if name in theirs]
    return {
        "names": [first.name, second.name],
        "fields": {name: json_data(pair) for name, pair in _different("", first, second).items()},
        "parameters": [parameter_count(first), parameter_count(second)],
        "macs": [mac_count(first), mac_count(second)],
        "image_size": [first.image_size, second.image_size],
        "tensors": {
            "equal": sum(ours[name] == theirs[name] for name in shared),
            "of another shape": [name for name in shared if ours[name] != theirs[name]],
            "only in the first": [name for name in ours if name not in theirs],
            "only in the second": [name for name in theirs if name not in ours],
        },
    }


def print_compare(console: Console, first: Architecture, second: Architecture) -> None:
    """Print the differences, and whether the weights of one fit the other."""
    data = compare_json(first, second)
    if not data["fields"]:
        console.print(f"{first.name} and {second.name} are the same architecture")
        return
    table = new_table("", first.name, second.name)
    for name, pair in _different("", first, second).items():
        table.add_row(name, *map(repr, pair))
    table.add_row("parameters", *(f"{count:,}" for count in data["parameters"]))
    costs = (
        f"{macs / 1e9:.2f} at {size}x{size}"
        for macs, size in zip(data["macs"], data["image_size"], strict=True)
    )
    table.add_row("GMACs", *costs)
    console.print(table)
    console.print(f"\n{_tensors_text(data)}", soft_wrap=True)


def _different(prefix: str, first: Any, second: Any) -> dict[str, tuple[Any, Any]]:
    """Every field whose value differs; fields of nested components are named one by one."""
    found = {}
    for field in fields(first):
        ours: Any = getattr(first, field.name)
        theirs: Any = getattr(second, field.name)
        if ours == theirs or field.name in _IGNORED:
            continue
        name = f"{prefix}{field.name}"
        if name == "stages" and len(ours) == len(theirs):
            for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                found |= _different(f"{name}[{index}].", one, other)
        elif is_dataclass(ours) and is_dataclass(theirs):
            found |= _different(f"{name}.", ours, theirs)
        else:
            found[name] = (ours, theirs)
    return found


def _tensors_text(data: dict[str, Any]) -> str:
    first, second = data["names"]
    tensors = data["tensors"]
    others = {
        f"{len(names)} {kind} ({names[0]}{', ...' if len(names) > 1 else ''})"
        for kind, names in tensors.items()
        if kind != "equal" and names
    }
    if not others:
        same = set(data["fields"]) <= _SAME_LOGITS
        return (
            f"all {tensors['equal']} tensors have the same names and shapes: weights of {first} "
            f"load into {second}, and give {'the same' if same else 'other'} logits"
        )
    words = (
        f"{tensors['equal']} tensors have the same names and shapes; {'; '.join(sorted(others))}"
    )
    return words.replace("the first", first).replace("the second", second)
