"""The repositories that people train CIFAR networks with."""

from resnet_parity.weights.naming import Dialect

_TORCHVISION = {
    "stem": "conv1",
    "stem.norm": "bn1",
    "conv": "layer{s}.{b}.conv{j}",
    "norm": "layer{s}.{b}.bn{j}",
    "project": "layer{s}.{b}.shortcut.0",
    "project.norm": "layer{s}.{b}.shortcut.1",
    "fc": "linear",
}
_RESIDUAL = "conv{s+1}_x.{b}"

DIALECTS = (
    Dialect(
        "akamaster",
        "akamaster/pytorch_resnet_cifar10",
        {role: name for role, name in _TORCHVISION.items() if not role.startswith("project")},
        source="https://github.com/akamaster/pytorch_resnet_cifar10/blob/master/resnet.py",
        assumes="shortcuts of option A with zeros before and after the channels, epsilon 1e-5",
        fields={"zero_padding": "around"},
    ),
    Dialect(
        "kuangliu",
        "kuangliu/pytorch-cifar",
        _TORCHVISION,
        source="https://github.com/kuangliu/pytorch-cifar/blob/master/models/resnet.py",
        assumes="a 3x3 stem without pool, epsilon 1e-5",
    ),
    Dialect(
        "weiaicunzai",
        "weiaicunzai/pytorch-cifar100",
        {
            "stem": "conv1.0",
            "stem.norm": "conv1.1",
            "conv": f"{_RESIDUAL}.residual_function.{{3j-3}}",
            "norm": f"{_RESIDUAL}.residual_function.{{3j-2}}",
            "project": f"{_RESIDUAL}.shortcut.0",
            "project.norm": f"{_RESIDUAL}.shortcut.1",
            "fc": "fc",
        },
        source="https://github.com/weiaicunzai/pytorch-cifar100/blob/master/models/resnet.py",
        assumes="a 3x3 stem without pool, epsilon 1e-5",
    ),
)
