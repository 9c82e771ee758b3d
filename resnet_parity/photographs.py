"""Photographs as model inputs: decoded and resized once, so that all participants get one array.

The shorter side is resized, the centre is cropped, values are scaled to [0, 1], then the mean is
subtracted and the result divided by the deviation, per channel in RGB order. torchvision evaluates
its weights this way (https://docs.pytorch.org/vision/stable/models.html).

Pixels become 8-bit RGB first: of 16-bit numbers the high byte counts, an orientation tag is
applied, transparency is ignored. 32-bit integers and floats are refused, because their range is not
known.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from threading import Lock
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from resnet_parity.errors import ImageError

RESIZE = 256
CROP = 224
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

MAX_PIXELS = 100_000_000
"""The limit for an image, checked before a pixel is decoded."""

_OPENING = Lock()

_REASONS: dict[type[Exception], str] = {
    FileNotFoundError: "no such file",
    IsADirectoryError: "is a directory, not an image",
    PermissionError: "permission denied",
    UnidentifiedImageError: "not an image that Pillow can read",
}

_SIXTEEN_BITS = ("PNG", "PPM")
"""The formats whose integers Pillow reads as 32-bit ones, though they have 16 bits at most."""

_UNKNOWN_RANGE = {"I": "32-bit integers", "F": "floats"}
"""What no number means white in, by Pillow's mode."""


def load(path: str | Path) -> np.ndarray:
    """One photograph as float64 (3, 224, 224), prepared as the module says.

    Raises `ImageError` that names the file, when it is missing, not an image, cut off or too large.
    """
    return _prepare(decode(path), path)


def decode(path: str | Path) -> Image.Image:
    """One photograph as 8-bit RGB; of an animation the first frame. Raises `ImageError`."""
    try:
        if (path := Path(path)).exists() and not (path.is_file() or path.is_dir()):
            raise ImageError(f"{path}: is a pipe or a device, not an image")
        # A path would be mapped into memory, and a rotated TIFF garbled (Pillow 13.0).
        with path.open("rb") as file, _opened(file) as image:
            return _decode(image, path)
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: the image claims more than {MAX_PIXELS:,} pixels") from None
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise many types for a damaged file
        reason = _REASONS.get(type(error), f"the image is damaged ({error})")
        if isinstance(error, OSError) and error.strerror and type(error) not in _REASONS:
            reason = f"cannot be read: {error.strerror}"
        raise ImageError(f"{path}: {reason}") from None


def _opened(file: IO[bytes]) -> Image.Image:
    """An image whose header alone was read; the filters of warnings are shared by all threads."""
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file)


def load_all(paths: list[str]) -> np.ndarray:
    """A batch of photographs, float64 (N, 3, 224, 224)."""
    return np.stack([load(path) for path in paths])


def _decode(image: Image.Image, path: str | Path) -> Image.Image:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path}: {width}x{height} is more than {MAX_PIXELS:,} pixels; resize it first"
        )
    kind, mode = image.format, image.mode
    image = ImageOps.exif_transpose(image)
    if mode.startswith("I;16") or (mode == "I" and kind in _SIXTEEN_BITS):
        image = Image.fromarray((np.asarray(image) >> 8).astype("uint8"))
    elif mode in _UNKNOWN_RANGE:
        raise ImageError(
            f"{path}: its pixels are {_UNKNOWN_RANGE[mode]}, whose range is not known; "
            "save it with 8 or 16 bits per channel"
        )
    return image.convert("RGB")


def centre(image: Image.Image, path: str | Path, resize: int, crop: int) -> Image.Image:
    """The central square of an image whose shorter side is resized, as torchvision cuts it.

    Raises `ImageError` that names the file, if the longer side would be too long.
    """
    size = check_shape(image.size, path, resize)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = round((size[0] - crop) / 2), round((size[1] - crop) / 2)
    return image.crop((left, top, left + crop, top + crop))


def check_shape(size: tuple[int, int], path: str | Path, resize: int) -> tuple[int, int]:
    """The size of an image (width, height) once its shorter side is resized.

    Raises `ImageError` that names the file, if the longer side would be too long.
    """
    width, height = size
    shorter = min(width, height)
    resized = (int(resize * width / shorter), int(resize * height / shorter))
    if resized[0] * resized[1] > MAX_PIXELS:
        raise ImageError(f"{path}: {width}x{height} is too narrow for a square crop; crop it first")
    return resized


def _prepare(image: Image.Image, path: str | Path) -> np.ndarray:
    pixels = np.asarray(centre(image, path, RESIZE, CROP), dtype="float64") / 255
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))
