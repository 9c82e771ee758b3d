"""The record of a Keras model: every layer and operation that it calls, nested models opened."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_parity.diagnose.keras_operations import TRANSLATIONS, expected_layout, norm
from resnet_parity.diagnose.record import OPAQUE, Array, Record, RecordedStep, canonical
from resnet_parity.diagnose.recorder import Call, Recorder
from resnet_parity.diagnose.torch_operations import constant
from resnet_parity.errors import ParityError


def trace(model: Any, images: Array, *, prove: bool = True) -> Record:
    """Run the model over images (N, C, H, W) and record what it computes.

    It is called as a user would call it, without `training`: a layer that was told to train says
    so. Raises `ParityError` when its output is no single tensor, or does not come from the images.
    """
    keras = importlib.import_module("keras")
    layout = input_layout(model, images.shape[1])
    dtype = model.inputs[0].dtype if getattr(model, "inputs", None) else "float32"
    array = np.einsum(f"nchw->{layout}", images).astype(dtype)
    image = keras.ops.convert_to_tensor(array, dtype=dtype)
    recorder = Recorder("keras", image, array, layout, prove=prove)
    with _watched(keras, recorder, model):
        output = model(image)
    while isinstance(output, list | tuple) and len(output) == 1:
        output = output[0]
    if not hasattr(output, "shape") or not recorder.knows(output):
        raise ParityError(
            f"what {type(model).__name__} {model.name!r} returns is no single tensor that can be "
            "followed back to the images; return the logits, and call layers instead of keras.ops"
        )
    return recorder.finish(output)


def input_layout(model: Any, channels: int) -> str:
    """Channels first where the model's input says so, else last."""
    shape = getattr(model, "input_shape", None)
    first = isinstance(shape, tuple) and len(shape) == 4 and shape[1] == channels != shape[3]
    return "nchw" if first else "nhwc"


@contextmanager
def _watched(keras: Any, recorder: Recorder, model: Any) -> Iterator[None]:
    """While it lasts, every call of a layer or an operation is recorded."""
    operation = keras.Operation
    right = operation.__call__

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        mark = recorder.mark()
        before = _before(keras, self, kwargs)
        result = right(self, *args, **kwargs)
        is_container = isinstance(self, keras.Model) or bool(getattr(self, "_layers", None))
        inside = is_container and hasattr(result, "shape") and recorder.knows(result)
        if self is not model and hasattr(result, "shape") and not inside:
            recorder.forget(mark)
            _note(keras, recorder, self, (args, kwargs), before, result)
        return result

    operation.__call__ = watched
    try:
        yield
    finally:
        operation.__call__ = right


def _before(keras: Any, layer: Any, kwargs: Any) -> Any:
    """What must be read before a norm that trains changes its own statistics."""
    if not isinstance(layer, keras.layers.BatchNormalization) or not layer.built:
        return None
    training = bool(kwargs.get("training")) and layer.trainable
    is_stock = type(layer).__module__.partition(".")[0] == "keras"
    unbiased = False if is_stock else _tracks_unbiased(keras, layer)
    return lambda layout: norm(layer, layout, training, unbiased)


def _tracks_unbiased(keras: Any, layer: Any) -> bool:
    """Whether one training step moves the running variance towards n / (n - 1) times the batch's.

    It is tried on two numbers per channel, whose unbiased variance is twice the biased one; then
    the statistics are put back.
    """
    statistics = layer.moving_mean, layer.moving_variance
    kept = [_numbers(keras, each) for each in statistics]
    shape = [1, 1, 1, 1]
    shape[layer.axis if isinstance(layer.axis, int) else layer.axis[0]] = kept[0].size
    pair = np.concatenate([np.full(shape, value) for value in (-1.0, 1.0)])  # variance one
    layer.call(keras.ops.convert_to_tensor(pair, dtype=layer.compute_dtype), training=True)
    variance = _numbers(keras, layer.moving_variance)
    for each, value in zip(statistics, kept, strict=True):
        each.assign(value)
    step = (variance - layer.momentum * kept[1]) / (1 - layer.momentum)
    return bool(np.rint(step).mean() == 2)


