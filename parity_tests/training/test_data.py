"""Photographs of a folder become the same batches everywhere; what is bad is named."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from resnet_parity.adapters.loading import native_images
from resnet_parity.errors import ImageError, ParityError
from resnet_parity.photographs import MEAN, STD
from resnet_parity.tolerances import limit
from resnet_parity.training.batches import Batches, Damaged
from resnet_parity.training.config import Augmentation
from resnet_parity.training.folders import Sample, read_photographs
from resnet_parity.training.images import Images, random_box

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype="uint8")


def picture(path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path, **options)
    return path


def folder(path: Path, *names: str) -> Path:
    """A folder with a picture of each name."""
    for name in names:
        picture(path / name)
    return path


@pytest.fixture
def photograph(tmp_path) -> Path:
    path = tmp_path / "china.png"
    Image.fromarray(load_sample_images().images[0][:401, :633]).save(path)
    return path


def normalised(image: Any) -> np.ndarray:
    steps = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([*MEAN], [*STD])]
    return v2.Compose(steps)(image).permute(1, 2, 0).numpy()


def assert_same_levels(ours: np.ndarray, theirs: np.ndarray) -> None:
    """The same 8-bit levels; only the normalisation rounds."""
    first, second = (np.rint((each * STD + MEAN) * 255) for each in (ours, theirs))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("augmentation", "resize"), [("crop", 256), ("shift", 224), ("none", 224)])
def test_validation_images_are_those_of_torchvision(photograph, augmentation, resize):
    theirs = v2.Compose([v2.Resize(resize), v2.CenterCrop(224)])(Image.open(photograph))
    ours = Images(224, augmentation, is_training=False).load(photograph, 0, 0)
    assert ours.dtype == np.float32 and ours.shape == (224, 224, 3)
    assert_same_levels(ours, normalised(theirs))


def test_a_random_part_is_resized_as_by_torchvision(photograph, monkeypatch):
    monkeypatch.setattr("resnet_parity.training.images.random_box", lambda *_: (20, 30, 320, 280))
    image = tv.resized_crop(Image.open(photograph), 30, 20, 250, 300, [96, 96])
    drawn = [Images(96).load(photograph, epoch, 0) for epoch in range(8)]
    either = normalised(image), normalised(tv.horizontal_flip(image))
    mirrored = [
        bool(np.abs(each - either[1]).max() < np.abs(each - either[0]).max()) for each in drawn
    ]
    assert {*mirrored} == {False, True}
    for each, is_mirrored in zip(drawn, mirrored, strict=True):
        assert_same_levels(each, either[is_mirrored])


@pytest.mark.parametrize("size", [(300, 200), (200, 300), (50, 50), (1000, 10), (10, 1000), (1, 1)])
def test_random_boxes_are_inside_and_have_the_sizes_of_torchvision(size):
    width, height = size
    for seed in range(50):
        left, top, right, bottom = random_box(size, np.random.default_rng(seed).random(40))
        assert 0 <= left < right <= width and 0 <= top < bottom <= height


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000)])
def test_a_narrow_picture_gives_the_central_part_of_torchvision(size):
    found = v2.RandomResizedCrop(8).make_params([torch.zeros(3, size[1], size[0])])
    top, left, height, width = (found[name] for name in ("top", "left", "height", "width"))
    box = random_box(size, np.random.default_rng(0).random(40))
    assert box == (left, top, left + width, top + height)


def test_a_shift_moves_the_picture_over_the_mean(tmp_path):
    path = picture(tmp_path / "a.png")
    still = Images(8, "none").load(path, 0, 0)
    moved = {Images(8, "shift").load(path, epoch, 0).tobytes() for epoch in range(60)}
    padded = np.pad(still, ((1, 1), (1, 1), (0, 0)))
    parts = [padded[top : top + 8, left : left + 8] for top in range(3) for left in range(3)]
    assert moved == {part.tobytes() for part in parts}
    drawn = {Images(8, "shift-mirror").load(path, epoch, 0).tobytes() for epoch in range(200)}
    assert drawn == moved | {part[:, ::-1].tobytes() for part in parts}


@pytest.mark.parametrize("augmentation", ["crop", "shift"])
def test_an_image_depends_on_seed_epoch_and_number_alone(photograph, augmentation: Augmentation):
    def drawn(seed: int, epoch: int, number: int) -> bytes:
        return Images(32, augmentation, seed=seed).load(photograph, epoch, number).tobytes()

    first = drawn(0, 0, 0)
    assert first == drawn(0, 0, 0)
    assert len({first, *(drawn(seed, 0, 0) for seed in range(1, 5))}) > 1
    assert len({first, *(drawn(0, epoch, 0) for epoch in range(1, 5))}) > 1
    assert len({first, *(drawn(0, 0, number) for number in range(1, 5))}) > 1


FRAMEWORKS = ("torch", "keras")


@pytest.mark.parametrize("size", [224, 32])
@pytest.mark.parametrize("augmentation", ["crop", "none"])
def test_native_images_of_torchvision_differ_by_a_level(photograph, augmentation, size):
    images = Images(size, augmentation, is_training=False)
    native = native_images("torch")(**asdict(images))
    shared, own = (each.load(photograph, 0, 0) for each in (images, native))
    assert own.dtype == np.float32 and own.shape == (size, size, 3)
    levels = np.abs(np.rint((own * STD + MEAN) * 255) - np.rint((shared * STD + MEAN) * 255))
    assert 0 < levels.max() <= limit("photographs", "levels")


@pytest.mark.parametrize("augmentation", ["crop", "none"])
def test_native_images_of_keras_skip_pixels(photograph, augmentation):
    """Its default has no antialiasing: at a third of the size, a pixel in three is seen."""
    square = Image.open(photograph).crop((0, 0, 384, 384))
    square.save(photograph)
    native = native_images("keras")(112, augmentation, is_training=False)
    seen = np.asarray(square)[1::3, 1::3]
    expected = (seen / 255 - MEAN) / STD
    edge = (128 - 112) // 2
    if augmentation == "crop":
        expected = expected[edge:-edge, edge:-edge]
    else:
        native = replace(native, size=128)
    found = native.load(photograph, 0, 0)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < limit("keras habits", "float32")


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("augmentation", ["crop", "shift"])
def test_a_native_image_depends_on_seed_epoch_and_number_alone(framework, augmentation, photograph):
    native = native_images(framework)(32, augmentation)
    state = torch.get_rng_state()

    def drawn(seed: int, epoch: int, number: int) -> bytes:
        return replace(native, seed=seed).load(photograph, epoch, number).tobytes()

    first = drawn(0, 0, 0)
    assert first == drawn(0, 0, 0)
    for changed in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert len({first, *(drawn(*(each * k for each in changed)) for k in range(1, 4))}) > 1
    assert (torch.get_rng_state() == state).all()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("augmentation", ["crop", "shift", "shift-mirror"])
def test_native_augmentation_moves_and_mirrors(framework, augmentation, tmp_path):
    """A bright pixel is seen in both halves of a row; validation shows it in one place."""
    pixels = np.zeros((40, 40, 3), "uint8")
    pixels[18:22, 6:10] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    native = native_images(framework)(32, augmentation)

    def column(images: Images, epoch: int) -> int:
        return int(images.load(tmp_path / "a.png", epoch, 0).max(axis=(0, 2)).argmax())

    still = {column(replace(native, is_training=False), epoch) for epoch in range(4)}
    moved = {column(native, epoch) for epoch in range(20)}
    assert len(still) == 1 and len(moved) > 3
    assert (max(moved) >= 16) == (augmentation != "shift")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_bad_picture_is_named_by_native_images(framework, tmp_path):
    native = native_images(framework)(32)
    BAD["truncated"](tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"a\.png: the image is damaged"):
        native.load(tmp_path / "a.png", 0, 0)


def test_a_narrow_picture_is_refused_before_torchvision_resizes_it(tmp_path):
    Image.new("RGB", (60_000, 1)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="60000x1 is too narrow"):
        native_images("torch")(224).load(tmp_path / "a.png", 0, 0)


KINDS: dict[str, Any] = {
    "grey": lambda image: image.convert("L"),
    "grey and alpha": lambda image: image.convert("LA"),
    "palette": lambda image: image.quantize(256),
    "alpha": lambda image: image.convert("RGBA"),
    "one bit": lambda image: image.convert("1"),
    "16 bits": lambda image: Image.fromarray(np.asarray(image.convert("L")).astype("uint16") << 8),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_picture_becomes_rgb(kind, tmp_path):
    image = KINDS[kind](Image.fromarray(PIXELS))
    image.save(tmp_path / "kind.png")
    expected = image.convert("L" if kind == "16 bits" else "RGB")
    if kind == "16 bits":
        expected = Image.fromarray(PIXELS).convert("L")
    expected.convert("RGB").save(tmp_path / "rgb.png")
    ours, theirs = (
        Images(8, "none").load(tmp_path / f"{name}.png", 0, 0) for name in ("kind", "rgb")
    )
    np.testing.assert_array_equal(ours, theirs)


def test_cmyk_and_animated_pictures_become_rgb(tmp_path):
    image = Image.fromarray(PIXELS)
    image.convert("CMYK").save(tmp_path / "cmyk.tif")
    picture(tmp_path / "rgb.png")
    frames = [image.quantize(16), Image.new("P", image.size)]
    frames[0].save(tmp_path / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].convert("RGB").save(tmp_path / "first.png")
    load = Images(8, "none").load
    for kind, same in (("cmyk.tif", "rgb.png"), ("animated.gif", "first.png")):
        ours, theirs = (load(tmp_path / name, 0, 0) for name in (kind, same))
        np.testing.assert_array_equal(ours, theirs)


def truncated(path: Path) -> None:
    content = picture(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def no_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("<html>")


def enormous(path: Path) -> None:
    """A picture whose header claims more pixels than the limit."""
    content = bytearray(picture(path).read_bytes())
    content[16:24] = (20_000).to_bytes(4, "big") * 2
    path.write_bytes(content)


def link_to_nothing(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("missing.png")


def pipe(path: Path) -> None:
    """Whoever opened it would wait for ever."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


