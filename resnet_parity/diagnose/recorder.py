"""Writes a record while a model runs, and proves every entry against what the model gave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from resnet_parity.compare import relative_error
from resnet_parity.diagnose.arithmetic import evaluate
from resnet_parity.diagnose.record import (
    IDENTITY,
    INPUT,
    OPAQUE,
    OUTPUT,
    REVERSE,
    Array,
    Record,
    RecordedStep,
    canonical,
)
from resnet_parity.tolerances import limit

Call = Callable[[Sequence[Array]], Array]


class Recorder:
    """Knows which step gave which tensor of the framework, and in which layout ("nhwc" say).

    Without `prove` the words are taken as they are, which is enough to align two models.
    """

    def __init__(
        self, framework: str, image: Any, array: Array, layout: str, *, prove: bool
    ) -> None:
        self._framework = framework
        self._prove = prove
        self._steps = [RecordedStep(INPUT, "the input")]
        self._outputs = {0: canonical(array, layout)}
        # The tensor itself is kept, so that no later one can take its id.
        self._known: dict[int, tuple[Any, int, str]] = {id(image): (image, 0, layout)}

    def knows(self, tensor: Any) -> bool:
        """Whether a step of this record gave that tensor."""
        return id(tensor) in self._known

    def alias(self, tensor: Any, array: Array) -> None:
        """Take a tensor for the known one with the same numbers: a framework made a copy."""
        for other, index, layout in reversed(self._known.values()):
            if tuple(other.shape) == array.shape:
                known = self._outputs.get(index)
                if known is not None and np.array_equal(known, canonical(array, layout)):
                    self._known[id(tensor)] = (tensor, index, layout)
                    return

    def layout(self, tensor: Any) -> str:
        """The names of the axes of a known tensor."""
        return self._known[id(tensor)][2]

    def is_map(self, tensor: Any) -> bool:
        """Whether a known tensor has height and width."""
        return len(tensor.shape) == 4

    def mark(self) -> int:
        """The number of steps so far; `forget` takes back what came since."""
        return len(self._steps)

    def forget(self, mark: int) -> None:
        """Take back the steps from there on: they were parts of what is recorded as one."""
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
        """Record an operation as a chain of steps; where those do not give its output, as opaque.

        `result` is the framework's tensor, its numbers and its layout.
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
        place = chain[0].place
        values = [self._outputs[index] for index in feeds]
        if chain[0].kind != OPAQUE:
            if not self._prove:
                return chain
            try:
                value = evaluate(chain[0], values)
                for step in chain[1:]:
                    value = evaluate(step, [value])
                fits = value.shape == given.shape
                if fits and relative_error(given, value) <= limit("diagnose", "recorded steps"):
                    return chain
            except ValueError:
                pass
        elif len(values) == 1 and values[0].shape == given.shape:
            if np.array_equal(values[0], given):
                return [RecordedStep(IDENTITY, place)]
            if given.ndim > 1 and np.array_equal(values[0][:, ::-1], given):
                return [RecordedStep(REVERSE, place)]
        named = chain[0].numbers if chain[0].kind == OPAQUE else {"operation": chain[0].kind}
        return [RecordedStep(OPAQUE, place, named, call=call)]

    def finish(self, tensor: Any) -> Record:
        """The record, which ends in that tensor."""
        last = self._known[id(tensor)][1]
        steps = (*self._steps, RecordedStep(OUTPUT, "the output", inputs=(last,)))
        outputs = self._outputs | {len(self._steps): self._outputs[last]}
        return Record(self._framework, steps, outputs)
