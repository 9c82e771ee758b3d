"""Facts that a file states in words: they decide between architectures with equal tensors.

A spec of this project, the config of a Keras model and that of a Hugging Face model each say where
a network strides and how it pads, which the tensors do not show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

from resnet_spec import (
    ARCHITECTURES,
    Architecture,
    ArchitectureError,
    Conv,
    Norm,
    from_json,
    make_graph,
    make_plan,
    parameters,
)
from resnet_spec.text import printable

from resnet_parity.errors import ParityError
from resnet_parity.weights.identify import Reading
from resnet_parity.weights.keras_graph import compare
from resnet_parity.weights.naming import roles

_NAMES = ("architecture", "arch", "args.arch", "args.model", "model_name", "config.architecture")
"""Facts in which people and libraries state the name of an architecture."""

_SAME_TENSORS = re.compile(r"(se)?resne[x]?taa\d|resnetblur\d")
"""Networks of timm with the tensors of others, and a blur or an average before each stride."""

_TIMM_OPTIONS = frozenset(
    {"in_chans", "num_classes", "global_pool", "drop_rate", "drop_path_rate", "drop_block_rate"}
    | {"zero_init_last"}
)
"""Options in timm's `model_args` with which a network is still the one that its name says."""

_TIMM_USUAL = {"output_stride": 32, "act_layer": "relu"}
"""Other options, with the value that timm has without them."""


def decided(
    path: Path, reading: Reading, metadata: Mapping[str, object], *, is_given: bool
) -> Reading:
    """The reading with the architecture that agrees with all that the file states.

    Raises `ParityError`, which names a contradiction, where none does.
    """
    candidates = [reading.architecture]
    if not is_given:
        candidates = equals(reading)
        spec = stated_spec(path, metadata, reading.architecture)
        candidates = [spec, *candidates] if spec else candidates
    problems = [[*_contradictions(path, each, reading, metadata)] for each in candidates]
    agree = [each for each, problem in zip(candidates, problems, strict=True) if not problem]
    if not agree:
        raise ParityError(
            f"{path} does not hold a {reading.architecture.name!r}, whose tensors it has: "
            f"{min(problems, key=len)[0]}"
        )
    names = [metadata.get(key) for key in _NAMES]
    eps = stated_epsilon(reading, metadata)
    chosen = max(agree, key=lambda each: (each.name in names, each.bn_eps == eps))
    still_open = {each.name for each in agree} & {reading.architecture.name, *reading.others}
    others = tuple(sorted(still_open - {chosen.name}))
    return replace(reading, architecture=chosen, others=others, bn_eps=eps)


def equals(reading: Reading) -> list[Architecture]:
    """The architecture that was read, and others with the same tensors."""
    arch = reading.architecture
    rows = [_sized(ARCHITECTURES[name], arch) for name in reading.others]
    return [arch, *rows, *_variants(arch)]


