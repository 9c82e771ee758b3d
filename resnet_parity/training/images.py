"""Photographs as training and validation images, drawn alike for both frameworks.

The augmentation `crop` takes a random part of the photograph, of 8 to 100 percent of its area and of
an aspect ratio of 3/4 to 4/3, resizes it to a square and mirrors it half of the time (Szegedy et al.
2014, arXiv:1409.4842, section 6); a validation image is then 7/8 of the central square. With `shift`
the central square is moved by up to an eighth of its side in each direction, over the mean (He et
al. 2015, arXiv:1512.03385, section 4.2, without its mirroring); with `none` it stays as it is.

Photographs are resized with Pillow's antialiased bilinear filter, then scaled to [0, 1]; the mean is
subtracted, and the result divided by the deviation.

The random numbers of an image depend on the seed, the epoch and the number of the image alone, not
on the worker that draws it, nor on what was drawn before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from resnet_parity.photographs import MEAN, STD, decode
from resnet_parity.probes.splitmix import Stream

_AREA = (0.08, 1.0)
_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))
_ATTEMPTS = 10
"""Boxes that are drawn before the largest central one is taken."""

Box = tuple[int, int, int, int]


Augmentation = Literal["crop", "shift", "none"]


@dataclass(frozen=True)
class Images:
    """How photographs become arrays of `size` x `size` pixels.

    `is_training` is False for validation images, which are not augmented.
    """

    size: int
    augmentation: Augmentation = "crop"
    is_training: bool = True
    seed: int = 0

    def load(self, path: Path, epoch: int, number: int) -> np.ndarray:
        """Photograph `number` as float32 (size, size, 3), as `epoch` shows it.

        Raises `resnet_parity.errors.ImageError`.
        """
        photograph = decode(path)
        stream = Stream(f"image/{self.seed}/{epoch}/{number}")
        if not self.is_training or self.augmentation != "crop":
            image = normalised(self._resized(photograph, self._centre(photograph.size)))
            if self.is_training and self.augmentation == "shift":
                return self._shifted(image, stream)
            return image
        box = random_box(photograph.size, stream.uniform(4 * _ATTEMPTS))
        image = self._resized(photograph, box)
        if stream.uniform(1)[0] < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return normalised(image)

    def _resized(self, photograph: Image.Image, box: Box) -> Image.Image:
        return photograph.crop(box).resize((self.size, self.size), Image.Resampling.BILINEAR)

    def _centre(self, size: tuple[int, int]) -> Box:
        """The central square, 7/8 of it where training sees random parts."""
        part = 7 / 8 if self.augmentation == "crop" else 1
        side = max(1, round(min(size) * part))
        left, top = ((extent - side) // 2 for extent in size)
        return left, top, left + side, top + side

    def _shifted(self, image: np.ndarray, stream: Stream) -> np.ndarray:
        margin = self.size // 8
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)))
        top, left = stream.below(2 * margin + 1, 2)
        return padded[top : top + self.size, left : left + self.size]


def random_box(size: tuple[int, int], draws: np.ndarray) -> Box:
    """A part of a photograph of `size` (width, height): left, top, right, bottom.

    `draws` are numbers in [0, 1), four for each attempt: area, ratio, left, top.
    """
    width, height = size
    for area, ratio, left, top in draws.reshape(-1, 4):
        target = width * height * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
        aspect = math.exp(_LOG_RATIO[0] + ratio * (_LOG_RATIO[1] - _LOG_RATIO[0]))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
            return x, y, x + w, y + h
    side = min(width, height)
    x, y = (width - side) // 2, (height - side) // 2
    return x, y, x + side, y + side


def normalised(image: Image.Image) -> np.ndarray:
    """An 8-bit RGB image as float32 (H, W, 3), with the mean and the deviation of ImageNet."""
    pixels = np.asarray(image, dtype="float32") / np.float32(255)
    return (pixels - np.float32(MEAN)) / np.float32(STD)
