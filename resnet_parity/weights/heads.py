"""A classifier whose name is the user's own: the only dense layer beside the body.

People fine-tune a body with `fc = Sequential(Dropout(), Linear(512, 10))`, or put a `Dense` after a
nested model. A word for a classifier in its name, its shape, and that nothing else is left over,
show it; that it takes the average of the last feature map is assumed, and reported.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from resnet_spec import parameters

from resnet_parity.weights.identify import COUNTER, Reading
from resnet_parity.weights.keras_graph import Layers, compare, layers_in, takes_pooled_map
from resnet_parity.weights.naming import canonical_shape
from resnet_parity.weights.shapes import Shapes
from resnet_parity.weights.statements import equals

_WORDS = re.compile(r"fc|cl(f|s|ass)|head|linear|dense|logit|pred|output|score|final|last|top")
"""Words in the names of classifiers."""


def with_head(reading: Reading, shapes: Shapes, metadata: Mapping[str, object]) -> Reading:
    """The reading with the dense layer that is left over as its classifier, if there is one.

    Only step counters may be left over besides. The layers that a Keras config states outside of
    the body must be such that the dense layer takes the pooled features.
    """
    rest = [name for name in reading.left_over if not name.endswith(COUNTER)]
    layers = {name.rpartition(mark)[0] for name in rest for mark in "./" if mark in name}
    if reading.architecture.num_classes or not reading.fits or len(layers) != 1:
        return reading
    (layer,) = layers
    names = {word: t.format(layer) for word, t in reading.dialect.layer.items()}
    ranks = [len(shapes.get(names[word], ())) for word in ("weight", "bias")]
    if {*rest} != {*names.values()} or ranks != [2, 1] or not _is_classifier(layer, metadata):
        return reading
    arch = replace(reading.architecture, num_classes=shapes[names["bias"]][0])
    head = {names[p.name.rpartition(".")[2]]: p for p in parameters(arch) if p.name[:3] == "fc."}
    if any(
        canonical_shape(reading.dialect, p, shapes[name]) != p.shape for name, p in head.items()
    ):
        return reading
    stated = layers_in(metadata)
    note = (
        f"{layer} is the classifier, as the only other layer, and takes the averaged features; "
        "--drop-head leaves it out"
    )
    found = replace(
        reading,
        architecture=arch,
        names={**reading.names, **head},
        left_over=tuple(name for name in reading.left_over if name not in head),
        notes=reading.notes if stated else (*reading.notes, note),
    )
    return found if _is_linear(found, layer, stated) else reading


def _is_classifier(layer: str, metadata: Mapping[str, object]) -> bool:
    """Whether a name may be that of a classifier; a config says what the layer takes instead."""
    parts = [part for part in re.split(r"[./]", layer) if not part.isdecimal()]
    return bool(metadata.get("layers") or not parts or _WORDS.search(parts[-1].lower()))


def _is_linear(reading: Reading, layer: str, layers: Layers) -> bool:
    """Whether the dense layer takes the averaged map of the network, where a config says so."""
    if not layers.get(layer, {}).get("calls"):
        return not layers
    stated = [compare(reading, arch, layers) for arch in equals(reading)]
    if any(each is None for each in stated):
        return takes_pooled_map(reading, layer, layers)
    return any(each and not each.problem for each in stated)
