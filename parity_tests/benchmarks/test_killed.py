"""`benchmarks.killed` notices each difference between a run and an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks.killed import differences, temporary
from resnet_parity.training.run_folder import BEST, LAST, METRICS, STATE


@pytest.fixture
def runs(tmp_path) -> tuple[Path, Path]:
    """Two folders of runs that hold the same."""
    for name in ("run", "whole"):
        out = tmp_path / name
        out.mkdir()
        temporary(out).mkdir()
        for file in (STATE, LAST, BEST):
            save_file({"w": np.zeros(2, "float32")}, out / file)
        (out / METRICS).write_text("epoch,loss,seconds\n1,0.5,3\n")
    return tmp_path / "run", tmp_path / "whole"


def test_equal_runs_have_no_difference(runs):
    out, _ = runs
    (out / METRICS).write_text("epoch,loss,seconds\n1,0.5,4\n")
    assert not [*differences(*runs)]


def change(path: Path) -> None:
    found = load_file(path)
    found["w"][0] = -0.0  # equal, but another bit
    save_file(found, path)


@pytest.mark.parametrize("file", [STATE, LAST, BEST])
def test_a_bit_counts(file, runs):
    change(runs[0] / file)
    assert [*differences(*runs)] == [f"{file}: w"]


@pytest.mark.parametrize("folder", [lambda out: out, temporary])
def test_a_file_that_is_left_counts(folder, runs):
    (folder(runs[0]) / ".left.tmp").touch()
    assert [*differences(*runs)] == [".left.tmp is in one run alone"]


def test_a_tensor_and_a_metric_count(runs):
    out, _ = runs
    save_file({"v": np.zeros(2, "float32")}, out / STATE)
    (out / METRICS).write_text("epoch,loss,seconds\n1,0.6,3\n")
    assert sorted(differences(*runs)) == [
        f"{STATE}: v is in one run alone",
        f"{STATE}: w is in one run alone",
        METRICS,
    ]
