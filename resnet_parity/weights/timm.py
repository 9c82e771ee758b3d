"""The weights of a timm ResNet, pre-activation (`resnetv2_*`) or not, under canonical names.

The state dicts of torchvision and of timm's `resnet.py` have the canonical names already. timm's
pre-activation networks have names of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_spec import Architecture, Parameter, WeightsError, get_architecture
from resnet_spec.state_dict import wrapper_problem
from resnet_spec.weights import check_unmasked

from resnet_parity.weights.dialect import to_canonical
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.naming import tensor_names

_BFLOAT16 = "torch.bfloat16"
_HINT = "pass timm's name of the model"


def from_timm(state: Mapping[str, Any], architecture: str | Architecture) -> dict[str, np.ndarray]:
    """Return the weights in the state dict of a timm ResNet, pre-activation or not.

    Values are tensors or arrays. Only the step counters of the norms are ignored. A name means the
    row with the classes and the image channels of the tensors, an `Architecture` exactly that one.

    Raises `resnet_spec.WeightsError` when a tensor is missing, left over or of another shape, and
    when `state` is no state dict, or wraps one.
    """
    if not isinstance(state, Mapping):
        kind = type(state).__name__
        raise WeightsError("this is no state dict", [f"it is a {kind}; pass model.state_dict()"])
    if problem := wrapper_problem(state, "state"):
        raise WeightsError("this is no state dict", [problem])
    check_unmasked(state)
    wide = [name for name, each in state.items() if str(getattr(each, "dtype", "")) == _BFLOAT16]
    if wide:
        problem = f"{len(wide)} of {len(state)} tensors are bfloat16, the first is {wide[0]}"
        fix = "convert them: state = {name: value.float() for name, value in state.items()}"
        raise WeightsError("NumPy has no bfloat16", [problem], fix)
    arch = get_architecture(architecture)
    means = (name for name in _dialect(arch) if name.endswith(".running_mean"))
    counters = {name.replace("running_mean", "num_batches_tracked") for name in means}
    found = {name: value for name, value in state.items() if name not in counters}
    return to_canonical(architecture, _dialect, found, _read, _HINT)


def _dialect(arch: Architecture) -> dict[str, Parameter]:
    names = tensor_names(DIALECTS["timm-v2" if arch.preactivation else "torchvision"], arch)
    assert names is not None
    return names


def _read(value: Any, parameter: Parameter) -> np.ndarray:
    array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    # timm's pre-activation networks have a 1x1 convolution as head, this project a dense layer.
    is_conv = parameter.axes == "oi" and array.shape[2:] == (1, 1)
    return array[:, :, 0, 0] if is_conv else array
