"""Both frameworks train on scikit-learn's digits by the README's command, one thread each."""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from resnet_spec import get_architecture

from benchmarks.provenance import Measured, Results, versions
from resnet_parity.site.results import ROOT
from resnet_parity.training.run_folder import CONFIG, METRICS

SEEDS = (0, 1, 2)
FRAMEWORKS = ("torch", "keras")
CURVES = ("loss", "accuracy", "val_loss", "val_accuracy")
"""The columns of the metrics that a row holds, with a number for each epoch."""

_THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def measure(row: str) -> Measured:
    """Measure the curves of a framework and a seed, and the seconds of a processor."""
    framework, seed = row.split(", seed ")
    with tempfile.TemporaryDirectory() as folder:
        digits, out = Path(folder, "digits"), Path(folder, "run")
        write_digits(digits)
        return measure_run(digits, out, "--framework", framework, "--seed", seed)


def write_digits(folder: Path) -> None:
    """Write the digits and their configuration."""
    subprocess.run([ROOT / "scripts" / "digits", folder], check=True)


def measure_run(digits: Path, out: Path, *options: str) -> Measured:
    """Measure one run of `train` with the configuration of the digits."""
    given = [str(digits), "--config", str(digits / "digits.toml"), "--out", str(out), *options]
    before = _processor_seconds()
    subprocess.run(
        [sys.executable, "-m", "resnet_parity", "train", *given],
        env={**os.environ, **dict.fromkeys(_THREADS, "1"), "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
    )
    seconds = _processor_seconds() - before
    with (out / METRICS).open(encoding="utf-8") as file:
        epochs = [*csv.DictReader(file)]
    curves = {name: [float(f"{float(each[name]):.5g}") for each in epochs] for name in CURVES}
    resolved = tomllib.loads((out / CONFIG).read_text(encoding="utf-8"))["resolved"]
    figures = {"processor_seconds": round(seconds, 1), **curves}
    return Measured(figures, versions() | resolved["versions"])


def _processor_seconds() -> float:
    """The seconds that the processes that this one started and that ended have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


RESULTS = Results(
    "digits",
    1,
    {
        f"{framework}, seed {seed}": get_architecture("resnet20", num_classes=10)
        for framework in FRAMEWORKS
        for seed in SEEDS
    },
    measure,
)
