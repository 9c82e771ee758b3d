"""The HDF5 layout of Keras 1 and 2, which Keras 3 writes for `.h5`: attributes list the names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from resnet_parity.errors import ParityError
from resnet_parity.files import shown
from resnet_parity.weights.formats import hdf5
from resnet_parity.weights.formats.hdf5 import Contents, Source
from resnet_parity.weights.formats.keras_archive import parse_config
from resnet_parity.weights.formats.keras_config import ConfigLayer, all_facts, layers_of
from resnet_parity.weights.formats.keras_groups import add_tensor
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor

_KERAS_1 = {
    "W": "kernel",
    "b": "bias",
    "gamma": "gamma",
    "beta": "beta",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",  # it holds the variance
}
_OLD_NAME = re.compile(rf"(?P<scope>.+?)_(?P<word>{'|'.join(_KERAS_1)})(?:_\d+)?")
_WORDS = re.compile(
    r"^(kernel|bias|gamma|beta|moving_mean|moving_variance|depthwise_kernel|pointwise_kernel)_\d+$"
)
"""A variable that TensorFlow numbered to make its name unique."""

_LARGEST_KERNEL = 16


def read(source: Source, file: Contents) -> Checkpoint:
    """Return the content of a legacy file."""
    where = "/model_weights" if "/model_weights" in file.groups else ""
    top, listing = file.texts(""), file.texts(where)
    layers = _config(top, source)
    about = {
        word: text[0][:80]
        for word in ("keras_version", "backend")
        for texts in (top, listing)
        if (text := texts.get(word))
    }
    tensors: dict[str, StoredTensor] = {}
    known = {layer.name: layer for layer in layers}
    listed = 0
    names = listing.get("layer_names", [])
    names += ["top_level_model_weights"] * (f"{where}/top_level_model_weights" in file.groups)
    for name in names:
        weights = _weights(source, file, f"{where}/{name}", name)
        listed += len(weights)
        for layer, variable, array in _named(name, weights, known.get(name)):
            add_tensor(tensors, source, layer, variable, hdf5.stored(array, source))
    if not tensors:
        raise source.error(" holds no weights of a Keras layer")
    _refuse_theano(source.path, about.get("backend"), tensors)
    metadata: dict[str, object] = {"keras_version": "1", **about, "names": "in the file"}
    if layers:
        metadata["layers"] = dict(all_facts(layers))
    optimizer = sum(place.startswith("/optimizer_weights/") for place in file.arrays)
    contents = [f"optimizer: {optimizer} tensors"] if optimizer else []
    if other := len(file.arrays) - optimizer - listed:
        contents.append(f"arrays that no layer lists: {other}")
    return Checkpoint(source.path, "legacy .h5", {"": tensors}, metadata, tuple(contents))


def _config(texts: Mapping[str, list[str]], source: Source) -> tuple[ConfigLayer, ...]:
    text = texts.get("model_config")
    if not text:
        return ()
    with source.reading():
        config = parse_config(source, text[0].encode(), "model_config")
        return layers_of(config, source)


def _weights(source: Source, file: Contents, place: str, name: str) -> dict[str, Any]:
    """The arrays of one layer, by the names that its attribute lists."""
    if place not in file.groups:
        raise source.error(f" lists layer {shown(name)}, but has no group for it")
    arrays = {}
    for weight in file.texts(place).get("weight_names", []):
        array = file.arrays.get(f"{place}/{weight}")
        if array is None or weight in arrays:
            raise source.error(
                f": layer {shown(name)} lists {shown(weight)}, which is "
                f"{'listed twice' if weight in arrays else 'no array of it'}"
            )
        arrays[weight] = array
    return arrays


def _named(
    group: str, weights: Mapping[str, Any], layer: ConfigLayer | None
) -> Iterable[tuple[str, str, Any]]:
    """The layer, the variable and the array of each weight in a group, layer by layer.

    The group of a nested model holds the weights of all its layers: first those that are trained.
    """
    split = {weight: _split(weight) for weight in weights}
    scopes = {scope for scope, _ in split.values()}
    nested = len(scopes) > 1 or bool(layer and layer.layers)
    taken: dict[str, dict[str, Any]] = {}
    for weight, (scope, word) in split.items():
        inner = _after(group, scope) if nested else ""
        variables = taken.setdefault(f"{group}/{inner}" if inner else group, {})
        short = plain_word(word)
        variables[word if short in variables else short] = weights[weight]
    for name, variables in taken.items():
        yield from ((name, word, array) for word, array in variables.items())


def _split(weight: str) -> tuple[str, str]:
    """The scope and the variable that the name of a weight states."""
    scope, _, word = re.sub(r":\d+$", "", weight).rpartition("/")
    if not scope and (match := _OLD_NAME.fullmatch(word)):
        return match["scope"], _KERAS_1[match["word"]]
    return scope, word


def plain_word(word: str) -> str:
    """A variable without the number that makes it unique."""
    return _WORDS.sub(r"\1", word)


def _after(group: str, scope: str) -> str:
    """The part of a scope that is inside the group."""
    parts = scope.split("/")
    return "/".join(parts[parts.index(group) + 1 :]) if group in parts else scope


def _refuse_theano(path: Path, backend: str | None, tensors: Mapping[str, StoredTensor]) -> None:
    """Raise for kernels of Theano, which are flipped, or have their axes in its order."""
    shapes = [each.shape for each in tensors.values() if len(each.shape) == 4]
    first = sum(_square(shape[:2]) and not _square(shape[2:]) for shape in shapes)
    last = sum(_square(shape[2:]) and not _square(shape[:2]) for shape in shapes)
    if backend == "theano" or "th_kernels" in path.name or last > first:
        raise ParityError(
            f"{path} holds kernels of Theano, whose axes or pixels have another order; take the "
            "file for TensorFlow of the same net (..._tf_dim_ordering_tf_kernels.h5)"
        )


def _square(extents: tuple[int, ...]) -> bool:
    """Whether two extents can be those of a kernel."""
    return extents[0] == extents[1] <= _LARGEST_KERNEL
