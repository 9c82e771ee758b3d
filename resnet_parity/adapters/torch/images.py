"""Photographs as arrays by PyTorch's own means, for `train --native-data`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.transforms import v2

from resnet_parity.photographs import MEAN, STD, check_shape, decode
from resnet_parity.training.images import Images, draw_seed


@dataclass(frozen=True)
class NativeImages(Images):
    """As `Images`, but torchvision.transforms.v2 resizes, augments and normalises."""

    def load(self, path: Path, epoch: int, number: int) -> np.ndarray:
        """Photograph `number` as float32 (size, size, 3), as `epoch` shows it.

        Raises `resnet_parity.errors.ImageError`.
        """
        photograph = decode(path)
        check_shape(photograph.size, path, self.shorter)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(draw_seed(self.seed, epoch, number))
            image = v2.Compose(pipeline(self))(photograph)
        return image.permute(1, 2, 0).contiguous().numpy()


def pipeline(images: Images) -> list[Any]:
    """The transforms from a picture to an image (3, size, size)."""
    size, augmentation = images.size, images.augmentation if images.is_training else "none"
    end = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([*MEAN], [*STD])]
    if augmentation == "crop":
        return [v2.ToImage(), v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), *end]
    still = [v2.ToImage(), v2.Resize(images.shorter), v2.CenterCrop(size), *end]
    if augmentation == "none":
        return still
    mirror = [v2.RandomHorizontalFlip()] if augmentation == "shift-mirror" else []
    return [*still, v2.RandomCrop(size, padding=size // 8), *mirror]