def _note(
    keras: Any,
    recorder: Recorder,
    layer: Any,
    arguments: tuple[Sequence[Any], Any],
    before: Any,
    result: Any,
) -> None:
    """Record one call."""
    args, kwargs = arguments
    operands = [each for each in _flat((*args, *kwargs.values())) if hasattr(each, "shape")]
    for operand in operands:
        if not recorder.knows(operand):
            recorder.alias(operand, _numbers(keras, operand))
    known = [each for each in operands if recorder.knows(each)]
    if not known or any(result is each for each in known):
        return
    layout = recorder.layout(known[0]) if recorder.is_map(known[0]) else "nc"
    chain = _words(keras, layer, layout, (args, known), before)
    place = f"{layer.name} ({type(layer).__name__})"
    after = _layout_after(keras, layer, layout, result)
    chain = [replace(step, place=place) for step in chain]
    call = _caller(keras, layer, arguments, known, (layout, after))
    recorder.add(chain, known, (result, _numbers(keras, result), after), call)


def _words(
    keras: Any, layer: Any, layout: str, arguments: tuple[Sequence[Any], Sequence[Any]], before: Any
) -> list[RecordedStep]:
    args, known = arguments
    first = list(expected_layout(layer, layout))
    if before is not None:
        return first + list(before(layout))
    translate = TRANSLATIONS.get(type(layer).__name__)
    translate = translate or next(
        (TRANSLATIONS[c.__name__] for c in type(layer).__mro__ if c.__name__ in TRANSLATIONS), None
    )
    chain = list(translate(layer, layout)) if translate else []
    if len(known) == 1 and len(chain) == 1 and len(args) == 2:
        other = next((each for each in args if each is not known[0]), 0.0)
        number = constant(chain[0].kind, np.asarray(other), first=args[0] is not known[0])
        chain = [number] if number else chain
    is_permuted = type(layer).__name__ in ("Permute", "Transpose")
    if not chain:
        kind = "identity" if is_permuted else OPAQUE
        chain = [RecordedStep(kind, "", {} if is_permuted else {"operation": type(layer).__name__})]
    return first + chain


def _layout_after(keras: Any, layer: Any, layout: str, result: Any) -> str:
    """The axes of what comes out."""
    if len(result.shape) != 4:
        return "nc"
    name = type(layer).__name__
    if name == "Permute":
        return layout[0] + "".join(layout[axis] for axis in layer.dims)
    if name == "Transpose":
        return "".join(layout[axis] for axis in layer.axes)
    if hasattr(layer, "data_format") and "Pad" not in name:
        return "nchw" if layer.data_format == "channels_first" else "nhwc"
    return layout if len(layout) == 4 else "nhwc"


def _caller(
    keras: Any,
    layer: Any,
    arguments: tuple[Sequence[Any], Any],
    known: Sequence[Any],
    layouts: tuple[str, str],
) -> Call:
    """The call again, with other numbers for its operands."""
    args, kwargs = arguments

    def call(arrays: Sequence[Array]) -> Array:
        fresh = {}
        for operand, array in zip(known, arrays, strict=True):
            value = array[:, :, 0, 0] if len(operand.shape) == 2 else array
            value = np.einsum(f"nchw->{layouts[0]}", value) if value.ndim == 4 else value
            fresh[id(operand)] = keras.ops.convert_to_tensor(value, dtype=operand.dtype)

        def swap(value: Any) -> Any:
            if isinstance(value, list | tuple):
                return type(value)(map(swap, value))
            return fresh.get(id(value), value)

        result = layer(*map(swap, args), **{name: swap(value) for name, value in kwargs.items()})
        return canonical(_numbers(keras, result), layouts[1])

    return call


def _numbers(keras: Any, tensor: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(tensor))


def _flat(values: Sequence[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value
