"""The README: its tables are generated and its examples run here."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib

import pytest

from resnet_spec import ARCHITECTURES

from parity_tests.support import ROOT, light, python
from resnet_parity import cli
from resnet_parity.site.readme import SECTIONS
from resnet_parity.tolerances import TOLERANCES, limit

README = (ROOT / "README.md").read_text()


PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("name", SECTIONS)
def test_generated_sections_are_current(name):
    assert f"<!-- {name}: generated -->\n{SECTIONS[name]()}\n<!-- end -->" in README


def test_the_generator_detects_a_stale_readme(tmp_path):
    stale = README.replace("25,557,032", "25,557,033")
    assert stale != README
    (tmp_path / "README.md").write_text(stale)
    result = python("-m", "resnet_parity.site.readme", "--check", cwd=tmp_path)
    assert (result.returncode, "out of date" in result.stderr) == (1, True)
    assert python("-m", "resnet_parity.site.readme", cwd=tmp_path).returncode == 0
    assert (tmp_path / "README.md").read_text() == README


def test_python_examples_run(tmp_path):
    """All run in one process, each in its own namespace."""
    script = (
        "from resnet_parity.adapters.loading import load_triton\nload_triton()\n"
        f"for code in {blocks('python')!r}: exec(code, {{}})"
    )
    result = python("-c", script, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    difference = float(result.stdout.split()[0])  # the first example prints it
    assert difference < limit("careless comparison", "logits")


@pytest.mark.parametrize("page", [name for name, text in PAGES.items() if "```python" in text])
def test_python_examples_of_a_page_run(page):
    for code in blocks("python", PAGES[page]):
        exec(code, {})


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.split("\n")]
    return [line for line in lines if line]


# test_site.py runs the command that opens a browser.
COMMANDS = [c for c in commands() if c.startswith("resnet-parity") and "--open" not in c]


ALONE = [c for c in COMMANDS if ".onnx" not in c and " export " not in c]


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


def test_commands_name_existing_files():
    for line in commands():
        first, *rest = line.split()
        assert first in {
            "resnet-parity",
            "scripts/demo",
            "scripts/side_by_side",
            "scripts/test",
            ".",
            "python",
        }
        for word in (first, *rest):
            if word.startswith(("scripts/", "resnet_")):
                assert (ROOT / word).exists(), word


def test_extras_are_those_that_the_readme_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {
        "torch",
        "keras",
        "jax",
        "onnx",
        "openvino",
        "plot",
        "all",
    }
    for extra in project["optional-dependencies"]:
        assert f"`{extra}`" in README
    assert all(row in README for row in ARCHITECTURES)


_DIFFERS = "an entry shows that two results differ"

# Comparisons with a small number that do not decide parity, by file and expression.
NO_TOLERANCE = {
    ("test_differences.py", "pytest.approx(1, abs=5 / np.sqrt(kernel.size))"): "a random draw",
    ("test_differences.py", "pytest.approx(1 / np.sqrt(3), rel=0.1)"): "a random draw",
    ("test_probes.py", "np.std(probe.expected[tap.name]) > 0.01"): "a tap is not constant",
    ("test_photographs.py", "abs(red[:, :80].mean() - red[:, -80:].mean()) < 0.1"): "JPEG's loss",
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
