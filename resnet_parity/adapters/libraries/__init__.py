"""Other libraries' ResNets: built, given weights by their own names, run, saved and opened.

A library is imported when it is first used. `base` is what they share; `LIBRARIES` is keyed by
dialect (`resnet_parity.weights.dialects`), the best one first.
"""

from __future__ import annotations

from resnet_parity.adapters.libraries.base import Library
from resnet_parity.adapters.libraries.keras_libraries import (
    KerasApplications,
    KerasHub,
    ResNetKeras,
)
from resnet_parity.adapters.libraries.torch_libraries import (
    ResNetTorch,
    Timm,
    Torchvision,
    Transformers,
)

LIBRARIES: dict[str, tuple[Library, ...]] = {
    "torchvision": (Torchvision(), Timm(), ResNetTorch()),
    "timm-v2": (Timm(),),
    "hf": (Transformers(),),
    "hf-body": (Transformers(),),
    "kerashub": (KerasHub(),),
    "kerashub-v2": (KerasHub(),),
    "keras-applications": (KerasApplications(),),
    "keras-applications-v2": (KerasApplications(),),
    "keras": (ResNetKeras(),),
}
"""The libraries that build networks with the names of a dialect, the first choice first."""
