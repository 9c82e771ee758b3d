"""Models for the diagnosis, written as users write them, with known faults.

The correct model exists in both frameworks: a small hand-written ResNet. Every other model is the
same one with a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import keras
import numpy as np
import torch
import torch.nn.functional as functional
from keras import layers
from torch import Tensor, nn

from parity_tests.support import with_random_statistics

EPS, DECAY = 1e-5, 0.9


class Block(nn.Module):
    """A bottleneck that uses functions instead of layers where users often do."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.project = nn.Conv2d(inputs, 2 * width, 1, stride, bias=False)
        self.bn4 = nn.BatchNorm2d(2 * width)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + self.bn4(self.project(x)))


class SmallResNet(nn.Module):
    """Stem, two bottlenecks, head; 32 features and 32 classes, so that the classifier is square."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn = nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.block1 = Block(8, 8, 1)
        self.block2 = Block(16, 16, 2)
        self.fc = nn.Linear(32, 32)

    def forward(self, image: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.bn(self.conv(image))))
        x = self.block2(self.block1(x))
        return self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))


def correct_torch() -> nn.Module:
    """The correct model, with random statistics as if it were trained."""
    torch.manual_seed(0)
    return with_random_statistics(SmallResNet()).eval()


def torch_with(change: Callable[[nn.Module], Any]) -> Callable[[], nn.Module]:
    """The correct model after a change of its layers."""

    def build() -> nn.Module:
        model = correct_torch()
        change(model)
        return model

    return build


Layer = Callable[..., Any]


class KerasNet:
    """The Keras model, with a method for each part that may be wrong."""

    eps, decay = EPS, DECAY
    head = None
    bias = False

    def preprocess(self, x):
        return x

    def conv(self, x, filters: int, size: int, stride: int, name: str):
        if size > 1:
            x = layers.ZeroPadding2D(size // 2)(x)
        return layers.Conv2D(filters, size, stride, use_bias=self.bias, name=name)(x)

    def norm(self, x, name: str):
        options = {"epsilon": self.eps, "momentum": self.decay, "name": name}
        return layers.BatchNormalization(**options)(x)

    def relu(self, x):
        return layers.ReLU()(x)

    def pool(self, x):
        return layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))

    strides = ((1, 1, 1), (1, 2, 2))
    """Of each block: the strides of the 1x1, the 3x3 and the shortcut."""

    def block(self, x, width: int, number: int):
        first, second, shortcut = self.strides[number - 1]
        name = f"block{number}_"
        y = self.relu(self.norm(self.conv(x, width, 1, first, name + "conv1"), name + "bn1"))
        y = self.relu(self.norm(self.conv(y, width, 3, second, name + "conv2"), name + "bn2"))
        y = self.norm(self.conv(y, 2 * width, 1, 1, name + "conv3"), name + "bn3")
        x = self.norm(self.conv(x, 2 * width, 1, shortcut, name + "project"), name + "bn4")
        return self.relu(layers.Add()([y, x]))

    def end(self, x):
        x = layers.GlobalAveragePooling2D()(x)
        return layers.Dense(32, activation=self.head, name="fc")(x)

    def build(self) -> keras.Model:
        image = keras.Input((None, None, 3))
        x = self.preprocess(image)
        x = self.pool(self.relu(self.norm(self.conv(x, 8, 7, 2, "conv"), "bn")))
        x = self.block(self.block(x, 8, 1), 16, 2)
        return keras.Model(image, self.end(x))


def correct_keras() -> keras.Model:
    """The Keras model with the weights of the correct PyTorch model."""
    return with_weights(KerasNet().build())


def with_weights(model: keras.Model, **changes: Callable[[np.ndarray], np.ndarray]) -> keras.Model:
    """Copy the correct model's tensors, changed by `changes` (torch names with `_` for `.`)."""
    state = correct_torch().state_dict()
    for name, tensor in state.items():
        path, _, leaf = name.rpartition(".")
        array = tensor.numpy()
        if leaf == "num_batches_tracked":
            continue
        array = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
        array = changes.get(name.replace(".", "_"), lambda same: same)(array)
        layer = model.get_layer(path.replace(".", "_"))
        norms = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean"}
        norms["running_var"] = "moving_variance"
        plain = {"weight": "kernel", "bias": "bias"}
        is_norm = isinstance(layer, layers.BatchNormalization)
        getattr(layer, (norms if is_norm else plain)[leaf]).assign(np.array(array))
    return model


