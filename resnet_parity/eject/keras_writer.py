"""Writes a network in Keras; `torch_writer` has the same functions in the same order."""

from __future__ import annotations

import re
from collections.abc import Iterator

from resnet_spec import (
    AveragePool,
    ChannelPad,
    Conv,
    Identity,
    MaxPool,
    Norm,
    ShortcutLayer,
    keras_layer_name,
)

from resnet_parity.eject import common
from resnet_parity.eject.facts import Branch, Facts, number
from resnet_parity.eject.text import Call, call, code_lines, definition, docstring, remark

LAYOUT = "NHWC"


def conv(facts: Facts) -> Iterator[str]:
    """The function `conv`."""
    first = ["x: KerasTensor", "channels: int", "kernel: int"]
    rest = common.conv_parameters(facts)
    star = [] if "*" in rest else ["*"]
    zero = ["zero: bool = False"] * facts.zeroes_kernels
    parameters = [*first, *rest, *star, *zero, "name: str"]
    yield from definition("conv", parameters, "KerasTensor")
    size = "H/stride, W/stride" if facts.has_stride else "H, W"
    yield from docstring(f"Convolution: (N, H, W, in) -> (N, {size}, out)")
    yield remark("conv-padding")
    padding = "dilation * (kernel // 2)" if facts.has_dilation else "kernel // 2"
    pad = f'x = layers.ZeroPadding2D({padding}, name=f"{{name}}_pad")(x)'
    if 1 in {each.kernel for each in facts.convs}:
        yield "    if kernel > 1:"
        yield f"        {pad}"
    else:
        yield f"    {pad}"
    yield remark("conv-init")
    start = ("2.0", '"fan_out"', '"untruncated_normal"')
    yield from code_lines("normal = ", call("initializers.VarianceScaling", *start), 1)
    first = '"zeros" if zero else normal' if facts.zeroes_kernels else "normal"
    layer = call(
        "layers.Conv2D",
        *("channels", "kernel"),
        "stride" if facts.has_stride else None,
        "dilation_rate=dilation" if facts.has_dilation else None,
        "groups=groups" if facts.has_groups else None,
        {"some": "use_bias=bias", "none": "use_bias=False", "all": None}[facts.bias],
        f"kernel_initializer={first}",
        "name=name",
        after="(x)",
    )
    yield from code_lines("return ", layer, 1)


def batch_norm(facts: Facts) -> Iterator[str]:
    """The function `batch_norm`."""
    if facts.norm is None:
        return
    gamma = ['gamma: str = "ones"'] * facts.zeroes_gammas
    parameters = ["x: KerasTensor", "*", *gamma, "name: str"]
    yield from definition("batch_norm", parameters, "KerasTensor")
    yield from docstring("Batch normalisation over N, H and W: (N, H, W, C), same shape")
    yield remark("bn-momentum")
    yield remark("bn-variance")
    eps, momentum = number(facts.norm.eps), number(facts.norm.decay)
    layer = call(
        "layers.BatchNormalization",
        f"epsilon={eps}",
        f"momentum={momentum}",
        "gamma_initializer=gamma" if facts.zeroes_gammas else None,
        "name=name",
        after="(x)",
    )
    yield from code_lines("return ", layer, 1)


def channel_pad(facts: Facts) -> Iterator[str]:
    """The function `channel_pad`."""
    if not facts.has(ChannelPad):
        return
    parameters = ["x: KerasTensor", "channels: int", "*", "name: str"]
    yield from definition("channel_pad", parameters, "KerasTensor")
    yield from docstring("Channels of zeros: (N, H, W, in) -> (N, H, W, out)")
    yield remark("channel-padding")
    *counted, sides = common.zeros(facts, "channels - x.shape[-1]")
    yield from counted
    yield '    x = layers.Permute((1, 3, 2), name=f"{name}_hcw")(x)'
    yield f'    x = layers.ZeroPadding2D(((0, 0), ({sides})), name=f"{{name}}_pad")(x)'
    yield "    return layers.Permute((1, 3, 2), name=name)(x)"


def gate(facts: Facts) -> Iterator[str]:
    """The function of the gates."""
    if not facts.has_gates:
        return
    squeezed = facts.expression("squeezed")
    bias = "bias=True" if facts.bias == "some" else None
    parameters = ["x: KerasTensor", *common.gate_parameters(facts), "*", "name: str"]
    yield from definition("squeeze_excite", parameters, "KerasTensor")
    yield from docstring("Squeeze and excitation: a gate in (0, 1) for each channel; same shape")
    mean = 'layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)'
    yield f"    gate = {mean}"
    yield from code_lines("gate = ", _conv("gate", squeezed, "1", bias, name="{name}_fc1"), 1)
    yield '    gate = layers.ReLU(name=f"{name}_relu")(gate)'
    yield from code_lines("gate = ", _conv("gate", "channels", "1", bias, name="{name}_fc2"), 1)
    yield '    gate = layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)'
    yield "    return layers.Multiply(name=name)([x, gate])"


