"""THE table of causes: what each fault is, in words, and the line that mends it.

`{a}` and `{b}` stand for the two numbers, as `A` and as `B` have them. A is the reference, and a
mend is written for the framework of B: it is B that is to become A.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A kind of fault: one sentence, and what to write instead in either framework."""

    what: str
    torch: str
    keras: str
    trains: bool = False
    """Whether only training shows it."""

    def fix(self, framework: str) -> str:
        """The line for that framework."""
        return self.torch if framework == "torch" else self.keras


_PADDED = (
    "ZeroPadding2D(p), then the layer with padding='valid', where p is A's padding; "
    "padding='same' where A pads SAME"
)
_SAME = (
    "; SAME adds max((ceil(n / stride) - 1) * stride + kernel - n, 0) to n rows, the larger half "
    "after"
)

FAULTS: dict[str, Fault] = {
    "same-padding": Fault(
        "SAME padding at stride 2 adds more behind than before on an even map; A pads {a}, B {b}",
        "Conv2d(..., padding=p) or F.pad with the four numbers of A" + _SAME,
        _PADDED,
    ),
    "padding": Fault(
        "the convolution is padded otherwise: A pads {a}, B {b}",
        "Conv2d(..., padding=p) with A's p",
        _PADDED,
    ),
    "same-pool": Fault(
        "a pool that pads SAME adds, on an even map, only behind; A pads {a}, B {b}",
        "MaxPool2d(kernel, stride, padding=p) or F.pad with the four numbers of A" + _SAME,
        _PADDED,
    ),
    "pool-padding": Fault(
        "the pool is padded otherwise: A pads {a}, B {b}",
        "MaxPool2d(kernel, stride, padding=p) with A's p",
        _PADDED,
    ),
    "pool-border": Fault(
        "the max-pool is padded with {b} where A has {a}, and what comes in is not all positive",
        "MaxPool2d(padding=p) pads with -inf, ZeroPad2d before it with zeros",
        "pool at stride 1 with padding='same', which pads with -inf, then take every second cell; "
        "ZeroPadding2D pads with zeros",
    ),
    "pool-average": Fault(
        "the average-pool counts its padding or its last cells otherwise: A {a}, B {b}",
        "AvgPool2d(ceil_mode=..., count_include_pad=...) as A has it",
        "AveragePooling2D(padding='same') never counts its padding; ZeroPadding2D before it does",
    ),
    "stride-1x1": Fault(
        "the block strides in its {b}, in A in its {a}",
        "move stride=2 to the convolution that has it in A",
        "move strides=2 to the convolution that has it in A",
    ),
    "extra-stride": Fault(
        "B strides by {b} where A strides by {a}: the map shrinks once more",
        "stride=1 in this block",
        "strides=1 in this block",
    ),
    "missing-stride": Fault(
        "B strides by {b} where A strides by {a}: the map stays too large",
        "stride=2 in this block, on the shortcut as well",
        "strides=2 in this block, on the shortcut as well",
    ),
    "dilation": Fault(
        "the convolution is dilated by {b}, in A by {a}", "dilation={a}", "dilation_rate={a}"
    ),
    "kernel-size": Fault(
        "the layer has another shape: A {a}, B {b}",
        "give it A's kernel size, channels and groups",
        "give it A's kernel size, filters and groups",
    ),
    "pool-size": Fault(
        "the pool takes windows of {b}, in A of {a}", "kernel_size as in A", "pool_size as in A"
    ),
    "eps": Fault(
        "the norm adds eps {b} to the variance, A {a}",
        "BatchNorm2d(..., eps={a})",
        "BatchNormalization(epsilon={a}); Keras' default is 1e-3, PyTorch's 1e-5",
    ),
    "momentum": Fault(
        "in training the running statistics keep {b} of the old at each step, in A {a}",
        "BatchNorm2d(momentum=1 - {a}): it is the weight of the NEW statistic",
        "BatchNormalization(momentum={a}): it is the weight of the OLD statistic",
        trains=True,
    ),
    "momentum-inverted": Fault(
        "the norm's momentum has the other framework's meaning: in training B keeps {b} of the old "
        "statistics, A {a}",
        "BatchNorm2d(momentum=1 - {a}): it is the weight of the NEW statistic",
        "BatchNormalization(momentum={a}): it is the weight of the OLD statistic",
        trains=True,
    ),
    "biased-variance": Fault(
        "in training A tracks the {a} variance of a batch, B the {b} one",
        "BatchNorm2d tracks the unbiased variance, n / (n - 1) times the batch's",
        "track n / (n - 1) times the batch's variance in a BatchNormalization of your own; Keras' "
        "own tracks the biased one",
        trains=True,
    ),
    "training-mode": Fault(
        "the norm of {b} uses the statistics of the batch, that of {a} its running ones",
        "model.eval(), and training=self.training where batch_norm is called",
        "call the layer without training=True",
    ),
    "conv-bias": Fault(
        "the layer has {b}, in A {a}; they part as soon as a bias is not zero",
        "bias=... as in A; a convolution's bias can go into the running mean of its norm, too",
        "use_bias=... as in A; a convolution's bias can go into the moving mean of its norm, too",
    ),
    "folding": Fault(
        "A's norm is folded into B's convolution, but with other numbers",
        "weight * gamma / sqrt(var + eps), bias = beta - mean * gamma / sqrt(var + eps)",
        "kernel * gamma / sqrt(var + eps), bias = beta - mean * gamma / sqrt(var + eps)",
    ),
    "kernel-layout": Fault(
        "B's kernel is A's with {b}",
        "kernel.transpose(3, 2, 0, 1) turns Keras' hwio into oihw",
        "weight.transpose(2, 3, 1, 0) turns PyTorch's oihw into hwio",
    ),
    "dense-layout": Fault(
        "B's dense kernel is A's with {b}",
        "kernel.T turns Keras' (in, out) into (out, in)",
        "weight.T turns PyTorch's (out, in) into (in, out)",
    ),
    "bgr": Fault(
        "the colours come in the other order, BGR for RGB: {b}",
        "images[:, [2, 1, 0]], or the first kernel with its input channels reversed",
        "images[..., ::-1], or the first kernel with its input channels reversed",
    ),
    "preprocessing": Fault(
        "only one of both prepares the image, or each in its way: A has {a}, B {b}",
        "normalise in both or in neither, with the same mean and deviation",
        "normalise in both or in neither, with the same mean and deviation",
    ),
    "rescaled": Fault(
        "a tensor inside the net is scaled or shifted otherwise: A has {a}, B {b}",
        "scale it as A does",
        "scale it as A does",
    ),
    "softmax": Fault(
        "one gives logits and the other probabilities: A ends with {a}, B with {b}",
        "end with {a}: Linear gives logits, softmax(dim=1) behind it probabilities",
        "end with {a}: Dense(classes) gives logits, with activation='softmax' probabilities",
    ),
    "layout": Fault(
        "an axis is taken for another one, as between NCHW and NHWC: A has {a}, B {b}",
        "channels stand at axis 1: permute(0, 3, 1, 2), never reshape",
        "channels stand at axis -1: Permute or transpose, never reshape; "
        "BatchNormalization(axis=-1), data_format='channels_last'",
    ),
    "gamma-beta": Fault(
        "the norm's gamma and beta are swapped",
        "weight is gamma, bias is beta",
        "set_weights takes gamma, beta, moving mean, moving variance, in this order",
    ),
    "affine": Fault(
        "the norm has {b}, in A {a}",
        "BatchNorm2d(..., affine=...) as in A; for one of both alone freeze the other at 1 or at 0",
        "BatchNormalization(scale=..., center=...) as in A: gamma and beta",
    ),
    "swapped-layers": Fault(
        "B's layer holds the weights that A has at {b}",
        "copy weights by name, not by order of creation",
        "copy weights by name, not by order of creation",
    ),
    "shared-layer": Fault(
        "B runs one layer, {b}, in the places of several layers of A",
        "give each place a layer of its own",
        "give each place a layer of its own",
    ),
    "weights": Fault(
        "the layer's own numbers are others: {b}",
        "copy A's tensors; `resnet_torch.set_weights` names what does not fit",
        "copy A's tensors; `resnet_keras.set_weights` names what does not fit",
    ),
    "activation": Fault(
        "another activation: A has {a}, B {b}", "use A's activation", "use A's activation"
    ),
    "block-order": Fault(
        "the layers of a block stand in another order: in A {a}, in B {b}",
        "apply them in A's order",
        "apply them in A's order",
    ),
    "missing-layer": Fault("B lacks {a}", "add it", "add it"),
    "extra-layer": Fault("B has {b}, and A has not", "take it out", "take it out"),
    "other-layer": Fault("in the place of {a}, B has {b}", "build what A has", "build what A has"),
    "wiring": Fault(
        "the layer reads what comes from {b}, in A from {a}",
        "feed it as A does",
        "feed it as A does",
    ),
    "number": Fault("a number of the layer is another: A has {a}, B {b}", "write A's", "write A's"),
}
