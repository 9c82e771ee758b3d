"""ResNets in PyTorch: `create_model`, one function per architecture, and weights in and out.

Each function takes the options of `create_model`.
"""

from functools import partial

from resnet_torch.model import ResNet, create_model
from resnet_torch.weights import get_weights, set_weights

__all__ = [
    "ResNet",
    "create_model",
    "get_weights",
    "keras_resnet50",
    "keras_resnet50v2",
    "keras_resnet101",
    "keras_resnet101v2",
    "keras_resnet152",
    "keras_resnet152v2",
    "plain18",
    "plain20",
    "plain32",
    "plain34",
    "plain44",
    "plain56",
    "resnet18",
    "resnet18_small",
    "resnet18d",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet34_a",
    "resnet34_c",
    "resnet34_small",
    "resnet34d",
    "resnet44",
    "resnet50",
    "resnet50_a",
    "resnet50_c",
    "resnet50_small",
    "resnet50_v1",
    "resnet50c",
    "resnet50d",
    "resnet56",
    "resnet101",
    "resnet101_v1",
    "resnet101d",
    "resnet110",
    "resnet152",
    "resnet152_v1",
    "resnet152d",
    "resnet1202",
    "resnetv2_18",
    "resnetv2_18_small",
    "resnetv2_34",
    "resnetv2_50",
    "resnetv2_50d",
    "resnetv2_101",
    "resnetv2_101d",
    "resnetv2_110",
    "resnetv2_152",
    "resnetv2_152d",
    "resnetv2_164",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "seresnet18",
    "seresnet34",
    "seresnet50",
    "seresnet101",
    "seresnet152",
    "seresnet152d",
    "seresnext50_32x4d",
    "set_weights",
    "wide_resnet50_2",
    "wide_resnet101_2",
]

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
resnet50_v1 = partial(create_model, "resnet50_v1")
resnet101_v1 = partial(create_model, "resnet101_v1")
resnet152_v1 = partial(create_model, "resnet152_v1")
resnet34_a = partial(create_model, "resnet34_a")
resnet34_c = partial(create_model, "resnet34_c")
resnet50_a = partial(create_model, "resnet50_a")
resnet50_c = partial(create_model, "resnet50_c")
plain18 = partial(create_model, "plain18")
plain34 = partial(create_model, "plain34")
keras_resnet50 = partial(create_model, "keras_resnet50")
keras_resnet101 = partial(create_model, "keras_resnet101")
keras_resnet152 = partial(create_model, "keras_resnet152")
resnetv2_18 = partial(create_model, "resnetv2_18")
resnetv2_34 = partial(create_model, "resnetv2_34")
resnetv2_50 = partial(create_model, "resnetv2_50")
resnetv2_101 = partial(create_model, "resnetv2_101")
resnetv2_152 = partial(create_model, "resnetv2_152")
keras_resnet50v2 = partial(create_model, "keras_resnet50v2")
keras_resnet101v2 = partial(create_model, "keras_resnet101v2")
keras_resnet152v2 = partial(create_model, "keras_resnet152v2")
resnet20 = partial(create_model, "resnet20")
resnet32 = partial(create_model, "resnet32")
resnet44 = partial(create_model, "resnet44")
resnet56 = partial(create_model, "resnet56")
resnet110 = partial(create_model, "resnet110")
resnet1202 = partial(create_model, "resnet1202")
plain20 = partial(create_model, "plain20")
plain32 = partial(create_model, "plain32")
plain44 = partial(create_model, "plain44")
plain56 = partial(create_model, "plain56")
resnetv2_110 = partial(create_model, "resnetv2_110")
resnetv2_164 = partial(create_model, "resnetv2_164")
resnet18_small = partial(create_model, "resnet18_small")
resnet34_small = partial(create_model, "resnet34_small")
resnet50_small = partial(create_model, "resnet50_small")
resnetv2_18_small = partial(create_model, "resnetv2_18_small")
resnet50c = partial(create_model, "resnet50c")
resnet18d = partial(create_model, "resnet18d")
resnet34d = partial(create_model, "resnet34d")
resnet50d = partial(create_model, "resnet50d")
resnet101d = partial(create_model, "resnet101d")
resnet152d = partial(create_model, "resnet152d")
resnetv2_50d = partial(create_model, "resnetv2_50d")
resnetv2_101d = partial(create_model, "resnetv2_101d")
resnetv2_152d = partial(create_model, "resnetv2_152d")
seresnet18 = partial(create_model, "seresnet18")
seresnet34 = partial(create_model, "seresnet34")
seresnet50 = partial(create_model, "seresnet50")
seresnet101 = partial(create_model, "seresnet101")
seresnet152 = partial(create_model, "seresnet152")
seresnext50_32x4d = partial(create_model, "seresnext50_32x4d")
seresnet152d = partial(create_model, "seresnet152d")
