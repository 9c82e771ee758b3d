"""The whole file of a network in one framework: header, imports, functions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from resnet_spec import (
    ARCHITECTURES,
    GROUPS,
    Architecture,
    get_architecture,
    mac_count,
    parameter_count,
    parameters,
)

from resnet_parity.eject import common, keras_writer, torch_writer
from resnet_parity.eject.facts import Facts
from resnet_parity.eject.text import COLUMNS

FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras"}
_UNCHECKED = "Not checked here: `resnet-parity eject` runs a file before it writes it."
_WRITERS = {"torch": torch_writer, "keras": keras_writer}


def eject(
    architecture: str | Architecture,
    framework: str,
    *,
    size: tuple[int, int] | None = None,
    loader: bool = False,
    checked: str = "",
) -> str:
    """The text of a file that holds the network in one framework and imports nothing else.

    Shapes in comments and multiply-accumulates are for images of that size. With `loader` the
    Keras file also copies state dicts of PyTorch. `checked` says in the header which check the file
    passed, and with which versions; without it the header says that the file was not checked.
    """
    arch = get_architecture(architecture)
    facts = Facts(arch, size or (arch.image_size, arch.image_size))
    writer = _WRITERS[framework]
    parts = ["\n".join(part(facts)) for part in writer.PARTS]
    loader = loader and framework == "keras"
    if loader:
        parts.append(keras_writer.loader())
    code = "\n\n\n".join(part for part in parts if part)
    stages = "\n".join(common.stages(facts, writer.LAYOUT))
    head = [
        _header(facts, framework, loader=loader, checked=checked),
        "\n".join(_imports(code, framework)),
    ]
    return "\n\n".join([*head, *([stages] if stages else [])]) + f"\n\n\n{code}\n"


def _imports(code: str, framework: str) -> Iterator[str]:
    if framework == "torch":
        yield "from torch import Tensor, nn"
        return
    if "sys." in code:
        yield "import sys"
    if "Mapping" in code:
        yield "from collections.abc import Mapping"
        yield "from typing import Any"
    if "sys." in code or "Mapping" in code:
        yield ""
    names = [name for name in ("initializers", "layers") if f"{name}." in code]
    yield "import keras"
    yield from ["import numpy as np"] * ("np." in code)
    yield f"from keras import {', '.join(['KerasTensor', *names])}"


def _header(facts: Facts, framework: str, *, loader: bool, checked: str) -> str:
    arch = facts.arch
    layout = _WRITERS[framework].LAYOUT
    height, width = facts.size
    macs = f"{mac_count(arch, height, width):,} multiply-accumulates for {height}x{width}"
    shapes = common.network_text(facts, layout)
    title = f"{arch.name} in {FRAMEWORKS[framework]}: {shapes[0].lower()}{shapes[1:]}."
    kept = (each if each.isprintable() and each != "\\" else " " for each in arch.source)
    plain = "".join(kept).replace('"', "'").strip()
    source = [f"Source: {plain}."] if plain else []
    counts = f"{parameter_count(arch):,} parameters, {macs}."
    lines = [title, "", *source, counts, checked or _UNCHECKED, ""]
    loading = _loading(facts, framework, loader=loader)
    return '"""' + "\n".join([*map(_filled, lines), *loading]) + '\n"""'


def _loading(facts: Facts, framework: str, *, loader: bool) -> Iterator[str]:
    """How weights are loaded."""
    head = "" if facts.plan.fc else " --drop-head"
    names = "Its layers have the names of PyTorch, with _ for a dot: layer1_0_conv1."
    if framework == "torch":
        names = _names(facts.arch)
    if loader:
        names += " `load_state_dict` copies a state dict of PyTorch."
    yield _filled(f"{names} To load weights of any library:")
    yield ""
    if framework == "torch":
        yield f"    # resnet-parity convert CHECKPOINT --to torch{head} -o net.pth"
        yield "    import torch"
        yield "    model = ResNet()"
        yield '    model.load_state_dict(torch.load("net.pth", weights_only=True))'
    else:
        yield f"    # resnet-parity convert CHECKPOINT --to weights-h5{head} -o net.weights.h5"
        yield "    model = resnet()"
        yield '    model.load_weights("net.weights.h5")'


def _names(arch: Architecture) -> str:
    """Whose tensors have the names of those in PyTorch, and which have other shapes."""
    row = ARCHITECTURES.get(arch.name)
    library = ""
    if row in GROUPS["torchvision (v1.5)"]:
        library = "torchvision"
    elif row and row.source.startswith("timm") and not row.preactivation:
        library = "timm"
    if not row or not library or _without_sizes(row) != _without_sizes(arch):
        return "Its tensors have names such as layer1.0.conv1.weight."
    ours, theirs = ({p.name: p.shape for p in parameters(each)} for each in (arch, row))
    lost = "" if theirs.keys() == ours.keys() else " but for those of fc, which it lacks"
    other = [n.removesuffix(".weight") for n in ours if ours[n] != theirs[n] and "bias" not in n]
    shapes = f"; {' and '.join(other)} {'have' if other[1:] else 'has'} another shape"
    return f"Its tensors have the names of {library}{lost}{shapes if other else ''}."


def _without_sizes(arch: Architecture) -> Architecture:
    """The architecture without the fields that change no name and, but for fc, no block."""
    sizes: dict[str, Any] = {"num_classes": 0, "in_channels": 3, "image_size": 224}
    return replace(arch, **sizes, output_stride=None, out_indices=None, source="")


def _filled(text: str) -> str:
    return textwrap.fill(text, COLUMNS.get(), break_long_words=False, break_on_hyphens=False)
