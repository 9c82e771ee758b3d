"""The whole file of a network in one framework: header, imports, functions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from resnet_spec import (
    ARCHITECTURES,
    GROUPS,
    Architecture,
    get_architecture,
    mac_count,
    parameter_count,
)
from resnet_spec.text import printable

from resnet_parity.eject import keras_writer, pieces, torch_writer
from resnet_parity.eject.facts import Facts
from resnet_parity.eject.text import COLUMNS

FRAMEWORKS = {"torch": "PyTorch", "keras": "Keras"}
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
    passed, and with which versions.
    """
    arch = get_architecture(architecture)
    facts = Facts(arch, size or (arch.image_size, arch.image_size))
    writer = _WRITERS[framework]
    parts = ["\n".join(part(facts)) for part in writer.PARTS]
    if loader and framework == "keras":
        parts.append(keras_writer.loader())
    code = "\n\n\n".join(part for part in parts if part)
    stages = "\n".join(pieces.stages(facts, writer.LAYOUT))
    head = [_header(facts, framework, checked), "\n".join(_imports(code, framework))]
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


def _header(facts: Facts, framework: str, checked: str) -> str:
    arch = facts.arch
    layout = _WRITERS[framework].LAYOUT
    height, width = facts.size
    macs = f"{mac_count(arch, height, width):,} multiply-accumulates for {height}x{width}"
    shapes = pieces.network_text(facts, layout)
    title = f"{arch.name} in {FRAMEWORKS[framework]}: {shapes[0].lower()}{shapes[1:]}."
    plain = printable(arch.source).replace("\\", "/").replace('"', "'")
    source = [f"Source: {plain}."] if plain else []
    counts = f"{parameter_count(arch):,} parameters, {macs}."
    lines = [_filled(title), "", *map(_filled, [*source, counts]), "", *_loading(facts, framework)]
    if checked:
        lines += ["", _filled(checked)]
    return '"""' + "\n".join(lines) + '\n"""'


def _loading(facts: Facts, framework: str) -> Iterator[str]:
    """How weights are loaded."""
    arch = facts.arch
    row = ARCHITECTURES.get(arch.name)
    names = f"resnet_{framework}"
    if framework == "torch" and row in GROUPS["torchvision (v1.5)"]:
        names = "torchvision"
    elif framework == "torch" and row and row.source.startswith("timm") and not row.preactivation:
        names = "timm"
    named = "tensors" if framework == "torch" else "layers"
    end = ".pth" if framework == "torch" else ".weights.h5"
    to = f"--to {'torch' if framework == 'torch' else 'weights-h5'}"
    head = "" if facts.plan.fc else " --drop-head"
    yield _filled(f"Its {named} have the names of {names}. To load weights of any library:")
    yield ""
    yield f"    # resnet-parity convert CHECKPOINT {to}{head} -o net{end}"
    if framework == "torch":
        yield "    model = ResNet()"
        yield f'    model.load_state_dict(torch.load("net{end}", weights_only=True))'
    else:
        yield "    model = resnet()"
        yield f'    model.load_weights("net{end}")'


def _filled(text: str) -> str:
    return textwrap.fill(text, COLUMNS.get(), break_long_words=False, break_on_hyphens=False)