def stated_names(metadata: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """The names of architectures that the file states, with where it states them."""
    for key in _NAMES:
        if isinstance(name := metadata.get(key), str):
            yield key, name


def stated_epsilon(reading: Reading, metadata: Mapping[str, object]) -> float | None:
    """The epsilon of all norms in the config of Keras; None without such a config."""
    found = {
        facts["epsilon"]
        for layer, facts in keras_facts(reading.architecture, reading, metadata)
        if isinstance(layer, Norm) and isinstance(facts.get("epsilon"), float)
    }
    return found.pop() if len(found) == 1 else None


def epsilon_of(reading: Reading) -> float:
    """The epsilon of the norms in the file; the dialect says so where the library has its own."""
    eps = reading.bn_eps
    if eps is None:
        eps = reading.dialect.fields.get("bn_eps", reading.architecture.bn_eps)
    assert isinstance(eps, float)
    return eps


def stated_spec(
    path: Path, metadata: Mapping[str, object], arch: Architecture
) -> Architecture | None:
    """The spec that this project writes beside weights, unless the tensors are of another one."""
    text = metadata.get("spec")
    try:
        spec = _sized(from_json(text), arch) if isinstance(text, str) else None
        # The number of blocks first: tensors of a spec that claims millions would take minutes.
        if spec and [each.blocks for each in spec.stages] != [each.blocks for each in arch.stages]:
            return None
        return spec if spec and _same_tensors(spec, arch) else None
    except ArchitectureError as error:
        raise ParityError(f"{path}: the spec in its metadata cannot be read: {error}") from error


def keras_facts(
    arch: Architecture, reading: Reading, metadata: Mapping[str, object]
) -> Iterator[tuple[Conv | Norm, Mapping[str, Any]]]:
    """The convolutions and norms of the architecture, with the facts of a Keras config on them."""
    layers = metadata.get("layers")
    if not isinstance(layers, Mapping):
        return
    known = roles(arch)
    for layer in make_plan(arch).layers:
        role, numbers = known[layer.name]
        name = reading.prefix + (reading.dialect.layer_name(role, **numbers) or "")
        if isinstance(layer, Conv | Norm) and isinstance(facts := layers.get(name), Mapping):
            yield layer, facts


def _sized(row: Architecture, arch: Architecture) -> Architecture:
    return replace(row, num_classes=arch.num_classes, in_channels=arch.in_channels)


def _variants(arch: Architecture) -> Iterator[Architecture]:
    """The architecture with other strides, as configs of Keras and Hugging Face state them."""
    first, *rest = arch.stages
    for in_1x1, stride in product((arch.stride_in_1x1, not arch.stride_in_1x1), (1, 2)):
        stages = (replace(first, stride=stride), *rest)
        try:
            other = replace(arch, stages=stages, stride_in_1x1=in_1x1)
            name = arch.name if arch.name not in ARCHITECTURES else f"{arch.name}_custom"
            if other != arch and _same_tensors(other, arch):
                yield replace(other, name=name)
        except ArchitectureError:  # a block of two convolutions has no 1x1 that strides
            continue


def _same_tensors(one: Architecture, other: Architecture) -> bool:
    shapes = [{p.name: p.shape for p in parameters(each)} for each in (one, other)]
    return shapes[0] == shapes[1]


def _contradictions(
    path: Path, arch: Architecture, reading: Reading, metadata: Mapping[str, object]
) -> Iterator[str]:
    """Sentences on what the file states and the architecture has not."""
    for key, name in stated_names(metadata):
        if _SAME_TENSORS.match(name):
            yield (
                f"the file says {key} {printable(name)!r}, which blurs or averages before it "
                "strides; no row does"
            )
    if (spec := stated_spec(path, metadata, arch)) and make_graph(spec) != make_graph(arch):
        yield f"the spec in its metadata is that of {spec.name!r}, another function"
    config = metadata.get("config")
    if isinstance(config, Mapping) and reading.dialect.name.startswith("hf"):
        yield from _of_hugging_face(arch, config)
    if isinstance(config, Mapping) and "pretrained_cfg" in config:
        options = config.get("model_args")
        options = options if isinstance(options, Mapping) else {}
        pool = options.get("global_pool", "avg")
        if pool not in ("avg", "fast", ""):
            yield f"config.json says global_pool {printable(str(pool))!r}; every row averages"
        for name, value in options.items():
            if name not in _TIMM_OPTIONS and value not in (None, _TIMM_USUAL.get(name)):
                shown = f"{printable(str(name))} {printable(str(value))[:40]!r}"
                yield f"config.json says {shown}, which can make it another function"
    if isinstance(backbone := metadata.get("kerashub"), Mapping):
        yield from _of_keras_hub(arch, backbone)
    yield from _of_keras(arch, reading, metadata)


def _of_keras_hub(arch: Architecture, facts: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions to the config of a ResNetBackbone."""
    wanted = {
        "stackwise_num_strides": tuple(stage.stride for stage in arch.stages),
        "use_pre_activation": arch.preactivation,
        "pooling": "avg",
    }
    for key, value in wanted.items():
        if facts.get(key, value) != value:
            yield f"its config says {key} {facts[key]}, not {value}"
    kind = str(facts.get("block_type", ""))
    if kind and kind.endswith("_vd") != arch.avg_down:
        yield f"its config says block_type {printable(kind)!r}"


def _of_hugging_face(arch: Architecture, config: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions to the config.json of a ResNet of transformers."""
    if arch.block == "bottleneck":
        in_1x1 = bool(config.get("downsample_in_bottleneck", False))
        if in_1x1 != arch.stride_in_1x1:
            yield f"config.json says downsample_in_bottleneck {in_1x1}"
    in_first = bool(config.get("downsample_in_first_stage", False))
    if in_first != (arch.stages[0].stride == 2):
        yield f"config.json says downsample_in_first_stage {in_first}"
    if (activation := config.get("hidden_act", "relu")) != "relu":
        yield f"config.json says hidden_act {printable(str(activation))!r}; every row has ReLU"


def _of_keras(
    arch: Architecture, reading: Reading, metadata: Mapping[str, object]
) -> Iterator[str]:
    """Contradictions to the config of a Keras model."""
    layers = metadata.get("layers")
    if not isinstance(layers, Mapping):
        return
    epsilons = set()
    for layer, facts in keras_facts(arch, reading, metadata):
        if isinstance(layer, Norm):
            epsilons.add(facts.get("epsilon"))
            continue
        wanted = {"strides": layer.stride, "groups": layer.groups, "dilation_rate": layer.dilation}
        for word, number in wanted.items():
            stated = facts.get(word, number)
            if stated not in (number, (number, number)):
                yield f"{layer.name} has {word} {stated} in its config, not {number}"
        if layer.stride > 1 < layer.kernel and facts.get("padding") == "same":
            yield (
                f"{layer.name} has padding 'same' in its config, which pads on the right and "
                "below alone where it strides; no row does"
            )
        if facts.get("activation") not in ("linear", None):
            yield f"{layer.name} has activation {facts['activation']!r} in its config"
    if len(epsilons) > 1:
        yield f"its norms have several epsilons in its config: {sorted(map(str, epsilons))}"
    if (stated := compare(reading, arch, layers)) and stated.problem:
        yield stated.problem
