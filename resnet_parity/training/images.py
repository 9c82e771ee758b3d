"""Photographs as training and validation images, drawn alike for both frameworks.

The augmentation `crop` takes a random part of the photograph, of 8 to 100 percent of its area and
of an aspect ratio of 3/4 to 4/3, resizes it to a square and mirrors it half of the time (Szegedy et
al. 2014, arXiv:1409.4842, section 6); for validation, the shorter side is resized to 8/7 of the
size and the centre is cropped. With `shift` the centre of the photograph moves by up to an eighth
of its side in each direction, over the mean; with `shift-mirror` it is mirrored half of the time,
too (He et al. 2015, arXiv:1512.03385, section 4.2); with `none` it stays as it is.

Photographs are resized with Pillow's antialiased bilinear filter, then scaled to [0, 1]; the mean
is subtracted, and the result divided by the deviation.

The random numbers of an image depend on the seed, the epoch and the number of the image alone, not
on the worker that draws it, nor on what was drawn before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from resnet_parity.photographs import MEAN, STD, centre, decode
from resnet_parity.probes.splitmix import Stream
from resnet_parity.training.config import Augmentation

_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)
_MEAN, _STD = np.array(MEAN, "float32"), np.array(STD, "float32")
_ATTEMPTS = 10
"""Boxes that are drawn before the largest central one is taken."""

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels."""


@dataclass(frozen=True)
class Images:
    """How photographs become arrays of `size` x `size` pixels.

    `is_training` is False for validation images, which are not augmented.
    """

    size: int
    augmentation: Augmentation = "crop"
    is_training: bool = True
    seed: int = 0

    @property
    def shorter(self) -> int:
        """The shorter side of a photograph before its centre is cropped."""
        return round(self.size * 8 / 7) if self.augmentation == "crop" else self.size

    def load(self, path: Path, epoch: int, number: int) -> np.ndarray:
        """Photograph `number` as float32 (size, size, 3), as `epoch` shows it.

        Raises `resnet_parity.errors.ImageError`.
        """
        photograph = decode(path)
        stream = _stream(self.seed, epoch, number)
        if self.is_training and self.augmentation == "crop":
            return normalised(self._random_part(photograph, stream))
        image = normalised(centre(photograph, path, self.shorter, self.size))
        if not self.is_training or self.augmentation == "none":
            return image
        image = self._shifted(image, stream)
        is_mirrored = self.augmentation == "shift-mirror" and stream.below(2, 1)[0]
        return np.ascontiguousarray(image[:, ::-1]) if is_mirrored else image

    def _random_part(self, photograph: Image.Image, stream: Stream) -> Image.Image:
        box = random_box(photograph.size, stream.uniform(4 * _ATTEMPTS))
        size = (self.size, self.size)
        image = photograph.crop(box).resize(size, Image.Resampling.BILINEAR)
        is_mirrored = stream.below(2, 1)[0]
        return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if is_mirrored else image

    def _shifted(self, image: np.ndarray, stream: Stream) -> np.ndarray:
        margin = self.size // 8
        padded = np.zeros((self.size + 2 * margin, self.size + 2 * margin, 3), image.dtype)
        padded[margin : margin + self.size, margin : margin + self.size] = image
        top, left = stream.below(2 * margin + 1, 2)
        return padded[top : top + self.size, left : left + self.size]


def draw_seed(seed: int, epoch: int, number: int) -> int:
    """A seed below 2^31 for the random numbers of an image, where a library draws them."""
    return int(_stream(seed, epoch, number).below(2**31, 1)[0])


def _stream(seed: int, epoch: int, number: int) -> Stream:
    return Stream(f"image/{seed}/{epoch}/{number}")


def random_box(size: tuple[int, int], draws: np.ndarray) -> Box:
    """A part of a photograph of `size` (width, height), by the rule of torchvision.

    `draws` are numbers in [0, 1), four for each attempt: area, ratio, left, top.
    """
    width, height = size
    low, high = map(math.log, _RATIO)
    for area, ratio, left, top in draws.reshape(-1, 4):
        target = width * height * (_AREA[0] + area * (_AREA[1] - _AREA[0]))
        aspect = math.exp(low + ratio * (high - low))
        w, h = round(math.sqrt(target * aspect)), round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(left * (width - w + 1)), int(top * (height - h + 1))
            return x, y, x + w, y + h
    w = min(width, round(height * _RATIO[1]))
    h = min(height, round(width / _RATIO[0]))
    x, y = (width - w) // 2, (height - h) // 2
    return x, y, x + w, y + h


def normalised(image: Image.Image) -> np.ndarray:
    """An 8-bit RGB image as float32 (H, W, 3), with the mean and the deviation of ImageNet."""
    pixels = np.asarray(image, dtype="float32") / np.float32(255)
    return (pixels - _MEAN) / _STD
