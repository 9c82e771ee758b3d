"""Exports a model to ONNX with PyTorch's own exporter (`torch.onnx.export`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from resnet_parity.adapters.loading import quiet
from resnet_torch.model import ResNet

OPSET = 18
"""The opset of both exporters: Keras' knows no newer one, so a newer graph is converted from it."""


def to_onnx(model: ResNet, layout: str, size: tuple[int, int], dynamic: Collection[str]) -> bytes:
    """Return the ONNX file of a graph from `image` to the model's outputs, in evaluation mode.

    `layout` of the image and of feature maps is "nchw" or "nhwc"; `size` is height and width in
    pixels. `dynamic` holds "batch", "size" or both, the axes that the graph leaves open; a batch
    that is not open has one image.
    """
    outer = Layout(model, layout)
    # The exporter would treat a batch of one as the constant 1.
    shape = (2 if "batch" in dynamic else 1, model.architecture.in_channels, *size)
    image = torch.zeros(shape, dtype=next(model.parameters()).dtype)
    with evaluating(outer), quiet("torch.onnx"), torch.inference_mode():
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
    assert program is not None  # it is only without dynamo
    return program.model_proto.SerializeToString()


def open_axes(layout: str, dynamic: Collection[str]) -> dict[int, str]:
    """The axes of the image that the graph leaves open, and their names."""
    names = {"batch": ["batch"], "size": ["height", "width"]}
    wanted = [name for key in ("batch", "size") if key in dynamic for name in names[key]]
    axes = {"batch": "n", "height": "h", "width": "w"}
    return {layout.index(axes[name]): name for name in wanted}


class Layout(nn.Module):
    """A model that takes images, and returns feature maps, in a given layout."""

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
    """Set evaluation mode; restore the mode of every module at exit."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
