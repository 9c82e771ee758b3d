"""Load the weights of a ResNet from any checkpoint, and report what was done with it."""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from resnet_spec import (
    Architecture,
    ArchitectureError,
    WeightsError,
    check_weights,
    get_architecture,
    make_plan,
    parameters,
)
from resnet_spec.text import printable

from resnet_parity.errors import ParityError
from resnet_parity.files import check_readable, state_of
from resnet_parity.limits import MAX_ELEMENTS
from resnet_parity.progress import Progress
from resnet_parity.weights.adapt import adapt_weights
from resnet_parity.weights.by_order import numberings
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.formats import is_onnx, open_checkpoint
from resnet_parity.weights.formats.stored import Checkpoint, Tensors
from resnet_parity.weights.heads import with_head
from resnet_parity.weights.identify import Reading, identify
from resnet_parity.weights.naming import body_pattern, canonical_array, tensor_names
from resnet_parity.weights.onnx_files import import_onnx
from resnet_parity.weights.refused import refusal
from resnet_parity.weights.remarks import remarks
from resnet_parity.weights.statements import decided, epsilon_of

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_LISTED = 8

_BEFORE_HEAD = r"(max_?pool|stem|conv\d?|bn\d?|layer\d|stages?|blocks)\."
"""The beginnings of the names of modules that precede the head; none of these may be left over."""

_PREFERRED = ("teacher", "encoder_q", "online_network", "backbone")
"""Parts of the place of a network: of several in a file, the one that its makers evaluate."""


class UnknownNetworkError(ParityError):
    """A file holds no known network; `reason` is the message without where all tensors are."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; `resnet-parity inspect --json` lists all")
        self.reason = reason


@dataclass(frozen=True)
class Report:
    """A file, and what was done with it, in words and numbers.

    `left_over` are the names of tensors that were not used, `made_up` and `folded` sentences on
    tensors that the file does not have or the network does not take, `cast` on other dtypes.
    `biases` are those of convolutions that were folded, with the norm that took each.
    `assumptions` are what the file cannot say and the dialect implies, `stated` what it says in a
    config, `aside` what is in it and is no part of the network, such as preprocessing.
    """

    file: str
    format: str
    dialect: str
    architecture: str
    num_classes: int
    in_channels: int
    dtype: str
    loaded: int
    group: str = ""
    prefix: str = ""
    is_ema: bool = False
    left_over: tuple[str, ...] = ()
    made_up: tuple[str, ...] = ()
    folded: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    """The names of the classes, if a config states them."""
    biases: Mapping[str, str] = field(default_factory=dict)
    stated: tuple[str, ...] = ()
    aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The network of a file that is loaded: a state dict, and the reading of its names.

    `others` are sentences on the other networks of the file.
    """

    group: str
    tensors: Tensors
    reading: Reading
    others: tuple[str, ...] = ()

    @property
    def is_ema(self) -> bool:
        """Whether the place says that the weights are averages, as `state_dict_ema` does."""
        return "ema" in re.split(r"[^a-z]", self.place.lower())

    @property
    def place(self) -> str:
        """Where the network is in the file, as the user writes it for `--prefix`."""
        return ".".join(part for part in (self.group, self.reading.prefix.rstrip("./")) if part)


