"""Read a `.keras` file from any source: nothing in it is run, and no claimed size is allocated.

The archive, the config and the HDF5 file of the weights are checked first. Keras then loads a copy
that holds only what was checked, without the training configuration.
"""

from __future__ import annotations

import importlib
import json
import math
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

from resnet_parity.adapters.loading import keras_adapter
from resnet_parity.diagnose.finding import SIZES, Size
from resnet_parity.diagnose.keras_names import (
    ALLOWED,
    FUNCTIONS,
    LARGEST,
    MODELS,
    NUMBERS,
    UNSAFE_LAYERS,
    VALUES,
)
from resnet_parity.errors import ParityError
from resnet_parity.files import brief, shown
from resnet_parity.limits import MAX_ELEMENTS
from resnet_parity.weights.formats import hdf5
from resnet_parity.weights.formats.archives import Member
from resnet_parity.weights.formats.hdf5 import MAX_DEPTH
from resnet_parity.weights.formats.keras_archive import (
    CONFIG,
    KIND,
    SAVE_AGAIN,
    WEIGHTS,
    members,
    read_config,
    unpack,
)

_MEMBERS = {"metadata.json", CONFIG, WEIGHTS}

_CALLABLE = (
    "if you trust the file, write a callable that returns the loaded model and pass module:callable"
)


def check_file(path: Path) -> None:
    """Raise `ParityError` unless a `.keras` file can be loaded safely; no framework is imported."""
    _read_config(path)


def load_file(path: Path) -> Any:
    """Return the Keras model in a file; raises `ParityError`."""
    config = _read_config(path)
    keras_adapter()
    keras = importlib.import_module("keras")
    with tempfile.TemporaryDirectory() as folder:
        unpack_weights(path, Path(folder, WEIGHTS))
        check_weights(path, Path(folder, WEIGHTS))
        Path(folder, CONFIG).write_text(json.dumps(config))
        try:
            with _limited_weights(keras, path), warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                model = keras.saving.load_model(folder, compile=False, safe_mode=True)
        except (ParityError, MemoryError):
            raise
        except Exception as error:  # Keras raises many types for a config that does not fit
            raise ParityError(f"{path} cannot be loaded: {brief(_reason(error))}") from error
    for warning in map(str, (each.message for each in said)):
        if warning.startswith("Skipping nested container"):  # it keeps its random weights
            raise ParityError(
                f"{path} cannot be loaded: {warning.partition('. ')[0]}; {SAVE_AGAIN}"
            )
    _check_maps(keras, path, model)
    return model


def _source(path: Path) -> hdf5.Source:
    return hdf5.Source(path, KIND, SAVE_AGAIN, _CALLABLE)


def _members(path: Path) -> dict[str, Member]:
    """The members of the archive, checked."""
    if hdf5.magic(path) == hdf5.MAGIC:
        raise ParityError(f"{path} is an HDF5 file, which may hold code; {_CALLABLE}")
    return members(_source(path), _MEMBERS)


def _read_config(path: Path) -> dict[str, Any]:
    """Return the config, without the training configuration, once every object is allowed."""
    config = read_config(_source(path), _members(path))
    _check_config(path, config)
    if (config.get("module"), config.get("class_name")) not in MODELS:
        named = shown(config.get("class_name"))
        raise ParityError(f"{path}: its {CONFIG} describes a {named}, not a model; {SAVE_AGAIN}")
    return config


def _check_config(path: Path, config: dict[str, Any]) -> None:
    """Check every object that Keras would build; remove training configurations."""
    waiting: list[tuple[Any, str, int]] = [(config, "", 0)]
    calls: list[tuple[Any, str]] = []
    while waiting:
        node, where, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise ParityError(
                f"{path}: its {CONFIG} is nested more than {MAX_DEPTH} deep; {_CALLABLE}"
            )
        if isinstance(node, dict):
            if "class_name" in node:
                if refusal := _refusal(node):
                    place = f"at {shown(where[1:], 200)}" if where else "as the model"
                    raise ParityError(f"{path} holds {refusal[0]} {place}, {refusal[1]}")
                node.pop("compile_config", None)
            waiting += [(value, f"{where}.{key}", depth + 1) for key, value in node.items()]
        elif isinstance(node, list):
            items = [(value, f"{where}[{i}]", depth + 1) for i, value in enumerate(node)]
            waiting += items
            if where.endswith(".inbound_nodes"):
                calls += [(value, place) for value, place, _ in items]
    for call, where in calls:
        if isinstance(call, dict) and not _has_tensor([*call.values()]):
            raise ParityError(
                f"{path} holds a call without a tensor at {shown(where[1:], 200)}, which Keras "
                f"would compute while it loads the file; {SAVE_AGAIN}"
            )


