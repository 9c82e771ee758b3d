"""Grad-CAM: pictures that show where a photograph speaks for its class."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_parity.adapters.loading import run_adapter
from resnet_parity.files import replacing_folder, writing
from resnet_parity.limits import fitting_batch
from resnet_parity.photographs import MEAN, STD
from resnet_parity.tolerances import limit
from resnet_parity.training.classify import Classifier
from resnet_parity.training.folders import Sample

_BATCH = 8
_LONGEST = 60
"""The most characters of a photograph's name that its picture has."""

_LEAST_SIDE = 224
"""The least side of a picture, in pixels."""

_HEAT = ((0, 0, 128), (0, 128, 255), (128, 255, 128), (255, 128, 0), (255, 0, 0))
"""Blue, green and red: the colours of a map from zero to its largest value."""


@dataclass(frozen=True)
class Explanations:
    """The picture of each photograph, and how far the maps of both frameworks differ.

    A difference is relative to the largest value of both maps; above `limit` it is no rounding.
    """

    files: tuple[Path, ...]
    differences: tuple[float, ...]
    limit: float


def explain(
    folder: Path,
    classifier: Classifier,
    samples: Sequence[Sample],
    frameworks: Sequence[str],
    *,
    keras_backend: str | None = None,
    on_batch: Callable[[int], None] = lambda total: None,
) -> Explanations:
    """Write a picture of each photograph into a new folder, for the class that is its label.

    The map is that of the first framework. Raises `ParityError`, and writes nothing, if a file
    cannot be written or a photograph not be read.
    """
    size = (classifier.images.size, classifier.images.size)
    batch = fitting_batch(classifier.architecture, _BATCH, size)
    adapters = [run_adapter(name, keras_backend) for name in frameworks]
    functions = [
        runs.explainer(classifier.architecture, classifier.weights) for _, runs in adapters
    ]
    is_rough = any(adapter.float64_unsupported_reason() for adapter, _ in adapters)
    names, differences = [*_names(samples)], []
    with replacing_folder(folder) as new:
        for first in range(0, len(samples), batch):
            on_batch(-(-len(samples) // batch))
            part = samples[first : first + batch]
            images = np.stack([classifier.images.load(sample.path, 0, 0) for sample in part])
            labels = np.array([sample.label for sample in part])
            maps = np.stack([function(images, labels) for function in functions], axis=1)
            for index, (image, own) in enumerate(zip(images, maps, strict=True), start=first):
                differences.append(difference(own))
                with writing(folder):
                    (new / names[index]).write_bytes(picture(image, own[0]))
    bound = limit("explain", "maps in float32" if is_rough else "maps")
    return Explanations(tuple(folder / name for name in names), tuple(differences), bound)


def difference(maps: np.ndarray) -> float:
    """The largest difference of maps (frameworks, h, w), relative to their largest value."""
    return float(np.ptp(maps, axis=0).max()) / (float(maps.max()) or 1.0)


def picture(image: np.ndarray, heat: np.ndarray) -> bytes:
    """A normalised image (H, W, 3) under the colours of a map (h, w), as a PNG file.

    A small image is enlarged by a whole number.
    """
    pixels = np.clip(np.rint((image * STD + MEAN) * 255), 0, 255)
    times = -(-_LEAST_SIDE // min(image.shape[:2]))
    pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    relative = (heat / (float(heat.max()) or 1.0)).astype("float32")
    size = pixels.shape[1], pixels.shape[0]
    wide = np.asarray(Image.fromarray(relative).resize(size, Image.Resampling.BILINEAR))
    at = np.linspace(0, 1, len(_HEAT))
    colours = np.stack([np.interp(wide, at, channel) for channel in np.transpose(_HEAT)], axis=-1)
    file = io.BytesIO()
    Image.fromarray(np.rint((pixels + colours) / 2).astype("uint8")).save(file, "png")
    return file.getvalue()


def _names(samples: Sequence[Sample]) -> Iterator[str]:
    """A name for the picture of each photograph; equal ones get a number."""
    used: set[str] = set()
    for sample in samples:
        stem, number = sample.path.stem[:_LONGEST], 1
        name = f"{stem}.png"
        while name.lower() in used:
            number += 1
            name = f"{stem}-{number}.png"
        used.add(name.lower())
        yield name