@dataclass(frozen=True)
class Source:
    """The network in the file as it is, before anything was adapted; its tensors are read again.

    `biases` are those of convolutions that were folded into norms.
    """

    choice: Choice

    @property
    def dialect(self) -> str:
        return self.choice.reading.dialect.name

    @property
    def biases(self) -> Mapping[str, str]:
        return self.choice.reading.biases

    @property
    def architecture(self) -> Architecture:
        """The architecture of the file: its epsilon, and biases everywhere if it has some."""
        reading = self.choice.reading
        arch = replace(reading.architecture, bn_eps=epsilon_of(reading))
        return replace(arch, conv_bias="all") if self.biases else arch

    @property
    def is_whole(self) -> bool:
        """Whether nothing was folded or made up, so that a library can run the file as it is."""
        return not self.is_folded and "running_mean" in self.choice.reading.dialect.norm

    @property
    def is_folded(self) -> bool:
        """Whether biases or an epsilon went into statistics."""
        return self.architecture != self.choice.reading.architecture

    @property
    def is_named(self) -> bool:
        """Whether the dialect has a name for every layer; a body with a head may have none."""
        return tensor_names(self.choice.reading.dialect, self.architecture) is not None

    def tensors(self) -> dict[str, np.ndarray]:
        """The tensors by their names in the library, in its axes."""
        reading, tensors = self.choice.reading, self.choice.tensors
        names = tensor_names(reading.dialect, reading.architecture) or {}
        own = {parameter.name: name for name, parameter in names.items()}
        return {
            own[parameter.name]: tensors[name].read().astype("float32")
            for name, parameter in reading.names.items()
        }

    def unchanged(self) -> Iterator[tuple[str, np.ndarray]]:
        """The canonical name and the numbers of each tensor, float32, while nothing is folded."""
        if self.is_whole:
            for name, array in canonical_tensors(self.choice):
                yield name, array.astype("float32", copy=False)

    def folded(self) -> dict[str, np.ndarray]:
        """The weights of the loaded architecture, before they are rounded to float32."""
        weights = dict(canonical_tensors(self.choice))
        list(_fold(self.choice.reading, self.choice.tensors, weights))
        list(_statistics(self.choice.reading, weights))
        return weights

    def canonical(self) -> dict[str, np.ndarray]:
        """The tensors by canonical name, with the biases that the file has.

        They are float32, as those of a library, except where they are folded after this.
        """
        reading, tensors = self.choice.reading, self.choice.tensors
        weights = dict(canonical_tensors(self.choice))
        if self.is_whole:
            return {name: array.astype("float32") for name, array in weights.items()}
        list(_statistics(reading, weights))
        for name, norm in reading.biases.items():
            conv = bias_owner(reading.architecture, norm)
            weights[f"{conv}.bias"] = tensors[name].read()
        for parameter in parameters(self.architecture):
            weights.setdefault(parameter.name, np.zeros(parameter.shape, "float32"))
        return weights


@dataclass(frozen=True)
class Loaded:
    """The weights by canonical name, float32, with their architecture and the report.

    `source` is the network in the file, None where the weights were adapted or rounded; `original`
    is then what was read.
    """

    architecture: Architecture
    weights: dict[str, np.ndarray]
    report: Report
    source: Source | None = None
    original: Loaded | None = None
    model: Any = None
    """The model in memory that the weights are of, if there is one."""
    files: Mapping[Path, tuple[int, int, int]] = field(default_factory=dict)
    """The files that were read, each with its `state_of` before its numbers were read."""


def load_weights(
    path: str | Path,
    *,
    architecture: str | Architecture | None = None,
    num_classes: int | None = None,
    in_channels: int | None = None,
    prefix: str | None = None,
    ema: bool = True,
    drop_head: bool = False,
    progress: Progress = lambda step, total: None,
) -> Loaded:
    """Load the weights of a ResNet from a file or a folder, whoever wrote it.

    The names show which library wrote it (the dialect), and with the shapes which architecture it
    is. `architecture` decides where a file cannot, as between two rows with equal tensors.
    `num_classes` and `in_channels` adapt the last and the first layer (`adapt_weights`);
    `drop_head` leaves the classifier out. `prefix` chooses between several networks in a file;
    without `ema`, averaged weights are not preferred. An ONNX file takes none of these three: it
    is read as `import` reads it, whose checks report to `progress`.

    Nothing in the file is run. Raises `ParityError` that names the file, the tensor and the fix.
    """
    path = Path(path)
    if is_onnx(path):
        options = {"architecture": architecture, "prefix": prefix, "no-ema": not ema or None}
        loaded = _of_onnx(path, [name for name in options if options[name] is not None], progress)
    else:
        loaded = _of_checkpoint(path, given_architecture(architecture), prefix, ema)
    return adapted(loaded, num_classes=num_classes, in_channels=in_channels, drop_head=drop_head)


