"""Photographs as arrays by Keras' own means, for `train --native-data`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras import layers, ops

from resnet_parity.photographs import MEAN, STD, decode
from resnet_parity.training.images import Images, draw_seed


@dataclass(frozen=True)
class NativeImages(Images):
    """As `Images`, but keras.layers resize, augment and normalise."""

    def load(self, path: Path, epoch: int, number: int) -> np.ndarray:
        """Photograph `number` as float32 (size, size, 3), as `epoch` shows it.

        Raises `resnet_parity.errors.ImageError`.
        """
        image = np.asarray(decode(path), "float32")[None]
        for layer in pipeline(self, draw_seed(self.seed, epoch, number)):
            image = layer(image, training=True)
        return ops.convert_to_numpy(image)[0]


def pipeline(images: Images, seed: int) -> list[Any]:
    """The layers from a picture (1, H, W, 3) to an image (1, size, size, 3)."""
    size, shorter = images.size, images.shorter
    augmentation = images.augmentation if images.is_training else "none"
    end = [
        layers.Rescaling(1 / 255),
        layers.Normalization(mean=MEAN, variance=[deviation**2 for deviation in STD]),
    ]
    flip = layers.RandomFlip("horizontal", seed=seed)
    resize = layers.Resizing(shorter, shorter, crop_to_aspect_ratio=True)
    if augmentation == "crop":
        crop = layers.RandomCrop(size, size, seed=seed)
        return [resize, crop, flip, *end]
    still = [resize, layers.CenterCrop(size, size), *end]
    if augmentation == "none":
        return still
    move = layers.RandomTranslation(1 / 8, 1 / 8, fill_mode="constant", seed=seed)
    return [*still, move, *([flip] if augmentation == "shift-mirror" else [])]
