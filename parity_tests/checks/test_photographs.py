"""Photographs are prepared as torchvision does, and a bad file is refused with the reason."""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_sample_images
from torchvision.transforms import functional as tv

from parity_tests.support import TINY
from resnet_parity import photographs
from resnet_parity.checks.base import PHOTOGRAPHS
from resnet_parity.errors import ImageError, ParityError
from resnet_parity.photographs import CROP, MEAN, RESIZE, STD
from resnet_parity.reports.verify import print_report
from resnet_parity.tolerances import limit
from resnet_parity.verdict import Verdict
from resnet_parity.verify import Report, verify


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


RAMP = np.linspace(0, 255, 260 * 300).reshape(260, 300).astype("uint8")
"""Every grey level, at another place in each row."""


def levels(path: Path) -> np.ndarray:
    """The RGB levels, 0 to 255, that an image file is prepared to."""
    return 255 * (photographs.load(path).transpose(1, 2, 0) * STD + MEAN)


def stored_mode(path: Path) -> str:
    with Image.open(path) as image:
        return image.mode


@pytest.fixture
def grey(tmp_path) -> np.ndarray:
    """The levels of `RAMP` as an 8-bit RGB image."""
    Image.fromarray(np.stack([RAMP] * 3, axis=-1)).save(tmp_path / "rgb.png")
    grey = levels(tmp_path / "rgb.png")
    assert grey.min() < 30
    assert grey.max() > 225
    return grey


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_other_pixel_formats_become_rgb(mode, tmp_path, grey):
    path = tmp_path / "image.tiff"
    rgb = Image.fromarray(np.stack([RAMP] * 3, axis=-1))
    image = rgb.convert("L").convert(mode) if mode in ("LA", "P") else rgb.convert(mode)
    image.save(path)
    assert stored_mode(path) == mode
    difference = np.abs(np.rint(levels(path)) - np.rint(grey)).max()
    assert difference <= (limit("photographs", "levels") if mode in ("YCbCr", "LAB") else 0)


def test_a_palette_keeps_its_colours(tmp_path):
    path = tmp_path / "image.gif"
    image = Image.new("P", (300, 260), 7)
    image.putpalette([0, 0, 0] * 7 + [255, 51, 102])
    image.save(path)
    Image.new("RGB", image.size, (255, 51, 102)).save(tmp_path / "image.png")
    np.testing.assert_array_equal(levels(path), levels(tmp_path / "image.png"))


def test_transparency_is_ignored(tmp_path, grey):
    pixels = np.stack([RAMP, RAMP, RAMP, RAMP[::-1]], axis=-1)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_array_equal(levels(tmp_path / "image.png"), grey)


@pytest.mark.parametrize(
    ("kind", "dtype", "mode"),
    [
        ("png", "<u2", "I;16"),
        ("tiff", "<u2", "I;16"),
        ("tiff", ">u2", "I;16B"),
        ("jp2", "<u2", "I;16"),
        ("pgm", "<u2", "I"),
    ],
)
def test_the_high_byte_of_sixteen_bits_counts(kind, dtype, mode, tmp_path, grey):
    low = np.random.default_rng(0).integers(0, 256, RAMP.shape)
    path = tmp_path / f"image.{kind}"
    Image.fromarray((RAMP.astype("uint16") * 256 + low).astype(dtype)).save(path)
    assert stored_mode(path) == mode
    np.testing.assert_array_equal(levels(path), grey)


UNKNOWN_RANGE = {
    "int32": ("32-bit integers", RAMP.astype("int32")),
    "float": ("floats", RAMP.astype("float32") / 255),
    "NaN": ("floats", np.full((260, 300), np.nan, "float32")),
}


@pytest.mark.parametrize("kind", UNKNOWN_RANGE)
def test_pixels_of_unknown_range_are_refused_with_the_fix(kind, tmp_path):
    what, pixels = UNKNOWN_RANGE[kind]
    Image.fromarray(pixels).save(tmp_path / "image.tiff")
    message = f"image.tiff: its pixels are {what}, .*; save it with 8 or 16 bits per channel"
    with pytest.raises(ImageError, match=message):
        photographs.load(tmp_path / "image.tiff")


ORIENTATIONS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].T,
    8: np.rot90,
}
"""What each value of the EXIF orientation asks a viewer to do with the stored pixels."""


@pytest.mark.parametrize("dtype", ["uint8", "<u2", ">u2"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_orientation_tag_is_applied(orientation, dtype, tmp_path):
    wide = np.arange(256, dtype="uint8")[None].repeat(512, 0) // 2
    wide[:100] += 100
    stored = wide.astype(dtype) * (1 if dtype == "uint8" else 257)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "tagged.tiff", exif=exif)
    Image.fromarray(np.ascontiguousarray(ORIENTATIONS[orientation](wide))).save(tmp_path / "a.png")
    np.testing.assert_array_equal(levels(tmp_path / "tagged.tiff"), levels(tmp_path / "a.png"))


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
    with pytest.raises(ImageError, match="xx: cannot be read: File name too long"):
        photographs.load(tmp_path / ("x" * 256))


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
    table = printed(report)
    assert [line.split()[-2:] for line in table] == [["all", str(2 * len(engines))]] * 2
    figures = [re.findall(r"\d+ \((\S+)\)", line) for line in table]
    assert [len(each) for each in figures] == [5, 5]
    assert figures[0] != figures[1], "the photographs have other logits"


def printed(report: Report) -> list[str]:
    """The rows of the table of classes in the report."""
    file = io.StringIO()
    print_report(Console(width=240, file=file), report, layers=False)
    lines = file.getvalue().splitlines()
    (start,) = (n for n, line in enumerate(lines) if line.startswith("photograph"))
    assert lines[start - 1].startswith("The weights are random: the classes mean nothing")
    return lines[start + 1 : lines.index("", start)]


def test_engines_that_rank_classes_differently_have_rows_of_their_own():
    logits = {"a": np.array([[1.0, 2, 3]] * 2), "b": np.array([[1.0, 2, 3], [3.0, 2, 1]])}
    verdicts = tuple(
        Verdict("float64", PHOTOGRAPHS, "float64", "taps", engine, "pass", 0, logits=value)
        for engine, value in logits.items()
    )
    report = Report(TINY, 0, ("float64",), {}, verdicts, ("x.png", "x.png"))
    assert not report.same_classes
    rows = [line.split() for line in printed(report)]
    assert [row[-2:] for row in rows] == [["all", "2"], ["in", "float64"], ["in", "float64"]]


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
