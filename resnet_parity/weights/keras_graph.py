"""The graph that the config of a Keras model states, compared with that of an architecture.

Each operation of either graph becomes a key: its kind and numbers, and the keys of its inputs.
Layers with weights are found by name, so they end a key; what each takes must have one key in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from resnet_spec import (
    Add,
    Architecture,
    AveragePool,
    ChannelPad,
    Conv,
    Gate,
    GlobalAverage,
    Linear,
    MaxPool,
    Norm,
    Relu,
    make_graph,
    make_plan,
)
from resnet_spec.text import printable

from resnet_parity.weights.identify import Reading

Layers = Mapping[str, Mapping[str, Any]]
Place = tuple[str, int, int]
Zeros = tuple[tuple[int, int], tuple[int, int]]

_NO_ZEROS: Zeros = ((0, 0), (0, 0))
_CLASSES = {
    Conv: ("Conv2D", "Convolution2D"),
    Norm: (
        *("BatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2"),
        *("SyncBatchNormalization", "keras.layers.BatchNormalization"),
    ),
    Linear: ("Dense",),
}
_NO_EFFECT = frozenset(
    {"InputLayer", "Identity", "Dropout", "SpatialDropout2D", "GaussianDropout", "AlphaDropout"}
    | {"GaussianNoise", "ActivityRegularization"}
)
"""Classes that return their input outside of training."""

_SHAPES = ("Flatten", "Reshape")
_OUTSIDE = "image"


@dataclass
class _Keys:
    """The keys as numbers, with the operation and the inputs of each."""

    numbers: dict[tuple[Any, ...], int] = field(default_factory=dict)
    entries: list[tuple[Any, ...]] = field(default_factory=list)
    layers: dict[int, str] = field(default_factory=dict)
    """A stated layer of each key, for messages."""

    def of(self, operation: tuple[Any, ...], *inputs: int) -> int:
        entry = (operation, inputs)
        if entry not in self.numbers:
            self.numbers[entry] = len(self.entries)
            self.entries.append(entry)
        return self.numbers[entry]

    def is_a(self, key: int, kind: str) -> bool:
        return self.entries[key][0][0] == kind

    def pad(self, x: int, zeros: Any) -> int:
        under, x = self.unpadded(x)
        total = tuple((a + c, b + d) for (a, b), (c, d) in zip(zeros, under, strict=True))
        return x if total == _NO_ZEROS else self.of(("zeros", total), x)

    def unpadded(self, x: int) -> tuple[Zeros, int]:
        """The zeros around a map, and the map without them."""
        operation, inputs = self.entries[x]
        return (operation[1], inputs[0]) if operation[0] == "zeros" else (_NO_ZEROS, x)

    def max_pool(self, x: int, kernel: Any, stride: Any, zeros: Zeros, border: str) -> int:
        """A max-pool; beyond the edge of a map that was rectified, 0 and minus infinity are one."""
        if zeros == _NO_ZEROS:
            border = "none"
        elif self.is_a(x, "ReLU"):
            border = "any"
        return self.of(("max-pool", kernel, stride, zeros, border), x)

    def average(self, x: int, kernel: Any, stride: Any, edge: str) -> int:
        edge = "valid" if kernel == (1, 1) else edge
        return self.of(("average", kernel, stride, edge), x)

    def below(self, key: int) -> set[int]:
        """A key with all that it is made of."""
        found, waiting = {key}, [key]
        while waiting:
            more = {*self.entries[waiting.pop()][1]} - found
            found |= more
            waiting += more
        return found

    def label(self, key: int) -> str:
        """A key in words, with the layer that states it."""
        operation, _ = self.entries[key]
        kind, *numbers = operation
        if kind == "layer":
            return str(numbers[0])
        words = " ".join((kind, *map(str, numbers))).rstrip()
        name = self.layers.get(key)
        return f"{printable(name)} ({words})" if name else words


@dataclass(frozen=True)
class Comparison:
    """`problem` is a sentence on the first difference; `used` are the stated layers of the net."""

    problem: str
    used: frozenset[str]


def layers_in(metadata: Mapping[str, object]) -> Layers:
    """The facts of the layers in the config of a Keras model; none without one."""
    layers = metadata.get("layers")
    return layers if isinstance(layers, Mapping) else {}


def compare(reading: Reading, arch: Architecture, layers: Layers) -> Comparison | None:
    """Whether the config states the graph of an architecture; None if it states no graph."""
    leaves = leaves_of(reading)
    if not leaves or any(not layers.get(name, {}).get("calls") for name in leaves):
        return None
    keys = _Keys()
    wanted, features = _planned(keys, arch)
    graph = _Graph(layers, leaves, keys)
    try:
        problem = next(_differences(graph, reading, arch, wanted, features), "")
    except _UnreadableError as error:
        problem = str(error)
    return Comparison(problem, frozenset(graph.used))


def takes_pooled_map(reading: Reading, head: str, layers: Layers) -> bool:
    """Whether a dense layer takes the averaged map of a network whose config has no layers."""
    graph = _Graph(layers, {}, _Keys())
    graph.body = next((n for n in layers if reading.prefix.startswith(f"{n}/")), None)
    try:
        key = graph.key(layers[head]["calls"][0][0])
    except (_UnreadableError, IndexError):
        return False
    body = graph.keys.of(("layer", graph.body))
    is_hub = str(layers.get(graph.body or "", {}).get("class")).endswith("ResNetBackbone")
    return key == graph.keys.of(("mean",), body) or (key == body and not is_hub)


def has_no_effect(facts: Mapping[str, Any]) -> bool:
    """Whether a layer returns its input, or is a model whose layers are stated themselves."""
    is_linear = facts.get("class") == "Activation" and facts.get("activation") == "linear"
    return is_linear or "outputs" in facts or facts.get("class") in _NO_EFFECT


def leaves_of(reading: Reading) -> dict[str, str]:
    """The canonical names of the layers with weights, by their names in the file."""
    return {
        name.rpartition("/")[0]: parameter.name.rpartition(".")[0]
        for name, parameter in reading.names.items()
    }


def _planned(keys: _Keys, arch: Architecture) -> tuple[dict[str, int], int]:
    """The keys of the inputs of the layers with weights, and that of the last map."""
    found = {_OUTSIDE: keys.of((_OUTSIDE,))}
    wanted: dict[str, int] = {}
    plan, last = make_plan(arch), 0
    for node in make_graph(arch):
        each, (x, *more) = node.operation, [found[name] for name in node.inputs]
        match each:
            case Conv() | Norm() | Linear():
                pad = each.padding if isinstance(each, Conv) else 0
                wanted[each.name] = keys.pad(x, ((pad, pad), (pad, pad)))
                x = keys.of(("layer", each.name))
            case Relu():
                x = keys.of(("ReLU",), x)
            case Add():
                x = keys.of(("sum",), *sorted((x, *more)))
            case Gate():
                x = keys.of(("product",), *sorted((x, keys.of(("sigmoid",), *more))))
            case GlobalAverage():
                last = x if each == plan.avgpool else last
                x = keys.of(("mean",), x)
            case MaxPool(kernel=k, stride=s, padding=p):
                x = keys.max_pool(x, (k, k), (s, s), ((p, p), (p, p)), each.border)
            case AveragePool(kernel=k, stride=s):
                x = keys.pad(x, (each.pad.height, each.pad.width)) if each.zeros else x
                x = keys.average(x, (k, k), (s, s), "valid" if each.zeros else "same")
            case ChannelPad():
                x = keys.of(("swap",), x)
                x = keys.of(("swap",), keys.pad(x, (each.pad.height, each.pad.width)))
        found[each.name] = x
    return wanted, last


class _UnreadableError(Exception):
    """A config whose layers take what it does not have, or themselves."""


class _Graph:
    """The keys of the layers in a config; `leaves` lead to canonical names."""

    def __init__(self, layers: Layers, leaves: Mapping[str, str], keys: _Keys) -> None:
        self.layers, self.leaves, self.keys = layers, leaves, keys
        self.done: dict[Place, int] = {}
        self.used: set[str] = {*leaves}
        self.body: str | None = None

    def key(self, place: Place) -> int:
        """The key of an output; a walk without recursion, since a config may be deep."""
        waiting, opened = [place], set()
        while waiting:
            each = waiting[-1]
            if each in self.done:
                waiting.pop()
                continue
            inputs = self._inputs(each)
            missing = [x for x in inputs if x not in self.done]
            if not missing:
                self.done[waiting.pop()] = self._made(each, [self.done[x] for x in inputs])
            elif each in opened:
                raise _UnreadableError(f"in its config {printable(each[0])} takes its own output")
            opened.add(each)
            waiting += missing
        return self.done[place]

    def _inputs(self, place: Place) -> tuple[Place, ...]:
        name, number, tensor = place
        if name in self.leaves or name == self.body:
            return ()
        if name == "" or name.endswith("/"):  # an input of a model
            calls = self.layers.get(name[:-1], {}).get("calls", ())
            return calls[0][tensor : tensor + 1] if len(calls) == 1 else ()
        if name not in self.layers:
            raise _UnreadableError(f"its config has no layer {printable(name)}, which others take")
        facts = self.layers[name]
        if outputs := facts.get("outputs"):
            return outputs[tensor : tensor + 1]
        calls = facts.get("calls", ())
        return calls[number] if 0 <= number < len(calls) else calls[0] if calls else ()

    def _made(self, place: Place, inputs: list[int]) -> int:
        name = place[0]
        if name in self.leaves or name == self.body:
            return self.keys.of(("layer", self.leaves.get(name, name)))
        if not inputs and (name == "" or name.endswith("/")):
            return self.keys.of((_OUTSIDE,))
        facts = self.layers.get(name, {"outputs": True})
        key = None
        if len(inputs) == 1 and not facts.get("training"):
            is_whole = "outputs" in facts or facts.get("class") in _NO_EFFECT
            key = inputs[0] if is_whole else self._single(facts, inputs[0])
        elif facts.get("class") in ("Add", "keras.ops.Add") and len(inputs) == 2:
            key = self.keys.of(("sum",), *sorted(inputs))
        elif facts.get("class") in ("Multiply", "keras.ops.Multiply") and len(inputs) == 2:
            key = self.keys.of(("product",), *sorted(inputs))
        if key is None:
            key = self.keys.of((_words(facts),), *inputs)
        if key not in inputs:
            self.keys.layers.setdefault(key, name)
        return key

    def _single(self, facts: Mapping[str, Any], x: int) -> int | None:
        """The key of a layer with one input; None for a class that no ResNet has."""
        kind, keys = facts.get("class"), self.keys
        if kind == "Activation":
            name = facts.get("activation", "linear")
            if name == "linear":
                return x
            return (
                keys.of(({"relu": "ReLU"}.get(name, name),), x) if isinstance(name, str) else None
            )
        if kind == "keras.ops.Relu":
            return keys.of(("ReLU",), x)
        if kind == "ReLU":
            has_own = facts.get("max_value") is not None
            has_own |= any(facts.get(word, 0) != 0 for word in ("negative_slope", "threshold"))
            return None if has_own else keys.of(("ReLU",), x)
        if kind in _SHAPES:
            return x if keys.is_a(x, "mean") else None
        if kind == "GlobalAveragePooling2D":
            return keys.of(("mean",), x)
        if kind == "Permute" and facts.get("dims") == (1, 3, 2):
            return keys.of(("swap",), x)
        if kind == "ZeroPadding2D":
            zeros = _zeros(facts.get("padding"))
            return None if zeros is None else keys.pad(x, zeros)
        if kind == "keras.ops.Pad" and facts.get("constant_values") == float("-inf"):
            first, *sides, last = facts.get("pad_width", (0, 0))
            is_outside = first == last == (0, 0) and facts.get("mode") == "constant"
            return keys.of(("minus infinity", tuple(sides)), x) if is_outside else None
        return self._pool(facts, x) if kind in ("MaxPooling2D", "AveragePooling2D") else None

    def _pool(self, facts: Mapping[str, Any], x: int) -> int | None:
        keys, kernel = self.keys, _pair(facts.get("pool_size", 2))
        stride, edge = _pair(facts.get("strides", kernel)), facts.get("padding", "valid")
        if kernel is None or stride is None or edge not in ("valid", "same"):
            return None
        if facts["class"] == "AveragePooling2D":
            return keys.average(x, kernel, stride, edge)
        under, x = keys.unpadded(x)
        operation, inputs = keys.entries[x]
        window = operation[0] == "max-pool" and operation[2] == (1, 1) and kernel == (1, 1)
        if window and under == _NO_ZEROS:  # a pool of one cell strides after one that does not
            return keys.of((*operation[:2], stride, *operation[3:]), *inputs)
        if operation[0] == "minus infinity" and under == _NO_ZEROS and edge == "valid":
            return keys.max_pool(inputs[0], kernel, stride, operation[1], "lowest")
        if edge == "valid" or kernel == (1, 1):
            return keys.max_pool(x, kernel, stride, under, "zero")
        is_even_sided = stride == (1, 1) and all(each % 2 for each in kernel)
        if not is_even_sided or under != _NO_ZEROS:
            return None
        height, width = (each // 2 for each in kernel)
        return keys.max_pool(x, kernel, stride, ((height, height), (width, width)), "lowest")

    def taken(self, name: str) -> int:
        """The key of what a layer with weights takes, with the zeros that it adds itself."""
        facts = self.layers[name]
        calls = facts["calls"]
        if len(calls) != 1 or len(calls[0]) != 1 or facts.get("training"):
            how = "as in training" if facts.get("training") else "more than once"
            raise _UnreadableError(f"its config says that {printable(name)} is called {how}")
        x = self.key(calls[0][0])
        kernel, far = _pair(facts.get("kernel_size")), _pair(facts.get("dilation_rate", 1))
        edge = facts.get("padding", "valid")
        is_even = kernel and far and any(d * (k - 1) % 2 for k, d in zip(kernel, far, strict=True))
        if edge not in ("valid", "same") or (edge == "same" and is_even):
            raise _UnreadableError(f"{printable(name)} has padding {edge!r} in its config")
        if edge == "same" and kernel and far:
            height, width = (d * (k - 1) // 2 for k, d in zip(kernel, far, strict=True))
            x = self.keys.pad(x, ((height, height), (width, width)))
        return x


def _differences(
    graph: _Graph, reading: Reading, arch: Architecture, wanted: Mapping[str, int], features: int
) -> Iterator[str]:
    """Sentences on where the stated graph is not that of the architecture."""
    keys, stated = graph.keys, {canonical: name for name, canonical in graph.leaves.items()}
    stem, *_ = wanted
    for name, facts in graph.layers.items():
        if reading.prefix.startswith(f"{name}/") and facts.get("training"):
            yield f"its config says that {printable(name)} is called as in training"
    kinds = {each.name: type(each) for each in make_plan(arch).layers}
    for canonical, want in wanted.items():
        name = stated[canonical]
        kind = graph.layers[name].get("class")
        if kind not in _CLASSES[kinds[canonical]]:
            yield f"{printable(name)} is a {printable(str(kind))} in its config"
        if canonical == stem:
            yield from _of_stem(graph, name, want)
        elif (found := graph.taken(name)) != want:
            yield _sentence(keys, name, want, found)
    graph.used |= {place[0] for place in graph.done}
    yield from _of_axes(graph.layers, graph.used)
    if arch.num_classes or make_plan(arch).features:
        return
    inside = [n for n in graph.layers if n.startswith(reading.prefix)]
    found = {name: graph.key((name, 0, 0)) for name in inside}
    ends = (features, keys.of(("mean",), features))
    whole = keys.below(ends[1])
    graph.used |= {name for name, key in found.items() if key in whole}
    taken = {x[0] for n in inside for call in graph.layers[n].get("calls", ()) for x in call}
    last = {n: key for n, key in found.items() if n not in taken and n not in reading.prefix}
    if features not in found.values():
        yield f"no layer of its config is the last {keys.label(features)} of {arch.name}"
    elif not reading.left_over and not {*last.values()} & {*ends}:
        key = next(iter(last.values()))
        yield f"its config ends with {keys.label(key)}, not with an average of {arch.name}"


def _of_axes(layers: Layers, used: set[str]) -> Iterator[str]:
    """Layers that do not agree on the axis of the channels."""
    inside = {name: layers[name] for name in used if name in layers}
    orders = {str(each["data_format"]) for each in inside.values() if "data_format" in each}
    if len(orders) > 1:
        yield f"its layers have several data_formats in its config: {sorted(orders)}"
    allowed = (1, (1,)) if orders & {"channels_first", "th"} else (-1, 3, (-1,), (3,))
    for name, facts in inside.items():
        if (
            "Normalization" in str(facts.get("class"))
            and facts.get("axis", allowed[0]) not in allowed
        ):
            yield f"{printable(name)} has axis {facts['axis']} in its config"


def _of_stem(graph: _Graph, name: str, want: int) -> Iterator[str]:
    """The zeros before the first convolution; layers before them prepare the images."""
    keys, before = graph.keys, _Graph(graph.layers, graph.leaves, graph.keys)
    found = before.taken(name)
    zeros, wanted = keys.unpadded(found)[0], keys.unpadded(want)[0]
    if zeros != wanted:
        yield f"{printable(name)} has zeros {zeros} around its map in its config, not {wanted}"
    graph.used |= {n for n in before.layers if n == keys.layers.get(found)}
    if {place[0] for place in before.done} & {*graph.leaves}:
        yield f"in its config {printable(name)} takes what other layers of the network return"


def _sentence(keys: _Keys, name: str, want: int, found: int) -> str:
    """The first difference between two keys, in words."""
    while True:
        (operation, xs), (other, ys) = keys.entries[want], keys.entries[found]
        # The border of a pool, its last number, follows from what it takes.
        if operation[:4] != other[:4]:
            break
        more, less = [x for x in xs if x not in ys], [y for y in ys if y not in xs]
        if not (more and less):
            break
        name, want, found = keys.layers.get(found, name), more[0], less[0]
    return (
        f"its config says that {printable(name)} takes {keys.label(found)}, not {keys.label(want)}"
    )


def _words(facts: Mapping[str, Any]) -> str:
    """A layer that no ResNet has, in words."""
    names = ("max_value", "negative_slope", "threshold", "padding", "pool_size", "training")
    numbers = [f"{name} {facts[name]}" for name in names if facts.get(name) not in (None, 0)]
    return printable(" ".join((str(facts.get("class")), *numbers)))


def _pair(value: Any) -> tuple[int, int] | None:
    pair = (value, value) if isinstance(value, int) else value
    fine = isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(x, int) for x in pair)
    return pair if fine else None  # type: ignore[return-value]


def _zeros(padding: Any) -> Zeros | None:
    """The zeros of a `ZeroPadding2D`: one number, two, or two pairs."""
    if isinstance(padding, int):
        padding = (padding, padding)
    if not isinstance(padding, tuple) or len(padding) != 2:
        return None
    height, width = map(_pair, padding)
    return None if height is None or width is None else (height, width)
