"""Record a Keras model: every layer and operation that it calls, nested models included."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_spec.text import printable

from resnet_parity.diagnose.keras_operations import TRANSLATIONS, layout_mismatch, norm, to_array
from resnet_parity.diagnose.record import (
    Array,
    Call,
    Kind,
    Record,
    RecordedStep,
    affine_step,
    canonical,
)
from resnet_parity.diagnose.recorder import Recorder, Trusted
from resnet_parity.errors import ParityError

Arguments = tuple[Sequence[Any], Mapping[str, Any]]
"""The positional arguments of a call, and those by name."""


def trace(model: Any, images: Array, *, trusted: Trusted = frozenset()) -> Record:
    """Run the model on images (N, C, H, W) and record its steps.

    Steps of the kinds in `trusted` are not checked.
    The call leaves `training` out, as a user's call does, so a norm built with training=True shows.
    Raises `ParityError` when the output is not one tensor or cannot be traced to the images.
    """
    keras = importlib.import_module("keras")
    layout = input_layout(model, images.shape[1])
    dtype = model.inputs[0].dtype if getattr(model, "inputs", None) else "float32"
    array = np.einsum(f"nchw->{layout}", images).astype(dtype)
    image = keras.ops.convert_to_tensor(array, dtype=dtype)
    recorder = Recorder("keras", image, array, layout, trusted=trusted)
    if not model.built:
        model(image)
    model = _as_graph(keras, model, image)
    with _recording(keras, recorder, model):
        output = model(image)
    while isinstance(output, list | tuple) and len(output) == 1:
        output = output[0]
    if not hasattr(output, "shape") or not recorder.knows(output):
        raise ParityError(
            f"the output of {type(model).__name__} {model.name!r} is not one tensor that can be "
            "followed back to the images; return the logits, and call layers instead of keras.ops"
        )
    return recorder.finish(output)


def _as_graph(keras: Any, model: Any, x: Any, **options: Any) -> Any:
    """A graph of a model or layer that is a class of the user's; others as they are.

    Outside a graph, `keras.ops` and operators cannot be recorded.
    """
    if hasattr(model, "operations") or isinstance(model, keras.Sequential):
        return model
    symbol = keras.Input(tuple(x.shape[1:]), dtype=x.dtype)
    try:
        return keras.Model(symbol, model.call(symbol, **options), name=model.name)
    except Exception:  # it calls functions that take no symbols
        return model


def input_layout(model: Any, channels: int) -> str:
    """The layout of the model's input: channels first if its shape says so, else last."""
    shape = getattr(model, "input_shape", None)
    first = isinstance(shape, tuple) and len(shape) == 4 and shape[1] == channels != shape[3]
    return "nchw" if first else "nhwc"


@contextmanager
def _recording(keras: Any, recorder: Recorder, model: Any) -> Iterator[None]:
    """Record every call of a layer or an operation inside the context."""
    operation = keras.Operation
    original = operation.__call__

    def recorded_call(self: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(each, keras.KerasTensor) for each in keras.tree.flatten((args, kwargs))):
            return original(self, *args, **kwargs)
        mark = recorder.mark()
        is_container = isinstance(self, keras.Model) or bool(getattr(self, "_layers", None))
        graph = self
        if is_container and self is not model and len(args) == 1 and hasattr(args[0], "shape"):
            graph = _as_graph(keras, self, args[0], **kwargs)
        with _statistics_restored(self, kwargs):
            result = original(self, *args, **kwargs) if graph is self else graph(args[0])
        inside = is_container and hasattr(result, "shape") and recorder.knows(result)
        if self is not model and graph is self and hasattr(result, "shape") and not inside:
            recorder.forget(mark)
            _record(keras, recorder, self, (args, kwargs), result)
        return result

    operation.__call__ = recorded_call
    try:
        yield
    finally:
        operation.__call__ = original


