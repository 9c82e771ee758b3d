"""The wheel carries the site and works where no framework is installed; pip needs PyPI."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from parity_tests.support import ROOT

pytestmark = pytest.mark.full

_LEFT_OUT = (".*", "build", "dist", "__pycache__", "*.egg-info")


def run(*command: object, **environment: str) -> str:
    """Run a program outside this checkout and return its stdout."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    result = subprocess.run(
        [str(word) for word in command],
        env={**own, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """The programs of a fresh environment with a wheel built from a copy without `build/`."""
    folder = tmp_path_factory.mktemp("wheel")
    project = folder / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, project)
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", folder / "environment")
    found = folder / "environment" / "bin"
    run(found / "pip", "install", wheel)
    return found


def test_no_framework_is_installed(programs):
    installed = {
        each["name"] for each in json.loads(run(programs / "pip", "list", "--format=json"))
    }
    assert "resnet-parity" in installed
    assert not installed & {"torch", "keras", "tensorflow", "jax", "jinja2", "MarkupSafe"}


def test_commands_that_need_no_framework_run(programs):
    assert "exit codes" in run(programs / "resnet-parity", "--help")
    assert "resnet50" in run(programs / "resnet-parity", "list")
    pair = json.loads(run(programs / "resnet-parity", "code", "resnet50.Bottleneck", "--json"))
    assert len(pair["rows"]) > 30
    (norm,) = json.loads(run(programs / "resnet-parity", "code", "linear", "--json"))["differences"]
    assert "relative error" in norm["impact"]


def test_page_opens_the_site_that_the_wheel_carries(programs, tmp_path):
    noted = tmp_path / "noted"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {noted}\n')
    browser.chmod(0o755)
    address = run(programs / "resnet-parity", "page", "--open", BROWSER=str(browser)).strip()
    assert noted.read_text().strip() == address
    page = Path(address.removeprefix("file://"))
    assert page.parent.name == "built" and programs.parent in page.parents
    assert (page.parent / "source" / "resnet_torch.layers.html").is_file()


# Each extra alone, in an environment of its own.

_EXTRAS = {
    "torch": "import resnet_torch; resnet_torch.resnet20()",
    "keras": "import resnet_keras; resnet_keras.resnet20()",
    "jax": "import resnet_keras; resnet_keras.resnet20()",
    # tf2onnx imports TensorFlow, which the extra `keras` installs.
    "onnx": "import onnxruntime; from resnet_parity.onnx_io import identify, reading, runtimes",
    "openvino": "import openvino",
    "plot": "import matplotlib",
    "tensorboard": "import tensorboard.summary.writer.record_writer",
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, Path]:
    """The sdist, and a wheel that is built from it."""
    folder = tmp_path_factory.mktemp("archives")
    project = folder / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*_LEFT_OUT))
    run(sys.executable, "-m", "venv", folder / "builder")
    run(folder / "builder" / "bin" / "pip", "install", "hatchling>=1.27")
    builder = [folder / "builder" / "bin" / "python", "-m", "hatchling", "build", "-t", "sdist"]
    run("sh", "-c", f"cd {project} && {' '.join(map(str, builder))}")
    (sdist,) = (project / "dist").glob("*.tar.gz")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, sdist)
    (wheel,) = folder.glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


def environment(folder: Path, wheel: Path, extras: str) -> Path:
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "--quiet", f"{wheel}[{extras}]")
    return folder / "bin" / "python"


@pytest.mark.parametrize("extra", _EXTRAS)
def test_each_extra_alone_is_enough(extra, archives, tmp_path):
    python = environment(tmp_path / "own", archives["wheel"], extra)
    backend = {"KERAS_BACKEND": extra} if extra == "jax" else {}
    run(python, "-c", _EXTRAS[extra], **backend)
    others = {"torch": "keras", "keras": "torch", "jax": "tensorflow"}
    if extra in others:
        found = f"from importlib.util import find_spec; print(find_spec('{others[extra]}'))"
        assert run(python, "-c", found).strip() == "None"
    shutil.rmtree(tmp_path / "own")


def test_the_readmes_snippets_run_where_the_wheel_is_installed(archives, tmp_path):
    python = environment(tmp_path / "own", archives["wheel"], "torch,keras")
    snippets = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    assert snippets
    for snippet in snippets:
        run(python, "-c", snippet)
    shutil.rmtree(tmp_path / "own")
