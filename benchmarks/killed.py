"""Kills training runs at random moments: `python -m benchmarks.killed DIGITS --framework torch`.

DIGITS is the folder that `scripts/digits` writes. A run is left undisturbed; others are killed with
signal 9 between their first file and their end, and resumed until they are complete. The moments
and the numbers of workers come from a seed. Every complete run must hold the files of the
undisturbed one: the same weights, momentum and metrics in every bit, and no temporary file, there
or in the system's folder of them. The command ends with 1 if one does not.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from safetensors.numpy import load_file

from resnet_parity.training.run_folder import BEST, CONFIG, LAST, METRICS, STATE

TIMES = ("images_per_second", "seconds", "time")
"""The columns of the metrics that differ from run to run."""


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("digits", type=Path, metavar="DIGITS")
    parser.add_argument("--framework", choices=("torch", "keras"), default="torch")
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="default: 50")
    parser.add_argument("--epochs", type=int, default=4, metavar="N", help="default: 4")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    arguments = parser.parse_args()
    begin = [str(arguments.digits), "--config", str(arguments.digits / "digits.toml")]
    begin += ["--framework", arguments.framework, "--epochs", str(arguments.epochs)]
    random, kills, writing, runs, faults = Random(arguments.seed), 0, 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        whole, out = Path(folder, "whole"), Path(folder, "run")
        duration = train(begin, whole)
        assert duration is not None
        while kills < arguments.kills or (out / CONFIG).exists():
            given = ["--resume"] if (out / CONFIG).exists() else begin
            given = [*given, "--workers", str(random.choice((0, 2)))]
            after = random.uniform(0, duration) if kills < arguments.kills else None
            if train(given, out, after) is None:
                kills += 1
                writing += any(out.glob(".*"))
                continue
            runs += 1
            faults += (found := [*differences(out, whole)])
            print(f"run {runs}, kills {kills}: {'; '.join(found) or 'the same'}", flush=True)
            out = Path(folder, f"run{runs}")
    print(
        f"{arguments.framework}: {kills} kills, {writing} of them while a file was written; "
        f"{runs} complete runs, differences: {len(faults)}"
    )
    return int(bool(faults))


def train(given: list[str], out: Path, after: float | None = None) -> float | None:
    """Run `train`; the seconds from its first file to its end, None if killed `after` as many."""
    begun = _inode(out / CONFIG)
    command = [sys.executable, "-m", "resnet_parity", "train", *given, "--out", str(out)]
    temporary(out).mkdir(exist_ok=True)
    variables = {"TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": str(temporary(out))}
    with subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            while process.poll() is None and _inode(out / CONFIG) == begun:
                time.sleep(0.01)
            start = time.monotonic()
            _, errors = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            return None
        finally:
            process.kill()
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} failed:\n{errors.decode()}")
    return time.monotonic() - start


def temporary(out: Path) -> Path:
    """The system's folder of temporary files, as the processes of a run see it."""
    return out.with_suffix(".tmp")


def _inode(path: Path) -> int | None:
    """The number of a file, which changes when the file is written anew."""
    return path.stat().st_ino if path.exists() else None


def differences(ours: Path, theirs: Path) -> Iterator[str]:
    """How the files of a run differ from those of another."""
    for one, other in ((ours, theirs), (temporary(ours), temporary(theirs))):
        names, others = ({path.name for path in folder.iterdir()} for folder in (one, other))
        yield from (f"{name} is in one run alone" for name in names ^ others)
    for file in (STATE, LAST, BEST):
        first, second = load_file(ours / file), load_file(theirs / file)
        yield from (f"{file}: {name} is in one run alone" for name in first.keys() ^ second.keys())
        for name in first.keys() & second.keys():
            if first[name].tobytes() != second[name].tobytes():
                yield f"{file}: {name}"
    if _metrics(ours) != _metrics(theirs):
        yield METRICS


def _metrics(out: Path) -> list[dict[str, str]]:
    """The metrics of a run, without times."""
    with (out / METRICS).open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    return [{name: row[name] for name in row if name not in TIMES} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
