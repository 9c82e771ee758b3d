"""Why a graph is no architecture of the table: the nearest row, the first difference, the fix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from onnxscript import ir

from resnet_spec import ARCHITECTURES, Architecture, get_architecture, parameters

from resnet_parity.onnx_io.nodes import constant
from resnet_parity.onnx_io.search import closest

_MOST_TRIED = 4
"""Architectures of equally similar convolutions; the first of them stand for the rest."""

Shape = tuple[int, ...]


def kernels(graph: ir.Graph) -> list[tuple[str, Shape]]:
    """The convolutions with constant weights, each with the name of its node and its shape."""
    found = ((node, constant(node, 1)) for node in graph if node.op_type == "Conv")
    return [(node.name or "", kernel.shape) for node, kernel in found if kernel is not None]


def kernels_of(arch: Architecture) -> Counter[Shape]:
    """The number of convolutions of each shape."""
    return Counter(p.shape for p in parameters(arch) if p.axes == "oihw")


def refusal(
    graph: ir.Graph,
    candidates: Sequence[Architecture],
    ends: dict[str, Any],
    wanted: Architecture | None,
) -> str:
    """The nearest of the candidates, the first difference from it, and the fix; "" if it fits.

    Without candidates, the nearest are those with the most convolutions of the same shapes; `ends`
    are their image channels and classes.
    """
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
    fix = first.fix
    if not fix and wanted is None:
        fix = f"`resnet-parity show {name}` lists the layers that it should have"
    text = f"it is not {name}: " if wanted else f"{reason}nearest is {name}, but "
    return "; ".join(filter(None, (f"{text}{first.text}{more}", fix)))


def _most_similar(
    shapes: Sequence[tuple[str, Shape]], ends: dict[str, Any]
) -> tuple[list[Architecture], str]:
    """The rows with the most convolutions of the same shapes, and the first one that no row has."""
    rows = [get_architecture(name, **ends) for name in ARCHITECTURES]
    found = Counter(shape for _, shape in shapes)
    apart = {row.name: _distance(found, kernels_of(row)) for row in rows}
    least = min(apart.values())
    nearest = [row for row in rows if apart[row.name] == least][:_MOST_TRIED]
    if not shapes or least > len(shapes):
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


def _distance(found: Counter[Shape], wanted: Counter[Shape]) -> int:
    return ((found - wanted) + (wanted - found)).total()
