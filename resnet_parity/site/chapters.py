"""The chapters of the site in reading order, and the texts of its pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Chapter:
    """A page. It shows `modules` side by side and `sources` as single files of the spec."""

    id: str
    title: str
    introduction: str
    modules: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()


CHAPTERS = (
    Chapter(
        "spec",
        "The spec",
        "One registry describes every architecture. A plan unrolls a row into its layers with all "
        "their numbers; both implementations translate that plan and add nothing. Choose an "
        "architecture, a block and a layer to see its lines in both frameworks and its tensors in "
        "both layouts.",
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
        "Each layer of the plan in each framework. Most differences are here: one framework does "
        "inside a layer what the other does beside it, or their defaults differ.",
        modules=("layers",),
    ),
    Chapter(
        "blocks",
        "Blocks",
        "The residual blocks of 2015, in which norms follow the convolutions, and of 2016 "
        "(preactivation), in which norms come first. A PyTorch module stores its layers and calls "
        "them; a functional Keras model results from calling its layers once.",
        modules=("blocks", "preact_blocks"),
    ),
    Chapter(
        "model",
        "Model",
        "Stem, stages and head, and the one function that creates the model of every architecture.",
        modules=("model",),
    ),
    Chapter(
        "adapter",
        "Adapter",
        "How weights are read and set, how the checker runs a model, records its taps and takes "
        "gradients, and how both frameworks export ONNX.",
        modules=("weights", "modes", "adapter", "gradients", "export"),
    ),
    Chapter(
        "training",
        "Training",
        "The optimiser, the loss and the running statistics: both implementations follow one "
        "training rule, step by step.",
        modules=("optimizer", "training", "training_state"),
    ),
)

MORE = (
    ("differences", "Differences"),
    ("evidence", "Evidence"),
    ("cookbook", "Cookbook"),
)
"""The pages after the chapters."""

DESCRIPTION = (
    "One ResNet specification, implemented in PyTorch and in Keras with the same files, names and "
    "order. Read both line by line, see where they must differ, and the measured impact of each "
    "difference."
)

INTRODUCTIONS = {
    "differences": "Where the same number or argument means something else in the other framework, "
    "and the impact that was measured when the difference was ignored.",
    "evidence": "The measured figures: every engine against the oracle, rounding error by depth, "
    "mutants, ONNX files. Each table names its date, machine and versions.",
    "cookbook": "Common tasks with a ResNet in both frameworks. The test suite runs every entry "
    "exactly as shown; its last part asserts that both frameworks agree.",
}
"""The introductions of the pages after the chapters."""

KEYS = (
    ("j", "next definition"),
    ("k", "previous definition"),
    ("[", "previous page"),
    ("]", "next page"),
    ("t", "light or dark"),
)
"""The keys that `page.js` handles, with their meaning."""
