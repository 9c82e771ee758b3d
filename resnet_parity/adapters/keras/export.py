"""Exports a model to ONNX with Keras' own exporter (`model.export`)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import keras

from resnet_keras.contexts import deep_recursion, functional
from resnet_keras.training import tensorflow
from resnet_parity.adapters.loading import quiet

OPSET = 18
"""The opset of both exporters: Keras' knows no newer one, so a newer graph is converted from it."""


def to_onnx(
    model: keras.Model, layout: str, size: tuple[int, int], dynamic: Collection[str]
) -> bytes:
    """Return the ONNX file of a graph from `image` to the model's outputs, in evaluation mode.

    `layout` of the image and of feature maps is "nchw" or "nhwc"; `size` is height and width in
    pixels. `dynamic` holds "batch", "size" or both, the axes that the graph leaves open; a batch
    that is not open has one image.
    """
    height, width = (None, None) if "size" in dynamic else size
    extents = {"n": None if "batch" in dynamic else 1, "h": height, "w": width}
    extents["c"] = model.architecture.in_channels
    shape = tuple(extents[axis] for axis in layout)
    signature = [keras.InputSpec(shape=shape, dtype=model.input.dtype, name="image")]
    plain = without_compiled_layers(model)
    outer = plain if layout == "nhwc" else channels_first(plain, shape)
    with TemporaryDirectory() as folder, deep_recursion(), quiet("tf2onnx"):
        path = Path(folder, "model.onnx")
        options = {"verbose": False, "input_signature": signature, "opset_version": OPSET}
        outer.export(path, format="onnx", **options)
        return path.read_bytes()


def without_compiled_layers(model: keras.Model) -> keras.Model:
    """A copy of the model whose grouped convolutions are TensorFlow's plain operation.

    Keras compiles them with XLA, because TensorFlow has no CPU kernel for them; ONNX cannot
    represent compiled code.
    """
    if tensorflow() is None or model.architecture.groups == 1:
        return model
    plain = keras.models.clone_model(model, clone_function=plain_layer)
    plain.set_weights(model.get_weights())
    return plain


def plain_layer(layer: keras.Layer) -> keras.Layer:
    """A copy of the layer; a grouped convolution becomes a `PlainConv2D`."""
    is_grouped = isinstance(layer, keras.layers.Conv2D) and layer.groups > 1
    return (PlainConv2D if is_grouped else type(layer)).from_config(layer.get_config())


class PlainConv2D(keras.layers.Conv2D):
    """A convolution without padding: (N, H, W, in) -> (N, H', W', out)."""

    def convolution_op(self, inputs, kernel):
        tf = tensorflow()
        assert tf is not None
        return tf.nn.convolution(
            inputs, kernel, self.strides, "VALID", dilations=self.dilation_rate
        )


def channels_first(model: keras.Model, shape: tuple[int | None, ...]) -> keras.Model:
    """A model that takes images, and returns feature maps, as (N, C, H, W)."""
    image = keras.Input(shape[1:], dtype=model.input.dtype, name="image")
    returned = model(keras.layers.Permute((2, 3, 1))(image))
    features = returned if isinstance(returned, list) else [returned]
    maps = [keras.layers.Permute((3, 1, 2))(x) if x.ndim == 4 else x for x in features]
    return functional(image, maps)