def _of_checkpoint(path: Path, given: Architecture | None, prefix: str | None, ema: bool) -> Loaded:
    """The weights of a file of any format but ONNX. Raises `ParityError`."""
    checkpoint = open_checkpoint(path)
    files = {each: state_of(each) for each in checkpoint.files}
    choice = choose(checkpoint, prefix=prefix, architecture=given, ema=ema)
    reading = choice.reading
    weights, folded, made_up, cast = read_tensors(path, choice)
    arch = reading.architecture
    try:
        check_weights(arch, weights, dict.fromkeys(weights, "float32"))
    except WeightsError as error:
        raise ParityError(f"{path}: {error}") from error
    found = remarks(path, reading, checkpoint.metadata, is_given=given is not None)
    report = Report(
        str(path),
        checkpoint.format,
        reading.dialect.name,
        arch.name,
        arch.num_classes,
        arch.in_channels,
        _dtype(choice),
        len(reading.names),
        choice.group,
        reading.prefix,
        choice.is_ema,
        reading.left_over,
        tuple(made_up),
        folded,
        cast,
        found.assumed,
        (*checkpoint.contents, *choice.others),
        checkpoint.metadata,
        labels_of(checkpoint.metadata, arch),
        reading.biases,
        found.stated,
        found.aside,
    )
    return Loaded(arch, weights, report, Source(choice), files=files)


def _of_onnx(path: Path, options: Sequence[str], progress: Progress) -> Loaded:
    """The weights of an ONNX file, proven by the checks of `import`. Raises `ParityError`."""
    if options:
        shown = ", ".join(f"--{name}" for name in options)
        raise ParityError(f"the ONNX file {path} does not take {shown}; leave that out")
    check_readable(path)
    files = {path: state_of(path)}
    arch, weights, notes = import_onnx(path, progress)
    report = Report(
        str(path),
        "ONNX",
        "onnx",
        arch.name,
        arch.num_classes,
        arch.in_channels,
        "float32",
        len(weights),
        assumptions=notes,
    )
    return Loaded(arch, weights, report, files=files)


def adapted(
    loaded: Loaded,
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    drop_head: bool = False,
) -> Loaded:
    """The weights with another first or last layer, which `adapt_weights` makes.

    Raises `ParityError` for a number of classes or channels that cannot be.
    """
    arch = loaded.architecture
    if drop_head and num_classes:
        raise ParityError(f"the head cannot be left out and have {num_classes} classes; choose one")
    classes = 0 if drop_head else arch.num_classes if num_classes is None else num_classes
    channels = arch.in_channels if in_channels is None else in_channels
    try:
        target = replace(arch, num_classes=classes, in_channels=channels)
    except ArchitectureError as error:
        raise ParityError(str(error)) from error
    if target == arch:
        return loaded
    found = adapt_weights(loaded.weights, target)
    report = replace(
        loaded.report,
        num_classes=target.num_classes,
        in_channels=target.in_channels,
        made_up=(*loaded.report.made_up, *found.changes),
        labels=loaded.report.labels if target.num_classes == arch.num_classes else (),
    )
    return Loaded(target, found.weights, report, original=loaded)


def labels_of(metadata: Mapping[str, object], arch: Architecture) -> tuple[str, ...]:
    """The names of the classes that the file states, one for each class."""
    labels = metadata.get("labels")
    return labels if isinstance(labels, tuple) and len(labels) == arch.num_classes else ()


def given_architecture(architecture: str | Architecture | None) -> Architecture | None:
    """The architecture that the user names. Raises `ParityError`."""
    try:
        return None if architecture is None else get_architecture(architecture)
    except ArchitectureError as error:
        raise ParityError(str(error)) from error


def choose(
    checkpoint: Checkpoint,
    *,
    prefix: str | None = None,
    architecture: Architecture | None = None,
    ema: bool = True,
) -> Choice:
    """The network of a file that the user means; raises `ParityError` where that is unclear."""
    path = checkpoint.path
    if reason := refusal(checkpoint.groups, checkpoint.metadata):
        raise ParityError(f"{path}: {reason}")
    try:
        chosen, networks = _fitting(checkpoint, prefix, architecture, ema)
    except ParityError as error:
        if architecture and (found := _without_architecture(checkpoint, prefix, ema)):
            raise ParityError(
                f"{path} does not hold a {architecture.name!r}, as you say: the tensors are those "
                f"of {found!r}; leave --architecture out"
            ) from error
        raise
    reading = decided(path, chosen.reading, checkpoint.metadata, is_given=architecture is not None)
    return replace(chosen, reading=reading, others=tuple(_others(chosen, networks)))


