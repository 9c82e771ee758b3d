"""Why a graph is no architecture of the table: the nearest row, the first difference, the fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from onnxscript import ir

from resnet_spec import ARCHITECTURES, Architecture, ArchitectureError, get_architecture, parameters

from resnet_parity.onnx_io.nodes import FILE
from resnet_parity.onnx_io.search import closest

_MOST_TRIED = 4
"""Architectures of equally similar convolutions; the first of them stand for the rest."""

Shape = tuple[int, ...]


def kernels(graph: ir.Graph) -> list[tuple[str, Shape]]:
    """The convolutions whose weights have a known shape, each with the name of its node."""
    found = []
    for node in graph:
        kernel = node.inputs[1] if node.op_type == "Conv" else None
        shape = tuple(kernel.shape or ()) if kernel is not None else ()
        if len(shape) == 4 and all(isinstance(extent, int) for extent in shape):
            found.append((node.name or "", shape))
    return found


def _group_norms(graph: ir.Graph) -> list[ir.Node]:
    """The nodes that normalise groups of channels, as exporters write them."""
    found = [node for node in graph if node.op_type == "GroupNormalization"]
    for node in graph:
        value = node.inputs[0] if node.op_type == "InstanceNormalization" else None
        before = value.producer() if value is not None else None
        if before is not None and before.op_type == "Reshape":
            found.append(node)
    return found


def kernels_of(arch: Architecture) -> Counter[Shape]:
    """The number of convolutions of each shape."""
    return Counter(p.shape for p in parameters(arch) if p.axes == "oihw")


def refusal(
    graph: ir.Graph,
    candidates: Sequence[Architecture],
    ends: dict[str, Any],
    wanted: Architecture | None,
    file: str,
) -> str:
    """The nearest of the candidates, the first difference from it, and the fix; "" if it fits.

    Without candidates, the nearest are those with the most convolutions of the same shapes; `ends`
    are their image channels and classes, and `file` is the name of the graph's file.
    """
    if groups := _group_norms(graph):
        return (
            f"its norm {groups[0].name!r} is a group norm, one of {len(groups)}; a ResNet has "
            "batch norms, and no weights make up for that: train one with batch norms"
        )
    reason = ""
    if not candidates:
        candidates, reason = _most_similar(kernels(graph), ends)
    if not candidates:
        return (
            "it does not have the convolutions of a ResNet; export one of those that "
            "`resnet-parity list` prints"
        )
    nearest = max((closest(graph, arch) for arch in candidates), key=lambda each: each.agreement)
    if not nearest.faults:
        return ""
    name, (first, *others) = nearest.architecture.name, nearest.faults
    more = f" (the first of {len(others) + 1} differences)" if others else ""
    fix = first.fix.replace(FILE, repr(file)) or _fix(name)
    text = f"it is not {name}: " if wanted else f"{reason}nearest is {name}, but "
    return f"{text}{first.text}{more}; {fix}"


def _fix(name: str) -> str:
    """The next step after a fault of which nothing else is known."""
    if name in ARCHITECTURES:
        return f"`resnet-parity show {name}` lists the layers that it should have"
    return "export it again from that architecture, or remove its metadata"


def _most_similar(
    shapes: Sequence[tuple[str, Shape]], ends: dict[str, Any]
) -> tuple[list[Architecture], str]:
    """The rows with the most convolutions of the same shapes, and the first one that no row has."""
    rows = list(_rows(ends))
    if not rows or not shapes:
        return [], ""
    found = Counter(shape for _, shape in shapes)
    apart = {row.name: _distance(found, kernels_of(row)) for row in rows}
    least = min(apart.values())
    nearest = [row for row in rows if apart[row.name] == least][:_MOST_TRIED]
    if least > len(shapes):
        return [], ""
    known = {shape for row in rows for shape in kernels_of(row)}
    room = kernels_of(nearest[0])
    for node, shape in shapes:
        room[shape] -= 1
        if shape not in known:
            return nearest, f"no architecture has a convolution of shape {shape}, as {node!r} has; "
    surplus = next(((node, shape) for node, shape in shapes if room[shape] < 0), None)
    if surplus is None:
        return nearest, f"no architecture has so few convolutions ({len(shapes)}); "
    node, shape = surplus
    return nearest, f"no architecture has as many convolutions of shape {shape}, as {node!r} has; "


def _rows(ends: dict[str, Any]) -> Iterator[Architecture]:
    """The rows that can have these image channels and classes."""
    for name in ARCHITECTURES:
        try:
            yield get_architecture(name, **ends)
        except ArchitectureError:
            continue


def _distance(found: Counter[Shape], wanted: Counter[Shape]) -> int:
    return ((found - wanted) + (wanted - found)).total()
