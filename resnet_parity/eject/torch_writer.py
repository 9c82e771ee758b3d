"""Writes a network in PyTorch; `keras_writer` has the same functions in the same order."""

from __future__ import annotations

from collections.abc import Iterator

from resnet_spec import AveragePool, ChannelPad, Conv, Identity, MaxPool, Norm, ShortcutLayer

from resnet_parity.eject import common
from resnet_parity.eject.facts import Branch, Facts, number
from resnet_parity.eject.text import Call, call, code_lines, definition, docstring, remark

LAYOUT = "NCHW"


def conv(facts: Facts) -> Iterator[str]:
    """The function `conv`."""
    parameters = ["in_channels: int", "channels: int", "kernel: int"]
    yield from definition("conv", [*parameters, *common.conv_parameters(facts)], "nn.Conv2d")
    size = "H/stride, W/stride" if facts.has_stride else "H, W"
    yield from docstring(f"Convolution: (N, in, H, W) -> (N, out, {size})")
    yield remark("conv-padding")
    padding = "dilation * (kernel // 2)" if facts.has_dilation else "kernel // 2"
    layer = call(
        "nn.Conv2d",
        *("in_channels", "channels", "kernel"),
        "stride" if facts.has_stride else None,
        f"padding={padding}",
        "dilation=dilation" if facts.has_dilation else None,
        "groups=groups" if facts.has_groups else None,
        {"some": "bias=bias", "none": "bias=False", "all": None}[facts.bias],
    )
    yield from code_lines("layer = ", layer, 1)
    yield remark("conv-init")
    start = ("layer.weight", 'mode="fan_out"', 'nonlinearity="relu"')
    yield from code_lines("", call("nn.init.kaiming_normal_", *start), 1)
    if facts.bias == "some":
        yield "    if layer.bias is not None:"
        yield "        nn.init.zeros_(layer.bias)"
    elif facts.bias == "all":
        yield '    nn.init.zeros_(layer.get_parameter("bias"))'
    yield "    return layer"


def batch_norm(facts: Facts) -> Iterator[str]:
    """The function `batch_norm`."""
    if facts.norm is None:
        return
    yield from definition("batch_norm", ["channels: int"], "nn.BatchNorm2d")
    yield from docstring("Batch normalisation over N, H and W: (N, C, H, W), same shape")
    yield remark("bn-momentum")
    yield remark("bn-variance")
    eps, momentum = number(facts.norm.eps), number(facts.norm.update)
    layer = call("nn.BatchNorm2d", "channels", f"eps={eps}", f"momentum={momentum}")
    yield from code_lines("return ", layer, 1)


def channel_pad(facts: Facts) -> Iterator[str]:
    """The function `channel_pad`."""
    if not facts.has(ChannelPad):
        return
    parameters = ["in_channels: int", "channels: int"]
    yield from definition("channel_pad", parameters, "nn.ZeroPad3d")
    yield from docstring("Channels of zeros: (N, in, H, W) -> (N, out, H, W)")
    yield remark("channel-padding")
    *counted, sides = common.zeros(facts, "channels - in_channels")
    yield from counted
    yield f"    return nn.ZeroPad3d((0, 0, 0, 0, {sides}))"


def gate(facts: Facts) -> Iterator[str]:
    """The class of the gates."""
    if not facts.has_gates:
        return
    squeezed = facts.expression("squeezed")
    bias = "bias=True" if facts.bias == "some" else None
    yield "class SqueezeExcite(nn.Module):"
    yield from docstring("Squeeze and excitation: a gate in (0, 1) for each channel; same shape")
    yield ""
    yield from definition("__init__", ["self", *common.gate_parameters(facts)], "None", 1)
    yield "        super().__init__()"
    yield from code_lines("self.fc1 = ", call("conv", "channels", squeezed, 1, bias), 2)
    yield "        self.relu = nn.ReLU()"
    yield from code_lines("self.fc2 = ", call("conv", squeezed, "channels", 1, bias), 2)
    yield "        self.sigmoid = nn.Sigmoid()"
    yield ""
    yield "    def forward(self, x: Tensor) -> Tensor:"
    yield "        gate = x.mean((2, 3), keepdim=True)  # (N, C, 1, 1)"
    yield "        gate = self.fc1(gate)"
    yield "        gate = self.relu(gate)"
    yield "        gate = self.fc2(gate)"
    yield "        gate = self.sigmoid(gate)"
    yield "        return x * gate"


