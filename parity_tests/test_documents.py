"""What the README says is generated, or run here."""

from __future__ import annotations

import re
import tomllib

import pytest

from resnet_spec import ARCHITECTURES

from parity_tests.support import ROOT, python
from resnet_parity import cli
from resnet_parity.readme import SECTIONS
from resnet_parity.tolerances import TOLERANCES

README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("name", SECTIONS)
def test_generated_sections_are_current(name):
    assert f"<!-- {name}: generated -->\n{SECTIONS[name]()}\n<!-- end -->" in README


def test_the_generator_notices_a_stale_readme(tmp_path):
    stale = README.replace("25,557,032", "25,557,033")
    assert stale != README
    (tmp_path / "README.md").write_text(stale)
    result = python("-m", "resnet_parity.readme", "--check", cwd=tmp_path)
    assert (result.returncode, "out of date" in result.stderr) == (1, True)
    assert python("-m", "resnet_parity.readme", cwd=tmp_path).returncode == 0
    assert (tmp_path / "README.md").read_text() == README


def test_python_examples_run(tmp_path):
    """All in one process, each with names of its own."""
    examples = blocks("python")
    result = python("-c", f"for code in {examples!r}: exec(code, {{}})", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert float(result.stdout.split()[0]) < 1e-3  # the first example prints its difference


def commands() -> list[str]:
    lines = [line.partition("#")[0].strip() for block in blocks("sh") for line in block.split("\n")]
    return [line for line in lines if line]


@pytest.mark.parametrize("line", [c for c in commands() if c.startswith("resnet-parity")])
def test_commands_run(line, capsys):
    assert cli.main(line.split()[1:]) == 0
    assert capsys.readouterr().out


def test_other_commands_name_what_exists():
    for line in commands():
        first, *rest = line.split()
        assert first in {"resnet-parity", "scripts/demo", "scripts/test", "diff", ".", "python"}
        for word in (first, *rest):
            if word.startswith(("scripts/", "resnet_")):
                assert (ROOT / word).exists(), word


def test_extras_are_those_that_the_readme_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {"torch", "keras", "jax", "onnx", "all"}
    for extra in project["optional-dependencies"]:
        assert f"`{extra}`" in README
    assert all(row in README for row in ARCHITECTURES)


LITERAL = re.compile(r"\b[ar]tol\s*=|\b(rel|abs)\s*=\s*[\d.]+e?-?\d*\b|[<>]=?\s*\d+(\.\d+)?e-\d+")


def test_tolerances_stand_in_the_table_alone():
    """A comparison with a literal tolerance elsewhere is a second table in the making."""
    allowed = {
        # Statistics of a random draw, not parity.
        ("test_differences.py", "pytest.approx(1, abs=5 / np.sqrt(kernel.size))"),
        ("test_differences.py", "pytest.approx(1 / np.sqrt(3), rel=0.1)"),
    }
    for path in sorted(ROOT.glob("*/*.py")):
        if ".venv" in path.parts or path.name in ("tolerances.py", "test_documents.py"):
            continue
        for line in path.read_text().splitlines():
            if LITERAL.search(line):
                assert any(path.name == f and text in line for f, text in allowed), (path, line)


def test_every_tolerance_has_a_reason():
    for row in TOLERANCES.values():
        assert len(row.reason) > 40
        assert row.unit
