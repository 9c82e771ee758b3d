"""The chapters of the site in reading order, and the texts of its pages."""

from __future__ import annotations

from dataclasses import dataclass

from resnet_parity.site.curves import TITLE


@dataclass(frozen=True)
class Chapter:
    """A page. It shows `modules` side by side and `sources`, which have no counterpart, alone.

    `tests` are the files that run both implementations of the modules. `drawing` names a file of
    results whose SVG is in `docs`, and has its title.
    """

    id: str
    title: str
    introduction: str
    modules: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    drawing: tuple[str, str] | None = None


_CHECKS = ("parity_tests/checks/test_exact.py", "parity_tests/checks/test_gradients.py")
_FILES = ("parity_tests/weights/test_weights.py", "parity_tests/onnx/test_export.py")
_LOCKSTEP = ("parity_tests/lockstep/test_lockstep.py", "parity_tests/lockstep/test_training.py")


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
        tests=_CHECKS,
    ),
    Chapter(
        "blocks",
        "Blocks",
        "The residual blocks of 2015, in which norms follow the convolutions, and of 2016 "
        "(preactivation), in which norms come first. A PyTorch module stores its layers and calls "
        "them; a functional Keras model results from calling its layers once.",
        modules=("blocks", "preact_blocks"),
        tests=_CHECKS,
    ),
    Chapter(
        "model",
        "Model",
        "Stem, stages and head, and the one function that creates the model of every architecture.",
        modules=("model",),
        tests=(*_CHECKS, "parity_tests/spec/test_backbone.py"),
    ),
    Chapter(
        "adapter",
        "Adapter",
        "How weights are read and set, how the checker runs a model, records its taps and takes "
        "gradients, and how both frameworks export ONNX.",
        modules=("weights", "modes", "adapter", "gradients", "export", "ejected"),
        tests=(*_CHECKS, *_FILES),
    ),
    Chapter(
        "inference",
        "Inference",
        "A fast copy of a model for evaluation: norms folded into convolutions, a narrower dtype, "
        "compiled.",
        modules=("inference",),
        tests=("parity_tests/checks/test_prepared.py",),
    ),
    Chapter(
        "training",
        "Training",
        "A loop over epochs, written out in PyTorch; in Keras it is `fit` with a callback. The "
        "optimiser, the loss and the running statistics follow one rule in both, the recipe, step "
        "by step.",
        modules=("fit", "optimizer", "training", "training_state", "runs", "images", "devices"),
        sources=("resnet_spec/recipe.py", "resnet_torch/distributed.py"),
        tests=(*_LOCKSTEP, "parity_tests/training/test_fit.py"),
        drawing=("digits", TITLE),
    ),
)

MORE = (
    ("one_file", "One file"),
    ("differences", "Differences"),
    ("evidence", "Evidence"),
    ("cookbook", "Cookbook"),
    ("exercises", "Exercises"),
    ("names", "Names"),
    ("resnet50", "ResNet-50s"),
    ("docs/index", "Documents"),
)
"""The pages after the chapters."""

DESCRIPTION = (
    "One ResNet specification, implemented in PyTorch and in Keras with the same files, names and "
    "order. Read both line by line, see where they must differ, and the measured impact of each "
    "difference."
)

INTRODUCTIONS = {
    "one_file": "Each architecture as one plain file in each framework, without anything that it "
    "does not use: to read, or to copy into a project. Both files of a network have the same parts "
    "in the same order; remarks say where the frameworks part.",
    "differences": "Where the same number or argument means something else in the other framework, "
    "and the impact that was measured when the difference was ignored.",
    "evidence": "The measured figures: every engine against the oracle, rounding error by depth, "
    "mutants, ONNX files. Each table names its date, machine and versions.",
    "cookbook": "Common tasks with a ResNet in both frameworks. The test suite runs every entry "
    "exactly as shown; its last part asserts that both frameworks agree.",
    "exercises": "In each pair, one column has a planted defect. Pick the line that is wrong, or "
    "that the other column lacks; then see the measured impact and the checks that catch it.",
    "names": "The name of every tensor in each library that has one. Or paste the keys of a "
    "checkpoint, with shapes if you have them: the page says which library, prefix and "
    "architecture they are, and what is missing or left over. Nothing leaves the page.",
    "resnet50": "Six networks of the registry, and six more, are called ResNet-50. A file of "
    "weights does not say which one it is, and most differences raise no error. "
    "Marked cells differ from the network that is compared with.",
    "docs/index": "One page per question: how to move weights, how equality is proven, engines, "
    "ONNX, diagnosis, backbones, exit codes, troubleshooting.",
}
"""The introductions of the pages after the chapters."""

KEYS = (
    ("j", "next definition"),
    ("k", "previous definition"),
    ("[", "previous page"),
    ("]", "next page"),
    ("t", "light or dark"),
    ("/", "search"),
)
"""The keys that `page.js` handles, with their meaning."""