def keras_with(**changes: Any) -> Callable[[], keras.Model]:
    """The Keras model with some parts replaced and the correct model's weights."""
    return lambda: with_weights(type("Changed", (KerasNet,), changes)().build())


def keras_with_tensors(**changes: Callable[[np.ndarray], np.ndarray]) -> Callable[[], keras.Model]:
    """The correct Keras model with some of its tensors changed."""
    return lambda: with_weights(KerasNet().build(), **changes)


# Faulty parts of the Keras model.


def same_conv(self, x, filters: int, size: int, stride: int, name: str):
    options = {"padding": "same", "use_bias": self.bias, "name": name}
    return layers.Conv2D(filters, size, stride, **options)(x)


def biased_conv(self, x, filters: int, size: int, stride: int, name: str):
    bias = keras.initializers.RandomUniform(seed=3)
    x = layers.ZeroPadding2D(size // 2)(x) if size > 1 else x
    return layers.Conv2D(filters, size, stride, bias_initializer=bias, name=name)(x)


def dilated_conv(self, x, filters: int, size: int, stride: int, name: str):
    dilation = 2 if name == "block1_conv2" else 1
    x = layers.ZeroPadding2D(dilation * (size // 2))(x) if size > 1 else x
    options = {"dilation_rate": dilation, "use_bias": False, "name": name}
    return layers.Conv2D(filters, size, stride, **options)(x)


def underpadded_conv(self, x, filters: int, size: int, stride: int, name: str):
    """Pad the first convolution by two instead of three."""
    x = layers.ZeroPadding2D(2 if name == "conv" else size // 2)(x)
    return layers.Conv2D(filters, size, stride, use_bias=False, name=name)(x)


def same_pool(self, x):
    return layers.MaxPooling2D(3, 2, padding="same")(x)


def unpadded_pool(self, x):
    return layers.MaxPooling2D(3, 2)(x)


def small_pool(self, x):
    return layers.MaxPooling2D(2, 2)(x)


def training_norm(self, x, name: str):
    options = {"epsilon": self.eps, "momentum": self.decay, "name": name}
    return layers.BatchNormalization(**options)(x, training=name == "block1_bn2")


def rescaled_preprocessing(self, x):
    return layers.Rescaling(1 / 127.5, offset=-1.0)(x)


def caffe_preprocessing(self, x):
    x = x[..., ::-1]
    return layers.Normalization(mean=[103.939, 116.779, 123.68], variance=[1.0, 1.0, 1.0])(x)


MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised_preprocessing(self, x):
    x = layers.Rescaling(1 / 255)(x)
    return layers.Normalization(mean=MEAN, variance=[each**2 for each in DEVIATION])(x)


class Normalised(nn.Module):
    """The correct model after torchvision's preprocessing."""

    def __init__(self) -> None:
        super().__init__()
        self.net = correct_torch()
        self.mean = torch.tensor(MEAN).reshape(3, 1, 1)
        self.deviation = torch.tensor(DEVIATION).reshape(3, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.net((image / 255 - self.mean) / self.deviation)


def reversed_colours(self, x):
    return x[..., ::-1]


def relu_before_norm(self, x, width: int, number: int):
    """The first ReLU of a block comes before its norm."""
    first, second, shortcut = self.strides[number - 1]
    name = f"block{number}_"
    y = self.norm(self.relu(self.conv(x, width, 1, first, name + "conv1")), name + "bn1")
    y = self.relu(self.norm(self.conv(y, width, 3, second, name + "conv2"), name + "bn2"))
    y = self.norm(self.conv(y, 2 * width, 1, 1, name + "conv3"), name + "bn3")
    x = self.norm(self.conv(x, 2 * width, 1, shortcut, name + "project"), name + "bn4")
    return self.relu(layers.Add()([y, x]))


def relu_before_add(self, x, width: int, number: int):
    """The last ReLU of a block comes before the sum."""
    first, second, shortcut = self.strides[number - 1]
    name = f"block{number}_"
    y = self.relu(self.norm(self.conv(x, width, 1, first, name + "conv1"), name + "bn1"))
    y = self.relu(self.norm(self.conv(y, width, 3, second, name + "conv2"), name + "bn2"))
    y = self.relu(self.norm(self.conv(y, 2 * width, 1, 1, name + "conv3"), name + "bn3"))
    x = self.norm(self.conv(x, 2 * width, 1, shortcut, name + "project"), name + "bn4")
    return layers.Add()([y, x])


def without_last_relu(self, x, width: int, number: int):
    """The second block lacks its last ReLU."""
    if number == 1:
        return KerasNet.block(self, x, width, number)  # type: ignore
    first, second, shortcut = self.strides[number - 1]
    name = f"block{number}_"
    y = self.relu(self.norm(self.conv(x, width, 1, first, name + "conv1"), name + "bn1"))
    y = self.relu(self.norm(self.conv(y, width, 3, second, name + "conv2"), name + "bn2"))
    y = self.norm(self.conv(y, 2 * width, 1, 1, name + "conv3"), name + "bn3")
    x = self.norm(self.conv(x, 2 * width, 1, shortcut, name + "project"), name + "bn4")
    return layers.Add()([y, x])


def leaky_relu(self, x):
    return layers.LeakyReLU(negative_slope=0.1)(x)


def relu_after_the_stem(self, x):
    """The first call, which is the stem's, returns its input."""
    self.calls = getattr(self, "calls", 0) + 1
    return x if self.calls == 1 else layers.ReLU()(x)


def norm_without_affine(self, x, name: str):
    options = {"epsilon": self.eps, "momentum": self.decay, "name": name}
    has = name != "block1_bn2"
    return layers.BatchNormalization(scale=has, center=has, **options)(x)


def no_norm_of_the_shortcut(self, x, name: str):
    return x if name == "block2_bn4" else KerasNet.norm(self, x, name)


def without_head(self, x):
    return layers.GlobalAveragePooling2D()(x)


def untrained_keras_with(**changes: Any) -> Callable[[], keras.Model]:
    """The Keras model with some parts replaced, freshly initialised."""
    return lambda: type("Changed", (KerasNet,), changes)().build()


def with_negative_variance(variance: np.ndarray) -> np.ndarray:
    """The variances with that of channel 3 negative."""
    return np.where(np.arange(variance.size) == 3, np.float32(-0.12), variance)


# Networks whose faults show at some image sizes, or in one framework, only.


class ShortcutD(nn.Module):
    """Two convolutions of stride 2 with the average-pooled shortcuts of ResNet-D."""

    def __init__(self, *, ceil: bool, eps: float = EPS) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, 2, 1, bias=False) for _ in range(2))
        self.norms = nn.ModuleList(nn.BatchNorm2d(8, eps) for _ in range(2))
        self.pool = nn.AvgPool2d(2, 2, ceil_mode=ceil, count_include_pad=False)
        with_random_statistics(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x)) + self.pool(x))
        return x.mean((2, 3))


class PaddedBySize(nn.Module):
    """The correct model with SAME padding in the stem, as ports from TensorFlow write it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = correct_torch()

    def forward(self, image: Tensor) -> Tensor:
        net: Any = self.net
        totals = [5 if extent % 2 == 0 else 6 for extent in image.shape[2:]]
        (top, left), (bottom, right) = [n // 2 for n in totals], [n - n // 2 for n in totals]
        x = functional.pad(image, (left, right, top, bottom))
        x = functional.relu(net.bn(functional.conv2d(x, net.conv.weight, stride=2)))
        x = functional.pad(x, (1, 1, 1, 1), value=-torch.inf)
        x = net.block2(net.block1(functional.max_pool2d(x, 3, 2)))
        return net.fc(x.mean((2, 3)))


def same_first_conv(self, x, filters: int, size: int, stride: int, name: str):
    part = same_conv if name == "conv" else KerasNet.conv
    return part(self, x, filters, size, stride, name)


class Preactivation(nn.Module):
    """A block whose first ReLU, in place, rewrites the identity."""

    def __init__(self, *, inplace: bool, positional: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.pool = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.MaxPool2d(3, 2, 1)
        self.relu, self.positional = nn.ReLU(inplace), positional
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        with_random_statistics(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv(x))
        y = functional.relu(x, True) if self.positional else self.relu(x)
        return (x + self.last(self.norm(y))).mean((2, 3))


class DilatedStage(nn.Module):
    """Two blocks of a stage whose stride became dilation; the first may keep dilation 1."""

    def __init__(self, first: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        rates = (first, 2, 2, 2)
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, 1, r, r, bias=False) for r in rates)
        self.norms = nn.ModuleList(nn.BatchNorm2d(8) for _ in rates)
        with_random_statistics(self).eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in (0, 2):
            y = functional.relu(self.norms[index](self.convs[index](x)))
            x = functional.relu(x + self.norms[index + 1](self.convs[index + 1](y)))
        return x.mean((2, 3))


class KerasBlock(layers.Layer):
    """A basic block as a class, which calls functions between its layers."""

    def __init__(self, width: int, **options: Any) -> None:
        super().__init__(**options)
        norm = {"epsilon": EPS, "momentum": DECAY}
        self.pad = layers.ZeroPadding2D(1)
        self.convs = [layers.Conv2D(width, 3, stride, use_bias=False) for stride in (2, 1)]
        self.norms = [layers.BatchNormalization(**norm) for _ in range(3)]
        self.project = layers.Conv2D(width, 1, 2, use_bias=False)

    def call(self, x, training=None):
        y = keras.ops.relu(self.norms[0](self.convs[0](self.pad(x)), training=training))
        y = self.norms[1](self.convs[1](self.pad(y)), training=training)
        return keras.ops.relu(y + self.norms[2](self.project(x), training=training))


class LazyNet(keras.Model):
    """A model whose weights are made when it first runs."""

    def __init__(self) -> None:
        super().__init__()
        self.block, self.pool = KerasBlock(8), layers.GlobalAveragePooling2D()
        self.fc = layers.Dense(5)

    def call(self, image, training=None):
        return self.fc(self.pool(self.block(image, training=training)))


def lazy_sequence() -> keras.Model:
    """A Sequential without an Input."""
    return keras.Sequential([KerasBlock(8), layers.GlobalAveragePooling2D(), layers.Dense(5)])


class OneBlock(nn.Module):
    """`LazyNet` in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.project, self.bn3 = nn.Conv2d(3, 8, 1, 2, bias=False), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 5)
        with_random_statistics(self).eval()

    def forward(self, image: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(image)))))
        return self.fc(functional.relu(y + self.bn3(self.project(image))).mean((2, 3)))


