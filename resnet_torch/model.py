"""The ResNet, in PyTorch: stem, stages of residual blocks, head (He et al. 2015, table 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from resnet_spec import Architecture, get_architecture, make_plan

from resnet_torch.blocks import BLOCKS
from resnet_torch.layers import batch_norm, conv, global_average_pool, linear, max_pool, relu


class ResNet(nn.Module):
    """Images to logits: (N, in_channels, H, W) -> (N, num_classes), any H and W."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        plan = make_plan(architecture)
        self.architecture = architecture
        self.conv1 = conv(plan.conv1)
        self.bn1 = batch_norm(plan.bn1)
        self.relu = relu()
        self.maxpool = max_pool(plan.maxpool)
        self.stages = [stage.name for stage in plan.stages]
        for stage in plan.stages:
            blocks = (BLOCKS[block.kind](block) for block in stage.blocks)
            self.add_module(stage.name, nn.Sequential(*blocks))
        self.avgpool = global_average_pool()
        self.fc = linear(plan.fc)

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv1(image)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.maxpool(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
        x = self.avgpool(x)
        return self.fc(x)


def create_model(
    architecture: str | Architecture,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    dtype: torch.dtype | None = None,
    **overrides: Any,
) -> ResNet:
    """A ResNet in training mode, freshly initialised.

    `num_classes`, `in_channels` and `overrides` (such as `zero_init_residual=True`) replace fields
    of the architecture. `dtype` is torch's default unless given. Images (N, in_channels, H, W) give
    logits (N, num_classes).

    Raises `resnet_spec.ArchitectureError` for an unknown name or field, or a combination that
    cannot be built.
    """
    given = {"num_classes": num_classes, "in_channels": in_channels, **overrides}
    # DIFFERS(dtype): torch converts a finished model, Keras fixes the dtype of layers and Input.
    return ResNet(get_architecture(architecture, **given)).to(dtype=dtype)
