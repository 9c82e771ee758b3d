"""Gradients of a PyTorch model, under canonical names and in canonical layout."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch

from resnet_spec import IMAGE, outputs

from resnet_parity.adapters.torch.modes import (
    callable_in,
    device,
    float32_products,
    placed,
    threads,
)
from resnet_torch.model import ResNet


def gradients(
    model: ResNet,
    images: np.ndarray,
    cotangents: Mapping[str, np.ndarray],
    mode: str,
    *,
    training: bool,
) -> dict[str, np.ndarray]:
    """Return the gradient of every trained tensor and of the images (N, C, H, W).

    What is differentiated is the sum of the model's outputs, weighted by the cotangents. In
    `training` norms use batch statistics; otherwise they are frozen. The model stays unchanged.
    """
    model = placed(copy.deepcopy(model), mode).train(training)
    image = placed(torch.from_numpy(images), mode).requires_grad_()
    names = outputs(model.architecture)
    weights = [torch.from_numpy(cotangents[name]).to(device(mode)) for name in names]
    tensors = {**dict(model.named_parameters()), IMAGE: image}
    with float32_products(mode), threads(1, mode, images.dtype):
        returned = callable_in(model, mode)(image)
        returned = returned if isinstance(returned, list) else [returned]
        found = torch.autograd.grad(returned, list(tensors.values()), weights)
    arrays = (gradient.cpu().contiguous().numpy() for gradient in found)
    return dict(zip(tensors, arrays, strict=True))
