"""Generated from the registry; scripts/readme writes it."""

from collections.abc import Iterable
from typing import TypedDict, Unpack

import torch

from resnet_spec import Architecture
from resnet_spec.components import (
    BlockKind,
    ConvBias,
    Shortcut,
    SqueezeRatio,
    Stage,
    Stem,
    ZeroPadding,
)

from resnet_torch.model import ResNet as ResNet
from resnet_torch.weights import get_weights as get_weights
from resnet_torch.weights import set_weights as set_weights

class _Options(TypedDict, total=False):
    num_classes: int | None
    in_channels: int | None
    features_only: bool
    out_indices: Iterable[int] | None
    dtype: torch.dtype | None
    name: str
    block: BlockKind
    stages: tuple[Stage, ...]
    stem: Stem
    groups: int
    width_per_group: int
    preactivation: bool
    residual: bool
    shortcut: Shortcut
    zero_padding: ZeroPadding
    avg_down: bool
    stride_in_1x1: bool
    stride_in_last_block: bool
    conv_bias: ConvBias
    se: SqueezeRatio | None
    bn_eps: float
    bn_decay: float
    output_stride: int | None
    zero_init_residual: bool
    image_size: int
    source: str

def create_model(architecture: str | Architecture, **options: Unpack[_Options]) -> ResNet:
    """Build a ResNet with initial weights, in training mode.

    `num_classes` (0: pooled features), `in_channels` and `overrides` (such as `output_stride=8`)
    replace fields of the architecture. With `features_only` the model returns the feature maps of
    `out_indices` (0 is the stem, 1 the first stage; default: all). `dtype` defaults to that
    of torch. Images (N, in_channels, H, W) give logits (N, num_classes).

    Raises `resnet_spec.ArchitectureError` for an unknown name or field, or a combination that
    cannot be built.
    """

def resnet18(**options: Unpack[_Options]) -> ResNet:
    """resnet18: basic blocks 2-2-2-2.

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet34(**options: Unpack[_Options]) -> ResNet:
    """resnet34: basic blocks 3-4-6-3.

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet50(**options: Unpack[_Options]) -> ResNet:
    """resnet50: bottleneck blocks 3-4-6-3.

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet101(**options: Unpack[_Options]) -> ResNet:
    """resnet101: bottleneck blocks 3-4-23-3.

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet152(**options: Unpack[_Options]) -> ResNet:
    """resnet152: bottleneck blocks 3-8-36-3.

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnext50_32x4d(**options: Unpack[_Options]) -> ResNet:
    """resnext50_32x4d: bottleneck blocks 3-4-6-3.

    * groups=32
    * width_per_group=4

    Source: Xie et al. 2017, arXiv:1611.05431.
    Takes the options of `create_model`.
    """

def resnext101_32x8d(**options: Unpack[_Options]) -> ResNet:
    """resnext101_32x8d: bottleneck blocks 3-4-23-3.

    * groups=32
    * width_per_group=8

    Source: Mahajan et al. 2018, arXiv:1805.00932, section 2.2.
    Takes the options of `create_model`.
    """

def resnext101_64x4d(**options: Unpack[_Options]) -> ResNet:
    """resnext101_64x4d: bottleneck blocks 3-4-23-3.

    * groups=64
    * width_per_group=4

    Source: Xie et al. 2017, arXiv:1611.05431.
    Takes the options of `create_model`.
    """

def wide_resnet50_2(**options: Unpack[_Options]) -> ResNet:
    """wide_resnet50_2: bottleneck blocks 3-4-6-3.

    * width_per_group=128

    Source: Zagoruyko and Komodakis 2016, arXiv:1605.07146.
    Takes the options of `create_model`.
    """

def wide_resnet101_2(**options: Unpack[_Options]) -> ResNet:
    """wide_resnet101_2: bottleneck blocks 3-4-23-3.

    * width_per_group=128

    Source: torchvision, after Zagoruyko and Komodakis 2016, arXiv:1605.07146.
    Takes the options of `create_model`.
    """

def resnet50_v1(**options: Unpack[_Options]) -> ResNet:
    """resnet50_v1: bottleneck blocks 3-4-6-3.

    * stride_in_1x1=True

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet101_v1(**options: Unpack[_Options]) -> ResNet:
    """resnet101_v1: bottleneck blocks 3-4-23-3.

    * stride_in_1x1=True

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet152_v1(**options: Unpack[_Options]) -> ResNet:
    """resnet152_v1: bottleneck blocks 3-8-36-3.

    * stride_in_1x1=True

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet34_a(**options: Unpack[_Options]) -> ResNet:
    """resnet34_a: basic blocks 3-4-6-3.

    * shortcut='A'

    Source: He et al. 2015, arXiv:1512.03385, table 3.
    Takes the options of `create_model`.
    """

