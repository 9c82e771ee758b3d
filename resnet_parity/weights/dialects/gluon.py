"""GluonCV, and the model zoo of MXNet's Gluon."""

from resnet_parity.weights.dialects import canonical
from resnet_parity.weights.naming import Dialect

_NORM = {
    "weight": "{}.gamma",
    "bias": "{}.beta",
    "running_mean": "{}.running_mean",
    "running_var": "{}.running_var",
}

DIALECTS = (
    Dialect(
        "gluoncv",
        "GluonCV v1b to v1s",
        canonical.DIALECTS[0].roles,
        source="https://github.com/dmlc/gluon-cv/blob/master/gluoncv/model_zoo/resnetv1b.py",
        assumes="stride in the 3x3 convolution, epsilon 1e-5",
        norm=_NORM,
    ),
    Dialect(
        "gluon",
        "MXNet Gluon resnet_v1",
        {
            "stem": "features.0",
            "stem.norm": "features.1",
            "conv": "features.{s+3}.{b}.body.{3j-3}",
            "norm": "features.{s+3}.{b}.body.{3j-2}",
            "project": "features.{s+3}.{b}.downsample.0",
            "project.norm": "features.{s+3}.{b}.downsample.1",
            "fc": "output",
        },
        source="https://github.com/apache/mxnet/blob/master/python/mxnet/gluon/model_zoo/vision/"
        "resnet.py",
        assumes="stride in the first 1x1 convolution (v1), epsilon 1e-5",
        norm=_NORM,
        fields={"stride_in_1x1": True},
    ),
)
