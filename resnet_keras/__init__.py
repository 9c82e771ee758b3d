"""ResNets in Keras: `create_model`, one function per architecture, and weights in and out."""

from functools import partial

from resnet_keras.model import create_model, resnet
from resnet_keras.weights import get_weights, set_weights

resnet18 = partial(create_model, "resnet18")
resnet34 = partial(create_model, "resnet34")
resnet50 = partial(create_model, "resnet50")
resnet101 = partial(create_model, "resnet101")
resnet152 = partial(create_model, "resnet152")
resnext50_32x4d = partial(create_model, "resnext50_32x4d")
resnext101_32x8d = partial(create_model, "resnext101_32x8d")
resnext101_64x4d = partial(create_model, "resnext101_64x4d")
wide_resnet50_2 = partial(create_model, "wide_resnet50_2")
wide_resnet101_2 = partial(create_model, "wide_resnet101_2")

__all__ = [
    "create_model",
    "get_weights",
    "resnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "set_weights",
    "wide_resnet50_2",
    "wide_resnet101_2",
]
