"""What several tests share: small architectures, cached probes, engines, a way to run programs."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from resnet_spec import ARCHITECTURES, Architecture, Stage, Stem, get_architecture, stages

from resnet_parity.frameworks import keras_adapter, torch_adapter
from resnet_parity.probes import Probe, exact_probe, random_probe
from resnet_parity.rungs import Engine

ROOT = Path(__file__).parent.parent
ALL_NAMES = list(ARCHITECTURES)

TINY = Architecture("tiny", "basic", stages(1, 1, width=16), stem=Stem(channels=16), num_classes=10)
"""The least that has a stride, a projection and an identity."""

SMALL = Architecture(
    "small", "bottleneck", stages(3, 3, width=16), stem=Stem(channels=16), num_classes=128
)
"""Bottlenecks with interchangeable blocks and a square dense kernel."""

USERS = (
    Architecture(
        "five-stages-grouped",
        "bottleneck",
        stages(1, 2, 1, 1, 1, width=16),
        stem=Stem(channels=24, kernel=5),
        groups=4,
        width_per_group=32,
        bn_eps=1e-3,
        in_channels=4,
        num_classes=7,
    ),
    Architecture(
        "three-stages-no-pool",
        "basic",
        (Stage(2, 16), Stage(1, 24, stride=2), Stage(2, 40, stride=2)),
        stem=Stem(channels=16, kernel=3, stride=1, pool=None),
        in_channels=1,
        num_classes=10,
    ),
    Architecture(
        "dilated-stride-three",
        "bottleneck",
        (Stage(1, 16), Stage(2, 16, stride=3), Stage(2, 32, dilation=2)),
        stem=Stem(channels=32),
        num_classes=3,
    ),
    Architecture(
        "grouped-basic",
        "basic",
        stages(2, 1, width=32),
        stem=Stem(channels=32),
        groups=4,
        width_per_group=16,
        num_classes=5,
    ),
)
"""Rows that a user might make: other depths, widths, groups, strides, stages, channels."""


@cache
def exact(name: str, dtype: str, seed: int = 0) -> Probe:
    return exact_probe(_find(name), seed, dtype)


@cache
def random(name: str, dtype: str, seed: int = 0) -> Probe:
    return random_probe(_find(name), seed, dtype)


def _find(name: str) -> Architecture:
    own = {arch.name: arch for arch in (TINY, SMALL, *USERS)}
    return own.get(name) or get_architecture(name)


def engines(*, every_mode: bool = True) -> tuple[Engine, ...]:
    """Both layouts of PyTorch, and Keras on TensorFlow in all its modes or in the first."""
    torch, keras = torch_adapter(), keras_adapter()
    keras_modes = keras.modes() if every_mode else keras.modes()[:1]
    return (
        *(Engine(f"torch {mode}", torch, mode) for mode in torch.modes()),
        *(Engine(f"keras {mode}", keras, mode) for mode in keras_modes),
    )


def python(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with this project importable and stdout captured."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def command(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `resnet-parity` in a process of its own."""
    return python("-m", "resnet_parity.cli", *arguments, cwd=cwd, **environment)
