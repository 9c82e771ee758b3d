"""`scripts/install.sh` installs once, and again where .venv holds a copy of the project."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from parity_tests.support import ROOT

UV = """#!/bin/sh
echo "$@" >>"$LOG"
[ "$1" = venv ] && mkdir -p .venv/bin && : >.venv/bin/python && chmod +x .venv/bin/python
rm -rf .venv/lib/python3.11/site-packages/resnet_parity
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that runs `install OPTION...` with a fake uv, and returns uv's arguments."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "install.sh", tmp_path / "scripts")
    for name in ("pyproject.toml", "uv.lock"):
        (tmp_path / name).write_text(name)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "uv").write_text(UV)
    (tmp_path / "bin" / "uv").chmod(0o755)
    script = tmp_path / "scripts" / "any"
    script.write_text('. "$(dirname -- "$0")/install.sh"\ninstall "$@"\n')
    log = tmp_path / "log"

    def run(*options: str) -> tuple[list[str], str]:
        log.write_text("")
        monkeypatch.setenv("LOG", str(log))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
        command = ["sh", script, *options]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return log.read_text().splitlines(), result.stderr

    return run


def test_the_same_options_are_installed_once(install):
    (venv, sync), err = install("--extra", "torch")
    assert (venv.split()[0], sync.split()[-2:]) == ("venv", ["--extra", "torch"])
    assert "several GB" in err
    assert install("--extra", "torch") == ([], "")
    (sync,), err = install("--group", "site")
    assert sync.endswith("--group site") and "GB" not in err


def test_a_copy_of_the_project_is_replaced(install, tmp_path):
    """`pip install .` without -e leaves one, and edits of the checkout would change nothing."""
    install("--group", "site")
    (tmp_path / ".venv/lib/python3.11/site-packages/resnet_parity").mkdir(parents=True)
    (sync,), _ = install("--group", "site")
    assert sync.startswith("sync")
    assert install("--group", "site") == ([], "")
