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