def _fitting(
    checkpoint: Checkpoint, prefix: str | None, architecture: Architecture | None, ema: bool
) -> tuple[Choice, list[Choice]]:
    """The network that the user means, once its tensors were checked, and all networks."""
    path = checkpoint.path
    choices = [
        Choice(group, tensors, reading)
        for group, tensors in checkpoint.groups.items()
        for reading in identify(_shapes(tensors), architecture=architecture)
    ]
    if not choices and checkpoint.metadata.get("names") == "by order":
        choices = _by_order(checkpoint, architecture)
    networks = _networks(choices)
    if prefix is not None:
        places = {choice.place: None for choice in choices}
        choices = [
            c for c in choices if prefix.rstrip("./") in (c.place, c.reading.prefix.rstrip("./"))
        ]
        if not choices:
            listed = ", ".join(map(repr, places)) or "none"
            raise ParityError(f"{path} has no network at {prefix!r}; found: {listed}")
    if not choices:
        raise _unknown(checkpoint)
    chosen = _preferred(path, networks if prefix is None else _networks(choices), ema)
    reading = with_head(chosen.reading, _shapes(chosen.tensors), checkpoint.metadata)
    chosen = replace(chosen, reading=reading)
    check_fit(path, chosen)
    return chosen, networks


def _without_architecture(checkpoint: Checkpoint, prefix: str | None, ema: bool) -> str:
    """The name of the network that fits, empty if none does."""
    try:
        return _fitting(checkpoint, prefix, None, ema)[0].reading.architecture.name
    except ParityError:
        return ""


def _networks(choices: Sequence[Choice]) -> list[Choice]:
    """The best reading of each network; those of one network share tensors."""
    networks: list[Choice] = []
    whole = [each for each in choices if not any(_is_part(each, other) for other in choices)]
    for choice in sorted(whole, key=lambda choice: (not choice.reading.fits, choice.reading.rank)):
        same = (each for each in networks if each.group == choice.group)
        if all(each.reading.names.keys().isdisjoint(choice.reading.names) for each in same):
            networks.append(choice)
    return networks


def _others(chosen: Choice, networks: Sequence[Choice]) -> Iterator[str]:
    """Sentences on the networks that were not chosen, damaged ones too."""
    for each in networks:
        reading, arch = each.reading, each.reading.architecture
        shared = not reading.names.keys().isdisjoint(chosen.reading.names)
        if each.group == chosen.group and shared:
            continue
        network = f"another network, {printable(each.place) or 'without a prefix'}: "
        if reading.fits:
            yield f"{network}{arch.name}, {arch.num_classes} classes"
        elif 2 * reading.rank[1] < len(reading.names):
            wrong = [*(f"{name} is missing" for name in reading.missing), *reading.mis_shaped]
            more = f", and {len(wrong) - 1} more" if wrong[1:] else ""
            yield f"{network}it does not fit {arch.name}: {printable(wrong[0])}{more}"


def _is_part(choice: Choice, other: Choice) -> bool:
    """Whether another reading of the same tensors explains more of them, such as a head."""
    if choice.group != other.group:
        return False
    own, more = ({*each.reading.names} - {*each.reading.missing} for each in (choice, other))
    return own < more


def _preferred(path: Path, networks: Sequence[Choice], ema: bool) -> Choice:
    """The one network, or the averaged one, or the one that its makers evaluate.

    An averaged network that is damaged is refused, and not replaced by another one in silence.
    """
    averaged = [each for each in networks if each.is_ema == ema]
    networks = averaged or networks
    networks = [each for each in networks if each.reading.fits] or networks[:1]
    if len(networks) == 1:
        return networks[0]
    for part in _PREFERRED:
        found = [each for each in networks if part in each.place.split(".")]
        if len(found) == 1:
            return found[0]
    listed = " or ".join(f"--prefix {each.place or repr('')}" for each in networks)
    raise ParityError(f"{path} holds {len(networks)} networks; choose one: {listed}")


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tensor.shape for name, tensor in tensors.items()}


