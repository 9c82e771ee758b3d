"""The names of this project in Keras: the canonical ones with underscores."""

from resnet_parity.weights.dialects import canonical
from resnet_parity.weights.naming import KERAS_LAYER, KERAS_NORM, Dialect

_ROLES = canonical.DIALECTS[0].roles

DIALECTS = (
    Dialect(
        "keras",
        "resnet_keras",
        {role: name.replace(".", "_") for role, name in _ROLES.items()},
        source="resnet_spec/tensors.py",
        assumes="those of torchvision and timm, where the file holds no config",
        layer=KERAS_LAYER,
        norm=KERAS_NORM,
        conv_axes="hwio",
        linear_axes="io",
    ),
)
