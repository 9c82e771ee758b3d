"""Exercises of the site: a pair of definitions in which one side has the defect of a mutant.

The page shows both columns, and the reader picks the row with the defect. Tests run every changed
definition, and compare it with its mutant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from resnet_parity.site.alignment import align
from resnet_parity.site.colour import coloured_text
from resnet_parity.site.columns import TAG
from resnet_parity.site.definitions import FRAMEWORKS, Definition, definitions, key, module_file
from resnet_parity.site.results import impact_table, impact_text


@dataclass(frozen=True)
class Exercise:
    """A mutant as a change of source lines, with their indentation; None removes a line.

    `counterparts` are the lines of the other implementation that show what was removed.
    """

    mutant: str
    framework: str
    module: str
    definition: str
    lines: Mapping[str, str | None]
    counterparts: frozenset[str] = frozenset()


EXERCISES = (
    Exercise(
        "same padding",
        "keras",
        "layers",
        "conv",
        {
            "    if spec.padding:": None,
            "        x = zero_pad(x, spec.pad)": None,
            '        padding="valid",': '        padding="same",',
        },
    ),
    Exercise(
        "gate without its ReLU",
        "torch",
        "blocks",
        "SqueezeExcite",
        {"        gate = self.relu(gate)": None},
        frozenset({"    gate = relu(gate, spec.relu)"}),
    ),
    Exercise(
        "eps 1e-3",
        "torch",
        "layers",
        "batch_norm",
        {
            "    layer = nn.BatchNorm2d(spec.channels, eps=spec.eps, momentum=spec.update)": (
                "    layer = nn.BatchNorm2d(spec.channels, eps=1e-3, momentum=spec.update)"
            )
        },
    ),
    Exercise(
        "maximum instead of the average",
        "keras",
        "layers",
        "average_pool",
        {
            "    return layers.AveragePooling2D("
            "spec.kernel, spec.stride, edge, data_format=LAYOUT, name=name)(x)": (
                "    return layers.MaxPooling2D("
                "spec.kernel, spec.stride, edge, data_format=LAYOUT, name=name)(x)"
            )
        },
    ),
    Exercise(
        "inverted momentum",
        "keras",
        "layers",
        "batch_norm",
        {"        momentum=spec.decay,": "        momentum=1 - spec.decay,"},
    ),
    Exercise(
        "max-pool without padding",
        "keras",
        "layers",
        "max_pool",
        {"    elif spec.padding:": None, "        x = zero_pad(x, spec.pad)": None},
        frozenset(
            {"    return nn.MaxPool2d(spec.kernel, stride=spec.stride, padding=spec.padding)"}
        ),
    ),
    Exercise(
        "zeros around a max-pool of signed values",
        "keras",
        "layers",
        "max_pool",
        {'    if spec.border == "lowest":': "    if not spec.padding:"},
    ),
    Exercise(
        "deep stem without its inner ReLUs",
        "keras",
        "layers",
        "stem_conv",
        {"        x = relu(x, activation)": None},
        frozenset({"        layers += [conv(spec), batch_norm(norm), relu(activation)]"}),
    ),
    Exercise(
        "projection of the raw input",
        "torch",
        "preact_blocks",
        "PreActBottleneck",
        {"        if self.projects:": None, "            identity = x": None},
        frozenset({"    if block.projects:"}),
    ),
    Exercise(
        "no gradient through the shortcut",
        "torch",
        "blocks",
        "Bottleneck",
        {"        identity = x": "        identity = x.detach()"},
    ),
    Exercise(
        "dropped Nesterov",
        "keras",
        "optimizer",
        "sgd",
        {"            recipe.nesterov,": "            False,"},
    ),
    Exercise(
        "gate with a hard sigmoid",
        "keras",
        "blocks",
        "squeeze_excite",
        {
            '    gate = layers.Activation("sigmoid", name=sigmoid)(gate)': (
                '    gate = layers.Activation("hard_sigmoid", name=sigmoid)(gate)'
            )
        },
    ),
    Exercise(
        "decay twice as strong, as of a penalty on squares",
        "keras",
        "optimizer",
        "sgd",
        {"            l2=recipe.weight_decay,": "            l2=2 * recipe.weight_decay,"},
    ),
    Exercise(
        "eps 1.001e-5",
        "keras",
        "layers",
        "batch_norm",
        {"        epsilon=spec.eps,": "        epsilon=1.001e-5,"},
    ),
)
"""In the order of the page; `benchmarks/results/impact.json` has the impact of each mutant."""


def sides(exercise: Exercise) -> dict[str, Definition]:
    """Return the definition in both implementations, before the change."""
    return {
        framework: next(
            each
            for each in definitions(module_file(framework, exercise.module))
            if key(each.name) == key(exercise.definition)
        )
        for framework in FRAMEWORKS
    }


def changed(exercise: Exercise) -> list[str]:
    """Return the lines of the changed definition.

    Raises `ValueError` unless the source has each line of the exercise exactly once.
    """
    lines = sides(exercise)[exercise.framework].lines
    for line in exercise.lines:
        if lines.count(line) != 1:
            raise ValueError(
                f"{exercise.mutant}: {line!r} is {lines.count(line)} times in the code"
            )
    new = (exercise.lines.get(line, line) for line in lines)
    return [line for line in new if line is not None]


def pages() -> Iterator[dict[str, Any]]:
    """Yield the data of each exercise: aligned rows, those with the defect, and the answer."""
    rows = impact_table("mutants")
    for number, exercise in enumerate(EXERCISES, start=1):
        whole = sides(exercise)
        mutated = replace(whole[exercise.framework], lines=tuple(changed(exercise)))
        shown = {
            framework: [line for line in each.lines if not TAG.search(line)]
            for framework, each in (whole | {exercise.framework: mutated}).items()
        }
        wrong = exercise.counterparts | set(exercise.lines.values())
        row = rows[exercise.mutant]
        yield {
            "number": number,
            "definition": f"{exercise.module}.{exercise.definition}",
            "rows": [_row(indices, shown, wrong) for indices in align(*shown.values())],
            "answer": exercise.mutant,
            "framework": FRAMEWORKS[exercise.framework],
            "impact": impact_text(row),
            "caught": ", ".join(row["killed_by"]),
            "missed": ", ".join(row["missed_by"]),
            "blind": row.get("blind", False),
        }


def _row(
    indices: tuple[int | None, int | None], shown: Mapping[str, list[str]], wrong: Set[str | None]
) -> dict[str, Any]:
    """The lines of a row by framework, and whether it is one that the reader must find."""
    row: dict[str, Any] = {"right": False, "cells": {}}
    for (framework, lines), index in zip(shown.items(), indices, strict=True):
        row["cells"][framework] = None
        if index is not None:
            indent = len(lines[index]) - len(lines[index].lstrip())
            html = coloured_text("\n".join(lines))[index]
            row["cells"][framework] = {"indent": indent, "html": html}
            row["right"] |= lines[index] in wrong
    return row
