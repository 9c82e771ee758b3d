"""The parts of a file that are the same in both frameworks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from resnet_spec import Conv

from resnet_parity.eject.facts import Branch, Facts
from resnet_parity.eject.text import COLUMNS, code_lines, remark


def size(facts: Facts) -> tuple[str, str]:
    """The height and width of the map that a block returns, in its docstring."""
    stride = facts.expression("stride")
    return ("H", "W") if stride == "1" else (f"H/{stride}", f"W/{stride}")


def block_name(facts: Facts) -> str:
    """The class of the blocks in PyTorch; the function in Keras has the same name in snake case."""
    kind = "BasicBlock" if facts.arch.block == "basic" else "Bottleneck"
    return f"PreAct{kind}" if facts.arch.preactivation else kind


def block_text(facts: Facts) -> str:
    """The layers of a block in words."""
    kernels = {"basic": "3x3, 3x3", "bottleneck": "1x1, 3x3, 1x1"}[facts.arch.block]
    return f"Norm and ReLU before each of {kernels}" if facts.arch.preactivation else kernels


def network_text(facts: Facts, layout: str) -> str:
    """The shapes of what the network takes and returns."""
    arch, channels = facts.arch, facts.plan.out_channels
    sizes = f"{arch.in_channels}, H, W" if layout == "NCHW" else f"H, W, {arch.in_channels}"
    image = f"Images (N, {sizes})"
    if facts.plan.features:
        maps = "a feature map" if len(facts.plan.features) == 1 else "feature maps"
        return f"{image} to {maps}"
    kind = f"logits (N, {arch.num_classes})" if facts.plan.fc else f"features (N, {channels})"
    return f"{image} to {kind}"


def stages(facts: Facts, layout: str) -> Iterator[str]:
    """The table of stages, with the map that each returns."""
    if not facts.stages:
        return
    *names, last = [name.replace("_", " ") for name in facts.column_names]
    height, width = facts.size
    columns = f"{', '.join(names).capitalize()} and {last} of each stage"
    text = f"{columns}, and its map for {height}x{width}."
    yield from (f"# {each}" for each in textwrap.wrap(text, COLUMNS.get() - 2))
    yield "STAGES = ["
    for row, name in facts.rows():
        yield f"    {row},  # {facts.shape(name, layout)}"
    yield "]"


def loop(facts: Facts, indent: int) -> Iterator[str]:
    """The loop over the stages."""
    columns = ", ".join(facts.column_names)
    line = f"for number, ({columns}) in enumerate(STAGES, start=1):"
    if 8 + len(line) <= COLUMNS.get():  # 8: as deep as in PyTorch, so that both have the same lines
        yield "    " * indent + line
        return
    yield "    " * indent + "for number, row in enumerate(STAGES, start=1):"
    inner = "    " * (indent + 1)
    if len(f"{inner}{columns} = row") <= COLUMNS.get():
        yield f"{inner}{columns} = row"
    else:
        yield f"{inner}("
        yield from (f"{inner}    {name}," for name in facts.column_names)
        yield f"{inner}) = row"


_LOCALS = {"stride": "step", "dilation": "rate", "dilation1": "rate1", "dilates": "dilating"}
"""The names of what one block is given, where not all blocks of a stage are given the same."""


def given(facts: Facts) -> list[str]:
    """The arguments that a block takes after its input."""
    plain = [argument.given == argument.name for argument in facts.arguments]
    names = [argument.name for argument in facts.arguments]
    return [n if is_plain else _LOCALS[n] for n, is_plain in zip(names, plain, strict=True)]


def locals_of_block(facts: Facts, indent: int) -> list[str]:
    """The lines that work out what one block of a stage is given."""
    chosen = [each for each in facts.arguments if each.given != each.name]
    return ["    " * indent + f"{_LOCALS[each.name]} = {each.given}" for each in chosen]


def parameters(facts: Facts) -> list[str]:
    """The same arguments in the definition of the block."""
    kinds = {"dilates": "bool"}
    return [f"{each.name}: {kinds.get(each.name, 'int')}" for each in facts.arguments]


def ends(facts: Facts) -> list[tuple[str, str]]:
    """The input and output channels of each convolution of a block, as text."""
    width = facts.expression("width")
    first, last = ("in_channels", width), (width, "channels")
    return [first, last] if facts.arch.block == "basic" else [first, (width, width), last]


def rest_of_conv(facts: Facts, index: int) -> list[str | None]:
    """The arguments of a block's convolution after its channels."""
    convs = facts.places[0].block.convs
    conv = convs[index]
    strided = 0 if facts.arch.stride_in_1x1 else [each.kernel for each in convs].index(3)
    stride = facts.expression("stride") if index == strided else "1"
    name = "dilation1" if facts.arch.block == "basic" and index == 0 else "dilation"
    dilation = facts.expression(name) if conv.kernel > 1 else "1"
    return [
        str(conv.kernel),
        None if stride == "1" else stride,
        None if dilation == "1" else f"dilation={dilation}",
        f"groups={conv.groups}" if conv.groups > 1 else None,
        bias_of(facts, conv),
    ]