def _by_order(checkpoint: Checkpoint, architecture: Architecture | None) -> list[Choice]:
    """The network of a file that numbers its layers. Raises `ParityError` if several may be it."""
    tensors = checkpoint.groups[""]
    found = numberings(tensors, architecture)
    if len(found) == 1 and (architecture or found[0].dialect.name != "keras"):
        named = found[0].renamed(tensors)
        readings = identify(_shapes(named), architecture=architecture)
        return [Choice("", named, replace(each, notes=(found[0].note,))) for each in readings]
    start = (
        f"{checkpoint.path} ({checkpoint.format}) does not say what its layers are called, only "
        f"their order ({printable(next(iter(tensors)))} ...)"
    )
    fix = "load it into its model in Keras and save that with model.save('named.keras')"
    if not found or architecture:
        reason = "and the shapes fit no architecture in one order alone"
        raise ParityError(f"{start}, {reason}; {fix}")
    names = list(dict.fromkeys(each.architecture.name for each in found))
    raise ParityError(
        f"{start}; the shapes fit {' and '.join(names)}, but the file says neither epsilon nor "
        f"padding, and Keras' own are others: {fix}; or, if yours are those of torchvision, add "
        f"--architecture {names[0]}"
    )


def _unknown(checkpoint: Checkpoint) -> ParityError:
    file = f"{checkpoint.path} ({checkpoint.format})"
    names = [name for tensors in checkpoint.groups.values() for name in tensors]
    if not names:
        return ParityError(f"{file} holds no tensors")
    shown = ", ".join(printable(name) for name in names[:3])
    return UnknownNetworkError(
        f"{file} holds no ResNet that is known; the first of its {len(names)} tensors: {shown}"
    )


def check_fit(path: Path, choice: Choice) -> None:
    """Raise `ParityError` unless the file has exactly the layers of the architecture.

    Tensors outside of the blocks, such as another head, may be left over.
    """
    reading = choice.reading
    problems = [f"{name} is missing" for name in reading.missing] + [*reading.mis_shaped]
    blocks = _block_prefixes(reading)
    before_head = re.compile(re.escape(reading.prefix) + _BEFORE_HEAD)
    layers = re.compile(body_pattern(reading.dialect, reading.prefix))
    inside = [
        name
        for name in reading.left_over
        if name.startswith(blocks) or before_head.match(name) or layers.fullmatch(name)
    ]
    problems += [f"{name} belongs to no layer of it" for name in inside]
    if not problems:
        return
    if reason := without_statistics(reading) or projecting_first(reading):
        raise ParityError(f"{path}: {reason}")
    listed = "\n".join(f"  - {printable(problem)}" for problem in problems[:_LISTED])
    more = len(problems) - _LISTED
    listed += f"\n  ... and {more} more" if more > 0 else ""
    raise ParityError(
        f"{path} does not hold a {reading.architecture.name!r}, the nearest architecture (names of "
        f"{reading.dialect.title}); if it is another one, name it with --architecture:\n{listed}"
    )


def without_statistics(reading: Reading) -> str:
    """Why a file is refused that has norms, but no running statistics of any; empty if it has."""
    means = [name for name, p in reading.names.items() if p.name.endswith(".running_mean")]
    has_scale = any(p.name.endswith(".bn1.weight") for p in reading.names.values())
    if not means or not has_scale or not {*means} <= {*reading.missing}:
        return ""
    return (
        f"its norms have no running statistics ({means[0]} is missing): they are GroupNorm, "
        "LayerNorm or the like, or of a batch norm that keeps none; every row has batch norms with "
        "statistics"
    )


def projecting_first(reading: Reading) -> str:
    """Why a file is refused whose first block of two convolutions projects; empty if none does."""
    names = {
        reading.prefix + (reading.dialect.layer_name(role, s=1, b=0, n=0) or "")
        for role in ("project", "pooled")
    }
    layers = {re.split(r"[./][^./]*$", name)[0] for name in reading.left_over}
    found = sorted(names & layers)
    if reading.architecture.block != "basic" or not found:
        return ""
    return (
        f"its first block has a projection ({found[0]}), as PaddleClas 18 and 34 and KerasHub's vd "
        "18 and 34 have; in every row with such blocks its shortcut is the identity"
    )


