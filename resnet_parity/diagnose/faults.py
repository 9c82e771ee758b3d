"""The fault catalogue: a sentence for each fault, and its fix in either framework.

`{a}` and `{b}` are replaced by what model A and model B have, `{padding}` and `{layer}` by the
argument or the layer to write instead. A is the reference, so a fix changes
B and is written for B's framework.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what is wrong, in one sentence, and what to write instead."""

    what: str
    torch: str
    keras: str = ""
    """The fix in Keras, if it is not the same as in PyTorch."""
    training_only: bool = False
    """Whether the models differ in training only."""

    def fix(self, framework: str, a: str, b: str) -> str:
        """The fix for that framework; `a` may hold several values, as in "1 or 3"."""
        text = self.keras if framework == "keras" and self.keras else self.torch
        for name, written in {"{padding}": _padding, "{layer}": _layer}.items():
            if name in text:
                lines = dict.fromkeys(written(framework, value) for value in a.split(" or "))
                text = text.replace(name, "; or, as in A, ".join(lines))
        return text.replace("{a}", a).replace("{b}", b)


def _padding(framework: str, a: str) -> str:
    """The padding to write, from A's as text."""
    numbers = tuple(map(int, re.findall(r"\d+", a)))
    if framework == "keras":
        if a == "SAME":
            return "padding='same'"
        alike = numbers[0] if len(numbers) == 1 else (numbers[:2], numbers[2:])
        pad = f"ZeroPadding2D({alike}), then " if any(numbers) else ""
        return f"{pad}the layer with padding='valid'"
    if a == "SAME":
        return _SAME
    if len(numbers) == 1:
        return f"padding={numbers[0]}"
    top, bottom, left, right = numbers
    return f"F.pad(x, ({left}, {right}, {top}, {bottom})), then the layer with padding=0"


def _layer(framework: str, a: str) -> str:
    """The layer to write, from the shape of A's kernel (out, in, H, W) as text."""
    sizes = a.split("x")
    if len(sizes) == 4:
        name = "filters" if framework == "keras" else "out_channels"
        kernel = f"kernel_size=({sizes[2]}, {sizes[3]})"
        return f"{name}={sizes[0]}, {kernel}; with A's groups each filter reads {sizes[1]} channels"
    if len(sizes) == 2:
        return f"Dense({sizes[0]})" if framework == "keras" else f"Linear({sizes[1]}, {sizes[0]})"
    return f"a batch norm over {a} channels"


_SAME = (
    "F.pad with the numbers of SAME: max((ceil(n / stride) - 1) * stride + kernel - n, 0) for n "
    "rows, the larger half after them"
)
_MOMENTUM = (
    "BatchNorm2d(momentum=1 - {a}): PyTorch's momentum is the weight of the NEW statistics",
    "BatchNormalization(momentum={a}): Keras' momentum is the weight of the OLD statistics",
)

