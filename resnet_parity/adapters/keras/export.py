"""The model as an ONNX graph, as Keras' own exporter writes it (`model.export`)."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from resnet_keras.model import deep_recursion, functional

OPSET = 18
"""What both implementations export to; a newer one is made from it, for Keras' exporter knows no newer."""


def to_onnx(
    model: keras.Model, layout: str, size: tuple[int, int], dynamic: Collection[str]
) -> bytes:
    """The file of a graph from `image` to what the model returns, in evaluation mode.

    `layout` is that of the image and of feature maps, "nchw" or "nhwc"; `size` is height and width
    in pixels. `dynamic` holds "batch", "size" or both, for what the graph is to leave open; a batch
    that is not open has one image.
    """
    height, width = (None, None) if "size" in dynamic else size
    extents = {"n": None if "batch" in dynamic else 1, "h": height, "w": width}
    extents["c"] = model.architecture.in_channels
    shape = tuple(extents[axis] for axis in layout)
    signature = [keras.InputSpec(shape=shape, dtype=model.input.dtype, name="image")]
    plain = without_compiled_layers(model)
    outer = plain if layout == "nhwc" else channels_first(plain, shape)
    with TemporaryDirectory() as folder, deep_recursion(), quiet():
        path = Path(folder, "model.onnx")
        options = {"verbose": False, "input_signature": signature, "opset_version": OPSET}
        outer.export(path, format="onnx", **options)
        return path.read_bytes()


def without_compiled_layers(model: keras.Model) -> keras.Model:
    """The model, its grouped convolutions as TensorFlow's own operation.

    Keras has XLA compile those, for TensorFlow has no kernel for them on a CPU, and what is
    compiled has no place in a graph of ONNX.
    """
    if keras.backend.backend() != "tensorflow" or model.architecture.groups == 1:
        return model
    plain = keras.models.clone_model(model, clone_function=plain_layer)
    plain.set_weights(model.get_weights())
    return plain


def plain_layer(layer: keras.Layer) -> keras.Layer:
    """A layer like that one; a grouped convolution is never compiled."""
    is_grouped = isinstance(layer, keras.layers.Conv2D) and layer.groups > 1
    return (PlainConv2D if is_grouped else type(layer)).from_config(layer.get_config())


class PlainConv2D(keras.layers.Conv2D):
    """A convolution without padding: (N, H, W, in) -> (N, H', W', out)."""

    def convolution_op(self, inputs, kernel):
        convolution = import_module("tensorflow").nn.convolution
        return convolution(inputs, kernel, self.strides, "VALID", dilations=self.dilation_rate)


def channels_first(model: keras.Model, shape: tuple[int | None, ...]) -> keras.Model:
    """A model that takes images, and gives feature maps, as (N, C, H, W)."""
    image = keras.Input(shape[1:], dtype=model.input.dtype, name="image")
    returned = model(keras.layers.Permute((2, 3, 1))(image))
    features = returned if isinstance(returned, list) else [returned]
    maps = [keras.layers.Permute((3, 1, 2))(x) if x.ndim == 4 else x for x in features]
    return functional(image, maps)


@contextmanager
def quiet() -> Iterator[None]:
    """The exporter logs what it does, and warns of itself."""
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)
