"""The ResNet in PyTorch: stem, stages of residual blocks, head (He et al. 2015, table 1)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from resnet_spec import Architecture, ArchitectureError, get_architecture, make_plan

from resnet_torch.blocks import BasicBlock, Bottleneck
from resnet_torch.layers import batch_norm, global_average_pool, linear, max_pool, relu, stem_conv
from resnet_torch.preact_blocks import PreActBasicBlock, PreActBottleneck

BLOCKS = {
    ("basic", False): BasicBlock,
    ("bottleneck", False): Bottleneck,
    ("basic", True): PreActBasicBlock,
    ("bottleneck", True): PreActBottleneck,
}
"""By kind, and whether the block is preactivated."""


class ResNet(nn.Module):
    """Images to logits: (N, in_channels, H, W) -> (N, num_classes), any H and W.

    Modules are registered in the order in which they run, for tools that chain `children()`.

    Without classes it returns the pooled features (N, C); as a backbone a list of feature maps
    (N, C, H, W), whose names, channels and reductions are in `feature_info`.
    """

    # For type checkers: a user may replace any of them, and an architecture may lack it. With
    # `nn.Sequential` for a stage they would take `model.layer4[-1].conv2` for a tensor or a module.
    conv1: Any
    bn1: Any
    layer1: Any
    layer2: Any
    layer3: Any
    layer4: Any
    fc: Any

    def __init__(self, architecture: str | Architecture) -> None:
        super().__init__()
        architecture = get_architecture(architecture)
        plan = make_plan(architecture)
        self.architecture = architecture
        self.feature_info = plan.features
        self.inplanes = plan.out_channels
        self.conv1 = stem_conv(plan.stem)
        self.bn1 = batch_norm(plan.stem.norm) if plan.stem.norm else None
        if not architecture.preactivation:
            self.relu = relu(plan.relu)
        self.maxpool = max_pool(plan.stem.pool) if plan.stem.pool else None
        self.stages = [stage.name for stage in plan.stages]
        for stage in plan.stages:
            blocks = (BLOCKS[block.kind, block.preactivation](block) for block in stage.blocks)
            self.add_module(stage.name, nn.Sequential(*blocks))
        self.norm = batch_norm(plan.norm) if plan.norm else None
        if architecture.preactivation:
            self.relu = relu(plan.relu)
        self.avgpool = global_average_pool(plan.avgpool)
        self.fc = linear(plan.fc) if plan.fc else None

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        check_layout(image, self.architecture.in_channels)
        x = self.conv1(image)
        if self.bn1 is not None:
            x = self.bn1(x)
            x = self.relu(x)
        features = [x]
        if self.maxpool is not None:
            x = self.maxpool(x)
        for stage in self.stages:
            x = self.get_submodule(stage)(x)
            features.append(x)
        if self.architecture.out_indices is not None:
            # DIFFERS(one-feature): torch returns one feature map in a list, Keras unpacks it.
            return [features[index] for index in self.architecture.out_indices]
        if self.norm is not None:
            x = self.norm(x)
            x = self.relu(x)
        x = self.avgpool(x).flatten(1)
        return x if self.fc is None else self.fc(x)


def create_model(
    architecture: str | Architecture,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    features_only: bool = False,
    out_indices: Iterable[int] | None = None,
    dtype: str | torch.dtype | None = None,
    **overrides: Any,
) -> ResNet:
    """Build a ResNet with initial weights, in training mode.

    `num_classes` (0: pooled features), `in_channels` and `overrides` (such as `output_stride=8`)
    replace fields of the architecture. With `features_only` the model returns the feature maps of
    `out_indices` (0 is the stem, 1 the first stage, -1 the last one; default: all). `dtype`
    defaults to that of torch. `name` is another name for the architecture: a module has none.
    Images (N, in_channels, H, W) give logits (N, num_classes).

    Raises `resnet_spec.ArchitectureError` for an unknown name or field, or a combination that
    cannot be built.
    """
    architecture = get_architecture(
        architecture,
        num_classes=num_classes,
        in_channels=in_channels,
        features_only=features_only,
        out_indices=out_indices,
        **overrides,
    )
    # DIFFERS(dtype): torch converts a finished model, Keras fixes the dtype of layers and Input.
    return ResNet(architecture).to(dtype=floating_point(dtype))


def floating_point(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """A floating-point dtype, also by name as in Keras ("float16")."""
    found = getattr(torch, dtype, dtype) if isinstance(dtype, str) else dtype
    if found is None or (isinstance(found, torch.dtype) and found.is_floating_point):
        return found
    raise ArchitectureError(
        f"dtype must be a floating-point dtype such as torch.float16 or 'float16', not {dtype!r}; "
        "for mixed precision run a float32 model under torch.autocast"
    )


def check_layout(image: Tensor, channels: int) -> None:
    """Check that images are channels first: (N, C, H, W).

    Raises `ValueError` with the transpose that makes them so.
    """
    # DIFFERS(layout): torch keeps channels before height and width, Keras after them.
    is_traced = torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]
    if is_traced or not isinstance(image, Tensor) or image.ndim != 4:
        return
    if image.shape[1] != channels and image.shape[3] == channels:
        fix = "images.permute(0, 3, 1, 2)"
        raise ValueError(
            f"the images have shape {tuple(image.shape)}, expected (N, {channels}, H, W): "
            f"they are channels last, write {fix}"
        )
