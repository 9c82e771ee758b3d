"""Runs an ejected file beside this project's network, and compares all that they compute."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from resnet_spec import Architecture, WeightsError, outputs, taps

from resnet_parity.adapters.loading import eager_mode, keras_adapter, torch_adapter
from resnet_parity.errors import ParityError
from resnet_parity.files import brief
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
    even, odd = sizes(arch)
    check_memory(arch, BATCH, odd)
    adapter = torch_adapter() if framework == "torch" else keras_adapter()
    ejected = importlib.import_module(f"resnet_parity.adapters.{framework}.ejected")
    ours = _results(ejected, adapter, ejected.network(None, arch))
    try:
        theirs = _results(ejected, adapter, ejected.network(source, arch))
    except WeightsError as error:
        raise EjectError(f"the file of {arch.name!r} for {framework} holds: {error}") from error
    except Exception as error:  # whatever a faulty network raises
        message = f"the file of {arch.name!r} for {framework} cannot run: {brief(error)}"
        raise EjectError(message) from error
    for name, value in ours.items():
        if value.tobytes() != theirs[name].tobytes():
            raise EjectError(f"the file of {arch.name!r} for {framework} gives another {name}")
    versions = " and ".join(f"{name} {version}" for name, version in adapter.versions().items())
    return (
        f"Checked with {versions} in float32: outputs and gradients ({_text(even)}), a training "
        f"pass ({_text(odd)}) and initial kernels are bitwise those of resnet-parity."
    )


def sizes(arch: Architecture) -> tuple[tuple[int, int], tuple[int, int]]:
    """An even size and an odd one, each even or odd before every stride.

    Even sizes show on which side a stride pads, odd ones what becomes of the last row.
    """
    height, width = default_size(arch, "random")
    return (height, width), (height + 1, width + 1)


def _results(ejected: Any, adapter: Any, model: Any) -> dict[str, np.ndarray]:
    """All that is compared of a network, by a name for messages."""
    arch, mode = model.architecture, eager_mode(adapter)
    even, odd = sizes(arch)
    # The initial values of torch's dense layer are drawn at another time than in this project.
    found = {
        f"initial value of {name}": value
        for name, value in ejected.get_weights(model, arch).items()
        if not name.startswith("fc.")
    }
    ejected.set_weights(model, random_weights(arch, 0, "float32"), arch)
    shapes = {tap.name: tap.shape for tap in taps(arch, *even)}
    cotangents = {n: _drawn(arch, n, (BATCH, *shapes[tap])) for n, tap in outputs(arch).items()}
    images = _drawn(arch, "image", (BATCH, arch.in_channels, *even))
    found |= adapter.outputs_of(model, images, mode)
    gradients = adapter.gradients(model, images, cotangents, mode, training=False)
    found |= {f"gradient of {name}": value for name, value in gradients.items()}
    images = _drawn(arch, "odd image", (BATCH, arch.in_channels, *odd))
    returned = ejected.trained(model, images, mode)
    found |= {f"{name} in training, or of odd sizes": each for name, each in returned.items()}
    return found | {
        f"{name} after training": value
        for name, value in ejected.get_weights(model, arch).items()
        if ".running_" in name
    }


def _drawn(arch: Architecture, name: str, shape: tuple[int, ...]) -> np.ndarray:
    numbers = Stream(f"eject/{arch.name}/{name}").uniform(int(np.prod(shape)))
    return (2 * numbers - 1).reshape(shape).astype("float32")


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
