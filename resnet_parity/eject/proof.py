"""Runs an ejected file beside this project's network: all outputs and gradients, bit by bit."""

from __future__ import annotations

import importlib

import numpy as np

from resnet_spec import Architecture, WeightsError, outputs, taps

from resnet_parity.adapters.loading import keras_adapter, torch_adapter
from resnet_parity.errors import ParityError
from resnet_parity.limits import check_memory
from resnet_parity.probes import BATCH, default_size, random_weights
from resnet_parity.probes.splitmix import Stream


class EjectError(ParityError):
    """A file does not compute what this project computes."""

    exit_code = 1


def proven(source: str, arch: Architecture, framework: str) -> str:
    """The sentence on the check that the file passed, for its header.

    Weights, images and cotangents are random. Raises `EjectError` with the first number that
    differs, and `MissingFrameworkError`.
    """
    size = default_size(arch, "random")
    check_memory(arch, BATCH, size)
    adapter = torch_adapter() if framework == "torch" else keras_adapter()
    results = importlib.import_module(f"resnet_parity.adapters.{framework}.ejected").results
    images = _drawn(arch, "image", (BATCH, arch.in_channels, *size))
    shapes = {tap.name: tap.shape for tap in taps(arch, *size)}
    cotangents = {
        name: _drawn(arch, name, (BATCH, *shapes[tap])) for name, tap in outputs(arch).items()
    }
    given = arch, random_weights(arch, 0, "float32"), images, cotangents
    ours = results(None, *given)
    try:
        theirs = results(source, *given)
    except WeightsError as error:
        raise EjectError(f"the file of {arch.name!r} for {framework} holds: {error}") from error
    for name, value in ours.items():
        if value.tobytes() != theirs[name].tobytes():
            raise EjectError(f"the file of {arch.name!r} for {framework} gives another {name}")
    versions = ", ".join(f"{name} {version}" for name, version in adapter.versions().items())
    return (
        f"Checked with {versions}: for the same weights and images, all outputs and gradients are "
        f"bitwise those of resnet_{framework}."
    )


def _drawn(arch: Architecture, name: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = Stream(f"eject/{arch.name}/{name}").uniform(int(np.prod(shape)))
    return (2 * numbers - 1).reshape(shape).astype("float32")