def _has_tensor(node: Any) -> bool:
    """Whether the arguments of a call hold the output of a layer."""
    if isinstance(node, dict):
        if "class_name" in node:
            return node["class_name"] == "__keras_tensor__"
        node = [*node.values()]
    return isinstance(node, list) and any(map(_has_tensor, node))


def _refusal(node: dict[str, Any]) -> tuple[str, str] | None:
    """The name of an object that is not allowed, and why it is not; None if it is allowed."""
    module, name, registered = (node.get(k) for k in ("module", "class_name", "registered_name"))
    allowed, kind = ALLOWED, "class"
    if name == "function":
        name, allowed, kind = node.get("config"), FUNCTIONS, "function"
    named = f"{shown(module)}.{shown(name)}" if module else shown(name)
    if not isinstance(name, str) or not isinstance(module, str | None):
        return named, f"which is no name of a {kind}; {SAVE_AGAIN}"
    if module is None and name in VALUES and kind == "class":
        return _excess(node)
    if (module, name) in allowed:
        if registered in (None, name):
            return _excess(node)
        return f"{named} as {shown(registered)}", f"which is no name of Keras; {_CALLABLE}"
    if module == "keras.layers" and name in UNSAFE_LAYERS:
        return named, f"which {UNSAFE_LAYERS[name]}; {_CALLABLE}"
    if module is not None and re.match(r"keras\.(src\.)?engine\b", module):
        return named, f"which is of Keras 2; load it there, and {SAVE_AGAIN} of Keras 3"
    if name == "__lambda__":
        return "a lambda", f"which would run code from the file; {_CALLABLE}"
    own = "which is none of Keras' own layers and functions, and the file does not hold its code"
    return named, f"{own}; {_CALLABLE}"


def _excess(node: dict[str, Any]) -> tuple[str, str] | None:
    """The name of an object whose settings would take too much memory or time, and why."""
    name, config = node["class_name"], node.get("config")
    if not isinstance(config, dict):
        return None
    if name in ("__numpy__", "__tensor__") and config.get("dtype") not in NUMBERS:
        dtype = shown(config.get("dtype"))
        return "an array", f"of type {dtype}, which is no number; {SAVE_AGAIN}"
    for key, largest in LARGEST.items():
        setting = config.get(key)
        if key == "indices_or_sections" and isinstance(setting, list):
            continue  # the indices where each output begins
        for value in setting if isinstance(setting, list) else [setting]:
            if isinstance(value, int | float) and value > largest:
                limit = f"is more than {largest:,}" if largest else "copies it for each step"
                return f"{name} with {key} {shown(value)}", f"which {limit}; {_CALLABLE}"
    return None


def unpack_weights(path: Path, target: Path) -> None:
    """Write the weights to another file, so that nothing else of the archive is read."""
    _members(path)
    unpack(_source(path), WEIGHTS, target)


def check_weights(path: Path, weights: Path) -> None:
    """Raise unless the HDF5 file holds groups and arrays of numbers, and no link elsewhere."""
    with hdf5.opened(weights, _source(path)) as file:
        hdf5.contents(file, _source(path))


