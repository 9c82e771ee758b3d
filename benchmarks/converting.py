"""The cost of a conversion: `python -m benchmarks.converting [FORMAT ...]`.

A resnet152 of torchvision's names, a file of 241 MB, is written in each format without the proof,
each time in a process of its own with one thread. Printed are the CPU seconds, and the peak of
memory over the size of the file, beyond those of a process that only starts what the conversion
needs: this program, and Keras on TensorFlow for formats of Keras. The peak is that of Linux, VmHWM;
what getrusage calls so would hold that of this process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from resnet_parity.probes import random_weights
from resnet_parity.weights.converting import save_weights
from resnet_parity.weights.target_table import FORMATS

NAME = "resnet152"
KERAS = ("keras", "weights-h5")

_CHILD = """
import json, resource, sys
from resnet_parity.adapters.loading import keras_adapter
from resnet_parity.weights.converting import save_weights
from resnet_parity.weights.loading import load_weights
if sys.argv[3] == "keras":
    keras_adapter("tensorflow")
if sys.argv[2]:
    save_weights(sys.argv[2], load_weights(sys.argv[1]), sys.argv[4], proven=False)
used = resource.getrusage(resource.RUSAGE_SELF)
lines = dict(line.split(":") for line in open("/proc/self/status"))
print(json.dumps([used.ru_utime + used.ru_stime, int(lines["VmHWM"].split()[0]) * 1024]))
"""


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    chosen = ["safetensors", "torch", *KERAS]
    parser.add_argument("formats", nargs="*", default=chosen, metavar="FORMAT")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "source.pth")
        weights = random_weights(NAME, 0, "float32")
        save_weights(source, weights, "torch", architecture=NAME, proven=False)
        size = source.stat().st_size
        print(f"{NAME}, {size / 1e6:.0f} MB, medians of {arguments.rounds}")
        for to in arguments.formats:
            rounds = [cost(source, to) for _ in range(arguments.rounds)]
            seconds, peak = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{to}: {seconds:.1f} CPU s, peak {peak / size:.1f} times the file", flush=True)


def cost(source: Path, to: str) -> tuple[float, float]:
    """CPU seconds and bytes of a conversion beyond the start, one run of each."""
    starts = "keras" if to in KERAS else "none"
    out = source.with_name(f"out{FORMATS[to].suffix}")
    (before, lowest), (after, peak) = (_run(source, each, starts, to) for each in ("", str(out)))
    out.unlink()
    return after - before, peak - lowest


def _run(source: Path, out: str, starts: str, to: str) -> tuple[float, float]:
    names = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, "1"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    arguments = [sys.executable, "-c", _CHILD, str(source), out, starts, to]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


if __name__ == "__main__":
    main()
