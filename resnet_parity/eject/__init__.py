"""One architecture as one plain file, in PyTorch or in Keras, that needs this project no more."""

from resnet_parity.eject.files import FRAMEWORKS, eject

__all__ = ["FRAMEWORKS", "eject"]
