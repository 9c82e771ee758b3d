"""What the judge needs of a PyTorch model: build it, run it, and read every tap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from resnet_spec import Architecture, outputs, taps

from resnet_torch.model import ResNet, create_model
from resnet_torch.weights import set_weights


def versions() -> dict[str, str]:
    """The framework, by name and version."""
    return {"torch": torch.__version__}


def modes() -> tuple[str, ...]:
    """The ways in which this framework can run the model, the usual one first."""
    return ("nchw", "channels_last")


def float64_obstacle() -> str | None:
    """Why a float64 model may not be float64 all through; PyTorch's is."""
    return None


def build(architecture: Architecture, weights: Mapping[str, np.ndarray], dtype: str) -> ResNet:
    """A model in evaluation mode that holds those weights."""
    model = create_model(architecture, dtype=getattr(torch, dtype)).eval()
    set_weights(model, weights)
    return model


def run(model: ResNet, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """Every tap of a forward pass over images (N, C, H, W), in canonical layout.

    What the model returns (`logits` of a classifier) comes from a second pass in which nothing is
    tapped, as a user would run it.
    """
    layout = torch.channels_last if mode == "channels_last" else torch.contiguous_format
    model = model.to(memory_format=layout)
    image = torch.from_numpy(images).to(memory_format=layout)
    names = [tap.name for tap in taps(model.architecture, *images.shape[2:])]
    with torch.inference_mode():
        arrays = _tapped(model, image, names)
        returned = model(image)
    returned = returned if isinstance(returned, list) else [returned]
    arrays |= zip(outputs(model.architecture), returned, strict=True)
    return {name: value.contiguous().numpy() for name, value in arrays.items()}


def _tapped(model: nn.Module, image: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """The outputs of the named modules, copied before an in-place ReLU overwrites them."""
    arrays: dict[str, Tensor] = {}

    def keep(name: str):
        return lambda module, inputs, output: arrays.update({name: output.clone()})

    hooks = [model.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    try:
        model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return arrays
