"""README and documents: tables are generated, commands and examples run, links resolve."""

from __future__ import annotations

import ast
import io
import re
import shlex
import shutil
import tomllib
from typing import cast
from xml.etree import ElementTree

import pytest
from rich.console import Console

from resnet_spec import ARCHITECTURES

from parity_tests.support import ROOT, light, python
from resnet_parity import cli
from resnet_parity.cli.exit_codes import EXIT_CODES, FAILURES
from resnet_parity.reports.verify import VerdictLines, _summary
from resnet_parity.site.curves import PANELS, curves
from resnet_parity.site.definitions import FRAMEWORKS
from resnet_parity.site.markdown import documents, slug
from resnet_parity.site.results import read
from resnet_parity.site.tables import CURVES, SECTIONS
from resnet_parity.tolerances import TOLERANCES, limit
from resnet_parity.verdict import Quantity, Verdict
from resnet_parity.verify import Report

FILES = [ROOT / "README.md", *(ROOT / d.file for d in documents() if d.file != "README.md")]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in FILES}
README = TEXTS["README.md"]


def blocks(language: str) -> list[str]:
    pattern = re.compile(rf"```{language}\n(.*?)```", flags=re.DOTALL)
    return [block for text in TEXTS.values() for block in pattern.findall(text)]


def test_the_readme_is_short():
    lines = README.splitlines()
    assert len(lines) <= 180
    tables = [line for line in lines if line.startswith("|")]
    tables += "".join(re.findall(r"```text\n(.*?)```", README, flags=re.DOTALL)).splitlines()
    assert max(map(len, tables)) <= 100


def test_every_document_is_short_and_in_the_index():
    found = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")}
    assert found <= set(TEXTS), "docs/index.md links every document"
    for name in found:
        assert len(TEXTS[name].splitlines()) <= 200, name


@pytest.mark.parametrize("name", SECTIONS)
def test_generated_sections_are_current(name):
    section = f"<!-- {name}: generated -->\n{SECTIONS[name]()}\n<!-- end -->"
    assert sum(section in text for text in TEXTS.values()) == 1


@pytest.mark.parametrize("name", ["README.md", "docs/architectures.md"])
def test_the_generator_detects_a_stale_document(name, tmp_path):
    (tmp_path / "docs").mkdir()
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        shutil.copy(path, tmp_path / path.relative_to(ROOT))
    stale = re.sub(r"(?s)(generated -->\n.{40})", r"\1 stale", TEXTS[name])
    assert stale != TEXTS[name]
    (tmp_path / name).write_text(stale)
    result = python("-m", "resnet_parity.site.tables", "--check", cwd=tmp_path)
    assert (result.returncode, f"{name} is out of date" in result.stderr) == (1, True)
    assert python("-m", "resnet_parity.site.tables", cwd=tmp_path).returncode == 0
    assert (tmp_path / name).read_text() == TEXTS[name]


def test_the_drawing_shows_the_curves_of_every_run_and_the_best_runs_learn():
    rows = read("digits")["rows"]
    text = (ROOT / CURVES).read_text()
    assert text == curves(rows), "run scripts/generate"
    assert len(text) < 60_000
    lines = [each for each in ElementTree.fromstring(text) if each.tag.endswith("polyline")]
    assert len(lines) == len(PANELS) * len(rows) == 12
    for panel in PANELS:
        shares = [panel.share(value) for row in rows.values() for value in row[panel.curve]]
        assert 0 <= min(shares) < max(shares) <= 1, "a curve leaves its panel"
    for framework in FRAMEWORKS:
        last = [row["val_accuracy"][-1] for name, row in rows.items() if name.startswith(framework)]
        assert len(last) == 3 and max(last) >= 0.98


def anchors(text: str) -> set[str]:
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", plain, flags=re.MULTILINE)
    return {slug(re.sub(r"[`*]", "", heading)) for heading in headings}


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_resolves(name):
    links = re.findall(r"\]\(([^)\s]+)\)", TEXTS[name])
    for link in links:
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent.joinpath(path) if path else ROOT / name
        assert target.exists(), f"{name}: {link}"
        assert not anchor or anchor in anchors(target.read_text()), f"{name}: {link}"


