"""keras.applications: ResNet50, ResNet101, ResNet152 and their V2, since version 1.0.7 of 2019."""

from resnet_parity.weights.naming import KERAS_LAYER, KERAS_NORM, Dialect

_BLOCK = "conv{s+1}_block{b+1}"
_SOURCE = "https://github.com/keras-team/keras/blob/master/keras/src/applications/resnet.py"

DIALECTS = (
    Dialect(
        "keras-applications",
        "keras.applications",
        {
            "stem": "conv1_conv",
            "stem.norm": "conv1_bn",
            "conv": f"{_BLOCK}_{{j}}_conv",
            "norm": f"{_BLOCK}_{{j}}_bn",
            "project": f"{_BLOCK}_0_conv",
            "project.norm": f"{_BLOCK}_0_bn",
            "fc": "predictions",
        },
        _SOURCE,
        assumes="stride in the first 1x1 convolution (v1), epsilon 1.001e-5, biases before norms, "
        "max-pool padded by zeros after a ReLU",
        layer=KERAS_LAYER,
        norm=KERAS_NORM,
        conv_axes="hwio",
        linear_axes="io",
        fields={"stride_in_1x1": True, "bn_eps": 1.001e-5, "bn_decay": 0.99},
    ),
    Dialect(
        "keras-applications-v2",
        "keras.applications, V2",
        {
            "stem": "conv1_conv",
            "conv": f"{_BLOCK}_{{j}}_conv",
            "norm": f"{_BLOCK}_{{j-1}}_bn",
            "norm.1": f"{_BLOCK}_preact_bn",
            "project": f"{_BLOCK}_0_conv",
            "last.norm": "post_bn",
            "fc": "predictions",
        },
        _SOURCE,
        assumes="stride in the last block of a stage, epsilon 1.001e-5, max-pool padded by zeros",
        layer=KERAS_LAYER,
        norm=KERAS_NORM,
        conv_axes="hwio",
        linear_axes="io",
        fields={"stride_in_last_block": True, "bn_eps": 1.001e-5, "bn_decay": 0.99},
    ),
)
