"""fastai's xresnet; the body of a `vision_learner` is a Sequential of torchvision's children."""

from resnet_parity.weights.naming import Dialect

_BLOCK = "{s+3}.{b}"
_ROLES = {
    "deep.conv": "{k-1}.0",
    "deep.norm": "{k-1}.1",
    "deep.end": "2.1",
    "conv": f"{_BLOCK}.convpath.{{j-1}}.0",
    "norm": f"{_BLOCK}.convpath.{{j-1}}.1",
    "pooled": f"{_BLOCK}.idpath.1.0",
    "pooled.norm": f"{_BLOCK}.idpath.1.1",
    # The list begins with a pool only where the block strides.
    "pooled@1": f"{_BLOCK}.idpath.0.0",
    "pooled.norm@1": f"{_BLOCK}.idpath.0.1",
    "fc": "11",
}
_SOURCE = "https://github.com/fastai/fastai/blob/main/fastai/vision/models/xresnet.py"
_ASSUMES = "the average pool precedes the projection, epsilon 1e-5"

DIALECTS = (
    Dialect("xresnet", "fastai xresnet", _ROLES, _SOURCE, _ASSUMES),
    Dialect(
        "xresnet-2019",
        "fastai xresnet of 2019",
        _ROLES
        | {
            "conv": f"{_BLOCK}.convs.{{j-1}}.0",
            "norm": f"{_BLOCK}.convs.{{j-1}}.1",
            "pooled": f"{_BLOCK}.idconv.0",
            "pooled.norm": f"{_BLOCK}.idconv.1",
            "pooled@1": f"{_BLOCK}.idconv.0",
            "pooled.norm@1": f"{_BLOCK}.idconv.1",
            "fc": "10",
        },
        "https://github.com/n2cholas/jax-resnet/blob/main/jax_resnet/pretrained.py",
        _ASSUMES,
    ),
)
