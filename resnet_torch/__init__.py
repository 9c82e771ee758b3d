"""ResNets in PyTorch: `create_model`, one function per architecture, and weights in and out.

The functions are made from `resnet_spec.registry`. Each takes the options of `create_model`.
"""

from resnet_spec import constructors, list_models

from resnet_torch.inference import prepare
from resnet_torch.model import ResNet, create_model
from resnet_torch.weights import get_weights, set_weights

_constructors = constructors(create_model, __name__)
globals().update(_constructors)

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "ResNet",
    "create_model",
    "get_weights",
    "list_models",
    "prepare",
    "set_weights",
    *_constructors,
]
