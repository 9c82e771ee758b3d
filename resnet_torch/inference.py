"""Inference in PyTorch: a fast copy of a model, for evaluation alone."""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.optimization import fuse

from resnet_spec import WeightsError

from resnet_torch.model import ResNet, check_layout, floating_point
from resnet_torch.weights import unwrapped


class PreparedResNet(nn.Module):
    """Images (N, C, H, W) to what the model returns, in the dtype of the images."""

    def __init__(
        self, network: fx.GraphModule, model: ResNet, dtype: torch.dtype, compiled: bool
    ) -> None:
        super().__init__()
        self.network = network
        self.architecture = model.architecture
        self.feature_info = model.feature_info
        self.dtype = dtype
        self.setting = _freezing if compiled else torch.no_grad
        if compiled:
            network.compile(fullgraph=True)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        check_layout(image, self.architecture.in_channels)
        x = image.to(dtype=self.dtype, memory_format=torch.channels_last)
        with nullcontext() if torch.compiler.is_exporting() else self.setting():
            returned = self.network(x)
        if isinstance(returned, Tensor):
            return returned.to(image.dtype)
        return [each.to(image.dtype) for each in returned]


def prepare(
    model: nn.Module,
    *,
    dtype: str | torch.dtype | None = None,
    compiled: bool = False,
    device: str | torch.device | None = None,
) -> PreparedResNet:
    """A fast copy of a `ResNet` for inference, called like it; the model itself stays as it is.

    A batch normalisation that alone follows a convolution is folded into it, in float64, rounded
    once (Jacob et al. 2017, arXiv:1712.05877, section 3.2). Others stay: those at the start of
    pre-activation blocks, and a last one. The copy computes in `dtype` (float32, bfloat16, float16;
    default: that of the model) and returns the dtype of its images. With `compiled` it runs by
    `torch.compile` with frozen weights, which needs a C++ compiler and takes up to a minute in the
    first call. `device` defaults to that of the model. Memory is channels last. No gradients are
    computed, and `torch.export` takes the copy too.

    Raises `resnet_spec.WeightsError` if the model is no `ResNet`, and
    `resnet_spec.ArchitectureError` if the dtype is not a floating-point one.
    """
    source, kind = unwrapped(model), floating_point(dtype)
    if not isinstance(source, ResNet):
        fix = "set its weights in a model of resnet_torch.create_model"
        raise WeightsError("this is no ResNet", [f"it is a {type(source).__name__}"], fix)
    kind = kind or next(source.parameters()).dtype
    network = _folded(source, kind).to(device)
    _reuse_memory(network)
    return PreparedResNet(network, source, kind, compiled).eval()


@contextmanager
def _freezing() -> Iterator[None]:
    """Let `torch.compile` take weights for constants, which it can then reorder and fuse.

    It does so only without gradients, and reads this setting when it traces, as the first call and
    one with other sizes do; as an option of `torch.compile` it comes too late.
    """
    from torch._inductor import config  # takes seconds

    with torch.no_grad(), config.patch(freezing=True):
        yield


def _folded(model: ResNet, dtype: torch.dtype) -> fx.GraphModule:
    """A copy of the network with norms folded into convolutions, which computes in that dtype."""
    network: Any = fuse(copy.deepcopy(model).double().eval()).requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # its statistics need 24 bits
            module.to(torch.promote_types(dtype, torch.float32))
        elif not [*module.children()]:
            module.to(dtype)
    return network.to(memory_format=torch.channels_last)


def _reuse_memory(network: fx.GraphModule) -> None:
    """Let ReLUs and sums write into their first input, if it is new and nothing else reads it."""
    modules = dict(network.named_modules())
    for node in network.graph.nodes:
        source = node.args[0] if node.args else None
        if not isinstance(source, fx.Node) or len(source.users) > 1:
            continue
        layer = modules.get(str(source.target))
        is_new = source.target in (operator.iadd, operator.mul)
        if not (is_new or isinstance(layer, nn.Conv2d | nn.BatchNorm2d)):
            continue
        if node.target is operator.add:
            node.target = operator.iadd
        elif isinstance(modules.get(str(node.target)), nn.ReLU):
            node.op, node.target = "call_function", torch.relu_
    network.recompile()
