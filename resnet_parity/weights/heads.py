"""A classifier of one's own beside a body: one dense layer that no name of a dialect shows.

People fine-tune a body with `fc = Sequential(Dropout(), Linear(512, 10))`, or put a `Dense` after a
nested model. Its name is anything; its shape, and that nothing else is left over, show it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from resnet_spec import parameters

from resnet_parity.weights.identify import Reading
from resnet_parity.weights.naming import canonical_shape
from resnet_parity.weights.shapes import Shapes

_BETWEEN = {"InputLayer", "GlobalAveragePooling2D", "Flatten", "Dropout", "Dense", "Sequential"}
_BETWEEN |= {"Functional", "Model", "Rescaling", "Normalization", "Resizing", "CenterCrop"}
"""Classes of Keras that leave the classifier a linear function of the pooled features."""


def with_head(reading: Reading, shapes: Shapes, metadata: Mapping[str, object]) -> Reading:
    """The reading with the dense layer that is left over as its classifier, if there is one.

    Only scalars may be left over besides. The layers that a Keras config states outside of the body
    must be such that the dense layer takes the pooled features.
    """
    rest = [name for name in reading.left_over if shapes[name]]
    layers = {name.rpartition(mark)[0] for name in rest for mark in "./" if mark in name}
    if reading.architecture.num_classes or not reading.fits or len(layers) != 1:
        return reading
    (layer,) = layers
    names = {word: t.format(layer) for word, t in reading.dialect.layer.items()}
    if {*rest} != {*names.values()} or len(shapes[names["bias"]]) != 1:
        return reading
    arch = replace(reading.architecture, num_classes=shapes[names["bias"]][0])
    head = {names[p.name.rpartition(".")[2]]: p for p in parameters(arch) if p.name[:3] == "fc."}
    if any(
        canonical_shape(reading.dialect, p, shapes[name]) != p.shape for name, p in head.items()
    ):
        return reading
    if not _is_linear(reading, metadata):
        return reading
    note = f"{layer} is the classifier: the only other layer, it takes the pooled features"
    return replace(
        reading,
        architecture=arch,
        names={**reading.names, **head},
        left_over=tuple(name for name in reading.left_over if name not in head),
        notes=(*reading.notes, note),
    )


def _is_linear(reading: Reading, metadata: Mapping[str, object]) -> bool:
    """Whether no layer of a Keras config outside of the body changes the features."""
    layers = metadata.get("layers")
    if not isinstance(layers, Mapping):
        return True
    return all(
        facts.get("class") in _BETWEEN
        for name, facts in layers.items()
        if not f"{name}/".startswith(reading.prefix)
    )
