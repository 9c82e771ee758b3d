"""Draws both losses and their distance with matplotlib into a PNG file."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

    The file is written whole or not at all.
    """
    with temporary_caches():
        write_atomically(Path(path), png(_figure(result)))


@contextmanager
def temporary_caches(parent: Path | None = None) -> Iterator[None]:
    """Let matplotlib keep its caches in a temporary folder, inside `parent` if it is given."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        own = os.environ.setdefault("MPLCONFIGDIR", folder) == folder
        try:
            yield
        finally:
            if own:  # a process started later would make the folder again
                del os.environ["MPLCONFIGDIR"]


def new_figure() -> Any:
    """An empty figure of matplotlib."""
    from matplotlib.figure import Figure  # without pyplot, so without a display

    return Figure(figsize=(8, 6), layout="constrained")


def png(figure: Any) -> bytes:
    """A figure as a PNG file."""
    image = io.BytesIO()
    figure.savefig(image, dpi=120, format="png")
    return image.getvalue()


def _figure(result: Lockstep) -> Any:
    figure = new_figure()
    at = [step.index + 1 for step in result.steps]
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