def test_python_examples_run(tmp_path):
    """All run in one process, each in its own namespace."""
    (tmp_path / "my_layers.py").touch()  # a snippet imports the reader's own module
    script = (
        "from resnet_parity.adapters.loading import load_triton\nload_triton()\n"
        f"for code in {blocks('python')!r}: exec(code, {{}})"
    )
    result = python("-c", script, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    difference = float(result.stdout.split()[0])  # the first example prints it
    assert difference < limit("naive comparison", "logits")


def test_the_readme_shows_what_the_command_prints():
    """Title, columns and rows of its output of `verify resnet20 --check exact`."""
    (sample,) = (
        text for text in re.findall(r"```text\n(.*?)```", README, flags=re.S) if "check " in text
    )
    arch = ARCHITECTURES["resnet20"]
    shown = [re.split(r" {2,}", line) for line in sample.splitlines() if line.startswith("exact")]
    file, lines = io.StringIO(), VerdictLines(arch, seed=0)
    made = [
        Verdict(row[0], "exact", row[1], cast(Quantity, row[2]), row[3], "pass", 0, figure=row[5])
        for row in shown
    ]
    for verdict in made:
        lines.add(Console(width=240, file=file), verdict)
    printed = [line.rstrip() for line in file.getvalue().splitlines()]
    assert len(shown) == 6 and sample.splitlines()[: len(printed)] == printed
    report = Report(arch, 0, ("exact",), {}, (*made, *made))
    assert sample.splitlines()[-1] == _summary(report).plain


def test_the_example_of_diagnose_prints_what_its_page_shows(tmp_path, monkeypatch, capsys):
    """The page shows the whole report; its errors depend on the random weights."""
    page = TEXTS["docs/diagnose.md"]
    (models,) = re.findall(r"```python\n(# mine.py\n.*?)```", page, flags=re.DOTALL)
    (shown,) = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "mine.py").write_text(models)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["diagnose", "mine:torch_net", "mine:keras_net"]) == 1

    def rounded(text: str) -> list[str]:
        text = re.sub(r"(error of|differs? by|float64 by) \S+\d", r"\1 e", text)
        return [
            re.sub(r"conv2d\w*|batch_normalization\w*", "", x).rstrip() for x in text.splitlines()
        ]

    assert rounded(capsys.readouterr().out) == rounded(shown)


TUTORIALS = (
    "tutorial_torch:ResNet tutorial_keras:resnet",
    "paper:resnet18 tutorial_torch:ResNet",
    "paper:resnet18 tutorial_keras:resnet",
    "resnet18_torch:ResNet resnet18_keras:resnet",
)


@pytest.mark.parametrize("pair", light([*TUTORIALS], [TUTORIALS[0]]))
def test_the_tutorials_have_the_faults_that_their_page_names(pair, tmp_path, monkeypatch, capsys):
    page = TEXTS["docs/from_tutorial.md"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "240")
    for name, text in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, flags=re.DOTALL):
        (tmp_path / name).write_text(text)
    if pair.startswith("resnet18"):
        (line,) = re.findall(r"^resnet-parity (eject .*)$", page, flags=re.MULTILINE)
        assert cli.main(shlex.split(line)) == 0
    code = cli.main(["diagnose", *pair.split()])
    (shown,) = re.findall(rf"(?s)`resnet-parity diagnose {pair}`.*?```text\n(.*?)```", page)
    printed = capsys.readouterr().out
    faults = re.findall(r"^\d+\. .*", printed, flags=re.MULTILINE)
    if pair.startswith("resnet18"):
        assert (code, faults) == (0, [])
        assert "\nthe same function: outputs differ by" in printed
        assert shown.startswith("the same function: outputs differ by")
        return
    assert code == 1
    assert [line.rstrip() for line in faults] == shown.splitlines()
    assert f"not the same function: {len(faults)} faults are proven" in printed


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.split("\n")]
    return [line for line in dict.fromkeys(lines) if line]


# test_site.py runs the command that opens a browser.
COMMANDS = [c for c in commands() if c.startswith("resnet-parity") and "--open" not in c]


TRAININGS = [c for c in COMMANDS if " train " in c]  # parity_tests/training/test_run.py runs them


CONVERSIONS = [c for c in COMMANDS if " model_best." in c]


WITH_FILES = {*CONVERSIONS, *TRAININGS}
ALONE = [c for c in COMMANDS if ".onnx" not in c and " export " not in c and c not in WITH_FILES]


@pytest.mark.parametrize("line", light(ALONE, [c for c in ALONE if " vectors " not in c]))
def test_commands_run(line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(line)[1:]) == 0
    assert capsys.readouterr().out


@pytest.mark.parametrize("compared", light(["torch", "torch keras"], ["torch"]))
def test_the_commands_on_files_run_one_after_the_other(compared, tmp_path, monkeypatch, capsys):
    """The first command writes the file that the others read.

    Only `--full` compares Keras itself, which compiles each batch and size if eager mode rounds.
    """
    monkeypatch.chdir(tmp_path)
    lines = [line for line in COMMANDS if " export " in line or ".onnx" in line]
    for line in lines:
        tried = line.replace("onnx-compare torch keras ", f"onnx-compare {compared} ")
        assert cli.main(shlex.split(tried)[1:]) == 0, tried
        assert capsys.readouterr().out
    assert any("onnx-compare torch keras " in line for line in lines)
    assert len(lines) == 4
    assert {path.suffix for path in tmp_path.iterdir()} == {".onnx", ".safetensors"}


