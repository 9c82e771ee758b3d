"""Photographs are prepared as torchvision does, and a bad file is refused with the reason."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import functional as tv

from parity_tests.support import TINY
from resnet_parity import photographs
from resnet_parity.checks.base import PHOTOGRAPHS
from resnet_parity.errors import ImageError, ParityError
from resnet_parity.photographs import CROP, MEAN, RESIZE, STD
from resnet_parity.verify import verify


@pytest.fixture
def photo(tmp_path) -> Path:
    path = tmp_path / "china.png"
    Image.fromarray(load_sample_images().images[0]).save(path)
    return path


def test_preparation_agrees_with_torchvision(photo):
    """Resize, crop and normalise as torchvision's transforms do with a Pillow image."""
    image = tv.center_crop(tv.resize(Image.open(photo), [RESIZE]), [CROP])
    expected = tv.normalize(tv.pil_to_tensor(image).to(torch.float64) / 255, MEAN, STD).numpy()
    np.testing.assert_array_equal(photographs.load(photo), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16"])
def test_other_pixel_formats_become_rgb(mode, tmp_path):
    path = tmp_path / "image.tiff"
    Image.new(mode, (300, 260)).save(path)
    assert photographs.load(path).shape == (3, CROP, CROP)


def test_the_orientation_tag_is_applied(tmp_path):
    path = tmp_path / "image.jpg"
    pixels = np.zeros((260, 520, 3), "uint8")
    pixels[:, :260] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees
    Image.fromarray(pixels).save(path, exif=exif)
    red = photographs.load(path)[0]
    assert red[:80].mean() > red[-80:].mean() + 1  # left has become top
    assert abs(red[:, :80].mean() - red[:, -80:].mean()) < 0.1


def _png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


BAD = {
    "text": (b"not an image", "not an image"),
    "empty": (b"", "not an image"),
    "large": (_png_that_claims(12_000, 12_000), "more than 100,000,000 pixels"),
    "absurd": (_png_that_claims(2**31 - 1, 2**31 - 1), "more than 100,000,000 pixels"),
    "hollow": (_png_that_claims(300, 300), "damaged"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_refused_with_its_name(kind, tmp_path):
    content, message = BAD[kind]
    path = tmp_path / f"{kind}.png"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"{kind}.png: .*{message}"):
        photographs.load(path)


def test_a_truncated_photograph_is_refused(photo):
    photo.write_bytes(photo.read_bytes()[:20_000])
    with pytest.raises(ImageError, match=r"china.png: the image is damaged"):
        photographs.load(photo)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no such file"):
        photographs.load(tmp_path / "absent.png")
    with pytest.raises(ImageError, match="is a directory"):
        photographs.load(tmp_path)


def test_a_sliver_is_refused_before_it_is_resized(tmp_path):
    path = tmp_path / "sliver.png"
    Image.new("L", (60_000, 1)).save(path)
    with pytest.raises(ImageError, match="too narrow"):
        photographs.load(path)


def test_both_implementations_see_the_same_classes(photo, tmp_path):
    other = tmp_path / "flower.png"
    Image.fromarray(load_sample_images().images[1]).save(other)
    report = verify(TINY, checks=("float64", "float32"), images=[photo, other])
    assert report.passed
    assert {verdict.probe for verdict in report.verdicts} == {"random", "training", PHOTOGRAPHS}
    engines = {verdict.engine for verdict in report.verdicts}
    assert len(report.top_classes) == 2 * 2 * len(engines)
    for image in report.images:
        ranks = {
            tuple(index for index, _ in top.classes)
            for top in report.top_classes
            if top.image == image
        }
        assert len(ranks) == 1
        assert len(next(iter(ranks))) == 5


def test_two_photographs_may_have_one_name(photo, tmp_path):
    (tmp_path / "other").mkdir()
    namesake = tmp_path / "other" / photo.name
    Image.fromarray(load_sample_images().images[1]).save(namesake)
    assert verify(TINY, checks=("float64",), images=[photo, namesake]).passed


def test_photographs_need_three_channels_and_a_rounding_check(photo):
    with pytest.raises(ParityError, match="takes 1"):
        verify(replace(TINY, in_channels=1), images=[photo], checks=("float32",))
    with pytest.raises(ParityError, match="runs on photographs"):
        verify(TINY, images=[photo], checks=("exact",))