BAD = {
    "truncated": truncated,
    "no picture": no_picture,
    "enormous": enormous,
    "link to nothing": link_to_nothing,
    "pipe": pipe,
}


@contextmanager
def another_user() -> Iterator[None]:
    """The rights of nobody, where the tests have those of root, who may read everything."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that every user may read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_a_picture_or_folder_without_permission_is_named(readable):
    folder(readable, *(f"{name}/{index:03}.png" for name in "ab" for index in range(50)))
    (readable / "a" / "007.png").chmod(0)
    found = read_photographs(readable, val_split=0.2)
    log = readable / "damaged.txt"
    log.touch()
    log.chmod(0o666)
    with another_user():
        loaded = batches(found.train + found.val, log)
        assert sum(len(loaded.load(0, index).images) for index in range(25)) == 99
        with pytest.raises(ImageError, match=r"a/007\.png: permission denied"):
            [batches(found.train + found.val).load(0, index) for index in range(25)]
    (named,) = Damaged(log, 100).news()
    assert named.endswith("a/007.png: permission denied")
    (readable / "b").chmod(0)
    with another_user(), pytest.raises(ParityError, match="b cannot be read: Permission denied"):
        read_photographs(readable, val_split=0.2)
    (readable / "b").chmod(0o755)
    readable.chmod(0)
    with another_user(), pytest.raises(ParityError, match="cannot be read: Permission denied"):
        read_photographs(readable, val_split=0.2)


def test_a_folder_with_the_name_of_a_picture_is_none(tmp_path):
    folder(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (tmp_path / "a" / "3.png").mkdir()
    found = read_photographs(tmp_path, val_split=0.5)
    assert [each.name for each in found.others] == ["3.png"]
    assert len(found.train + found.val) == 4
    with pytest.raises(ImageError, match=r"3\.png: is a directory, not an image"):
        Images(8).load(tmp_path / "a" / "3.png", 0, 0)


def batches(found: tuple[Sample, ...], log: Path | None = None, **options: Any) -> Batches:
    return Batches(found, Images(8, "shift"), size=4, log=log, **options)


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_picture_is_named_skipped_and_counted(kind, tmp_path):
    folder(tmp_path, *(f"{name}/{index:03}.png" for name in "ab" for index in range(50)))
    BAD[kind](tmp_path / "a" / "007.png")
    found = read_photographs(tmp_path, val_split=0.2)
    samples = found.train + found.val
    log = tmp_path / "damaged.txt"
    damaged, loaded = Damaged(log, len(samples)), batches(samples, log)
    images = [
        each
        for epoch in range(2)
        for index in range(25)
        for each in loaded.load(epoch, index).images
    ]
    assert len(images) == 2 * 99
    (named,) = damaged.news()
    assert "a/007.png" in named
    assert not damaged.news()
    with pytest.raises(ImageError, match="007"):
        [batches(samples).load(0, index) for index in range(25)]


def test_more_than_one_damaged_picture_in_a_hundred_is_too_many(tmp_path):
    folder(tmp_path, *(f"{name}/{index:03}.png" for name in "ab" for index in range(50)))
    log = tmp_path / "damaged.txt"
    found = read_photographs(tmp_path, val_split=0.2)
    loaded, damaged = batches(found.train + found.val, log), Damaged(log, 100)
    for index in (3, 4):
        no_picture(tmp_path / "a" / f"{index:03}.png")
    with pytest.raises(ParityError, match=r"2 of 100 photographs are damaged.*damaged\.txt"):
        for index in range(len(loaded)):
            loaded.load(0, index)
            damaged.news()


def test_a_batch_without_a_readable_picture_is_refused(tmp_path):
    for index in range(4):
        no_picture(tmp_path / f"{index}.png")
    samples = tuple(Sample(tmp_path / f"{index}.png", 0) for index in range(4))
    with pytest.raises(ImageError, match="no photograph of a batch can be read"):
        batches(samples, tmp_path / "damaged.txt").load(0, 0)


FOLDERS: dict[str, tuple[tuple[str, ...], str]] = {
    "empty": ((), "it is empty"),
    "flat": (("a.png", "b.png"), "it holds pictures, not one folder a class"),
    "one class": (("cats/a.png", "cats/b.png"), "holds one class, 'cats'"),
    "nested": (
        ("2020/cats/a.png", "2020/dogs/a.png", "b/c.png"),
        "a class is one folder of pictures",
    ),
    "unknown class": (
        ("train/a/1.png", "train/b/1.png", "val/c/1.png"),
        "val/c is a class that was not trained; known: 'a', 'b'",
    ),
    "another name of val": (
        ("train/a/1.png", "train/b/1.png", "validation/a/1.png"),
        "has no folder val; rename 'validation', or keep",
    ),
    "another name of train": (
        ("Train/a/1.png", "Train/b/1.png", "Val/a/1.png"),
        "Train holds folders and no pictures; if they are the classes, rename it to train",
    ),
    "one folder of classes": (
        ("animals/cats/a.png", "animals/dogs/a.png"),
        "animals holds folders and no pictures; a class is one folder of pictures: name",
    ),
    "no split": (("a/1.png", "b/1.png"), "keep a part with --val-split"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_bad_folder_is_named(kind, tmp_path):
    names, message = FOLDERS[kind]
    with pytest.raises(ParityError, match=message):
        read_photographs(folder(tmp_path, *names))


def test_other_bad_folders(tmp_path):
    with pytest.raises(ParityError, match="is no folder of photographs"):
        read_photographs(tmp_path / "missing")
    split = folder(tmp_path / "split", "train/a/1.png", "train/b/1.png", "val/a/1.png")
    with pytest.raises(ParityError, match="leave --val-split out"):
        read_photographs(split, val_split=0.5)
    flat = folder(tmp_path / "flat", "a/1.png", "a/2.png", "b/1.png")
    with pytest.raises(ParityError, match="b holds one picture"):
        read_photographs(flat, val_split=0.5)
    with pytest.raises(ParityError, match=r"--val-split must lie in \[0, 1\), not 1"):
        read_photographs(flat, val_split=1)
    (flat / "c").mkdir()
    (flat / "c" / "notes.txt").touch()
    with pytest.raises(ParityError, match=r"c holds no pictures \(\.jpg, \.png"):
        read_photographs(flat, val_split=0.5)


def test_a_folder_gives_its_classes_and_pictures_in_the_order_of_names(tmp_path):
    names = ("train/b/2.png", "train/b/1.jpg", "train/a/1.png", "val/b/9.png")
    folder(tmp_path, *names)
    (tmp_path / "train" / "a" / "notes.txt").touch()
    (tmp_path / "train" / "a" / ".hidden.png").touch()
    found = read_photographs(tmp_path)
    assert found.classes == ("a", "b")
    paths = [(each.path.relative_to(tmp_path).as_posix(), each.label) for each in found.train]
    assert paths == [("train/a/1.png", 0), ("train/b/1.jpg", 1), ("train/b/2.png", 1)]
    assert [each.label for each in found.val] == [1]
    assert [each.name for each in found.others] == ["notes.txt"]


def test_a_split_keeps_a_part_of_each_class_by_the_seed(tmp_path):
    folder(tmp_path, *(f"{name}/{index}.png" for name in "ab" for index in range(10)))
    found = read_photographs(tmp_path, val_split=0.2)
    assert [each.label for each in found.val] == [0, 0, 1, 1]
    assert {*found.train} | {*found.val} == {*read_photographs(tmp_path, val_split=0.5).train} | {
        *read_photographs(tmp_path, val_split=0.5).val
    }
    assert not {*found.train} & {*found.val}
    assert found == read_photographs(tmp_path, val_split=0.2)
    assert len({read_photographs(tmp_path, val_split=0.2, seed=seed).val for seed in range(5)}) > 1


def test_an_epoch_shows_each_sample_once_in_an_order_of_its_own(tmp_path):
    samples = tuple(Sample(tmp_path / f"{index}.png", 0) for index in range(10))
    shuffled = batches(samples)
    orders = [shuffled.order(epoch).tolist() for epoch in range(3)]
    assert all(sorted(order) == [*range(10)] for order in orders)
    assert len({*map(tuple, orders)}) == 3
    assert (len(shuffled), len(batches(samples, whole=True))) == (3, 2)
    validation = Batches(samples, Images(8, is_training=False), 4)
    assert validation.order(5).tolist() == [*range(10)]
