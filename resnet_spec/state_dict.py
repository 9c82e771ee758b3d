"""The names of a state dict that another program wrote: prefixes, wrappers, sizes of its layers.

Nothing is removed or taken out in silence: a message names the prefix or the wrapper, and the line
that removes it. Only sizes are read off, and only where the user names a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from resnet_spec.architecture import Architecture
from resnet_spec.plan import make_plan
from resnet_spec.tensors import parameters

Shape = tuple[int, ...]

_DEEPEST_PREFIX = 6
"""In parts between dots; `module._orig_mod.model.backbone.` has four."""

_DEEPEST_WRAPPER = 3


def prefixes(names: Collection[object], expected: Collection[str]) -> list[str]:
    """The prefixes after which `names` are the expected ones, the most frequent first.

    A prefix, such as `module.` or `encoder_q.`, precedes at least half of the expected names, and
    more than are there without a prefix.
    """
    wanted = set(expected)
    counts: Counter[str] = Counter()
    for name in map(str, names):
        rest = name
        for _ in range(_DEEPEST_PREFIX):
            rest = rest.partition(".")[2]
            if rest in wanted:
                counts[name.removesuffix(rest)] += 1
    least = max(len(wanted) / 2, len(wanted.intersection(names)) + 1)
    return [prefix for prefix, count in counts.most_common() if count >= least]


def prefix_problem(
    names: Collection[object], expected: Collection[str], variable: str
) -> str | None:
    """The text that says which prefix the names have, and the line that removes it, None if none.

    `variable` is the user's variable that holds the state dict.
    """
    found = prefix_and_line(names, expected, variable)
    return "; remove it: ".join(found) if found else None


def prefix_and_line(
    names: Collection[object], expected: Collection[str], variable: str
) -> tuple[str, str] | None:
    """The two parts of `prefix_problem`."""
    found = prefixes(names, expected)
    if not found:
        return None
    prefix = found[0]
    count = sum(str(name).startswith(prefix) for name in names)
    others = f" (others with {' or '.join(map(repr, found[1:]))})" if found[1:] else ""
    condition = f" if name.startswith({prefix!r})" if count < len(names) else ""
    some = f"{count} of {len(names)}" if condition else f"all {count}"
    return (
        f"{some} names begin with {prefix!r}{others}",
        f"{variable} = {{name.removeprefix({prefix!r}): value "
        f"for name, value in {variable}.items(){condition}}}",
    )


def inner_state_dicts(state: Mapping[Any, Any], depth: int = _DEEPEST_WRAPPER) -> Iterator[str]:
    """The expressions that take the state dicts out of a wrapper: `["model"]["state_dict"]`."""
    if holds_tensors(state):
        return
    for key, value in state.items():
        where = f"[{key!r}]"
        if isinstance(value, Mapping) and holds_tensors(value):
            yield where
        elif isinstance(value, Mapping) and depth > 1:
            yield from (f"{where}{inner}" for inner in inner_state_dicts(value, depth - 1))
        elif hasattr(value, "named_parameters"):  # a module of PyTorch
            yield f"{where}.state_dict()"


def holds_tensors(state: Mapping[Any, Any]) -> bool:
    """Whether names with a dot lead to tensors or arrays."""
    return any(
        isinstance(name, str) and "." in name and hasattr(value, "shape")
        for name, value in state.items()
    )


def wrapper_problem(state: Mapping[Any, Any], variable: str) -> str | None:
    """The line that takes the state dict out of its wrapper, None if `state` is no wrapper."""
    found = [f"{variable}{inner}" for inner in inner_state_dicts(state)]
    if not found:
        return None
    return f"the tensors are inside this mapping; pass {' or '.join(found)}"


def other_head(expected: Mapping[str, Shape], found: Mapping[str, Shape], variable: str) -> str:
    """The line that renames the only two tensors which have other names, a kernel and a bias.

    Empty where other tensors differ too.
    """
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    if len(missing) != 2 or len(extra) != 2:
        return ""
    ours, theirs = ({name.rpartition(".")[0] + "." for name in each} for each in (missing, extra))
    leaves = [sorted(name.rpartition(".")[2] for name in each) for each in (missing, extra)]
    if (len(ours), len(theirs)) != (1, 1) or leaves[0] != leaves[1]:
        return ""
    old, new = theirs.pop(), ours.pop()
    return (
        f"if {old[:-1]} is the classifier, rename it: {variable} = {{name.replace({old!r}, {new!r})"
        f": value for name, value in {variable}.items()}}"
    )


def with_sizes_of(arch: Architecture, shapes: Mapping[str, Shape]) -> Architecture:
    """The architecture with the image channels, and the number of classes, of these tensors.

    `shapes` are those of a network by canonical name. A backbone stays one.
    """
    sizes: dict[str, int] = {}
    stem = make_plan(arch).stem.convs[0]
    kernel = shapes.get(f"{stem.name}.weight", ())
    if kernel[:1] + kernel[2:] == (stem.out_channels, stem.kernel, stem.kernel) and kernel[1]:
        sizes["in_channels"] = kernel[1]
    fc = make_plan(replace(arch, num_classes=1, out_indices=None)).fc
    if fc and arch.out_indices is None:
        head = shapes.get(f"{fc.name}.weight"), shapes.get(f"{fc.name}.bias")
        if head == (None, None):
            sizes["num_classes"] = 0
        elif head[1] and head[1][0] and head == ((head[1][0], fc.in_features), head[1][:1]):
            sizes["num_classes"] = head[1][0]
    changed = {name: size for name, size in sizes.items() if size != getattr(arch, name)}
    return replace(arch, **changed) if changed else arch


def canonical_shapes(arch: Architecture, found: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes by canonical name, of tensors that are named as in either implementation.

    Tensors that a classifier of this architecture does not have keep their names.
    """
    shapes = dict(found)
    for p in parameters(replace(arch, num_classes=arch.num_classes or 1, out_indices=None)):
        shape = shapes.pop(p.keras_name, None)
        if shape and len(shape) == len(p.keras_axes):
            extents = dict(zip(p.keras_axes, shape, strict=True))
            shapes[p.name] = tuple(extents[axis] for axis in p.axes)
    return shapes
