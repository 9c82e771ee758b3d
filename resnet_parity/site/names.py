"""The data of the names page: the templates of every dialect, and the layers of every architecture.

The page computes names from them (`static/naming.js`), as `weights.naming` and `weights.identify`
do. Equal blocks and layers are stored once.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import Any

from resnet_spec import ARCHITECTURES, GROUPS, Architecture, layer_parameters, make_plan

from resnet_parity.site.explorer import Interned
from resnet_parity.weights.dialects import DIALECTS
from resnet_parity.weights.identify import distance, fields_of
from resnet_parity.weights.naming import Dialect, roles
from resnet_parity.weights.refused import AMBIGUOUS, KERAS_2016, REFUSED

CANONICAL = next(iter(DIALECTS))
"""The dialect whose names are the canonical ones."""

SHOWN = ("timm-v2", "hf", "kerashub", "keras-applications", "keras-applications-v2")
"""The dialects that the page shows at first, beside the canonical names."""


def names_data() -> dict[str, Any]:
    """Return all that the page computes names with, as plain data."""
    layers, blocks = Interned(), Interned()
    nets = {name: _net(arch, layers, blocks) for name, arch in ARCHITECTURES.items()}
    return {
        "dialects": {dialect.name: _dialect(dialect) for dialect in DIALECTS.values()},
        "groups": {group: [arch.name for arch in rows] for group, rows in GROUPS.items()},
        "nets": nets,
        "blocks": blocks.all,
        "layers": layers.all,
        "refused": [*REFUSED, (AMBIGUOUS.pattern, KERAS_2016)],
    }


def _dialect(dialect: Dialect) -> dict[str, Any]:
    """The tables of a dialect; `distances` are those of the rows, in their order (`distance`)."""
    return {
        "title": dialect.title,
        "assumes": dialect.assumes,
        "roles": dialect.roles,
        "layer": dialect.layer,
        "norm": dialect.norm,
        "axes": [dialect.conv_axes, dialect.linear_axes],
        "distances": [
            distance(dialect, replace(arch, **fields_of(dialect, arch)))
            for arch in ARCHITECTURES.values()
        ],
    }


def _net(arch: Architecture, layers: Interned, blocks: Interned) -> dict[str, Any]:
    """The layers of the stem, the runs of equal blocks of each stage, the layers of the head."""
    parts: dict[str, list[int]] = {}
    plan, known = make_plan(arch), roles(arch)
    owners = [block.name for block in plan.blocks]
    for layer in plan.layers:
        owner = ".".join(layer.name.split(".")[:2])
        part = owner if owner in owners else "head" if owners[0] in parts else "stem"
        role, numbers = known[layer.name]
        weight, *others = layer_parameters(layer)
        number = numbers.get("j") or numbers.get("k") or 0
        entry = [role, number, weight.shape, len(others)]
        parts.setdefault(part, []).append(layers.index(entry))
    stages = []
    for stage in plan.stages:
        indices = [blocks.index(parts[block.name]) for block in stage.blocks]
        stages.append([[kind, len(list(run))] for kind, run in groupby(indices)])
    return {"stem": parts["stem"], "stages": stages, "head": parts.get("head", [])}