def block(facts: Facts) -> Iterator[str]:
    """The class of the blocks."""
    if not facts.places:
        return
    yield f"class {common.block_name(facts)}(nn.Module):"
    height, width = common.size(facts)
    shapes = f"(N, in, H, W) -> (N, out, {height}, {width})"
    yield from docstring(f"{common.block_text(facts)}: {shapes}")
    yield ""
    parameters = ["self", "in_channels: int", *common.parameters(facts)]
    yield from definition("__init__", parameters, "None", 1)
    yield "        super().__init__()"
    if facts.projects and facts.arch.preactivation:
        yield from code_lines("self.projects = ", facts.projects, 2)
    for index, (into, out) in enumerate(common.ends(facts)):
        made = call("conv", into, out, *common.rest_of_conv(facts, index))
        lines = code_lines(f"self.conv{index + 1} = ", made, 2)
        normed = into if facts.arch.preactivation else out
        norm = f"        self.bn{index + 1} = batch_norm({normed})"
        relu = ["        self.relu = nn.ReLU()"] * (index == 0)
        yield from [norm, *relu, *lines] if facts.arch.preactivation else [*lines, norm, *relu]
    if facts.arch.zero_init_residual:
        last = len(common.ends(facts))
        zeroed = f"self.conv{last}" if facts.arch.preactivation else f"self.bn{last}"
        yield f"        nn.init.zeros_({zeroed}.weight)"
    if facts.has_gates:
        yield f"        self.se = SqueezeExcite({', '.join(common.gate_arguments(facts))})"
    yield from _shortcut(facts)
    yield ""
    yield "    def forward(self, x: Tensor) -> Tensor:"
    yield from _forward_of_block(facts)


def _shortcut(facts: Facts) -> Iterator[str]:
    """The attribute for the layers of the shortcut, where any block has some."""
    if facts.has_layers and not facts.branches[-1].layers:
        yield "        self.downsample = nn.Identity()"
    for test, branch in common.branches(facts, "in_channels", "self.projects"):
        indent = 2
        if test:
            yield f"        {test}"
            indent = 3
        if any(isinstance(layer, AveragePool) for layer in branch.layers):
            yield remark("average-edge", indent)
        layers = (_shortcut_layer(facts, branch, layer) for layer in branch.layers)
        yield from code_lines("self.downsample = ", call("nn.Sequential", *layers), indent)


def _shortcut_layer(facts: Facts, branch: Branch, layer: ShortcutLayer) -> Call:
    stride = facts.expression("stride")
    if isinstance(layer, Conv):
        strided = stride if branch.strides and not facts.arch.avg_down else None
        return call("conv", "in_channels", "channels", 1, strided, common.bias_of(facts, layer))
    if isinstance(layer, Norm):
        return call("batch_norm", "channels")
    if isinstance(layer, MaxPool):
        return call("nn.MaxPool2d", 1, f"stride={stride}")
    if isinstance(layer, ChannelPad):
        return call("channel_pad", "in_channels", "channels")
    if isinstance(layer, Identity):
        return call("nn.Identity")
    if layer.zeros:
        pad = call("nn.ZeroPad2d", "(0, 1, 0, 1)")
        return call("nn.Sequential", pad, call("nn.AvgPool2d", 2, "stride=1"))
    edge = ("ceil_mode=True", "count_include_pad=False")
    return call("nn.AvgPool2d", 2, f"stride={stride}", *edge)


def _forward_of_block(facts: Facts) -> Iterator[str]:
    *before, last = _operations(facts)
    yield from (f"        {each}" for each in before)
    yield f"        return {last.removeprefix('x = ')}"


def _operations(facts: Facts) -> Iterator[str]:
    """The statements of a block's forward pass; the last one makes its output."""
    if facts.arch.preactivation:
        yield from _preactivated_branch(facts)
    else:
        yield from ["identity = x"] * facts.arch.residual
        count = len(common.ends(facts))
        for index in range(1, count + 1):
            yield f"x = self.conv{index}(x)"
            yield f"x = self.bn{index}(x)"
            yield from ["x = self.relu(x)"] * (index < count)
    yield from ["x = self.se(x)"] * facts.has_gates
    if facts.arch.residual:
        yield f"x = x + {'self.downsample(identity)' if facts.has_layers else 'identity'}"
    if not facts.arch.preactivation:
        yield "x = self.relu(x)"