def resnet34_c(**options: Unpack[_Options]) -> ResNet:
    """resnet34_c: basic blocks 3-4-6-3.

    * shortcut='C'

    Source: He et al. 2015, arXiv:1512.03385, table 3.
    Takes the options of `create_model`.
    """

def resnet50_a(**options: Unpack[_Options]) -> ResNet:
    """resnet50_a: bottleneck blocks 3-4-6-3.

    * shortcut='A'

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet50_c(**options: Unpack[_Options]) -> ResNet:
    """resnet50_c: bottleneck blocks 3-4-6-3.

    * shortcut='C'

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def plain18(**options: Unpack[_Options]) -> ResNet:
    """plain18: basic blocks 2-2-2-2.

    * residual=False

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def plain34(**options: Unpack[_Options]) -> ResNet:
    """plain34: basic blocks 3-4-6-3.

    * residual=False

    Source: He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def keras_resnet50(**options: Unpack[_Options]) -> ResNet:
    """keras_resnet50: bottleneck blocks 3-4-6-3.

    * stride_in_1x1=True
    * conv_bias='all'
    * bn_eps=1.001e-05
    * bn_decay=0.99

    Source: Keras Applications, after He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def keras_resnet101(**options: Unpack[_Options]) -> ResNet:
    """keras_resnet101: bottleneck blocks 3-4-23-3.

    * stride_in_1x1=True
    * conv_bias='all'
    * bn_eps=1.001e-05
    * bn_decay=0.99

    Source: Keras Applications, after He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def keras_resnet152(**options: Unpack[_Options]) -> ResNet:
    """keras_resnet152: bottleneck blocks 3-8-36-3.

    * stride_in_1x1=True
    * conv_bias='all'
    * bn_eps=1.001e-05
    * bn_decay=0.99

    Source: Keras Applications, after He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnetv2_18(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_18: basic blocks 2-2-2-2.

    * preactivation=True

    Source: timm, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def resnetv2_34(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_34: basic blocks 3-4-6-3.

    * preactivation=True

    Source: timm, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def resnetv2_50(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_50: bottleneck blocks 3-4-6-3.

    * preactivation=True

    Source: timm, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def resnetv2_101(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_101: bottleneck blocks 3-4-23-3.

    * preactivation=True

    Source: timm, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def resnetv2_152(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_152: bottleneck blocks 3-8-36-3.

    * preactivation=True

    Source: timm, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def keras_resnet50v2(**options: Unpack[_Options]) -> ResNet:
    """keras_resnet50v2: bottleneck blocks 3-4-6-3.

    * stem=Stem(pool=Pool(border='zero'))
    * preactivation=True
    * shortcut='B-pooled'
    * stride_in_last_block=True
    * conv_bias='unnormalised'
    * bn_eps=1.001e-05
    * bn_decay=0.99

    Source: Keras Applications, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def keras_resnet101v2(**options: Unpack[_Options]) -> ResNet:
    """keras_resnet101v2: bottleneck blocks 3-4-23-3.

    * stem=Stem(pool=Pool(border='zero'))
    * preactivation=True
    * shortcut='B-pooled'
    * stride_in_last_block=True
    * conv_bias='unnormalised'
    * bn_eps=1.001e-05
    * bn_decay=0.99

    Source: Keras Applications, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def keras_resnet152v2(**options: Unpack[_Options]) -> ResNet:
    """keras_resnet152v2: bottleneck blocks 3-8-36-3.

    * stem=Stem(pool=Pool(border='zero'))
    * preactivation=True
    * shortcut='B-pooled'
    * stride_in_last_block=True
    * conv_bias='unnormalised'
    * bn_eps=1.001e-05
    * bn_decay=0.99

    Source: Keras Applications, after He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def resnet20(**options: Unpack[_Options]) -> ResNet:
    """resnet20: basic blocks 3-3-3.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * shortcut='A'
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def resnet32(**options: Unpack[_Options]) -> ResNet:
    """resnet32: basic blocks 5-5-5.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * shortcut='A'
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def resnet44(**options: Unpack[_Options]) -> ResNet:
    """resnet44: basic blocks 7-7-7.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * shortcut='A'
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def resnet56(**options: Unpack[_Options]) -> ResNet:
    """resnet56: basic blocks 9-9-9.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * shortcut='A'
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def resnet110(**options: Unpack[_Options]) -> ResNet:
    """resnet110: basic blocks 18-18-18.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * shortcut='A'
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def resnet1202(**options: Unpack[_Options]) -> ResNet:
    """resnet1202: basic blocks 200-200-200.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * shortcut='A'
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def plain20(**options: Unpack[_Options]) -> ResNet:
    """plain20: basic blocks 3-3-3.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * residual=False
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def plain32(**options: Unpack[_Options]) -> ResNet:
    """plain32: basic blocks 5-5-5.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * residual=False
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def plain44(**options: Unpack[_Options]) -> ResNet:
    """plain44: basic blocks 7-7-7.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * residual=False
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def plain56(**options: Unpack[_Options]) -> ResNet:
    """plain56: basic blocks 9-9-9.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * residual=False
    * num_classes=10
    * image_size=32

    Source: He et al. 2015, arXiv:1512.03385, section 4.2.
    Takes the options of `create_model`.
    """

def resnetv2_110(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_110: basic blocks 18-18-18.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * preactivation=True
    * shortcut='A'
    * num_classes=10
    * image_size=32

    Source: He et al. 2016, arXiv:1603.05027, table 2.
    Takes the options of `create_model`.
    """

