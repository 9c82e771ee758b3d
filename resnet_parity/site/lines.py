"""Finds the lines of both implementations that create an operation of the spec."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import resnet_spec as spec

from resnet_parity.site.definitions import FRAMEWORKS, Definition, definitions, key, module_file


@dataclass(frozen=True)
class Place:
    """A line of a module of one implementation."""

    module: str
    number: int
    text: str


Patterns = tuple[str, ...]
"""Regular expressions; each matches exactly once in a definition."""

_CLASSES = {
    ("basic", False): ("blocks", "BasicBlock"),
    ("bottleneck", False): ("blocks", "Bottleneck"),
    ("basic", True): ("preact_blocks", "PreActBasicBlock"),
    ("bottleneck", True): ("preact_blocks", "PreActBottleneck"),
}


def classes_of(arch: spec.Architecture) -> set[str]:
    """Return the PyTorch classes of the blocks of an architecture."""
    return {definition_of(block)[1] for block in spec.make_plan(arch).blocks}


def definition_of(block: spec.Block) -> tuple[str, str]:
    """Return the module and the PyTorch class that define a block."""
    return _CLASSES[block.kind, block.preactivation]


def places_in_block(block: spec.Block, node: spec.Node) -> dict[str, list[Place]]:
    """Return the lines of an operation of a block by framework; raises `LookupError` if none."""
    name = node.name[len(block.name) :].lstrip(".")
    if name.startswith("downsample"):
        return _find("blocks", "shortcut", dict.fromkeys(FRAMEWORKS, (r"SHORTCUT_LAYERS\[",)))
    if block.se and node.name.startswith(block.se.gate.name):
        part = node.name[len(block.se.gate.name) :].lstrip(".")
        return _find("blocks", "SqueezeExcite", _of_gate(part))
    return _find(*definition_of(block), _of_block(name))


def _of_block(name: str) -> dict[str, Patterns]:
    if not name:
        return {"torch": (r"return ",), "keras": (r"return ",)}
    if name == "add":
        return {"torch": (r"self\.add = ",), "keras": (r"residual_add\(x, ",)}
    module = re.sub(r"^relu\d$", "relu", name)  # one module in PyTorch
    return {"torch": (rf"self\.{module} = ",), "keras": (rf"\(x, block\.{name}\)",)}


def _of_gate(name: str) -> dict[str, Patterns]:
    """The patterns of a gate's operation; the gate itself is a sigmoid and a product."""
    return {
        "mean": {"torch": (r"x\.mean",), "keras": (r"spec\.mean\)",)},
        "fc1": {"torch": (r"self\.fc1 = ",), "keras": (r"spec\.fc1\)",)},
        "relu": {"torch": (r"self\.relu = ",), "keras": (r"spec\.relu\)",)},
        "fc2": {"torch": (r"self\.fc2 = ",), "keras": (r"spec\.fc2\)",)},
        "": {"torch": (r"self\.sigmoid = ", r"return "), "keras": (r"Activation\(", r"return ")},
    }[name]


def places_outside(arch: spec.Architecture, node: spec.Node) -> dict[str, list[Place]]:
    """Return the lines of an operation of stem or head; raises `LookupError` if there is none."""
    if re.fullmatch(r"conv1\.\d+.*", node.name):
        last = node.operation == spec.make_plan(arch).stem.convs[-1]
        return _find("layers", "stem_conv", _of_deep_stem(node, last))
    return _find("model", {"torch": "ResNet", "keras": "resnet"}, _of_model(arch, node))


def _of_deep_stem(node: spec.Node, last: bool) -> dict[str, Patterns]:
    """The patterns of a deep stem: convolutions with norms and ReLUs, and a last convolution."""
    if last:
        return {"torch": (r"return nn\.Sequential",), "keras": (r"return conv\(x, last\)",)}
    calls: dict[type, str] = {
        spec.Conv: r"= conv\(",
        spec.Norm: r"= batch_norm\(",
        spec.Relu: r"= relu\(",
    }
    return {"torch": (r"layers \+= ",), "keras": (calls[type(node.operation)],)}


def _of_model(arch: spec.Architecture, node: spec.Node) -> dict[str, Patterns]:
    plan = spec.make_plan(arch)
    if isinstance(node.operation, spec.Relu):  # after the stem's norm, or after the final norm
        norm = "stem.norm" if plan.stem.norm else "norm"
        before = rf"x = batch_norm\(x, plan\.{re.escape(norm)}\)\n\s*"
        when = r"if not architecture" if plan.stem.norm else r"if architecture"
        registered = rf"{when}\.preactivation:\n\s*self\.relu = "
        return {"torch": (registered,), "keras": (rf"{before}x = relu\(x, ",)}
    if isinstance(node.operation, spec.GlobalAverage):
        return {"torch": (r"self\.avgpool = ",), "keras": (r"= global_average_pool\(",)}
    calls = {
        "conv1": r"= stem_conv\(",
        "bn1": r"x, plan\.stem\.norm\)",
        "maxpool": r"= max_pool\(",
        "norm": r"x, plan\.norm\)",
        "fc": r"linear\(x, plan\.fc\)",
    }
    return {"torch": (rf"self\.{node.name} = ",), "keras": (calls[node.name],)}


def _find(
    module: str, within: str | dict[str, str], patterns: dict[str, Patterns]
) -> dict[str, list[Place]]:
    names = within if isinstance(within, dict) else dict.fromkeys(FRAMEWORKS, within)
    return {
        framework: list(
            _lines(_definition(framework, module, names[framework]), module, patterns[framework])
        )
        for framework in FRAMEWORKS
    }


@cache
def _definition(framework: str, module: str, name: str) -> Definition:
    found = {key(each.name): each for each in definitions(module_file(framework, module))}
    return found[key(name)]


def _lines(definition: Definition, module: str, patterns: Patterns) -> Iterable[Place]:
    """Yield the line in which the match of each pattern ends."""
    text = "\n".join(definition.lines)
    for pattern in patterns:
        found = list(re.finditer(pattern, text))
        if len(found) != 1:
            raise LookupError(f"{definition.file} {definition.name} has {len(found)} {pattern!r}")
        index = text.count("\n", 0, found[0].end())
        yield Place(module, definition.first + index, definition.lines[index].strip())