def _preactivated_branch(facts: Facts) -> Iterator[str]:
    starts = facts.start_of_shortcut
    yield from ["identity = x"] * (starts in ("input", "either"))
    for index in range(1, len(common.ends(facts)) + 1):
        yield f"x = self.bn{index}(x)"
        yield "x = self.relu(x)"
        if index == 1 and starts == "either":
            yield "if self.projects:"
            yield "    identity = x"
        yield from ["identity = x"] * (index == 1 and starts == "relu")
        yield f"x = self.conv{index}(x)"


def network(facts: Facts) -> Iterator[str]:
    """The class of the network."""
    plan = facts.plan
    yield "class ResNet(nn.Module):"
    yield from docstring(common.network_text(facts, LAYOUT))
    yield ""
    yield "    def __init__(self) -> None:"
    yield "        super().__init__()"
    yield from _stem(facts)
    if facts.stages:
        yield f"        in_channels = {plan.stem.convs[-1].out_channels}"
        yield from common.loop(facts, 2)
        yield "            stage = nn.Sequential()"
        choices, given = common.locals_of_block(facts, 4), common.given(facts)
        yield f"            for {'block' if choices else '_'} in range(blocks):"
        yield from choices
        made = call("stage.append", call(common.block_name(facts), "in_channels", *given))
        yield from code_lines("", made, 4)
        yield "                in_channels = channels"
        yield '            self.add_module(f"layer{number}", stage)'
    if plan.norm:
        yield f"        self.norm = batch_norm({plan.norm.channels})"
        yield "        self.relu = nn.ReLU()"
    if not plan.features:
        yield "        self.avgpool = nn.AdaptiveAvgPool2d(1)"
    if plan.fc:
        yield remark("dense-kernel", 2)
        yield f"        self.fc = nn.Linear({plan.fc.in_features}, {plan.fc.out_features})"
    yield ""
    returned = "list[Tensor]" if plan.features else "Tensor"
    yield f"    def forward(self, image: Tensor) -> {returned}:"
    yield from _forward(facts)


def _stem(facts: Facts) -> Iterator[str]:
    stem = facts.plan.stem
    layers: list[Call] = []
    for spec, norm in zip(stem.convs, [*stem.hidden_norms, None], strict=True):
        rest = common.rest_of_stem(facts, spec)
        layers.append(call("conv", spec.in_channels, spec.out_channels, *rest))
        layers += [call("batch_norm", norm.channels), call("nn.ReLU")] if norm else []
    made = layers[0] if len(layers) == 1 else call("nn.Sequential", *layers)
    yield from code_lines("self.conv1 = ", made, 2)
    if stem.norm:
        yield f"        self.bn1 = batch_norm({stem.norm.channels})"
        yield "        self.relu = nn.ReLU()"
    if pool := stem.pool:
        yield remark("pool-padding", 2)
        sizes = (pool.kernel, f"stride={pool.stride}")
        if pool.border == "zero":
            pad = call("nn.ZeroPad2d", pool.padding)
            made = call("nn.Sequential", pad, call("nn.MaxPool2d", *sizes))
        else:
            made = call("nn.MaxPool2d", *sizes, f"padding={pool.padding}")
        yield from code_lines("self.maxpool = ", made, 2)


def _forward(facts: Facts) -> Iterator[str]:
    plan = facts.plan
    yield remark("layout", 2)
    yield from common.line(facts, "x = self.conv1(image)", plan.stem.convs[-1].name, LAYOUT, 2)
    if plan.stem.norm:
        yield "        x = self.bn1(x)"
        yield "        x = self.relu(x)"
    yield from (f"        {each}" for each in common.first_feature(facts, "Tensor"))
    if plan.stem.pool:
        yield from common.line(facts, "x = self.maxpool(x)", plan.stem.pool.name, LAYOUT, 2)
    if facts.stages:
        yield f"        for number in range(1, {len(facts.stages) + 1}):"
        yield '            x = self.get_submodule(f"layer{number}")(x)'
        yield from ["            features.append(x)"] * bool(plan.features)
    if plan.features:
        *remarks, features = common.returned_features(facts, LAYOUT)
        yield from remarks
        yield f"        return {features}"
        return
    if plan.norm:
        yield "        x = self.norm(x)"
        yield "        x = self.relu(x)"
    code = f"{'x =' if plan.fc else 'return'} self.avgpool(x).flatten(1)"
    yield from common.line(facts, code, plan.avgpool.name, LAYOUT, 2)
    if plan.fc:
        yield from common.line(facts, "return self.fc(x)", plan.fc.name, LAYOUT, 2)


PARTS = (conv, batch_norm, channel_pad, gate, block, network)
