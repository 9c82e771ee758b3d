"""Where a layer of the spec stands in both hands: the line that makes it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from resnet_spec import Architecture, Block, SqueezeExcitation, make_plan

from resnet_parity.page.definitions import Definition, definitions, key


@dataclass(frozen=True)
class Place:
    """A line of a module of one hand."""

    module: str
    number: int
    text: str


# What is written in the line that makes an operation, by the end of its name: torch, then Keras.
_BLOCK = (
    (r"(conv\d|bn\d)", r"self\.{0} = ", r"block\.{0}\b"),
    (r"(relu\d)", r"self\.{0} = ", r"\.{0}\""),
    (r"(add)", r"add\(x, ", r"add\(x, "),
    (r"()", r"return ", r"return "),
)
_GATE = (
    (r"(mean)", r"gate = x\.mean", r"GlobalAveragePooling2D"),
    (r"(fc\d)", r"self\.{0} = ", r"spec\.{0}\b"),
    (r"(relu)", r"self\.{0} = ", r"\.{0}\""),
    (r"()", r"return ", r"return "),
)
_STEM = ((r"conv1\.\d+.*", r"layers \+= ", r"= conv\(|= batch_norm\(|= relu\("),)
_MODEL = (
    (r"(conv1)", r"self\.conv1 = ", r"x = stem_conv\("),
    (r"(bn1)", r"self\.bn1 = ", r"plan\.stem\.norm\)"),
    (r"(relu)", r"self\.relu = ", r"relu\(x, "),
    (r"(maxpool)", r"self\.maxpool = ", r"= max_pool\("),
    (r"(norm)", r"self\.norm = ", r"plan\.norm\)"),
    (r"(avgpool)", r"self\.avgpool = ", r"= global_average_pool\("),
    (r"(fc)", r"self\.fc = ", r"linear\(x, plan\.fc\)"),
)
_CLASSES = {
    ("basic", False): ("blocks", "BasicBlock"),
    ("bottleneck", False): ("blocks", "Bottleneck"),
    ("basic", True): ("preact_blocks", "PreActBasicBlock"),
    ("bottleneck", True): ("preact_blocks", "PreActBottleneck"),
}


def classes_of(arch: Architecture) -> set[str]:
    """The blocks of torch's hand that a net is made of."""
    return {definition_of(block)[1] for block in make_plan(arch).blocks}


def definition_of(block: Block) -> tuple[str, str]:
    """The module and the class of torch's hand in which a block is defined."""
    return _CLASSES[block.kind, block.preactivation]


def places_in_block(block: Block, name: str) -> dict[str, Place]:
    """The lines of an operation of a block; `name` is what follows the block's own."""
    if name.startswith("downsample"):
        return _find(
            "blocks", "shortcut", (("(.*)", r"SHORTCUT_LAYERS\[", r"SHORTCUT_LAYERS\["),), name
        )
    gate = block.se
    if isinstance(gate, SqueezeExcitation) and f"{block.name}.{name}".startswith(gate.name):
        rest = f"{block.name}.{name}"[len(gate.name) :].lstrip(".")
        return _find("blocks", "SqueezeExcite", _GATE, rest)
    return _find(*definition_of(block), _BLOCK, name)


def places_in_model(name: str) -> dict[str, Place]:
    """The lines of an operation outside the blocks; a deep stem's lie in its own function."""
    if re.fullmatch(_STEM[0][0], name):
        return _find("layers", "stem_conv", _STEM, name)
    return _find("model", {"torch": "ResNet", "keras": "resnet"}, _MODEL, name)


def _find(module: str, within: str | dict[str, str], words, name: str) -> dict[str, Place]:
    found = {}
    for position, hand in enumerate(("torch", "keras")):
        wanted = within[hand] if isinstance(within, dict) else within
        definition = _definitions(hand, module)[key(wanted)]
        for pattern, *texts in words:
            match = re.fullmatch(pattern, name)
            if match:
                text = texts[position].replace("{0}", match[1] if match.groups() else "")
                found[hand] = _line(definition, module, text)
                break
    return found


@cache
def _definitions(hand: str, module: str) -> dict[str, Definition]:
    return {key(each.name): each for each in definitions(f"resnet_{hand}/{module}.py")}


def _line(definition: Definition, module: str, words: str) -> Place:
    """The line that has those words, the last where several do; raises `LookupError` for none."""
    found = [
        Place(module, number, line.strip())
        for number, line in zip(definition.numbers, definition.lines, strict=True)
        if re.search(words, line)
    ]
    if not found:
        raise LookupError(f"nothing in {definition.file} {definition.name} says {words!r}")
    return found[-1]
