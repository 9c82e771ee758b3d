"""KerasHub `ResNetBackbone` and `ResNetImageClassifier`."""

from resnet_parity.weights.naming import KERAS_LAYER, KERAS_NORM, Dialect

_BLOCK = "stack{s-1}_block{b}"

DIALECTS = (
    Dialect(
        "kerashub",
        "KerasHub",
        {
            "stem": "conv1_conv",
            "stem.norm": "conv1_bn",
            "deep.conv": "conv{k}_conv",
            "deep.norm": "conv{k}_bn",
            "deep.end": "conv3_bn",
            "conv": f"{_BLOCK}_{{j}}_conv",
            "norm": f"{_BLOCK}_{{j}}_bn",
            "project": f"{_BLOCK}_0_conv",
            "project.norm": f"{_BLOCK}_0_bn",
            "pooled": f"{_BLOCK}_0_conv",
            "pooled.norm": f"{_BLOCK}_0_bn",
            "fc": "predictions",
        },
        source="https://github.com/keras-team/keras-hub/blob/master/keras_hub/src/models/resnet/"
        "resnet_backbone.py",
        assumes="stride in the 3x3 convolution, epsilon 1e-5, max-pool padded by zeros after a "
        "ReLU",
        layer=KERAS_LAYER,
        norm=KERAS_NORM,
        conv_axes="hwio",
        linear_axes="io",
        fields={"avg_down": True},  # its networks with a deep stem
    ),
    Dialect(
        "kerashub-v2",
        "KerasHub, pre-activation",
        {
            "stem": "conv1_conv",
            "conv": f"{_BLOCK}_{{j}}_conv",
            "norm": f"{_BLOCK}_{{j-1}}_bn",
            "norm.1": f"{_BLOCK}_pre_activation_bn",
            "project": f"{_BLOCK}_0_conv",
            "last.norm": "post_bn",
            "fc": "predictions",
        },
        source="https://github.com/keras-team/keras-hub/blob/master/keras_hub/src/models/resnet/"
        "resnet_backbone.py",
        assumes="stride in the 3x3 convolution, epsilon 1e-5, max-pool padded by minus infinity",
        layer=KERAS_LAYER,
        norm=KERAS_NORM,
        conv_axes="hwio",
        linear_axes="io",
    ),
)
