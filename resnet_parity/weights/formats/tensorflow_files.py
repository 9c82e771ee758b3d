"""Read SavedModels and checkpoints of TensorFlow as data; TensorFlow is not imported.

Variables of Keras are named as there, `layer/variable`, from the graph of objects that a checkpoint
of TensorFlow 2 holds; those of TensorFlow 1 keep their names, `resnet_v1_50/conv1/weights`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from glob import escape
from pathlib import Path
from typing import Any

from resnet_parity.errors import ParityError
from resnet_parity.files import shown
from resnet_parity.weights.formats import tensor_bundles
from resnet_parity.weights.formats.hdf5 import Source
from resnet_parity.weights.formats.keras_archive import parse_config
from resnet_parity.weights.formats.keras_config import ConfigLayer, all_facts, layers_of
from resnet_parity.weights.formats.keras_legacy import plain_word
from resnet_parity.weights.formats.protobuf import Message, message, number, text, view
from resnet_parity.weights.formats.stored import Checkpoint, StoredTensor
from resnet_parity.weights.formats.tensor_bundles import Bundle

_FIX = "save the model again as .keras, or its variables with tf.train.Checkpoint(...).write"
_END = "/.ATTRIBUTES/VARIABLE_VALUE"

_TRAINING = {"optimizer", "_optimizer", "optimizers", "optimizer_iterations"}
_SLOTS = re.compile(
    r".*/(Adam|Adam_1|Momentum|RMSProp|RMSProp_1|Adagrad|Adadelta|Adadelta_1|Ftrl|Ftrl_1"
    r"|LARSOptimizer|ExponentialMovingAverage)"
)
"""The names of the state of an optimizer in TensorFlow 1, and of averages of weights."""

_MAX_METADATA = 2**26
_COPIES = {"_all_variables", "trainable_variables", "non_trainable_variables"}
"""Lists that an export holds beside `variables`."""


def open_tensorflow(path: Path) -> Checkpoint:
    """Return the content of a SavedModel folder, or of a checkpoint.

    A checkpoint is named by its prefix, by its `.index` file, by one of its `.data-...` files, or
    by its folder. In `metadata`, `names` is `in the file`, or `by order` where variables are named
    by their place in the model; `layers` are facts of the config, in a SavedModel of Keras 2.
    Raises `ParityError`.
    """
    source = Source(path, "a checkpoint of TensorFlow", _FIX)
    layers: tuple[ConfigLayer, ...] = ()
    with source.reading():
        prefix, kind = _prefix(path, source)
        if prefix.with_name(f"{prefix.name}.index").is_file():
            bundle = tensor_bundles.read_bundle(prefix, source)
        else:
            bundle = tensor_bundles.read_table(prefix, source)
        if kind == "SavedModel":
            layers = _keras_layers(path, source)
        tensors, others, named = _named(bundle, layers)
    if not tensors:
        raise source.error(" holds no variables")
    metadata: dict[str, object] = {"names": "in the file" if named else "by order"}
    if layers:
        metadata["layers"] = dict(all_facts(layers))
    contents = tuple(f"{name}: {count} tensors" for name, count in others.items())
    files = [*prefix.parent.glob(f"{escape(prefix.name)}.*")] or [prefix]
    files += [path / "saved_model.pb"] if kind == "SavedModel" else []
    return Checkpoint(path, kind, {"": tensors}, metadata, contents, tuple(sorted(files)))


def _prefix(path: Path, source: Source) -> tuple[Path, str]:
    """The path that the files of a checkpoint begin with, and the format."""
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            return _latest(path, source), "TensorFlow checkpoint"
        prefix = path / "variables" / "variables"
        if not prefix.with_name("variables.index").is_file():
            raise source.error(" is a SavedModel without variables: its weights are in its graph")
        return prefix, "SavedModel"
    if path.name == "saved_model.pb":
        raise ParityError(f"{path} is a part of a SavedModel; name its folder, {path.parent}")
    name = re.sub(r"\.(index|data-\d+-of-\d+)$", "", path.name)
    prefix = path.with_name(name)
    if prefix.with_name(f"{name}.index").is_file():
        return prefix, "TensorFlow checkpoint"
    if path.is_file() and tensor_bundles.is_table(path):
        return path, "TensorFlow checkpoint of version 1"
    raise source.error(
        f" is no checkpoint of TensorFlow: there is no file {name}.index beside it"
        if path.name != name or not path.is_file()
        else " is no checkpoint of TensorFlow"
    )


def _latest(folder: Path, source: Source) -> Path:
    """The checkpoint that a folder names as its latest, or its only one."""
    names = [each.name.removesuffix(".index") for each in sorted(folder.glob("*.index"))]
    if (folder / "checkpoint").is_file():
        with (folder / "checkpoint").open("rb") as file:
            start = file.read(2**16).decode("utf-8", "replace")
        if match := re.match(r'model_checkpoint_path: "(?:[^"]*/)?([^"/\\]+)"', start):
            names = [match[1]] if match[1] in names else names
    if len(names) != 1:
        raise source.error(
            f" holds {len(names)} checkpoints; name one of them: {shown(', '.join(names[:5]))}"
            if names
            else " holds no saved_model.pb, and no checkpoint of TensorFlow"
        )
    return folder / names[0]


def _named(
    bundle: Bundle, layers: tuple[ConfigLayer, ...]
) -> tuple[dict[str, StoredTensor], Counter[str], bool]:
    """The weights by their names, the numbers of other tensors, and whether names are known."""
    if bundle.graph is None:
        weights = {k: v for k, v in bundle.tensors.items() if not _SLOTS.fullmatch(k) and v.shape}
        rest = Counter({"other": len(bundle.tensors) - len(weights)})
        return weights, +rest, True
    places = dict(_variables(_graph(bundle.graph)))
    found = {key: name for key, name in places.items() if key in bundle.tensors}
    others: Counter[str] = Counter()
    for key, tensor in bundle.tensors.items():
        if key not in found or not tensor.shape or "seed_generator_state" in found[key]:
            found.pop(key, None)
            others["optimizer" if "optimizer" in key.lower() else "other"] += 1
    copies = Counter(found.values())
    for key in [*found]:
        if copies[found[key]] > 1 and key.split("/")[0] in _COPIES:
            copies[found[key]] -= 1
            del found[key]
    whole = _whole_names(layers)
    tensors, known = {}, True
    for key, name in found.items():
        layer, _, word = name.rpartition("/")
        if not layer or copies[name] > 1:
            known = False
            name = key.removesuffix(_END)
        elif (better := f"{whole.get(layer, layer)}/{plain_word(word)}") not in tensors:
            name = better
        tensors[name] = bundle.tensors[key]
    return tensors, others, known


def _whole_names(layers: tuple[ConfigLayer, ...]) -> dict[str, str]:
    """The names of layers after the models that contain them, by those names alone."""
    names = [name for name, _ in all_facts(layers)]
    last = Counter(name.rpartition("/")[2] for name in names)
    return {short: name for name in names if last[short := name.rpartition("/")[2]] == 1}


def _graph(data: memoryview) -> list[Message]:
    """The objects of a checkpoint."""
    return [message(node) for node in message(data)[1]]


def _variables(nodes: list[Message]) -> Iterator[tuple[str, str]]:
    """Yield key and name of each variable, in the order of the model, but not of its training."""
    waiting, seen = [0], set()
    while waiting:
        index = waiting.pop()
        if index in seen:
            continue
        seen.add(index)
        node = nodes[index]
        for each in map(message, node[2]):
            if text(each, 1) == "VARIABLE_VALUE":
                yield text(each, 3), re.sub(r":\d+$", "", text(each, 2))
        children = [(text(each, 2), number(each, 1)) for each in map(message, node[1])]
        inner = [each for each in children if each[0] not in _TRAINING]
        inner.sort(key=lambda each: each[0] in _COPIES)
        waiting += [child for _, child in reversed(inner)]


def _keras_layers(path: Path, source: Source) -> tuple[ConfigLayer, ...]:
    """The layers of the model, which Keras 2 describes beside a SavedModel."""
    place = path / "keras_metadata.pb"
    if not place.is_file():
        return ()
    with place.open("rb") as file:
        data = file.read(_MAX_METADATA + 1)
    if len(data) > _MAX_METADATA:
        raise source.error(f": its {place.name} has more than {_MAX_METADATA:,} bytes")
    for node in message(memoryview(data))[1]:
        about = message(node)
        if text(about, 3) == "root" and 5 in about:
            config: Any = parse_config(source, bytes(view(about[5][-1])), place.name)
            return layers_of(config, source) if isinstance(config, Mapping) else ()
    return ()
