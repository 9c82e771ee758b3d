"""Every tensor of an architecture: its name, shape and axes, in both implementations.

The canonical form is that of PyTorch: names as in a torchvision `state_dict`, convolution kernels
(out, in, height, width), dense kernels (out, in). A parameter also states its Keras layer and
variable, and how its axes are permuted, in letters ("oihw->hwio").
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from resnet_spec.architecture import Architecture
from resnet_spec.layers import Conv, Norm, Weighted
from resnet_spec.plan import make_plan


@dataclass(frozen=True)
class Parameter:
    """One tensor: trained, or a running statistic (`trainable` is False)."""

    name: str
    shape: tuple[int, ...]
    axes: str
    keras_layer: str
    keras_variable: str
    keras_axes: str
    trainable: bool = True

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def keras_name(self) -> str:
        return f"{self.keras_layer}/{self.keras_variable}"

    @property
    def keras_shape(self) -> tuple[int, ...]:
        extents = dict(zip(self.axes, self.shape, strict=True))
        return tuple(extents[axis] for axis in self.keras_axes)

    @property
    def to_keras(self) -> str:
        """The permutation of axes from torch to Keras, as an einsum expression."""
        return f"{self.axes}->{self.keras_axes}"

    @property
    def to_torch(self) -> str:
        """The permutation of axes from Keras to torch, as an einsum expression."""
        return f"{self.keras_axes}->{self.axes}"


def keras_layer_name(name: str, part: str = "") -> str:
    """The name of the Keras layer for a canonical name.

    `part` tells apart the layers that Keras needs for one canonical name. Dots become underscores,
    because a dot in the name of a layer crashes Keras on its torch backend.
    """
    return "_".join([*name.split("."), *([part] if part else [])])


# The tensors of a norm: (name in torch, name in Keras, trainable).
_NORM_VARIABLES = (
    ("weight", "gamma", True),
    ("bias", "beta", True),
    ("running_mean", "moving_mean", False),
    ("running_var", "moving_variance", False),
)


@lru_cache(maxsize=256)
def parameters(arch: str | Architecture) -> tuple[Parameter, ...]:
    """All tensors of an architecture, in the order of a torchvision or timm state dict."""
    return tuple(p for layer in make_plan(arch).layers for p in layer_parameters(layer))


def layer_parameters(layer: Weighted) -> Iterator[Parameter]:
    """The tensors of one layer."""
    name, keras = layer.name, keras_layer_name(layer.name)
    if isinstance(layer, Conv):
        per_group = layer.in_channels // layer.groups
        shape = (layer.out_channels, per_group, layer.kernel, layer.kernel)
        yield Parameter(f"{name}.weight", shape, "oihw", keras, "kernel", "hwio")
        if layer.bias:
            yield Parameter(f"{name}.bias", (layer.out_channels,), "o", keras, "bias", "o")
    elif isinstance(layer, Norm):
        for leaf, variable, trainable in _NORM_VARIABLES:
            yield Parameter(
                f"{name}.{leaf}", (layer.channels,), "c", keras, variable, "c", trainable
            )
    else:
        shape = (layer.out_features, layer.in_features)
        yield Parameter(f"{name}.weight", shape, "oi", keras, "kernel", "io")
        yield Parameter(f"{name}.bias", (layer.out_features,), "o", keras, "bias", "o")


def parameter_count(arch: str | Architecture) -> int:
    """The number of trainable parameters, as papers count them (no running statistics)."""
    return sum(p.size for p in parameters(arch) if p.trainable)
