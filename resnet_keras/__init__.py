"""ResNets in Keras: `create_model`, one function per architecture, and weights in and out.

The functions are made from `resnet_spec.registry`. Each takes the options of `create_model`.
"""

from resnet_spec import constructors, list_models

from resnet_keras.inference import prepare
from resnet_keras.model import create_model, resnet
from resnet_keras.weights import architecture_of, get_weights, set_weights

_constructors = constructors(create_model, __name__)
globals().update(_constructors)

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    "architecture_of",
    "create_model",
    "get_weights",
    "list_models",
    "prepare",
    "resnet",
    "set_weights",
    *_constructors,
]
