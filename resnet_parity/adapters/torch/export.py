"""The model as an ONNX graph, as PyTorch's own exporter writes it (`torch.onnx.export`)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resnet_torch.model import ResNet

OPSET = 18
"""What both implementations export to; a newer one is made from it, for Keras' exporter knows no newer."""


def to_onnx(model: ResNet, layout: str, size: tuple[int, int], dynamic: Collection[str]) -> bytes:
    """The file of a graph from `image` to what the model returns, in evaluation mode.

    `layout` is that of the image and of feature maps, "nchw" or "nhwc"; `size` is height and width
    in pixels. `dynamic` holds "batch", "size" or both, for what the graph is to leave open; a batch
    that is not open has one image.
    """
    outer = Layout(model, layout)
    # A batch of one would be taken for the constant 1.
    shape = (2 if "batch" in dynamic else 1, model.architecture.in_channels, *size)
    image = torch.zeros(shape, dtype=next(model.parameters()).dtype)
    with evaluating(outer), quiet(), torch.inference_mode():
        program = torch.onnx.export(
            outer,
            (image if layout == "nchw" else image.permute(0, 2, 3, 1),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            dynamic_shapes=(open_axes(layout, dynamic),),
            optimize=False,
            verbose=False,
        )
    assert program is not None  # it is, with dynamo
    return program.model_proto.SerializeToString()


def open_axes(layout: str, dynamic: Collection[str]) -> dict[int, str]:
    """The axes of the image that the graph leaves open, with their names."""
    names = {"batch": ["batch"], "size": ["height", "width"]}
    wanted = [name for key in ("batch", "size") if key in dynamic for name in names[key]]
    axes = {"batch": "n", "height": "h", "width": "w"}
    return {layout.index(axes[name]): name for name in wanted}


class Layout(nn.Module):
    """A model that takes images, and gives feature maps, in that layout."""

    def __init__(self, model: nn.Module, layout: str) -> None:
        super().__init__()
        self.model = model
        self.layout = layout

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        if self.layout == "nchw":
            return self.model(image)
        returned = self.model(image.permute(0, 3, 1, 2))
        if isinstance(returned, Tensor):
            return returned
        return [feature.permute(0, 2, 3, 1) for feature in returned]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode, and then every module in that which it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter logs what it does, and warns of itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