FAULTS: dict[str, Fault] = {
    "same-padding": Fault(
        "the convolution pads differently: A pads {a}, B pads {b}; on an even size at stride 2, "
        "SAME adds more after than before",
        "{padding}",
    ),
    "padding": Fault(
        "the convolution pads differently: A pads {a}, B pads {b}",
        "{padding}",
    ),
    "same-pool": Fault(
        "the pool pads differently: A pads {a}, B pads {b}; on an even size at stride 2, SAME adds "
        "its padding only after",
        "{padding}",
    ),
    "pool-padding": Fault(
        "the pool pads differently: A pads {a}, B pads {b}",
        "{padding}",
    ),
    "pool-border": Fault(
        "the max-pool pads with {a} in A and with {b} in B, and its input has negative values",
        "MaxPool2d(padding=p) pads with -inf, ZeroPad2d before it with zeros",
        "to pad with -inf, pool at stride 1 with padding='same' and take every second cell; "
        "ZeroPadding2D pads with zeros",
    ),
    "pool-average": Fault(
        "the average-pool treats its padding or its incomplete last windows differently: A has "
        "{a}, B has {b}",
        "AvgPool2d(ceil_mode=..., count_include_pad=...) as in A",
        "AveragePooling2D(padding='same') never counts its padding; ZeroPadding2D before it does",
    ),
    "stride-1x1": Fault(
        "the block has its stride in the {a} in A, but in the {b} in B",
        "move stride=2 to the convolution that has it in A",
        "move strides=2 to the convolution that has it in A",
    ),
    "extra-stride": Fault(
        "B has stride {b} where A has stride {a}, so B's feature map is too small",
        "stride={a}",
        "strides={a}",
    ),
    "missing-stride": Fault(
        "B has stride {b} where A has stride {a}, so B's feature map is too large",
        "stride={a}, on the shortcut as well",
        "strides={a}, on the shortcut as well",
    ),
    "dilation": Fault(
        "the convolution's dilation is {a} in A and {b} in B", "dilation={a}", "dilation_rate={a}"
    ),
    "layer-shape": Fault(
        "the layer's weights have another shape: {a} in A, {b} in B",
        "{layer}",
    ),
    "pool-size": Fault(
        "the pool's window is {a} in A and {b} in B", "kernel_size={a}", "pool_size={a}"
    ),
    "eps": Fault(
        "the norm's eps is {a} in A and {b} in B",
        "BatchNorm2d(..., eps={a})",
        "BatchNormalization(epsilon={a}); Keras' default is 1e-3, PyTorch's is 1e-5",
    ),
    "momentum": Fault(
        "in training, the weight of the old running statistics is {a} in A and {b} in B",
        *_MOMENTUM,
        training_only=True,
    ),
    "momentum-inverted": Fault(
        "B's momentum has the other framework's meaning: in training, the weight of the old "
        "running statistics is {a} in A and {b} in B",
        *_MOMENTUM,
        training_only=True,
    ),
    "biased-variance": Fault(
        "in training, A tracks the {a} variance of a batch, B the {b} one",
        "BatchNorm2d tracks the unbiased variance, n / (n - 1) times the variance of the batch",
        "write a BatchNormalization that tracks n / (n - 1) times the variance of the batch; "
        "Keras' own tracks the biased one",
        training_only=True,
    ),
    "training-mode": Fault(
        "the norm uses {a} in A and {b} in B",
        "model.eval(), and training=self.training where batch_norm is called",
        "call the layer without training=True",
    ),
    "conv-bias": Fault(
        "the layer has {a} in A and {b} in B; the outputs differ once a bias is not zero",
        "bias=... as in A; or move a convolution's bias into the running mean of its norm",
        "use_bias=... as in A; or move a convolution's bias into the moving mean of its norm",
    ),
    "folding": Fault(
        "the norm is folded into the convolution with wrong values",
        "weight * gamma / sqrt(var + eps), bias = beta - mean * gamma / sqrt(var + eps)",
        "kernel * gamma / sqrt(var + eps), bias = beta - mean * gamma / sqrt(var + eps)",
    ),
    "kernel-layout": Fault(
        "B's kernel is A's kernel with {b}",
        "kernel.transpose(3, 2, 0, 1) turns Keras' hwio into oihw",
        "weight.transpose(2, 3, 1, 0) turns PyTorch's oihw into hwio",
    ),
    "dense-layout": Fault(
        "B's dense kernel is A's dense kernel with {b}",
        "kernel.T turns Keras' (in, out) into (out, in)",
        "weight.T turns PyTorch's (out, in) into (in, out)",
    ),
    "bgr": Fault(
        "the colour channels are in the opposite order, RGB against BGR: A has {a}, B has {b}",
        "images[:, [2, 1, 0]], or reverse the input channels of the first kernel",
        "images[..., ::-1], or reverse the input channels of the first kernel",
    ),
    "preprocessing": Fault(
        "the models preprocess the image differently: A has {a}, B has {b}",
        "normalise in both or in neither, with the same mean and standard deviation",
    ),
    "rescaled": Fault(
        "a tensor inside the model is scaled or shifted differently: A has {a}, B has {b}",
        "scale and shift it as A does",
    ),
    "softmax": Fault(
        "only one model ends with a softmax: A returns {a}, B returns {b}",
        "return {a}: Linear returns logits, softmax(dim=1) after it probabilities",
        "return {a}: Dense(classes) returns logits, with activation='softmax' probabilities",
    ),
    "layout": Fault(
        "an axis is mistaken for another one, such as in NCHW and NHWC: A has {a}, B has {b}",
        "the channels are axis 1: use permute(0, 3, 1, 2), never reshape",
        "the channels are axis -1: use Permute or transpose, never reshape; "
        "BatchNormalization(axis=-1), data_format='channels_last'",
    ),
    "gamma-beta": Fault(
        "the norm's gamma and beta are swapped",
        "weight is gamma, bias is beta",
        "set_weights takes gamma, beta, moving mean, moving variance, in this order",
    ),
    "affine": Fault(
        "the norm has {a} in A and {b} in B",
        "BatchNorm2d(..., affine=...) as in A; for only one of gamma and beta, freeze gamma at 1 "
        "or beta at 0",
        "BatchNormalization(scale=..., center=...) as in A: gamma and beta",
    ),
    "swapped-layers": Fault(
        "B's layer has the weights of A's layer {b}",
        "copy weights by name, not by order of creation",
    ),
    "shared-layer": Fault(
        "B uses one layer, {b}, where A has several layers",
        "create a layer for each place",
    ),
    "weights": Fault(
        "the layer's tensors have different values: {b}",
        "copy A's tensors; `resnet_torch.set_weights` names what does not fit",
        "copy A's tensors; `resnet_keras.set_weights` names what does not fit",
    ),
    "activation": Fault("the activation differs: A has {a}, B has {b}", "use A's: {a}"),
    "block-order": Fault(
        "the layers of a block are in another order: {a} in A, {b} in B",
        "apply them in A's order",
    ),
    "missing-layer": Fault(
        "B lacks {a}",
        "add it (nn.Sequential(*model.children()) drops the functions that forward() calls)",
        "add it",
    ),
    "extra-layer": Fault("B has {b} that A does not have", "remove it"),
    "different-layer": Fault("B has {b} where A has {a}", "use A's: {a}"),
    "wiring": Fault(
        "the layer reads {a} in A, but {b} in B",
        "connect it as A does",
    ),
    "in-place": Fault(
        "a layer works in place, so that a later layer reads {a} in A, but {b} in B",
        "ReLU(inplace=False), no relu_, where the input is read again; if A alone works in place, "
        "read the ReLU's output in B, or correct A",
        "if A works in place, read its output in B (Keras has no layers in place), or correct A: "
        "ReLU(inplace=False)",
    ),
    "negative-variance": Fault(
        "the norm's output is NaN, because a running variance is negative: A has {a}, B has {b}; "
        "nothing after it is compared",
        "no batch has a negative variance: read the statistics again, by name; order or position "
        "may put another tensor there",
    ),
    "not-finite": Fault(
        "the layer's input is finite, but its output is not: A has {a}, B has {b}; nothing after "
        "it is compared",
        "look for a value that is too large for its dtype, or outside the function's domain, in "
        "the layer's input and tensors",
    ),
    "unrelated-weights": Fault(
        "no kernel of B resembles A's: {b}",
        "load one model's weights into the other, or create both from one seed; --copy-weights "
        "compares the layers with A's weights in both",
    ),
    "setting": Fault("a setting of the layer differs: A has {a}, B has {b}", "use A's: {a}"),
}