def bias_of(facts: Facts, conv: Conv) -> str | None:
    """The argument for the bias of a convolution, where some have one."""
    return "bias=True" if conv.bias and facts.bias == "some" else None


def conv_parameters(facts: Facts) -> list[str]:
    """The parameters of the function `conv` after the kernel."""
    keywords = ["dilation: int = 1"] * facts.has_dilation
    keywords += ["groups: int = 1"] * facts.has_groups
    keywords += ["bias: bool = False"] * (facts.bias == "some")
    return ["stride: int = 1"] * facts.has_stride + ["*"] * bool(keywords) + keywords


def line(facts: Facts, code: str, name: str, layout: str, indent: int) -> list[str]:
    """A statement, with the shape of its result as a comment."""
    return code_lines("", code, indent, facts.shape(name, layout))


def first_feature(facts: Facts, kind: str) -> list[str]:
    """The statement that makes the list of features, before the first stage."""
    if not facts.plan.features or not facts.stages:
        return []
    first = 0 in (facts.arch.out_indices or ())
    return ["features = [x]" if first else f"features: list[{kind}] = []"]


def returned_features(facts: Facts, layout: str) -> Iterator[str]:
    """The features among those of all stages, after a remark where it is only one."""
    indices = facts.arch.out_indices or ()
    shift = 0 if 0 in indices else 1
    if len(indices) == 1:
        yield remark("one-feature", 2 if layout == "NCHW" else 1)
    whole = list(indices) == list(range(shift, len(facts.stages) + 1))
    chosen = [index - shift for index in indices]
    picked = f"[features[{chosen[0]}]]"
    if len(chosen) > 1:
        picked = f"[features[index] for index in ({', '.join(map(str, chosen))})]"
    yield "[x]" if not facts.stages else "features" if whole else picked


def zeros(facts: Facts, widened: str) -> Iterator[str]:
    """The statements of `channel_pad` that count zeros; then what goes before and after the map."""
    yield f"    zeros = {widened}"
    if facts.arch.zero_padding == "around":
        yield "    before = zeros // 2"
        yield "before, zeros - before"
    else:
        yield "0, zeros"


def gate_parameters(facts: Facts) -> list[str]:
    """The parameters of a gate after its input."""
    return ["channels: int", *(["squeezed: int"] * (facts.expression("squeezed") == "squeezed"))]


def gate_arguments(facts: Facts) -> list[str]:
    """The arguments that a block gives them."""
    return [parameter.partition(":")[0] for parameter in gate_parameters(facts)]


def branches(facts: Facts, in_channels: str, projects: str) -> Iterator[tuple[str, Branch]]:
    """The shortcuts with layers, each after the line that tests for it, "" where none does."""
    for index, branch in enumerate(facts.branches):
        if branch.layers:
            condition = (branch.condition or "").replace("in_channels", in_channels)
            if facts.arch.preactivation and branch.condition == facts.projects:
                condition = projects
            test = f"{'el' * (index > 0)}if {condition}:" if condition else "else:"
            yield (test if len(facts.branches) > 1 else ""), branch


def rest_of_stem(facts: Facts, conv: Conv) -> list[str | None]:
    """The arguments of a convolution of the stem after its channels."""
    stride = str(conv.stride) if conv.stride > 1 else None
    return [str(conv.kernel), stride, bias_of(facts, conv)]
