"""PyTorch networks of files of their own: built, and run in training mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from resnet_spec import Architecture, outputs

from resnet_parity.adapters.torch.modes import placed
from resnet_torch.model import create_model
from resnet_torch.weights import get_weights as get_weights
from resnet_torch.weights import set_weights as set_weights


def network(source: str | None, architecture: Architecture) -> Any:
    """The network in that source code, else that of this project, with initial values of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if source is None:
            return create_model(architecture, dtype="float32").eval()
        namespace: dict[str, Any] = {"__name__": "ejected"}
        exec(compile(source, "<ejected>", "exec"), namespace)
        model = namespace["ResNet"]().eval()
    model.architecture = architecture
    return model


def trained(model: Any, images: np.ndarray, mode: str) -> dict[str, np.ndarray]:
    """The outputs of a pass in training mode, which updates the running statistics."""
    with torch.no_grad():
        returned = model.train()(placed(torch.from_numpy(images), mode))
    model.eval()
    returned = returned if isinstance(returned, list) else [returned]
    arrays = (each.numpy(force=True) for each in returned)
    return dict(zip(outputs(model.architecture), arrays, strict=True))
