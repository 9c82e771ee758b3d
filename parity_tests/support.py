"""Shared by tests: small architectures, cached probes, engines, functions that run programs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from torch import nn

from resnet_spec import (
    ARCHITECTURES,
    GROUPS,
    Architecture,
    Pool,
    SqueezeRatio,
    Stage,
    Stem,
    get_architecture,
    stages,
)

from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.adapters.protocol import fallback_mode, rounding_reason
from resnet_parity.checks.engine import NOISE_FLOOR_MODES, Engine
from resnet_parity.probes import Probe, exact_probe, random_probe, training_probe

ROOT = Path(__file__).parent.parent
ALL_NAMES = list(ARCHITECTURES)

TORCHVISION = [row.name for row in GROUPS["torchvision (v1.5)"]]

ONE_OF_EACH_KIND = [
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "resnet50_v1",
    "resnet34_a",
    "resnet34_c",
    "plain18",
    "keras_resnet50",
    "resnetv2_50",
    "keras_resnet50v2",
    "resnet56",
    "resnet18_small",
    "resnet50d",
    "resnetv2_50d",
    "seresnet50",
    "seresnext50_32x4d",
]
"""Rows that cover every option of the registry, for tests that cannot run every row."""

TINY = Architecture("tiny", "basic", stages(1, 1, width=16), stem=Stem(channels=16), num_classes=10)
"""The smallest architecture with a stride, a projection and an identity."""

SMALL = Architecture(
    "small", "bottleneck", stages(3, 3, width=16), stem=Stem(channels=16), num_classes=128
)
"""Bottlenecks with interchangeable blocks and a square dense kernel."""

PREACT = replace(SMALL, name="preact", preactivation=True)
KINDS = (
    PREACT,
    replace(SMALL, name="zero-padding", shortcut="A"),
    replace(SMALL, name="pooled", shortcut="B-pooled"),
    replace(SMALL, name="gated", se=SqueezeRatio()),
    replace(SMALL, name="deep-stem", stem=Stem(16, kernel=3, hidden=(8, 8)), avg_down=True),
    replace(SMALL, name="biased", conv_bias="all"),
    replace(SMALL, name="dilated", output_stride=4),
)
"""`SMALL` with one option changed in each."""

BORDERED = (
    replace(PREACT, name="zero-border", stem=Stem(16, pool=Pool(border="zero"))),
    replace(SMALL, name="averaging-dilated", avg_down=True, output_stride=4),
)
"""Negative numbers before a max-pool, and zeros that count in an average."""

EVERYTHING = Architecture(
    "everything",
    "bottleneck",
    (Stage(2, 16), Stage(1, 16, stride=2), Stage(2, 32, stride=2)),
    stem=Stem(channels=16, kernel=3, hidden=(8, 8)),
    groups=2,
    width_per_group=32,
    preactivation=True,
    shortcut="A",
    zero_padding="around",
    conv_bias="all",
    se=SqueezeRatio(),
    num_classes=5,
    output_stride=8,
)
"""Deep stem, preactivation, zero-padding, gates, biases, groups and dilation in one."""

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
"""Architectures that a user might make: other depths, widths, groups, strides, channels."""


@cache
def exact(name: str, dtype: str, seed: int = 0) -> Probe:
    return exact_probe(find(name), seed, dtype)


@cache
def random(name: str, dtype: str, seed: int = 0) -> Probe:
    return random_probe(find(name), seed, dtype)


@cache
def training(name: str, dtype: str, seed: int = 0) -> Probe:
    return training_probe(find(name), seed, dtype)


def light(values: Sequence[Any], chosen: Collection[Any]) -> list[Any]:
    """Parameters for a test; all but the chosen ones run only with `--full`."""
    slow = [_slow(value) for value in values if value not in chosen]
    return [*(value for value in values if value in chosen), *slow]


def _slow(value: Any) -> Any:
    values = value if isinstance(value, tuple) else (value,)
    return pytest.param(*values, marks=pytest.mark.full)


def find(name: str) -> Architecture:
    """One of the architectures above, or a row of the registry, by name."""
    own = {arch.name: arch for arch in (TINY, SMALL, *KINDS, *BORDERED, EVERYTHING, *USERS)}
    return own.get(name) or get_architecture(name)


def engines(*, every_mode: bool = True) -> tuple[Engine, ...]:
    """Both layouts of PyTorch, and Keras on TensorFlow in all its modes or in the default one."""
    modes = keras_adapter().modes()
    return _engines(modes if every_mode else modes[:1])


def quick_engines(check: str, dtype: str) -> tuple[Engine, ...]:
    """Both layouts of PyTorch, and Keras eager, or in its fallback mode if this CPU rounds."""
    keras = keras_adapter()
    return _engines((fallback_mode(keras, "eager", dtype)[0] if check == "exact" else "eager",))


def exact_dtypes() -> tuple[str, ...]:
    """The dtypes in which Keras runs exact probes in eager mode, on this CPU."""
    dtypes = ("float32", "float64")
    return tuple(dtype for dtype in dtypes if not rounding_reason(keras_adapter(), "eager", dtype))


def _engines(keras_modes: Sequence[str]) -> tuple[Engine, ...]:
    torch, keras = torch_adapter(), keras_adapter()
    return (
        *(Engine(f"torch {mode}", torch, mode) for mode in NOISE_FLOOR_MODES),
        *(Engine(f"keras {mode}", keras, mode) for mode in keras_modes),
    )


def with_random_statistics(model: nn.Module) -> nn.Module:
    """The same model, with random numbers in its norms, as after training."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            state = module.state_dict()
            for leaf in ("weight", "running_var"):
                state[leaf].uniform_(0.5, 1.5)
            for leaf in ("bias", "running_mean"):
                state[leaf].normal_()
    return model


def python(
    *arguments: str, cwd: Path = ROOT, timeout: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in another process, with this project importable and its output captured.

    Raises `subprocess.TimeoutExpired` for a process that hangs, and ends it.
    """
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def command(
    *arguments: str, cwd: Path = ROOT, timeout: float | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `resnet-parity` in another process."""
    return python("-m", "resnet_parity", *arguments, cwd=cwd, timeout=timeout, **environment)


def mutated(content: bytes, draw: Random) -> bytes:
    """A few bits flipped, bytes replaced, a part cut out, repeated or filled."""
    mutant = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 5))):
        if not mutant:  # all of it was cut out
            break
        at, size = draw.randrange(len(mutant)), draw.choice((1, 2, 4, 8, 100))
        part = slice(at, at + size)
        change = draw.randrange(6)
        if change < 3:
            mutant[at] ^= 1 << draw.randrange(8)
        elif change == 3:
            mutant[part] = draw.randbytes(len(mutant[part]))
        elif change == 4:
            mutant[part] = bytes([draw.choice((0, 255))]) * len(mutant[part])
        else:
            mutant[part] = draw.choice((b"", bytes(mutant[part]) * 2))
    return bytes(mutant)


def steps(stderr: str) -> list[str]:
    """The lines of progress without those that say how long a step has run."""
    return [line for line in stderr.splitlines() if not re.fullmatch(r"\.\.\. \d+ s", line)]