# ResNet-50 at its full depth.


def tutorial_resnet50() -> keras.Model:
    """ResNet-50 as tutorials write it in Keras: SAME padding, default norms, biases, softmax."""
    image = keras.Input((None, None, 3))
    x = layers.Conv2D(64, 7, strides=2, padding="same")(image)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for index in range(blocks):
            x = _tutorial_block(x, width, 2 if index == 0 else 1, project=index == 0)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(1000, activation="softmax")(x))


def _tutorial_block(x, width: int, stride: int, *, project: bool):
    shortcut = x
    x = layers.Conv2D(width, 1, strides=stride)(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.Conv2D(width, 3, padding="same")(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.Conv2D(4 * width, 1)(x))
    if project:
        shortcut = layers.Conv2D(4 * width, 1, strides=stride)(shortcut)
        shortcut = layers.BatchNormalization()(shortcut)
    return layers.Activation("relu")(layers.Add()([x, shortcut]))


def torchvision_resnet50() -> nn.Module:
    """torchvision's model, freshly initialised."""
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.resnet50()


def torchvision_resnet18() -> nn.Module:
    """torchvision's model, freshly initialised."""
    import torchvision

    torch.manual_seed(0)
    return torchvision.models.resnet18()


def keras_applications_resnet50() -> keras.Model:
    """The model of keras.applications, freshly initialised, without its softmax."""
    return keras.applications.ResNet50(
        weights=None, input_shape=(64, 96, 3), classifier_activation=None
    )


untrained_keras = partial(KerasNet.build, KerasNet())