def resnetv2_164(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_164: bottleneck blocks 18-18-18.

    * stem=Stem(channels=16, kernel=3, stride=1, pool=None)
    * preactivation=True
    * num_classes=10
    * image_size=32

    Source: He et al. 2016, arXiv:1603.05027, table 2.
    Takes the options of `create_model`.
    """

def resnet18_small(**options: Unpack[_Options]) -> ResNet:
    """resnet18_small: basic blocks 2-2-2-2.

    * stem=Stem(kernel=3, stride=1, pool=None)
    * num_classes=10
    * image_size=32

    Source: github.com/kuangliu/pytorch-cifar, after He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet34_small(**options: Unpack[_Options]) -> ResNet:
    """resnet34_small: basic blocks 3-4-6-3.

    * stem=Stem(kernel=3, stride=1, pool=None)
    * num_classes=10
    * image_size=32

    Source: github.com/kuangliu/pytorch-cifar, after He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnet50_small(**options: Unpack[_Options]) -> ResNet:
    """resnet50_small: bottleneck blocks 3-4-6-3.

    * stem=Stem(kernel=3, stride=1, pool=None)
    * num_classes=10
    * image_size=32

    Source: github.com/kuangliu/pytorch-cifar, after He et al. 2015, arXiv:1512.03385, table 1.
    Takes the options of `create_model`.
    """

def resnetv2_18_small(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_18_small: basic blocks 2-2-2-2.

    * stem=Stem(kernel=3, stride=1, pool=None)
    * preactivation=True
    * num_classes=10
    * image_size=32

    Source: He et al. 2016, arXiv:1603.05027.
    Takes the options of `create_model`.
    """

def resnet50c(**options: Unpack[_Options]) -> ResNet:
    """resnet50c: bottleneck blocks 3-4-6-3.

    * stem=Stem(kernel=3, hidden=(32, 32))

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnet18d(**options: Unpack[_Options]) -> ResNet:
    """resnet18d: basic blocks 2-2-2-2.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnet34d(**options: Unpack[_Options]) -> ResNet:
    """resnet34d: basic blocks 3-4-6-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnet50d(**options: Unpack[_Options]) -> ResNet:
    """resnet50d: bottleneck blocks 3-4-6-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnet101d(**options: Unpack[_Options]) -> ResNet:
    """resnet101d: bottleneck blocks 3-4-23-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnet152d(**options: Unpack[_Options]) -> ResNet:
    """resnet152d: bottleneck blocks 3-8-36-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnetv2_50d(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_50d: bottleneck blocks 3-4-6-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * preactivation=True
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnetv2_101d(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_101d: bottleneck blocks 3-4-23-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * preactivation=True
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def resnetv2_152d(**options: Unpack[_Options]) -> ResNet:
    """resnetv2_152d: bottleneck blocks 3-8-36-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * preactivation=True
    * avg_down=True

    Source: timm, after He et al. 2019, arXiv:1812.01187, section 4.
    Takes the options of `create_model`.
    """

def seresnet18(**options: Unpack[_Options]) -> ResNet:
    """seresnet18: basic blocks 2-2-2-2.

    * se=SqueezeRatio()

    Source: timm, after Hu et al. 2018, arXiv:1709.01507.
    Takes the options of `create_model`.
    """

def seresnet34(**options: Unpack[_Options]) -> ResNet:
    """seresnet34: basic blocks 3-4-6-3.

    * se=SqueezeRatio()

    Source: timm, after Hu et al. 2018, arXiv:1709.01507.
    Takes the options of `create_model`.
    """

def seresnet50(**options: Unpack[_Options]) -> ResNet:
    """seresnet50: bottleneck blocks 3-4-6-3.

    * se=SqueezeRatio()

    Source: timm, after Hu et al. 2018, arXiv:1709.01507.
    Takes the options of `create_model`.
    """

def seresnet101(**options: Unpack[_Options]) -> ResNet:
    """seresnet101: bottleneck blocks 3-4-23-3.

    * se=SqueezeRatio()

    Source: timm, after Hu et al. 2018, arXiv:1709.01507.
    Takes the options of `create_model`.
    """

def seresnet152(**options: Unpack[_Options]) -> ResNet:
    """seresnet152: bottleneck blocks 3-8-36-3.

    * se=SqueezeRatio()

    Source: timm, after Hu et al. 2018, arXiv:1709.01507.
    Takes the options of `create_model`.
    """

def seresnext50_32x4d(**options: Unpack[_Options]) -> ResNet:
    """seresnext50_32x4d: bottleneck blocks 3-4-6-3.

    * groups=32
    * width_per_group=4
    * se=SqueezeRatio()

    Source: timm, after Hu et al. 2018, arXiv:1709.01507.
    Takes the options of `create_model`.
    """

def seresnet152d(**options: Unpack[_Options]) -> ResNet:
    """seresnet152d: bottleneck blocks 3-8-36-3.

    * stem=Stem(kernel=3, hidden=(32, 32))
    * avg_down=True
    * se=SqueezeRatio()

    Source: timm, after Hu et al. 2018, arXiv:1709.01507.
    Takes the options of `create_model`.
    """
