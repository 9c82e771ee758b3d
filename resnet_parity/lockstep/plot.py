"""Draws both losses and their distance with matplotlib into a PNG file."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path

from resnet_parity.adapters.loading import require
from resnet_parity.errors import ParityError
from resnet_parity.files import check_writable, write_atomically
from resnet_parity.lockstep import Lockstep


def check_plot(path: str | Path) -> None:
    """Raise, before the training, what would prevent the plot after it.

    Raises `MissingFrameworkError` without matplotlib, `ParityError` for a path that cannot be
    written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ParityError(f"{path} is no PNG file; choose a name that ends in .png")
    check_writable(path)
    require("matplotlib")


def draw(result: Lockstep, path: str | Path) -> None:
    """Draw both losses, and below them their distance on a logarithmic axis.

    The file is written whole or not at all. matplotlib's caches live in a temporary folder.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("MPLCONFIGDIR", folder)
        figure = _figure(result)
        image = io.BytesIO()
        figure.savefig(image, dpi=120, format="png")
        write_atomically(Path(path), image.getvalue())


def _figure(result: Lockstep):
    from matplotlib.figure import Figure  # without pyplot, so without a display

    at = [step.index + 1 for step in result.steps]
    figure = Figure(figsize=(8, 6), layout="constrained")
    losses, distances = figure.subplots(2, sharex=True)
    losses.set_title(f"{result.architecture.name} in float64, PyTorch and Keras in lockstep")
    losses.plot(at, [step.torch_loss for step in result.steps], label="PyTorch", linewidth=4)
    losses.plot(at, [step.keras_loss for step in result.steps], label="Keras")
    losses.set_ylabel("loss")
    losses.legend()
    worst = [step.furthest.error for step in result.steps]
    distances.plot(at, [step.distance for step in result.steps], ".", label="of the losses")
    distances.plot(at, worst, label="largest relative error of all quantities")
    distances.set_yscale("log", nonpositive="mask")
    distances.set_ylabel("distance")
    distances.set_xlabel("step")
    distances.xaxis.get_major_locator().set_params(integer=True)
    distances.legend()
    return figure
