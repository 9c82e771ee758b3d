"""Pools and padding that at the one size of image that a file takes equal those of a ResNet."""

from __future__ import annotations

from collections.abc import Iterator

from onnxscript import ir

from resnet_parity.onnx_io import nodes


def settle_sizes(graph: ir.Graph) -> Iterator[str]:
    """Give pools and padding of a file of fixed size the form of a ResNet, where that is the same.

    Changes the graph in place, and yields a sentence for each node that it changes.
    """
    for node in graph:
        value = node.inputs[0] if node.inputs else None
        extents = () if value is None or value.shape is None else tuple(value.shape)[2:]
        height, width = extents if len(extents) == 2 else (None, None)
        if not isinstance(height, int) or not isinstance(width, int):
            continue
        operator = node.op_type
        settle = _SETTLE.get(operator)
        what = settle(node, (height, width)) if settle else ""
        if what:
            name = node.name or node.outputs[0].name
            yield (
                f"{operator} {name!r} {what} on its map of {height}x{width}: the file takes "
                "images of one size alone, the weights take any"
            )


def _settle_padding(node: ir.Node, extents: tuple[int, int]) -> str:
    """Write the padding of a convolution or pool as the symmetric one, where that is the same.

    It is if no window reaches the cells that differ: those at the far edges.
    """
    mode, padding = node.attributes.get_string("auto_pad", "NOTSET"), nodes.pads(node)
    weight = nodes.constant(node, 1)
    kernel, strides = _windows(node)
    kernel = kernel if weight is None else weight.shape[2:]
    if padding is None or mode == "VALID" or len(kernel) != 2 or strides == (1, 1):
        return ""
    dilations = node.attributes.get_ints("dilations", (1, 1))
    beyond = [dilation * (width - 1) for dilation, width in zip(dilations, kernel, strict=True)]

    def ends(before: tuple[int, ...], after: tuple[int, ...]) -> list[int]:
        sums = map(sum, zip(extents, before, after, strict=True))
        return [(s - b - 1) // n for s, b, n in zip(sums, beyond, strides, strict=True)]

    before, after = padding[:2], padding[2:]
    is_written = mode == "NOTSET" and before == after
    if is_written or node.attributes.get_int("ceil_mode", 0):
        return ""
    if ends(before, after) != ends(before, before):
        return ""
    _set(node, pads=[*before, *before], auto_pad=None)
    if before == after:
        return "has SAME padding, which is symmetric"
    return f"pads by {padding}, which equals {before * 2}"


def _settle_max(pool: ir.Node, extents: tuple[int, int]) -> str:
    """Make the padding symmetric; remove rounding that has no effect."""
    if text := _settle_padding(pool, extents):
        return text
    kernel, strides = _windows(pool)
    if len(kernel) != 2 or set(pool.attributes.get_ints("dilations", (1,))) != {1}:
        return ""
    padding = nodes.pads(pool)
    if padding is None or not pool.attributes.get_int("ceil_mode", 0):
        return ""
    padded = [extents[axis] + padding[axis] + padding[axis + 2] for axis in (0, 1)]
    if any((p - k) % s for p, k, s in zip(padded, kernel, strides, strict=True)):
        return ""
    _set(pool, ceil_mode=None)
    return "rounds its size up, without effect"


def _settle_average(pool: ir.Node, extents: tuple[int, int]) -> str:
    """Make a pool of the entire map a global average, and one of 2x2 cells round its size up."""
    kernel, strides = _windows(pool)
    if any(nodes.pads(pool) or (1,)):
        return ""
    users = [use.node for use in pool.outputs[0].uses()]
    if kernel == extents and len(users) == 1 and users[0].op_type in nodes.RESHAPING:
        pool.op_type = "GlobalAveragePool"
        pool.attributes.clear()
        return "averages everything"
    rounds_up = pool.attributes.get_int("ceil_mode", 0)
    if kernel == strides == (2, 2) and not any(extent % 2 for extent in extents) and not rounds_up:
        _set(pool, ceil_mode=1, count_include_pad=None)
        return "rounds its size down, without effect"
    return ""


def _windows(pool: ir.Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Kernel and strides of a pool."""
    kernel = tuple(pool.attributes.get_ints("kernel_shape", ()))
    return kernel, tuple(pool.attributes.get_ints("strides", (1, 1)))


def _set(node: ir.Node, **attributes: int | list[int] | None) -> None:
    """Set attributes of a node, or remove those that are None."""
    for name, value in attributes.items():
        node.attributes.pop(name, None)
        if isinstance(value, list):
            node.attributes[name] = ir.AttrInt64s(name, value)
        elif value is not None:
            node.attributes[name] = ir.AttrInt64(name, value)


_SETTLE = {"Conv": _settle_padding, "MaxPool": _settle_max, "AveragePool": _settle_average}
