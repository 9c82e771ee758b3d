"""The cookbook: every entry runs as the page shows it, and its two snippets agree."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import keras
import pytest

from resnet_parity.site.cookbook import PARTS, Entry, agree, entries, run
from resnet_parity.site.results import SITE

BOOK = {entry.name: entry for entry in entries()}

TOPICS = {
    "layers": ("convolution", "max_pool", "residual_block", "head"),
    "padding": ("padding",),
    "BN": ("batch_norm",),
    "momentum": ("running_statistics", "optimiser"),
    "init": ("initialisation",),
    "freezing": ("freezing",),
    "optimiser": ("optimiser",),
    "schedule": ("schedule",),
    "weight decay": ("weight_decay",),
    "train loop / fit": ("training_loop",),
    "saving, loading": ("saving",),
    "mixed precision": ("mixed_precision",),
    "data": ("data",),
    "export": ("export",),
    "Grad-CAM": ("grad_cam",),
}
"""Topics that the cookbook must cover, and their entries."""


@pytest.fixture(autouse=True)
def usual_float():
    """Restore Keras' default float, which an entry that fails may leave changed."""
    yield
    keras.config.set_floatx("float32")


@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # tf2onnx'
@pytest.mark.parametrize("name", BOOK)
def test_an_entry_runs_and_agrees(name):
    """Its last part raises unless the snippets agree."""
    assert {"torch", "keras"} & run(BOOK[name]).keys()


@pytest.mark.parametrize("name", BOOK)
def test_an_entry_has_two_snippets_and_an_assertion_that_can_fail(name):
    """Each snippet imports only its own framework, and the assertions use results of both."""
    parts = BOOK[name].parts
    assert tuple(parts) == PARTS
    assert {"torch"} <= imports(parts["torch"]) and not {"keras"} & imports(parts["torch"])
    keras = imports(parts["shared"]) | imports(parts["keras"])
    assert {"keras", "resnet_keras"} & keras and not {"torch"} & imports(parts["keras"])
    assertions = ast.parse(parts["agree"])
    used = {node.id for node in ast.walk(assertions) if isinstance(node, ast.Name)}
    assert "agree" in used or any(isinstance(node, ast.Assert) for node in ast.walk(assertions))
    for framework in ("torch", "keras"):
        results = assigned(parts[framework]) - assigned(
            parts["torch" if framework == "keras" else "keras"]
        )
        assert used & results, f"{name} asserts nothing about the snippet of {framework}"


def imports(code: str) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def assigned(code: str) -> set[str]:
    nodes = ast.walk(ast.parse(code))
    return {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}


def test_every_topic_has_its_entries():
    assert {name for names in TOPICS.values() for name in names} <= set(BOOK)


class Snippets(HTMLParser):
    """The code of every entry by part, as the page shows it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[tuple[str, str], list[str]] = {}
        self._entry = self._part = ""
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        words = (values.get("class") or "").split()
        if tag == "section" and "entry" in words:
            self._entry, self._part = values["id"] or "", ""
        if "snippet" in words:
            self._part = words[-1]
        if tag == "code" and self._part:  # remarks contain code too
            self._depth = 1
            self.found.setdefault((self._entry, self._part), []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "code":
            self._depth = 0

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.found[self._entry, self._part][-1] += data


def test_the_code_shown_is_the_code_run():
    shown = Snippets((SITE / "cookbook.html").read_text()).found
    for name, entry in BOOK.items():
        text = "\n".join(line for part in PARTS for line in (f"# --- {part}", *shown[name, part]))
        assert squeezed(text) == squeezed(
            re.sub(r'^""".*?"""', "", entry.file.read_text(), flags=re.S)
        )
    assert len(shown) == len(BOOK) * len(PARTS)


def squeezed(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if line.strip())


def broken(entry: Entry, old: str, new: str, folder: Path) -> Entry:
    text = entry.file.read_text()
    assert text.count(old) >= 1, old
    file = folder / entry.file.name
    file.write_text(text.replace(old, new))
    return replace(entry, file=file)


BREAKS = [
    ("convolution", "kernel.transpose(2, 3, 1, 0)", "kernel.transpose(3, 2, 1, 0)"),
    ("padding", "ZeroPadding2D(1", "ZeroPadding2D(((0, 2), (0, 2))"),
    ("max_pool", "nn.ReLU(), ", ""),
    ("batch_norm", "epsilon=1e-5", "epsilon=1e-3"),
    ("running_statistics", "momentum=0.9,", "momentum=0.1,"),
    ("head", "kernel.T", "kernel.reshape(6, 5)"),
    ("initialisation", '"untruncated_normal"', '"truncated_normal"'),
    ("optimiser", "learning_rate=rate, momentum=momentum", "learning_rate=rate, momentum=0.5"),
    ("weight_decay", " + decay * variable", ""),
    ("loss", "from_logits=True", "from_logits=False"),
    ("residual_block", "layers.Add(", "layers.Multiply("),
    ("train_or_predict", "layer(x, training=False)", "layer(x, training=True)"),
    ("freezing", "        module.eval()\n", "        pass\n"),
    ("gradients", "keras.ops.square(", "keras.ops.abs("),
    ("schedule", "decay_steps=steps", "decay_steps=2 * steps"),
    ("training_loop", "batch_size=4, epochs", "batch_size=2, epochs"),
    ("saving", "keras_loaded.load_weights(own)", "pass"),
    ("saving", "loaded.load_state_dict(torch.load(own, weights_only=True))", "pass"),
    ("mixed_precision", '"mixed_bfloat16"', '"mixed_float16"'),
    ("data", "mean=MEAN", "mean=MEAN[::-1]"),
    ("export", "kernel.transpose(2, 3, 1, 0)", "kernel.transpose(3, 2, 1, 0)"),
    ("grad_cam", "importance * features, axis=-1", "features, axis=-1"),
]
"""An entry, a text in it, and a replacement that breaks the entry."""


@pytest.mark.parametrize(("name", "old", "new"), BREAKS)
@pytest.mark.filterwarnings("ignore:In the future `np.object`:FutureWarning")  # tf2onnx'
@pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")  # its folder
def test_a_broken_entry_fails(name, old, new, tmp_path):
    with pytest.raises(AssertionError):
        run(broken(BOOK[name], old, new, tmp_path))


def test_every_entry_is_broken_once():
    assert {name for name, _, _ in BREAKS} == set(BOOK)


def test_agreement_can_fail():
    agree([1.0, 2.0], [1.0, 2.0])
    with pytest.raises(AssertionError, match="differ"):
        agree([1.0, 2.0], [1.0, 2.0 + 1e-6])
    with pytest.raises(AssertionError, match="is not"):
        agree([1.0], [1.0, 2.0])
