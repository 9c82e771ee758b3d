"""Remarks for the report: what a file states, what is assumed instead, what is not converted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from resnet_spec import ARCHITECTURES, Architecture, Conv, Norm, make_plan
from resnet_spec.text import printable

from resnet_parity.weights.identify import Reading
from resnet_parity.weights.keras_graph import compare, has_no_effect, layers_in
from resnet_parity.weights.naming import Dialect
from resnet_parity.weights.statements import (
    epsilon_of,
    keras_facts,
    stated_names,
    stated_spec,
)

_PREPROCESSING = re.compile("Rescaling|Normalization|Resizing|CenterCrop|Random.*")
"""Classes of Keras that change images."""

_SHOWN = 12

_NUMBERS = ("scale", "offset", "mean", "variance")
"""Facts of layers of Keras that change images."""


@dataclass(frozen=True)
class Remarks:
    """Sentences for the report.

    * `stated`: what the file says that its tensors do not show, each with the place of it;
    * `assumed`: what it does not say, and the dialect implies;
    * `aside`: what is in the file and is no part of the network.
    """

    stated: tuple[str, ...]
    assumed: tuple[str, ...]
    aside: tuple[str, ...]


def remarks(
    path: Path, reading: Reading, metadata: Mapping[str, object], *, is_given: bool
) -> Remarks:
    """The remarks on a network; `is_given` if the user named its architecture."""
    arch = reading.architecture
    decisive, stated = tuple(_decisive(path, reading, metadata)), ()
    assumed, aside = (), (*_left_out(reading, metadata), *_preprocessing(metadata))
    if not decisive:
        named = dict(stated_names(metadata))
        stated = tuple(f"{key}: {name}" for key, name in named.items() if name == arch.name)
        assumed = (*_assumed(reading, is_given=is_given, is_named=bool(stated)),)
        aside += tuple(
            f"{key} is {printable(name)!r}, which is taken as a name of its maker"
            for key, name in named.items()
            if name != arch.name
        )
    return Remarks(decisive or stated, (*assumed, *reading.notes), aside)


def _function(reading: Reading, *, with_epsilon: bool) -> Iterator[str]:
    """The facts that no tensor of the network shows, in words."""
    arch = reading.architecture
    if arch.block == "bottleneck":
        yield f"stride in the {'first 1x1' if arch.stride_in_1x1 else '3x3'} convolution"
    if arch.stages[0].stride > 1 and arch.name not in ARCHITECTURES:
        yield f"stride {arch.stages[0].stride} in the first stage"
    if arch.shortcut == "A":
        yield f"channels of zeros {arch.zero_padding} the others"
    if not arch.residual:
        yield "no shortcuts"
    if with_epsilon:
        yield f"epsilon {epsilon_of(reading):g}".replace("e-0", "e-")


def _decisive(path: Path, reading: Reading, metadata: Mapping[str, object]) -> Iterator[str]:
    """The statement that leaves nothing to the dialect, if there is one."""
    arch, config = reading.architecture, metadata.get("config")
    config = config if isinstance(config, Mapping) else {}
    words = (*_function(reading, with_epsilon=True),)
    code = (*_function(reading, with_epsilon=False),)  # of a library, which has one epsilon
    if stated_spec(path, metadata, arch):
        yield f"the spec in its metadata: {', '.join(words)}"
    elif config.get("model_type") == "resnet" and reading.dialect.name.startswith("hf"):
        yield f"config.json: {', '.join(('a ResNet of transformers', *code))}"
    elif isinstance(metadata.get("kerashub"), Mapping):
        yield f"its config: {', '.join(('a ResNetBackbone of KerasHub', *code))}"
    elif "pretrained_cfg" in config and config.get("architecture") == arch.name:
        yield f"config.json: timm's {arch.name}"
    elif _is_configured(reading, metadata):
        yield f"the config of its Keras model: {', '.join(words)}"


def _is_configured(reading: Reading, metadata: Mapping[str, object]) -> bool:
    """Whether a config of Keras states the graph, the strides and every epsilon, all compared."""
    stated = compare(reading, reading.architecture, layers_in(metadata))
    if stated is None or stated.problem:
        return False
    facts = {
        layer.name: each for layer, each in keras_facts(reading.architecture, reading, metadata)
    }
    return all(
        ("strides" if isinstance(layer, Conv) else "epsilon") in facts.get(layer.name, ())
        for layer in make_plan(reading.architecture).layers
        if isinstance(layer, Conv | Norm)
    )


def _assumed(reading: Reading, *, is_given: bool, is_named: bool) -> Iterator[str]:
    arch, dialect = reading.architecture, reading.dialect
    if _is_usual(dialect, arch):
        yield f"{dialect.title}: {dialect.assumes}"
    else:
        origin = ", as you say" if is_given else ", as the file says" if is_named else ""
        yield f"{arch.name}{origin}: {', '.join(_function(reading, with_epsilon=True))}"
    if is_given or is_named:
        return
    if reading.others:
        yield (
            f"{arch.name}, and not {' or '.join(reading.others)}, which has equal tensors; "
            "--architecture chooses another"
        )
    if arch.name not in ARCHITECTURES:
        stem, pool = arch.stem, "a" if arch.stem.pool else "no"
        strides = ", ".join(str(stage.stride) for stage in arch.stages)
        yield f"a stem of stride {stem.stride}, {pool} max-pool, stages of strides {strides}"


def _is_usual(dialect: Dialect, arch: Architecture) -> bool:
    """Whether the dialect describes what no tensor of an architecture shows."""
    usual = {"stride_in_1x1": False, "zero_padding": "after", **dialect.fields}
    is_v1 = arch.block == "bottleneck" and arch.stride_in_1x1 != usual["stride_in_1x1"]
    is_other_zero = arch.shortcut == "A" and arch.zero_padding != usual["zero_padding"]
    return arch.residual and not is_v1 and not is_other_zero


def _left_out(reading: Reading, metadata: Mapping[str, object]) -> Iterator[str]:
    """Sentences on the layers in the config of a Keras model that are no part of the network."""
    layers, prefix = layers_in(metadata), reading.prefix
    stated = compare(reading, reading.architecture, layers)
    heads = (name.rpartition("/")[0] for name, p in reading.names.items() if p.name == "fc.weight")
    head = next(heads, "")
    outside = [
        f"{printable(name)} ({_layer(facts)})"
        for name, facts in layers.items()
        if not prefix.startswith(f"{name}/")
        and (
            (facts.get("class") != "InputLayer" and not f"{name}/".startswith((prefix, f"{head}/")))
            or (stated and name not in stated.used and not has_no_effect(facts))
            or _PREPROCESSING.fullmatch(str(facts.get("class")))
        )
    ]
    if outside:
        more = ", ..." if len(outside) > _SHOWN else ""
        count = "1 layer" if len(outside) == 1 else f"{len(outside)} layers"
        yield f"{count} of the model: {', '.join(outside[:_SHOWN])}{more}"
    facts = layers.get(head)
    activation = facts.get("activation") if isinstance(facts, Mapping) else None
    if activation not in ("linear", None):
        yield f"the {activation} of {printable(head)}: the network returns logits"


def _layer(facts: Mapping[str, object]) -> str:
    """The class of a layer, with its numbers if it changes images."""
    kind = str(facts.get("class"))
    numbers = [f"{key} {_short(facts[key])}" for key in _NUMBERS if key in facts]
    return f"{kind} {', '.join(numbers)}" if numbers and _PREPROCESSING.fullmatch(kind) else kind


def _preprocessing(metadata: Mapping[str, object]) -> Iterator[str]:
    """A sentence on the mean and the deviation of images that a config states."""
    config, processor = metadata.get("config"), metadata.get("preprocessor")
    pretrained = config.get("pretrained_cfg") if isinstance(config, Mapping) else None
    for file, facts, keys in (
        ("config.json", pretrained, ("mean", "std")),
        ("preprocessor_config.json", processor, ("image_mean", "image_std", "rescale_factor")),
    ):
        if isinstance(facts, Mapping) and keys[0] in facts:
            words = [f"{key} {_short(facts[key])}" for key in keys if key in facts]
            yield f"the preprocessing in {file}: {', '.join(words)}"


def _short(value: object) -> str:
    """A number or a few of them, for a sentence."""
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_short, value[:4]))})"
    return f"{value:.6g}" if isinstance(value, int | float) else printable(str(value))[:40]