@contextmanager
def _limited_weights(keras: Any, path: Path) -> Iterator[None]:
    """Refuse a layer whose weights would exceed the memory limit, before they are allocated."""
    layers, total = keras.layers, 0
    add_weight, build = layers.Layer.add_weight, layers.Normalization.build

    def add_limited(layer: Any, shape: Any = None, *args: Any, **kwargs: Any) -> Any:
        nonlocal total
        total += math.prod(shape or ())
        if total > MAX_ELEMENTS:
            raise ParityError(
                f"{path}: layer {shown(layer.name)} would bring the weights to {total:,} numbers, "
                f"more than {MAX_ELEMENTS:,}; {_CALLABLE}"
            )
        return add_weight(layer, shape, *args, **kwargs)

    def build_limited(layer: Any, input_shape: Any) -> None:
        """Build a layer that copies its mean for each pixel, without a weight."""
        _check_shape(path, layer, input_shape or ())
        build(layer, input_shape)

    layers.Layer.add_weight, layers.Normalization.build = add_limited, build_limited
    try:
        yield
    finally:
        layers.Layer.add_weight, layers.Normalization.build = add_weight, build


def _check_maps(keras: Any, path: Path, model: Any) -> None:
    """Raise if one image would make a tensor that exceeds the memory limit, in any nested model."""
    for layer in model._flatten_layers():
        if graph := _graph(layer):
            _check_graph(keras, path, graph, [tensor.shape for tensor in graph.inputs])
    graph = _graph(model)
    for shapes in {_shapes_at(graph, size) for size in SIZES} if graph else ():
        try:
            _check_graph(keras, path, graph, shapes)
        except ParityError:
            raise
        except Exception:  # the layers take no image of that size
            continue


def _shapes_at(graph: Any, size: Size) -> tuple[tuple[int, ...], ...]:
    """The shapes of the inputs for one image of that size, unless they fix another."""
    extents = cycle(size)
    return tuple(
        (batch or 1, *(extent or next(extents) for extent in rest))
        for batch, *rest in (tensor.shape for tensor in graph.inputs)
    )


def _graph(layer: Any) -> Any:
    """The graph of a functional or sequential model; None for another layer."""
    graph = getattr(layer, "_functional", None) or layer
    return graph if hasattr(graph, "_run_through_graph") else None


def _check_graph(keras: Any, path: Path, graph: Any, shapes: Iterable[Any]) -> None:
    """Raise if a tensor of a model exceeds the memory limit for inputs of those shapes."""
    known: dict[Any, Any] = {}

    def shape_of(operation: Any) -> Any:
        def compute(*args: Any, **kwargs: Any) -> Any:
            if inner := _graph(operation):
                shapes = (getattr(x, "shape", None) for x in keras.tree.flatten([args, kwargs]))
                call = (id(inner), *shapes)
                if call not in known:
                    known[call] = inner._run_through_graph([args, kwargs], shape_of)
                return known[call]
            if isinstance(operation, keras.layers.Pipeline):
                outputs = args[0]
                for layer in operation.layers:
                    outputs = shape_of(layer)(outputs)
                return outputs
            outputs = operation.compute_output_spec(*args, **kwargs)
            for tensor in keras.tree.flatten(outputs):
                _check_shape(path, operation, getattr(tensor, "shape", ()))
            return outputs

        return compute

    inputs = []
    for tensor, shape in zip(graph.inputs, shapes, strict=True):
        _check_shape(path, tensor._keras_history.operation, shape)
        inputs.append(keras.KerasTensor(shape, tensor.dtype))
    graph._run_through_graph(inputs, shape_of)


def _check_shape(path: Path, operation: Any, shape: Any) -> None:
    """Raise if a tensor of a layer exceeds the memory limit."""
    if math.prod(extent or 1 for extent in shape) > MAX_ELEMENTS:
        text = "x".join(str(extent) for extent in shape[1:])
        raise ParityError(
            f"{path}: layer {shown(operation.name)} makes a tensor of {text}, more than "
            f"{MAX_ELEMENTS:,} numbers; {_CALLABLE}"
        )


def _reason(error: Exception) -> str:
    """The line in which Keras says why it cannot load a model."""
    text = str(error).strip() or type(error).__name__
    if match := re.search(r"for object <\w+ name=(.+?)(?:, \w+=\w+)?>:\s*(.+)", text):
        return f"its weights do not fit its config in layer {shown(match[1])}: {match[2]}"
    text = re.sub(r"\x1b\[\d*m", "", text.rpartition("Exception encountered: ")[2])
    lines = [line for line in text.splitlines() if line.strip()]
    return next((line for line in lines if not re.match(r"Exception .+ calling ", line)), lines[0])
