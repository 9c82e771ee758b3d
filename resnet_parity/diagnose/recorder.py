"""Record a model while it runs, and check each step against the model's own output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_parity.diagnose.arithmetic import evaluate, relative_error_where_finite
from resnet_parity.diagnose.record import Array, Call, Kind, Record, RecordedStep, canonical
from resnet_parity.tolerances import limit

Trusted = frozenset[str]
"""Kinds of steps."""

SIZE_FREE: Trusted = frozenset({Kind.CONV, Kind.DENSE})
"""Kinds whose translation, once it is proven, holds at every image size."""


class Recorder:
    """Maps each tensor of the framework to the step that computed it, and to its layout ("nhwc").

    Translated steps of the kinds in `trusted` are not checked.
    """

    def __init__(
        self, framework: str, image: Any, array: Array, layout: str, *, trusted: Trusted
    ) -> None:
        self._framework = framework
        self._trusted = trusted
        self._steps = [RecordedStep(Kind.INPUT, "the input")]
        self._outputs = {0: canonical(array, layout)}
        # Holds the tensor itself, because a freed tensor's id can be reused.
        self._known: dict[int, tuple[Any, int, str]] = {id(image): (image, 0, layout)}

    def knows(self, tensor: Any) -> bool:
        """Whether a step of this record computed that tensor."""
        return id(tensor) in self._known

    def alias(self, tensor: Any, array: Array) -> None:
        """Map a copy that the framework made to the step of the tensor with the same values."""
        for other, index, layout in reversed(self._known.values()):
            if tuple(other.shape) == array.shape:
                known = self._outputs.get(index)
                if known is not None and np.array_equal(known, canonical(array, layout)):
                    self._known[id(tensor)] = (tensor, index, layout)
                    return

    def value(self, tensor: Any) -> Array:
        """The recorded values of a known tensor."""
        return self._outputs[self._known[id(tensor)][1]]

    def layout(self, tensor: Any) -> str:
        """The layout of a known tensor; "nc" if it has no height and width."""
        return self._known[id(tensor)][2] if len(tensor.shape) == 4 else "nc"

    def mark(self) -> int:
        """The number of steps so far; pass it to `forget` to remove the later ones."""
        return len(self._steps)

    def forget(self, mark: int) -> None:
        """Remove the steps since `mark`: they are parts of one layer, which is recorded instead."""
        del self._steps[mark:]
        self._outputs = {index: value for index, value in self._outputs.items() if index < mark}
        self._known = {key: item for key, item in self._known.items() if item[1] < mark}

    def add(
        self,
        chain: Sequence[RecordedStep],
        sources: Sequence[Any],
        result: tuple[Any, Array, str],
        call: Call,
    ) -> None:
        """Record an operation as a chain of steps, or as opaque if they do not give its output.

        `result` is the framework's tensor, its values and its layout.
        """
        tensor, array, layout = result
        feeds = tuple(self._known[id(source)][1] for source in sources)
        given = canonical(array, layout)
        for step in self._proven(chain, feeds, given, call):
            self._steps.append(replace(step, inputs=feeds))
            feeds = (len(self._steps) - 1,)
        self._outputs[feeds[0]] = given
        self._known[id(tensor)] = (tensor, feeds[0], layout)

    def _proven(
        self, chain: Sequence[RecordedStep], feeds: Sequence[int], given: Array, call: Call
    ) -> Sequence[RecordedStep]:
        first, values = chain[0], [self._outputs[index] for index in feeds]
        if first.kind != Kind.OPAQUE:
            if first.kind in self._trusted:
                return chain
            try:
                value = evaluate(first, values)
                for step in chain[1:]:
                    value = evaluate(step, [value])
                fits = value.shape == given.shape
                largest = limit("diagnose", "recorded steps")
                if fits and relative_error_where_finite(given, value) <= largest:
                    return chain
            except ValueError:
                pass
        elif len(values) == 1 and values[0].shape == given.shape:
            if np.array_equal(values[0], given, equal_nan=True):
                return [RecordedStep(Kind.IDENTITY, first.place)]
            if given.ndim > 1 and np.array_equal(values[0][:, ::-1], given):
                return [RecordedStep(Kind.REVERSE, first.place)]
        settings = first.settings if first.kind == Kind.OPAQUE else {"operation": first.kind}
        return [RecordedStep(Kind.OPAQUE, first.place, settings, call=call)]

    def finish(self, tensor: Any) -> Record:
        """Return the record, which ends with that tensor."""
        last = self._known[id(tensor)][1]
        steps = (*self._steps, RecordedStep(Kind.OUTPUT, "the output", inputs=(last,)))
        outputs = self._outputs | {len(self._steps): self._outputs[last]}
        return Record(self._framework, steps, outputs, tuple(map(int, tensor.shape)))
