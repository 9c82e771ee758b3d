"""The page of recipes: its commands make folders of pictures, and `train` takes its options."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resnet_spec import get_architecture

from parity_tests.support import ROOT, python
from resnet_parity.cli import _parser
from resnet_parity.limits import MAX_TRAINED, check_memory
from resnet_parity.training.config import Config
from resnet_parity.training.folders import read_photographs
from resnet_parity.training.images import Images

PAGE = (ROOT / "docs" / "training_recipes.md").read_text()
BLOCKS = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)
LOOPS = [block for block in BLOCKS if block.startswith("for ")]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
(CIFAR,) = re.findall(
    r"<<'PYTHON'\n(.*?)PYTHON\n", (ROOT / "scripts" / "cifar10").read_text(), flags=re.DOTALL
)


@pytest.mark.parametrize(
    ("loop", "names", "classes"),
    [
        (0, ["images/Maine_Coon_1.jpg", "images/great_pyrenees_2.jpg"], ["cat", "dog"]),
        (
            1,
            ["images/Maine_Coon_1.jpg", "images/great_pyrenees_2.jpg"],
            ["Maine_Coon", "great_pyrenees"],
        ),
        (2, ["train/cat.0.jpg", "train/dog.12.jpg"], ["cat", "dog"]),
    ],
)
def test_a_loop_of_the_page_sorts_pictures_by_class(loop, names, classes, tmp_path):
    for name in names:
        for number in range(3):
            path = tmp_path / name.replace(".jpg", f"{number}.jpg")
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    assert subprocess.run(["sh", "-euc", LOOPS[loop]], cwd=tmp_path, check=False).returncode == 0
    found = read_photographs(tmp_path / "pets", val_split=0.2)
    assert found.classes == tuple(classes)
    assert (len(found.train), len(found.val)) == (4, 2)
    for name, label in zip(names, classes, strict=True):
        assert len([*(tmp_path / "pets" / label).glob(f"{Path(name).stem}*")]) == 3


def test_the_loops_are_all_tested():
    assert len(LOOPS) == 3


TRAININGS = re.findall(r"^resnet-parity (train .*)$", PAGE, flags=re.MULTILINE)


@pytest.mark.parametrize("line", TRAININGS)
def test_train_takes_the_options_of_the_page(line):
    given = _parser().parse_args(shlex.split(line))
    assert given.folder in {"pets", "cifar10", "imagenet"} and given.out == Path("run")
    assert len(TRAININGS) == 3
    arch = get_architecture(given.architecture or Path(given.weights).stem)
    size = given.image_size or Config.image_size
    check_memory(arch, given.batch_size, (size, size), most=MAX_TRAINED)


@pytest.fixture
def batches(tmp_path) -> Path:
    """CIFAR-10 of two pictures a batch, in the format that its page defines."""
    folder, stream = tmp_path / "cifar-10-batches-bin", np.random.default_rng(0)
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join([*CLASSES, "", ""]))
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        records = stream.integers(0, 256, (2, 3073), dtype="uint8")
        records[:, 0] = (3, 9)
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    return folder


def test_batches_of_cifar_become_pictures(batches, tmp_path):
    result = python("-c", CIFAR, str(batches), str(tmp_path / "cifar10"))
    assert result.returncode == 0 and "12 pictures of 10 classes" in result.stdout, result.stderr
    found = read_photographs(tmp_path / "cifar10")
    assert found.classes == ("cat", "truck")
    assert (len(found.train), len(found.val)) == (10, 2)
    record = (batches / "test_batch.bin").read_bytes()[:3073]
    with Image.open(tmp_path / "cifar10" / "val" / "cat" / "test_batch_00000.png") as image:
        assert image.size == (32, 32)
        red, green, blue = (record[1 + 1024 * channel :] for channel in range(3))
        for x, y in ((0, 0), (31, 0), (0, 31), (17, 5)):
            at = 32 * y + x
            assert image.getpixel((x, y)) == (red[at], green[at], blue[at])
    assert Images(32, "shift-mirror").load(found.train[0].path, 0, 0).shape == (32, 32, 3)


def short(folder: Path) -> None:
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])


def other_class(folder: Path) -> None:
    path = folder / "data_batch_3.bin"
    path.write_bytes(b"\n" + path.read_bytes()[1:])


BAD = {
    "short": (short, "data_batch_3.bin is damaged: it holds no records of 3073 bytes"),
    "class": (other_class, "data_batch_3.bin is damaged"),
    "missing": (lambda folder: (folder / "test_batch.bin").unlink(), "is no extracted cifar-10"),
}


@pytest.mark.parametrize("kind", BAD)
def test_damaged_batches_of_cifar_are_named_and_nothing_is_written(kind, batches, tmp_path):
    spoil, message = BAD[kind]
    spoil(batches)
    result = python("-c", CIFAR, str(batches), str(tmp_path / "cifar10"))
    assert result.returncode == 1 and message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "cifar10").exists()
