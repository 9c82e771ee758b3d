"""Detectron2, and the Caffe2 names that its model zoo began with."""

from resnet_parity.weights.naming import Dialect

_BLOCK = "res{s+1}.{b}"
_BLOB = "res{s+1}_{b}_branch"

DIALECTS = (
    Dialect(
        "detectron2",
        "Detectron2",
        {
            "stem": "stem.conv1",
            "stem.norm": "stem.conv1.norm",
            "conv": f"{_BLOCK}.conv{{j}}",
            "norm": f"{_BLOCK}.conv{{j}}.norm",
            "project": f"{_BLOCK}.shortcut",
            "project.norm": f"{_BLOCK}.shortcut.norm",
            "fc": "stem.fc",
        },
        source="https://github.com/facebookresearch/detectron2/blob/main/tools/"
        "convert-torchvision-to-d2.py",
        assumes="STRIDE_IN_1X1: False, as the files converted from torchvision; epsilon 1e-5",
    ),
    Dialect(
        "caffe2",
        "Caffe2 (Detectron)",
        {
            "stem": "conv1",
            "stem.norm": "res_conv1",
            "conv": f"{_BLOB}2{{j-1:a}}",
            "norm": f"{_BLOB}2{{j-1:a}}",
            "project": f"{_BLOB}1",
            "project.norm": f"{_BLOB}1",
            "fc": "pred",
        },
        source="https://github.com/facebookresearch/detectron2/blob/main/detectron2/checkpoint/"
        "c2_model_loading.py",
        assumes="stride in the first 1x1 convolution (the MSRA networks), images in BGR; the norms "
        "have no statistics, which are folded into their scale and bias",
        layer={"weight": "{}_w", "bias": "{}_b"},
        norm={"weight": "{}_bn_s", "bias": "{}_bn_b"},
        fields={"stride_in_1x1": True},
    ),
)