def block(facts: Facts) -> Iterator[str]:
    """The function of the blocks."""
    if not facts.places:
        return
    parameters = ["x: KerasTensor", *common.parameters(facts), "*", "name: str"]
    yield from definition(_block_name(facts), parameters, "KerasTensor")
    height, width = common.size(facts)
    shapes = f"(N, H, W, in) -> (N, {height}, {width}, out)"
    yield from docstring(f"{common.block_text(facts)}: {shapes}")
    yield from _branch(facts)
    if facts.has_gates:
        gated = call("squeeze_excite", "x", *common.gate_arguments(facts), 'name=f"{name}_se"')
        yield from code_lines("x = ", gated, 1)
    yield from _shortcut(facts)
    if facts.arch.residual:
        yield '    x = layers.Add(name=f"{name}_add")([x, identity])'
    if facts.arch.preactivation:
        yield "    return layers.Identity(name=name)(x)  # names the output of the block"
    else:
        yield "    return layers.ReLU(name=name)(x)"


def _branch(facts: Facts) -> Iterator[str]:
    """The residual branch."""
    starts, count = facts.start_of_shortcut, len(common.ends(facts))
    if facts.projects and facts.arch.preactivation:
        yield f"    projects = {facts.projects.replace('in_channels', 'x.shape[-1]')}"
    yield from ["    identity = x"] * (starts in ("input", "either"))
    for index, (_, out) in enumerate(common.ends(facts)):
        at, is_last = index + 1, index + 1 == count
        zero = "zero=True" if is_last and facts.zeroes_kernels else None
        rest = common.rest_of_conv(facts, index)
        made = code_lines("x = ", _conv("x", out, *rest, zero, name=f"{{name}}_conv{at}"), 1)
        gamma = 'gamma="zeros"' if is_last and facts.zeroes_gammas else None
        norm = code_lines("x = ", call("batch_norm", "x", gamma, f'name=f"{{name}}_bn{at}"'), 1)
        relu = [f'    x = layers.ReLU(name=f"{{name}}_relu{at}")(x)']
        if not facts.arch.preactivation:
            yield from [*made, *norm, *([] if is_last else relu)]
            continue
        yield from [*norm, *relu]
        if index == 0 and starts == "either":
            yield "    if projects:"
            yield "        identity = x"
        yield from ["    identity = x"] * (index == 0 and starts == "relu")
        yield from made


def _shortcut(facts: Facts) -> Iterator[str]:
    """The layers of the shortcut, where any block has some."""
    for test, branch in common.branches(facts, "identity.shape[-1]", "projects"):
        indent = 1
        if test:
            yield f"    {test}"
            indent = 2
        if any(isinstance(layer, AveragePool) for layer in branch.layers):
            yield remark("average-edge", indent)
        for index, layer in enumerate(branch.layers):
            for made in _shortcut_layer(facts, branch, layer, f"{{name}}_downsample_{index}"):
                yield from code_lines("identity = ", made, indent)


def _shortcut_layer(
    facts: Facts, branch: Branch, layer: ShortcutLayer, name: str
) -> Iterator[Call]:
    stride, named = facts.expression("stride"), f'name=f"{name}"'
    if isinstance(layer, Conv):
        strided = stride if branch.strides and not facts.arch.avg_down else None
        bias = common.bias_of(facts, layer)
        yield _conv("identity", "channels", "1", strided, bias, name=name)
    elif isinstance(layer, Norm):
        yield call("batch_norm", "identity", named)
    elif isinstance(layer, MaxPool):
        yield call("layers.MaxPooling2D", 1, stride, named, after="(identity)")
    elif isinstance(layer, ChannelPad):
        yield call("channel_pad", "identity", "channels", named)
    elif isinstance(layer, Identity):
        yield call("layers.Identity", named, after="(identity)")
    elif layer.zeros:
        padded = f'name=f"{name}_pad"'
        yield call("layers.ZeroPadding2D", "((0, 1), (0, 1))", padded, after="(identity)")
        yield call("layers.AveragePooling2D", 2, 1, named, after="(identity)")
    else:
        yield call("layers.AveragePooling2D", 2, stride, '"same"', named, after="(identity)")


def network(facts: Facts) -> Iterator[str]:
    """The function of the network."""
    plan, arch = facts.plan, facts.arch
    yield "def resnet() -> keras.Model:"
    yield from docstring(common.network_text(facts, LAYOUT))
    if facts.depth > 800:
        yield "    sys.setrecursionlimit(100_000)  # Keras walks so deep a model by recursion"
    yield remark("layout")
    yield f'    image = keras.Input((None, None, {arch.in_channels}), name="image")'
    yield from _stem(facts)
    yield from (f"    {each}" for each in common.first_feature(facts, "KerasTensor"))
    yield from _pool(facts)
    if facts.stages:
        yield from common.loop(facts, 1)
        yield "        for block in range(blocks):"
        yield from common.locals_of_block(facts, 3)
        yield '            name = f"layer{number}_{block}"'
        made = call(_block_name(facts), "x", *common.given(facts), "name=name")
        yield from code_lines("x = ", made, 3)
        yield from ["        features.append(x)"] * bool(plan.features)
    returned = "x"
    if plan.features:
        *remarks, returned = common.returned_features(facts, LAYOUT)
        yield from remarks
    else:
        yield from _head(facts)
    made = call("keras.Model", "image", returned, f'name="{arch.name}"')
    yield from code_lines("return ", made, 1)


