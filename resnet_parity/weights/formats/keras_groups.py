"""The HDF5 layout of Keras 3: groups named by class and number, `/layers/conv2d_1/vars/0`."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from resnet_parity.errors import ParityError
from resnet_parity.files import shown
from resnet_parity.weights.formats import hdf5
from resnet_parity.weights.formats.hdf5 import Contents, Source
from resnet_parity.weights.formats.keras_config import ConfigLayer, by_group
from resnet_parity.weights.formats.stored import StoredTensor

_LISTS = {"layers", "_layer_checkpoint_dependencies"}
"""Groups that hold the layers of a model, in Keras 3 and in Keras 2.13."""

_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
_KERNEL = ("kernel", "bias")
_VARIABLES = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "dense", "einsum_dense"), _KERNEL),
    **dict.fromkeys(("conv1d_transpose", "conv2d_transpose", "conv3d_transpose"), _KERNEL),
    **dict.fromkeys(("depthwise_conv1d", "depthwise_conv2d"), _KERNEL),
    **dict.fromkeys(
        ("separable_conv1d", "separable_conv2d"), ("depthwise_kernel", "pointwise_kernel", "bias")
    ),
    **dict.fromkeys(("group_normalization", "layer_normalization"), ("gamma", "beta")),
    "normalization": ("mean", "variance", "count"),
}
"""The variables of classes, in the order in which they are stored."""


@dataclass(frozen=True)
class Content:
    """The arrays of a file by their paths, the names of layers by theirs, the parts of groups."""

    arrays: Mapping[str, Any]
    names: Mapping[str, str]
    children: Mapping[str, list[str]]


def merged(source: Source, parts: Iterable[Contents]) -> Content:
    """The content of one file, or of several that each hold a part of it."""
    arrays, names = {}, {}
    children: dict[str, dict[str, None]] = defaultdict(dict)
    for part in parts:
        if twice := {*part.arrays} & {*arrays}:
            raise source.error(f": two of its files hold {shown(min(twice))}")
        arrays |= part.arrays
        for place in (*part.groups, *part.arrays):
            outer, slash, last = place.rpartition("/")
            if slash:
                children[outer][last] = None
        for place in part.groups:
            if not place.endswith("/vars") or not (name := part.texts(place).get("name")):
                continue
            if not hdf5.is_name(name[0]) or "/" in name[0]:
                raise source.error(
                    f": {shown(place)} is called {shown(name[0])}, no name of a layer"
                )
            names[place.removesuffix("/vars")] = name[0]
    ordered = {outer: sorted(inner, key=_natural) for outer, inner in children.items()}
    return Content(arrays, names, ordered)


def _natural(name: str) -> tuple[str, int]:
    """Sorts `conv2d`, `conv2d_2`, `conv2d_10` in this order."""
    match = re.fullmatch(r"(.*?)(?:_?(\d{1,9}))?", name, re.DOTALL)
    return (match[1], int(match[2] or 0)) if match else (name, 0)


@dataclass
class Reader:
    """Names the arrays of a file after the layers that they belong to."""

    source: Source
    content: Content
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    named: set[str] = field(default_factory=set)
    unnamed: bool = False
    """Whether the file does not say what a layer with weights is called."""
    others: Counter[str] = field(default_factory=Counter)
    """The numbers of arrays that are no weights."""

    def contents(self) -> list[str]:
        """Lines on the arrays that are no weights."""
        return [f"{name}: {count} tensors" for name, count in self.others.items() if count]

    def visit(self, place: str, outer: str, layers: tuple[ConfigLayer, ...]) -> None:
        """Name all arrays of a model at `place`, whose layers the config may state."""
        for name in self.content.children.get(place, ()):
            child = f"{place}/{name}"
            if name == "vars":
                if place == "":
                    self._add(child, "", None)
            elif name == "seed_generator" or (place == "" and name in ("optimizer", "metrics")):
                self.others[name] += self._count(child)
            elif name in _LISTS:
                self._visit_list(child, outer, by_group(layers))
            else:
                self._visit_layer(child, outer, None)

    def _visit_list(self, place: str, outer: str, known: Mapping[str, ConfigLayer]) -> None:
        there = self.content.children.get(place, [])
        first = [name for name in known if name in set(there)]
        for name in [*first, *(name for name in there if name not in known)]:
            self._visit_layer(f"{place}/{name}", outer, known.get(name))

    def _visit_layer(self, place: str, outer: str, layer: ConfigLayer | None) -> None:
        inside = self.content.children.get(place, [])
        name = self.content.names.get(place) or (layer.name if layer else None)
        if name is None and self.content.names and "vars" not in inside and not _LISTS & {*inside}:
            self.visit(place, outer, ())  # a list of layers in an attribute of the model
            return
        if name is None:
            name = place.rpartition("/")[2]
            self.unnamed |= self._count(place) > 0
        name = f"{outer}/{name}" if outer else name
        if "vars" in inside:
            self._add(f"{place}/vars", name, layer)
        self.visit(place, name, layer.layers if layer else ())

    def _add(self, place: str, name: str, layer: ConfigLayer | None) -> None:
        """Name the variables of one layer, or of the model itself."""
        keys = self.content.children.get(place, [])
        if keys and name in self.named:
            raise _twice(self.source, name)
        self.named.add(name)
        arrays = {key: self.content.arrays.get(f"{place}/{key}") for key in keys}
        if bad := next((key for key, array in arrays.items() if array is None), None):
            raise self.source.error(f": {shown(f'{place}/{bad}')} is no array")
        numbered = sorted((key for key in keys if key.isdecimal()), key=int)
        words = self._words(name, place, [arrays[key] for key in numbered], layer)
        words = dict(zip(numbered, words, strict=True))
        for key in [*numbered, *(key for key in keys if key not in words)]:
            tensor = hdf5.stored(arrays[key], self.source)
            add_tensor(self.tensors, self.source, name, words.get(key, key), tensor)

    def _words(
        self, name: str, place: str, arrays: list[Any], layer: ConfigLayer | None
    ) -> list[str]:
        """The names that Keras gives the variables of a layer, which are stored by number."""
        numbers = [str(index) for index in range(len(arrays))]
        kind = layer.kind if layer else _kind(place)
        shapes = [array.shape for array in arrays]
        if kind not in _VARIABLES and not kind.endswith("batch_normalization"):
            if len(shapes) == 4 and len({*shapes}) == 1 == len(shapes[0]):
                return list(_NORM)
            if [len(shape) for shape in shapes] in ([4], [4, 1], [2], [2, 1]):
                return list(_KERNEL[: len(shapes)])
            return numbers
        if kind in _VARIABLES:
            words = _VARIABLES[kind]
            if len(words) >= len(arrays):
                return list(words[: len(arrays)])
            raise _quantised(self.source, name)
        facts = layer.facts if layer else {}
        left_out = {
            word
            for word, setting in (("gamma", "scale"), ("beta", "center"))
            if facts.get(setting) is False or (not layer and len(arrays) == 2)
        }
        words = [word for word in _NORM if word not in left_out]
        if not layer and len(arrays) == 3:
            words = ["gamma_or_beta", *_NORM[2:]]
        if len(words) != len(arrays):
            raise self.source.error(
                f": layer {shown(name)} holds {len(arrays)} variables of a batch norm, which has "
                f"{len(words)}"
            )
        return words

    def _count(self, place: str) -> int:
        return sum(array.startswith(f"{place}/") for array in self.content.arrays)


def _kind(place: str) -> str:
    """The class that the path of the variables of a layer names."""
    return re.sub(r"_\d+$", "", place.removesuffix("/vars").rpartition("/")[2])


def _quantised(source: Source, layer: str) -> ParityError:
    """The error on a layer whose kernel is not stored as it is used."""
    return ParityError(
        f"{source.path}: layer {shown(layer)} is quantised; save the model as it was before "
        "model.quantize(...)"
    )


def _twice(source: Source, name: str) -> ParityError:
    return ParityError(
        f"{source.path} holds {shown(name)} twice; give each layer its own name, and save it again"
    )


def add_tensor(
    tensors: dict[str, StoredTensor],
    source: Source,
    layer: str,
    variable: str,
    tensor: StoredTensor,
) -> None:
    """Add one variable of a layer; raises if it is not used as it is stored, or stands twice."""
    if variable.startswith("lora_"):
        raise ParityError(
            f"{source.path}: layer {shown(layer)} adds LoRA ({shown(variable)}) to its kernel; "
            "model.save_weights('merged.weights.h5') writes the sum"
        )
    integer = variable in (*_KERNEL, *_NORM) and not tensor.dtype.startswith(("float", "bfloat"))
    if integer or variable.endswith("kernel_scale"):
        raise _quantised(source, layer)
    name = f"{layer}/{variable}" if layer else variable
    if name in tensors:
        raise _twice(source, name)
    tensors[name] = tensor