def _block_prefixes(reading: Reading) -> tuple[str, ...]:
    """The beginnings of the names of each block."""
    blocks: dict[str, list[str]] = {}
    for name, parameter in reading.names.items():
        if parameter.name.startswith("layer"):
            blocks.setdefault(".".join(parameter.name.split(".")[:2]), []).append(name)
    return tuple(filter(None, map(os.path.commonprefix, blocks.values())))


def read_tensors(
    path: Path, choice: Choice
) -> tuple[dict[str, np.ndarray], tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The canonical weights, float32, and sentences on what was folded, made up and cast."""
    reading, tensors = choice.reading, choice.tensors
    used = [*reading.names, *reading.biases]
    if sum(_size(tensors[name].shape) for name in used) > MAX_ELEMENTS:
        raise ParityError(f"{path} has more than {MAX_ELEMENTS:,} numbers")
    check_dtypes(path, choice)
    weights = dict(canonical_tensors(choice))
    folded = tuple(_fold(reading, tensors, weights))
    made_up = tuple(_statistics(reading, weights))
    dtypes = {tensors[name].dtype for name in reading.names} - {"float32"}
    cast = tuple(f"{dtype} tensors to float32" for dtype in sorted(dtypes))
    for name, array in weights.items():
        weights[name] = array.astype("float32", copy=False)
    return weights, folded, made_up, cast


def check_dtypes(path: Path, choice: Choice) -> None:
    """Raise `ParityError` unless the tensors of the network are floating-point."""
    used = [*choice.reading.names, *choice.reading.biases]
    odd = [name for name in used if choice.tensors[name].dtype not in _FLOATS]
    if odd:
        raise ParityError(
            f"{path}: {len(odd)} of {len(used)} tensors are not floating-point, the first is "
            f"{printable(odd[0])} ({choice.tensors[odd[0]].dtype}); quantised weights must be "
            "dequantised in the library that made them"
        )


def canonical_tensors(choice: Choice) -> Iterator[tuple[str, np.ndarray]]:
    """The canonical name and the numbers of each tensor of the file, in its dtype."""
    dialect, tensors = choice.reading.dialect, choice.tensors
    for name, parameter in choice.reading.names.items():
        yield parameter.name, canonical_array(dialect, parameter, tensors[name].read())


def bias_owner(arch: Architecture, norm: str) -> str:
    """The name of the convolution that a norm follows."""
    layers = [layer.name for layer in make_plan(arch).layers]
    return layers[layers.index(norm) - 1]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def _fold(reading: Reading, tensors: Tensors, weights: dict[str, np.ndarray]) -> Iterator[str]:
    """Fold what the architecture does not have: biases before norms, another epsilon."""
    for name, norm in reading.biases.items():
        mean = f"{norm}.running_mean"
        bias = tensors[name].read().astype("float64")
        weights[mean] = weights.get(mean, np.zeros(bias.shape)).astype("float64") - bias
    if reading.biases:
        yield f"{len(reading.biases)} biases of convolutions, into running means"
    ours, theirs = reading.architecture.bn_eps, epsilon_of(reading)
    if ours != theirs:
        for name in weights:
            if name.endswith(".running_var"):
                weights[name] = weights[name].astype("float64") + (theirs - ours)
        yield f"epsilon {theirs:g} instead of {ours:g}, into the running variances"


def _statistics(reading: Reading, weights: dict[str, np.ndarray]) -> Iterator[str]:
    """Add statistics that the dialect has folded into scale and bias: 0 and 1 - epsilon."""
    arch = reading.architecture
    canonical = tensor_names(DIALECTS["torchvision"], arch) or {}
    added = [p for p in canonical.values() if p.name not in weights]
    for parameter in added:
        is_variance = parameter.name.endswith(".running_var")
        weights[parameter.name] = np.full(parameter.shape, 1 - arch.bn_eps if is_variance else 0.0)
    if added:
        yield f"{len(added)} running statistics: 0 and 1 - epsilon, because the file has none"


def _dtype(choice: Choice) -> str:
    dtypes = {choice.tensors[name].dtype for name in choice.reading.names}
    return ", ".join(sorted(dtypes))