def _stem(facts: Facts) -> Iterator[str]:
    stem, x = facts.plan.stem, "image"
    for index, spec in enumerate(stem.convs):
        is_last = index == len(stem.convs) - 1
        rest, name = common.rest_of_stem(facts, spec), keras_layer_name(spec.name)
        made = call("conv", x, spec.out_channels, *rest, f'name="{name}"')
        shape = facts.shape(spec.name, LAYOUT) if is_last else ""
        yield from code_lines("x = ", made, 1, shape)
        if not is_last:
            norm = keras_layer_name(stem.hidden_norms[index].name)
            yield f'    x = batch_norm(x, name="{norm}")'
            relu = keras_layer_name(stem.hidden_relus[index].name)
            yield f'    x = layers.ReLU(name="{relu}")(x)'
        x = "x"
    if stem.norm:
        yield '    x = batch_norm(x, name="bn1")'
        yield '    x = layers.ReLU(name="relu")(x)'


def _pool(facts: Facts) -> Iterator[str]:
    pool = facts.plan.stem.pool
    if pool is None:
        return
    yield remark("pool-padding")
    kernel = pool.kernel
    if pool.border == "lowest":
        yield f'    x = layers.MaxPooling2D({kernel}, 1, "same", name="maxpool_window")(x)'
        kernel = 1
    elif pool.padding:
        yield f'    x = layers.ZeroPadding2D({pool.padding}, name="maxpool_pad")(x)'
    code = f'x = layers.MaxPooling2D({kernel}, {pool.stride}, name="maxpool")(x)'
    yield from common.line(facts, code, pool.name, LAYOUT, 1)


def _head(facts: Facts) -> Iterator[str]:
    plan = facts.plan
    if plan.norm:
        yield '    x = batch_norm(x, name="norm")'
        yield '    x = layers.ReLU(name="relu")(x)'
    code = 'x = layers.GlobalAveragePooling2D(name="avgpool")(x)'
    yield from common.line(facts, code, plan.avgpool.name, LAYOUT, 1)
    if plan.fc:
        yield f"    bound = 1 / {plan.fc.in_features}**0.5"
        yield remark("dense-kernel")
        uniform = call("initializers.RandomUniform", "-bound", "bound")
        starts = (f"kernel_initializer={uniform}", f"bias_initializer={uniform}")
        layer = call("layers.Dense", plan.fc.out_features, *starts, 'name="fc"', after="(x)")
        yield from code_lines("x = ", layer, 1, facts.shape(plan.fc.name, LAYOUT))


def _conv(x: str, *arguments: str | None, name: str) -> Call:
    return call("conv", x, *arguments, f'name=f"{name}"')


def _block_name(facts: Facts) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", common.block_name(facts)).lower()


NAMES = '''\
LEAVES = ("weight", "bias", "running_mean", "running_var")
TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}
TO_KERAS = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def torch_names(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of the model by their names in PyTorch."""
    layers = ((each.name.replace("_", "."), each.weights) for each in model.layers)
    return {f"{n}.{LEAVES[i]}": v for n, own in layers for i, v in enumerate(own)}
'''

_LOADER = '''

def load_state_dict(model: keras.Model, state: Mapping[str, Any]) -> None:
    """Copy a state dict of PyTorch into the model, or nothing if it does not fit."""
    own = torch_names(model)
    {remark}
    shapes = {n: [v.shape[i] for i in TO_TORCH[len(v.shape)]] for n, v in own.items()}
    given = {n: list(x.shape) for n, x in state.items() if not n.endswith("_tracked")}
    if wrong := [n for n in shapes | given if shapes.get(n) != given.get(n)]:
        raise ValueError(f"missing, unknown, or of another shape: {wrong}")
    for name, variable in own.items():
        array = state[name].detach().cpu().float().numpy()
        variable.assign(array.transpose(TO_KERAS[array.ndim]))


def state_dict(model: keras.Model) -> dict[str, np.ndarray]:
    """A state dict of PyTorch, of arrays: `torch.from_numpy` makes them tensors."""
    arrays = {n: keras.ops.convert_to_numpy(v) for n, v in torch_names(model).items()}
    return {n: each.transpose(TO_TORCH[each.ndim]).copy() for n, each in arrays.items()}
'''


def loader() -> str:
    """The functions that copy a state dict of PyTorch into the model and back."""
    return (NAMES + _LOADER.replace("{remark}", remark("kernel-layout", 0))).rstrip("\n")


PARTS = (conv, batch_norm, channel_pad, gate, block, network)
