"""Tables and JSON of the registry of architectures, and of one architecture in detail."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from resnet_spec import (
    GROUPS,
    Architecture,
    Tap,
    layer_parameters,
    mac_count,
    make_plan,
    parameter_count,
    parameters,
    taps,
)

from resnet_parity.reports.tables import new_table, shape_text


def list_json() -> list[dict[str, Any]]:
    """The registry of architectures as plain data."""
    return [
        {
            "name": arch.name,
            "group": group,
            "block": arch.block,
            "blocks": [stage.blocks for stage in arch.stages],
            "parameters": parameter_count(arch),
            "macs": mac_count(arch),
            "image_size": arch.image_size,
            "source": arch.source,
        }
        for group, rows in GROUPS.items()
        for arch in rows
    ]


def print_list(console: Console) -> None:
    """Print the registry in groups, with the size and the cost of each architecture."""
    table = new_table("name", "block", "blocks", "parameters", "GMACs", "at")
    group = None
    for row in list_json():
        if row["group"] != group:
            group = row["group"]
            table.add_section()
            table.add_row(Text(f"\n{group}", "bold"))
        table.add_row(
            row["name"],
            row["block"],
            "-".join(map(str, row["blocks"])),
            f"{row['parameters']:,}",
            f"{row['macs'] / 1e9:.2f}",
            f"{row['image_size']}x{row['image_size']}",
        )
    console.print(table)


def show_json(arch: Architecture, size: tuple[int, int]) -> dict[str, Any]:
    """One architecture as plain data: taps with shapes and MACs, tensors in both layouts."""
    return {
        "name": arch.name,
        "source": arch.source,
        "image_size": list(size),
        "bn_eps": arch.bn_eps,
        "parameters": parameter_count(arch),
        "macs": mac_count(arch, *size),
        "taps": [
            {"name": tap.name, "shape": list(tap.shape), "macs": tap.macs}
            for tap in taps(arch, *size)
        ],
        "tensors": [
            {
                "torch": {"name": p.name, "shape": list(p.shape)},
                "keras": {"name": p.keras_name, "shape": list(p.keras_shape)},
                "axes": p.to_keras,
                "trainable": p.trainable,
            }
            for p in parameters(arch)
        ],
    }


def print_show(
    console: Console, arch: Architecture, size: tuple[int, int], *, layers: bool, tensors: bool
) -> None:
    """Print one architecture by stage; with `layers` by layer, with `tensors` by tensor too."""
    console.print(f"{arch.name}: {arch.block} blocks. {arch.source}".rstrip())
    console.print(
        f"{parameter_count(arch):,} parameters, {mac_count(arch, *size) / 1e9:.2f} GMACs "
        f"at {shape_text(size)}, batch norms with eps {arch.bn_eps:g}\n"
    )
    console.print(_stage_table(arch, size))
    if layers:
        console.print()
        console.print(_layer_table(arch, size))
    if tensors:
        console.print()
        console.print(_tensor_table(arch))


def _stage_table(arch: Architecture, size: tuple[int, int]) -> Table:
    table = new_table(
        "stage", "blocks", "torch (C, H, W)", "keras (H, W, C)", "parameters", "MMACs"
    )
    table.add_row(
        "image", "", shape_text((arch.in_channels, *size)), _hwc((arch.in_channels, *size))
    )
    blocks = {stage.name: len(stage.blocks) for stage in make_plan(arch).stages}
    groups: dict[str, list[Tap]] = {}
    for tap in taps(arch, *size):
        groups.setdefault(_group(tap.name), []).append(tap)
    for group, members in groups.items():
        count = sum(p.size for p in parameters(arch) if p.trainable and _group(p.name) == group)
        table.add_row(
            group,
            str(blocks.get(group, "")),
            shape_text(members[-1].shape),
            _hwc(members[-1].shape),
            f"{count:,}",
            f"{sum(tap.macs for tap in members) / 1e6:,.1f}",
        )
    return table


def _group(name: str) -> str:
    """The stem, the stage or the head to which a tap or tensor belongs."""
    top = name.partition(".")[0]
    if top in ("conv1", "bn1", "relu", "maxpool"):
        return "stem"
    return "head" if top in ("norm", "avgpool", "fc") else top


def _layer_table(arch: Architecture, size: tuple[int, int]) -> Table:
    """The rows of a model summary, in the layouts of both frameworks."""
    table = new_table("layer", "torch (C, H, W)", "keras (H, W, C)", "parameters", "MMACs")
    counts = {
        layer.name: sum(p.size for p in layer_parameters(layer) if p.trainable)
        for layer in make_plan(arch).layers
    }
    for tap in taps(arch, *size):
        count = counts.get(tap.name)
        table.add_row(
            tap.name,
            shape_text(tap.shape),
            _hwc(tap.shape),
            "" if count is None else f"{count:,}",
            f"{tap.macs / 1e6:,.2f}" if tap.macs else "",
        )
    return table


def _tensor_table(arch: Architecture) -> Table:
    table = new_table("torch", "shape", "keras", "shape", "axes", "elements")
    for p in parameters(arch):
        table.add_row(
            p.name,
            shape_text(p.shape),
            p.keras_name,
            shape_text(p.keras_shape),
            p.to_keras,
            f"{p.size:,}",
        )
    return table


def _hwc(shape: tuple[int, ...]) -> str:
    return shape_text((*shape[1:], shape[0]))
