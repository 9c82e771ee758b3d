"""The curves of a run are read from its folder, with the time of its processor."""

from __future__ import annotations

import numpy as np
from PIL import Image

from benchmarks.digits import CURVES, measure_run

CONFIGURATION = """
architecture = "resnet20"
image_size = 8
batch_size = 4
epochs = 2
"""


def test_a_run_is_measured_with_its_curves_seconds_and_versions(tmp_path):
    stream = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "digits" / ("val", "train", "train")[index % 3] / "01"[index % 2]
        path.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stream.integers(0, 256, (8, 8), "uint8")).save(path / f"{index}.png")
    (tmp_path / "digits" / "digits.toml").write_text(CONFIGURATION)
    found = measure_run(tmp_path / "digits", tmp_path / "run", "--seed", "1")
    assert found.passed and found.figures.keys() == {"processor_seconds", *CURVES}
    assert {len(found.figures[name]) for name in CURVES} == {2}
    assert found.figures["processor_seconds"] > 0
    assert {"python", "torch"} <= found.versions.keys()
    assert "seed = 1\n" in (tmp_path / "run" / "config.toml").read_text()