def test_the_conversions_run_and_print_what_their_page_shows(tmp_path, monkeypatch, capsys):
    """The first snippet of the page writes the file; errors depend on the random weights."""
    page = TEXTS["docs/converting.md"]
    monkeypatch.chdir(tmp_path)
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], {})
    (shown,) = re.findall(r"```text\n(.*?)```", page, flags=re.DOTALL)
    printed = {}
    for line in CONVERSIONS:
        assert cli.main(shlex.split(line)[1:]) == 0, line
        printed[line] = capsys.readouterr().out
    assert len(CONVERSIONS) == 3 and page.count("\nresnet-parity ") == 3

    def plain(text: str) -> str:
        text = re.sub(r"\d\.\de[-+]\d+", "e", text)
        return re.sub(r"(torchvision|keras) [\d.]+", r"\1", text)

    assert plain(printed[CONVERSIONS[1]]) == plain(shown)
    assert {path.name for path in tmp_path.iterdir()} == {
        "model_best.pth.tar",
        "model_best.keras",
        "my-resnet",
    }


def test_commands_name_existing_files():
    for line in commands():
        first, *rest = line.split()
        assert first in {"resnet-parity", "python", "."} or first.startswith("scripts/")
        for word in (first, *rest):
            if word.startswith(("scripts/", "resnet_")):
                assert (ROOT / word).exists(), word


def test_extras_are_those_that_the_readme_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"^\| `(\w+)` \| .* GB", README, flags=re.MULTILINE)
    assert named == list(project["optional-dependencies"])


def test_every_architecture_is_in_its_document():
    assert all(f"`{name}`" in TEXTS["docs/architectures.md"] for name in ARCHITECTURES)


def test_every_command_is_in_the_readme_and_has_its_exit_codes():
    parser = cli._parser()
    (choices,) = (a.choices for a in parser._actions if a.dest == "command")
    assert choices
    for name in choices:
        assert f"`{name}`" in README
        assert re.search(rf"`{name}[ `]", TEXTS["docs/commands.md"]), name
    assert set(FAILURES) < set(choices)
    for table in (EXIT_CODES, FAILURES):
        assert all(text in parser.format_help() for text in table.values())
    for name, text in FAILURES.items():
        assert f"Exit code 1: {text}." in dict(choices)[name].description


_DIFFERS = "an entry shows that two results differ"

# Comparisons with a small number that do not decide parity, by file and expression.
NO_TOLERANCE = {
    ("test_differences.py", "pytest.approx(1, abs=5 / np.sqrt(kernel.size))"): "a random draw",
    ("test_differences.py", "pytest.approx(1 / np.sqrt(3), rel=0.1)"): "a random draw",
    ("test_run.py", "pytest.approx(1, abs=5 / np.sqrt(kernel.size))"): "a random draw",
    ("test_run.py", "found['best']['val_accuracy'] > 0.8"): "an accuracy far from chance",
    ("test_documents.py", "max(last) >= 0.98"): "the accuracy that the README promises",
    ("test_probes.py", "np.std(probe.expected[tap.name]) > 0.01"): "a tap is not constant",
    ("test_fit.py", "fitted(built(classifier_activation=None)) < 0.5"): "an accuracy of chance",
    ("test_keras_files.py", "0.001 < expected.std() < 1000.0"): "outputs vary and do not overflow",
    ("architecture.py", "0.0 < arch.bn_eps < 1.0"): "a range of the spec",
    ("architecture.py", "0.0 <= arch.bn_decay < 1.0"): "a range of the spec",
    ("architecture.py", "0.0 < arch.se.ratio <= 1.0"): "a range of the spec",
    ("09_train_or_predict.py", "np.abs(ours_training - ours_predicting).max() > 0.01"): _DIFFERS,
    ("16_training_loop.py", "np.abs(ours - kernel).max() > 0.1"): _DIFFERS,
    ("14_weight_decay.py", "np.abs(keras.ops.convert_to_numpy(stock) - ours).max() > 0.001"): (
        _DIFFERS
    ),
}
CLOSE = {"allclose", "assert_allclose", "isclose", "approx", "assert_almost_equal"}


def _tolerances(tree: ast.AST):
    """Yield every call with a tolerance and every comparison with a number of at most one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in CLOSE:
                yield ast.unparse(node)
        if isinstance(node, ast.Compare) and any(
            isinstance(side, ast.Constant) and isinstance(side.value, float) and side.value <= 1
            for side in (node.left, *node.comparators)
        ):
            ordered = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
            if any(isinstance(operator, ordered) for operator in node.ops):
                yield ast.unparse(node)


def test_tolerances_are_only_in_the_table():
    """No other file compares with a small number."""
    found = {
        (path.name, text)
        for folder in ("benchmarks", "parity_tests", *ROOT.glob("resnet_*"))
        for path in (ROOT / folder).rglob("*.py")
        for text in _tolerances(ast.parse(path.read_text()))
    }
    assert found == set(NO_TOLERANCE)


@pytest.mark.parametrize(
    "text",
    ["error < 1e-3", "np.allclose(a, b)", "1e-6 >= abs(a - b)", "x == pytest.approx(y)"],
)
def test_the_search_finds_tolerances(text):
    assert list(_tolerances(ast.parse(text)))


def test_every_tolerance_has_a_reason():
    for row in TOLERANCES.values():
        assert len(row.reason) > 40
        assert row.unit