@contextmanager
def _statistics_restored(layer: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Undo the update of the running statistics that a norm in training mode makes."""
    is_norm = options.get("training") and hasattr(layer, "moving_variance")
    statistics = [layer.moving_mean, layer.moving_variance] if is_norm else []
    kept = [to_array(each) for each in statistics]
    yield
    for each, value in zip(statistics, kept, strict=True):
        each.assign(value)


def _tracks_unbiased(keras: Any, layer: Any) -> bool:
    """Whether a training step moves the running variance towards n / (n - 1) times the batch's.

    The layer runs on two values per channel, whose unbiased variance is twice the biased one; then
    its statistics are restored.
    """
    statistics = layer.moving_mean, layer.moving_variance
    kept = [to_array(each) for each in statistics]
    shape = [1, 1, 1, 1]
    shape[layer.axis if isinstance(layer.axis, int) else layer.axis[0]] = kept[0].size
    pair = np.concatenate([np.full(shape, value) for value in (-1.0, 1.0)])  # variance one
    layer.call(keras.ops.convert_to_tensor(pair, dtype=layer.compute_dtype), training=True)
    variance = to_array(layer.moving_variance)
    for each, value in zip(statistics, kept, strict=True):
        each.assign(value)
    step = (variance - layer.momentum * kept[1]) / (1 - layer.momentum)
    return bool(np.rint(step).mean() == 2)


def _record(keras: Any, recorder: Recorder, layer: Any, arguments: Arguments, result: Any) -> None:
    """Record one call."""
    operands = [each for each in keras.tree.flatten(arguments) if hasattr(each, "shape")]
    for operand in operands:
        if not recorder.knows(operand):
            recorder.alias(operand, to_array(operand))
    known = [each for each in operands if recorder.knows(each)]
    if not known or any(result is each for each in known):
        return
    layout = recorder.layout(known[0])
    chain = _translate(keras, layer, layout, arguments, known)
    place = f"{printable(layer.name)} ({type(layer).__name__})"
    after = _layout_after(layer, layout, result)
    chain = [replace(step, place=place) for step in chain]
    call = _caller(keras, layer, arguments, known, (layout, after))
    recorder.add(chain, known, (result, to_array(result), after), call)


def _translate(
    keras: Any, layer: Any, layout: str, arguments: Arguments, known: Sequence[Any]
) -> list[RecordedStep]:
    """Return the steps of one call; `known` are its recorded operands."""
    args, kwargs = arguments
    first = list(layout_mismatch(layer, layout))
    if isinstance(layer, keras.layers.BatchNormalization):
        training = bool(kwargs.get("training")) and layer.trainable
        is_stock = type(layer).__module__.partition(".")[0] == "keras"
        unbiased = False if is_stock else _tracks_unbiased(keras, layer)
        return first + list(norm(layer, layout, training, unbiased))
    translate = TRANSLATIONS.get(type(layer).__name__)
    translate = translate or next(
        (TRANSLATIONS[c.__name__] for c in type(layer).__mro__ if c.__name__ in TRANSLATIONS), None
    )
    chain = list(translate(layer, layout)) if translate else []
    if len(known) == 1 and len(chain) == 1 and len(args) == 2:
        other = next((each for each in args if each is not known[0]), 0.0)
        step = affine_step(chain[0].kind, np.asarray(other), value_first=args[0] is not known[0])
        chain = [step] if step else chain
    is_permuted = type(layer).__name__ in ("Permute", "Transpose")
    if not chain:
        kind = "identity" if is_permuted else Kind.OPAQUE
        chain = [RecordedStep(kind, "", {} if is_permuted else {"operation": type(layer).__name__})]
    return first + chain


def _layout_after(layer: Any, layout: str, result: Any) -> str:
    """The layout of the output."""
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
    keras: Any, layer: Any, arguments: Arguments, known: Sequence[Any], layouts: tuple[str, str]
) -> Call:
    """Return a function that repeats the call with other values for its operands."""

    def call(arrays: Sequence[Array]) -> Array:
        fresh = {}
        for operand, array in zip(known, arrays, strict=True):
            value = array[:, :, 0, 0] if len(operand.shape) == 2 else array
            value = np.einsum(f"nchw->{layouts[0]}", value) if value.ndim == 4 else value
            fresh[id(operand)] = keras.ops.convert_to_tensor(value, dtype=operand.dtype)

        swapped = keras.tree.map_structure(lambda value: fresh.get(id(value), value), arguments)
        result = layer(*swapped[0], **swapped[1])
        return canonical(to_array(result), layouts[1])

    return call
