"""ResNets in PyTorch: `create_model`, one function per architecture, and weights in and out."""

from typing import Any

from resnet_torch.model import ResNet, create_model
from resnet_torch.weights import get_weights, set_weights

__all__ = [
    "ResNet",
    "create_model",
    "get_weights",
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


def resnet18(**options: Any) -> ResNet:
    """ResNet-18; options as for `create_model`."""
    return create_model("resnet18", **options)


def resnet34(**options: Any) -> ResNet:
    """ResNet-34; options as for `create_model`."""
    return create_model("resnet34", **options)


def resnet50(**options: Any) -> ResNet:
    """ResNet-50; options as for `create_model`."""
    return create_model("resnet50", **options)


def resnet101(**options: Any) -> ResNet:
    """ResNet-101; options as for `create_model`."""
    return create_model("resnet101", **options)


def resnet152(**options: Any) -> ResNet:
    """ResNet-152; options as for `create_model`."""
    return create_model("resnet152", **options)


def resnext50_32x4d(**options: Any) -> ResNet:
    """ResNeXt-50 32x4d; options as for `create_model`."""
    return create_model("resnext50_32x4d", **options)


def resnext101_32x8d(**options: Any) -> ResNet:
    """ResNeXt-101 32x8d; options as for `create_model`."""
    return create_model("resnext101_32x8d", **options)


def resnext101_64x4d(**options: Any) -> ResNet:
    """ResNeXt-101 64x4d; options as for `create_model`."""
    return create_model("resnext101_64x4d", **options)


def wide_resnet50_2(**options: Any) -> ResNet:
    """Wide ResNet-50-2; options as for `create_model`."""
    return create_model("wide_resnet50_2", **options)


def wide_resnet101_2(**options: Any) -> ResNet:
    """Wide ResNet-101-2; options as for `create_model`."""
    return create_model("wide_resnet101_2", **options)
