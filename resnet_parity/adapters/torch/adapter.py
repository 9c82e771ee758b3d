"""The PyTorch adapter: builds a model, runs it and reads every tap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec import Architecture, outputs, taps

from resnet_parity.adapters.torch.gradients import gradients as gradients
from resnet_parity.adapters.torch.modes import (
    callable_in,
    device,
    float32_products,
    placed,
    threads,
)
from resnet_parity.adapters.torch.modes import (
    float64_unsupported_reason as float64_unsupported_reason,
)
from resnet_parity.adapters.torch.modes import modes as modes
from resnet_parity.adapters.torch.modes import norm_of_ones as norm_of_ones
from resnet_parity.adapters.torch.modes import unsupported_reason as unsupported_reason
from resnet_torch.inference import prepare
from resnet_torch.model import ResNet, create_model
from resnet_torch.weights import set_weights


def versions() -> dict[str, str]:
    """The version of the framework, by its name."""
    return {"torch": str(torch.__version__)}  # a class of PyTorch's own


def build(architecture: Architecture, weights: Mapping[str, np.ndarray], dtype: str) -> ResNet:
    """Build a model with these weights, in evaluation mode."""
    model = create_model(architecture, dtype=getattr(torch, dtype)).eval()
    set_weights(model, weights)
    return model


def run(model: ResNet, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """Return every tap of a forward pass over images (N, C, H, W), in canonical layout.

    The model's outputs (`logits` of a classifier) come from a second pass without taps, as a user
    would run it.
    """
    shapes = {tap.name: tap.shape for tap in taps(model.architecture, *images.shape[2:])}
    with float32_products(mode), threads(2, mode, images.dtype), torch.inference_mode():
        tapped = _tapped(placed(model, mode), placed(torch.from_numpy(images), mode), shapes, mode)
        returned = outputs_of(model, images, mode)
    # The global average is (N, C, 1, 1) in the module and (N, C) as a tap.
    tapped = {name: value.reshape(-1, *shapes[name]) for name, value in tapped.items()}
    return {name: _canonical(value) for name, value in tapped.items()} | returned


def mixed_precision(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    mode: str,
    dtype: str,
) -> dict[str, np.ndarray]:
    """The outputs of a model with float32 weights that may compute in that narrower dtype."""
    model = build(architecture, weights, "float32")
    with torch.autocast(device(mode), getattr(torch, dtype)):
        returned = outputs_of(model, images, mode)
    return {name: value.astype("float32") for name, value in returned.items()}


def prepared(
    architecture: Architecture,
    weights: Mapping[str, np.ndarray],
    images: np.ndarray,
    mode: str,
    dtype: str,
) -> dict[str, np.ndarray]:
    """The outputs of the copy that `prepare` makes, which computes in that dtype."""
    model = build(architecture, weights, "float32")
    copy = prepare(model, dtype=dtype, compiled=mode == "compile", device=device(mode))
    with float32_products(mode), torch.inference_mode():
        returned = copy(placed(torch.from_numpy(images), mode))
    return _by_name(architecture, returned)


def outputs_of(model: ResNet, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """The model's outputs, computed as a user would."""
    image = placed(torch.from_numpy(images), mode)
    with float32_products(mode), torch.inference_mode():
        returned = callable_in(placed(model, mode), mode)(image)
    return _by_name(model.architecture, returned)


def _by_name(architecture: Architecture, returned: Any) -> dict[str, np.ndarray]:
    """The outputs of a model by their names."""
    returned = returned if isinstance(returned, list) else [returned]
    arrays = map(_canonical, returned)
    return dict(zip(outputs(architecture), arrays, strict=True))


def _tapped(model: nn.Module, image: Tensor, names: Iterable[str], mode: str) -> dict[str, Tensor]:
    """The outputs of the named modules."""
    arrays: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda module, inputs, output: arrays.update({name: output})

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        callable_in(model, mode)(image)
    finally:
        for hook in hooks:
            hook.remove()
    return arrays


def _canonical(value: Tensor) -> np.ndarray:
    """A contiguous NumPy array of a tensor; bfloat16 becomes float32, which NumPy has."""
    value = value.float() if value.dtype is torch.bfloat16 else value
    return value.cpu().contiguous().numpy()
