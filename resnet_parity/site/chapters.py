"""The chapters of the page, in reading order, and what stands in each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """A page: `modules` are read side by side, `sources` are files that belong to no implementation."""

    id: str
    title: str
    introduction: str
    modules: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


CHAPTERS = (
    Chapter(
        "spec",
        "The spec",
        "One table of architectures says what every net is. A plan makes of a row its layers with "
        "all their numbers, and both implementations translate that plan and add nothing. Choose a row, "
        "select a block, then a layer: its line in both frameworks, its tensors in both layouts.",
        sources=(
            "resnet_spec/architecture.py",
            "resnet_spec/components.py",
            "resnet_spec/layers.py",
            "resnet_spec/plan.py",
            "resnet_spec/graph.py",
        ),
    ),
    Chapter(
        "layers",
        "Layers",
        "Each layer of the plan, as each framework says it. Here most differences stand: what one "
        "framework does inside a layer the other does beside it, or by another default.",
        modules=("layers",),
    ),
    Chapter(
        "blocks",
        "Blocks",
        "The residual blocks: of 2015, where the norms follow their convolutions, and of 2016, "
        "where they come first. A PyTorch module keeps its layers and calls them; a functional "
        "Keras model is what comes out of calling them once.",
        modules=("blocks", "preact_blocks"),
    ),
    Chapter(
        "model",
        "Model",
        "Stem, stages and head, and the one function by which every row is made.",
        modules=("model",),
    ),
    Chapter(
        "adapter",
        "Adapter",
        "How weights travel, how the checker sees every layer of a model, how it takes gradients, "
        "and how both implementations write ONNX.",
        modules=("weights", "modes", "adapter", "gradients", "export"),
    ),
    Chapter(
        "training",
        "Training",
        "One rule of training, followed by both implementations step by step: the optimiser, the loss, the "
        "running statistics.",
        modules=("optimizer", "training", "training_state"),
    ),
)

MORE = (
    ("differences", "Differences"),
    ("evidence", "Evidence"),
    ("cookbook", "Cookbook"),
)
"""Pages behind the chapters."""

DESCRIPTION = (
    "One ResNet specification, written twice, in PyTorch and in Keras, with the same files, names "
    "and order. Read both line by line, see where they must part and what it costs to overlook it."
)

INTRODUCTIONS = {
    "differences": "Where the same words mean something else, and what was measured when a "
    "difference was ignored.",
    "evidence": "What was measured: every engine against the oracle, rounding through depth, "
    "planted defects, ONNX files. Figures are data, made on the machine and day that they name.",
    "cookbook": "What a ResNet needs, said in both frameworks. Every entry is run as it stands "
    "here, and ends with what must hold.",
}
"""What the pages behind the chapters begin with."""

WORDS = (
    ("framework", "one of the two implementations, of the same specification"),
    ("oracle", "a third one, in NumPy, straight from the specification: it says who is wrong"),
    ("tap", "a place at which outputs are compared: a convolution, a norm, a block, the logits"),
    ("probe", "weights and images made so that a defect cannot hide"),
    ("check", "one kind of proof: exact, float64, float32, half, lockstep"),
    ("noise floor", "PyTorch's own rounding error, which others may double"),
    ("mutant", "an implementation with a defect that was planted, and must be noticed"),
)
"""What the pages say often, and mean by it."""

KEYS = (
    ("j", "next definition"),
    ("k", "previous definition"),
    ("[", "previous page"),
    ("]", "next page"),
    ("t", "light or dark"),
)
"""What `page.js` listens to."""
