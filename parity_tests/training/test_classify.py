"""`evaluate` and `predict`: the classes of photographs, from one framework or both."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from resnet_spec import get_architecture

from resnet_parity import cli
from resnet_parity.adapters.loading import run_adapter
from resnet_parity.compare import relative_error
from resnet_parity.tolerances import limit
from resnet_parity.training import classify
from resnet_parity.training.classify import calibration_error, open_classifier
from resnet_parity.training.config import make_config, to_toml
from resnet_parity.training.images import Images
from resnet_parity.training.initial import initial_weights
from resnet_parity.training.run_folder import CLASSES, CONFIG, LAST, STATE, write_weights

CLASSES_OF_RUN = ["b", "g", "r"]


@pytest.fixture
def run(tmp_path) -> Path:
    """The folder of a run whose net is untrained, with a photograph of each of twelve colours."""
    arch = get_architecture("resnet20", num_classes=3)
    folder = tmp_path / "run"
    folder.mkdir()
    write_weights(folder / LAST, arch, initial_weights(arch, 3))
    config = make_config({"folder": "pets", "image_size": 16, "augmentation": "none"})
    (folder / CONFIG).write_text(to_toml(config, {}))
    (folder / CLASSES).write_text(json.dumps(CLASSES_OF_RUN))
    stream = np.random.default_rng(0)
    for index in range(12):
        path = tmp_path / "pets" / "val" / CLASSES_OF_RUN[index % 3] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(stream.integers(0, 256, (20, 24, 3), dtype="uint8")).save(path)
    return folder


def logits(run: Path) -> tuple[np.ndarray, np.ndarray]:
    """The logits of PyTorch for the photographs in the order of their names, and the labels."""
    paths = sorted((run.parent / "pets" / "val").rglob("*.png"))
    images = Images(16, "none", is_training=False)
    classifier = open_classifier(run / LAST)
    classify = run_adapter("torch")[1].classifier(classifier.architecture, classifier.weights)
    found = classify(np.stack([images.load(path, 0, 0) for path in paths]))
    return found, np.array([CLASSES_OF_RUN.index(path.parent.name) for path in paths])


def result(capsys, *line: str, code: int = 0) -> dict[str, Any]:
    assert cli.main([*line, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_both_frameworks_are_evaluated(run, tmp_path, capsys):
    matrix = tmp_path / "confusion.csv"
    pets = str(run.parent / "pets")
    line = ("evaluate", str(run / LAST), pets, "--framework", "both", "--confusion", str(matrix))
    found = result(capsys, *line)
    scores, labels = logits(run)
    right = scores.argmax(axis=1) == labels
    assert found["photographs"] == 12
    assert found["top1"] == {"torch": right.mean(), "keras": right.mean()}
    assert found["top5"] == {"torch": 1, "keras": 1}
    assert found["disagreements"] == found["damaged"] == []
    with matrix.open() as file:
        head, *rows = csv.reader(file)
    assert head == ["true class", *CLASSES_OF_RUN]
    counts = np.array([row[1:] for row in rows], dtype=int)
    assert (counts.sum(axis=1) == 4).all() and np.trace(counts) == right.sum()
    hits = [each["right"] for each in found["classes"]]
    assert hits == counts.diagonal().tolist()


def test_a_confusion_matrix_is_drawn_by_the_ending_of_its_file(run, tmp_path, capsys):
    line = ["evaluate", str(run / LAST), str(run.parent / "pets"), "--confusion"]
    for name in ("confusion.txt", "confusion"):
        assert cli.main([*line, str(tmp_path / name)]) == 2
        assert "choose a name that ends in .csv or .png" in capsys.readouterr().err
    assert cli.main([*line, str(tmp_path / "confusion.PNG")]) == 0
    with Image.open(tmp_path / "confusion.PNG") as image:
        assert image.format == "PNG"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resnet_parity.adapters.loading.find_spec", lambda name: None)
        assert cli.main([*line, str(tmp_path / "other.png")]) == 3
    assert "matplotlib is not installed; install it with" in capsys.readouterr().err
    assert not (tmp_path / "other.png").exists()


def test_a_batch_is_as_large_as_the_memory_allows(run, monkeypatch, capsys):
    """The result does not depend on it."""
    line = ("predict", str(run / LAST), str(run.parent / "pets" / "val" / "r"))
    whole = result(capsys, *line)
    size = classify.fitting_batch(get_architecture("resnet50"), 32, (224, 224))
    assert size == 18
    sizes: list[int] = []
    monkeypatch.setattr(classify, "fitting_batch", lambda arch, batch, size: 3)
    adapter = run_adapter("torch")[1]
    own = adapter.classifier
    monkeypatch.setattr(
        adapter,
        "classifier",
        lambda *given: lambda images: sizes.append(len(images)) or own(*given)(images),
    )
    found = result(capsys, *line)
    assert sizes == [3, 3, 1]
    for ours, theirs in zip(found["photographs"], whole["photographs"], strict=True):
        assert ours["photograph"] == theirs["photograph"] and ours["named"] == theirs["named"]
    monkeypatch.undo()
    assert cli.main([*line, "--image-size", "100000"]) == 2
    assert "take a smaller size or fewer images" in capsys.readouterr().err


def test_a_disagreement_is_listed_and_fails(run, monkeypatch, capsys):
    from resnet_parity.adapters.keras import runs

    whole = runs.classifier
    monkeypatch.setattr(runs, "classifier", lambda *given: lambda images: -whole(*given)(images))
    line = ["evaluate", str(run / LAST), str(run.parent / "pets"), "--framework", "both"]
    assert cli.main(line) == 1
    printed = capsys.readouterr().out
    assert printed.count("the frameworks disagree on ") == 12


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_photographs_and_folders_are_predicted(framework, run, tmp_path, capsys):
    folder = run.parent / "pets" / "val" / "g"
    (folder / "broken.png").write_text("no picture")
    one = run.parent / "pets" / "val" / "b" / "0.png"
    line = ("predict", str(run / LAST), str(one), str(folder), "--top", "2")
    found = result(capsys, *line, "--framework", framework)
    names = [Path(each["photograph"]).name for each in found["photographs"]]
    assert names == ["0.png", *sorted(path.name for path in folder.glob("[0-9]*.png"))]
    assert "broken.png" in found["damaged"][0]
    exponents = np.exp(logits_without_broken(run, folder).astype("float64"))
    shares = exponents / exponents.sum(axis=1, keepdims=True)
    (label, share), (_, second) = found["photographs"][0]["classes"]
    assert label == CLASSES_OF_RUN[shares[0].argmax()]
    expected = np.sort(shares[0])[::-1][:2]
    assert relative_error(expected, np.array([share, second])) < limit("keras habits", "float32")


def logits_without_broken(run: Path, folder: Path) -> np.ndarray:
    (folder / "broken.png").unlink()
    return logits(run)[0]


def test_the_calibration_error_is_the_gap_of_confidence_and_accuracy():
    """Four photographs with a confidence of 3/4, of which one is right: a gap of a half."""
    scores = np.log(np.array([[3.0, 1.0]] * 4))
    gaps = [calibration_error(scores, np.array(labels)) for labels in ([0, 1, 1, 1], [0, 0, 0, 1])]
    assert np.abs(np.array(gaps) - [0.5, 0]).max() < limit("keras habits", "float32")


def test_bad_input_is_named(run, tmp_path, capsys):
    def fails(*line: object) -> str:
        assert cli.main([*map(str, line)]) == 2
        return capsys.readouterr().err

    pets, weights = run.parent / "pets", run / LAST
    assert "is no folder of photographs" in fails("evaluate", weights, tmp_path / "none")
    assert "does not exist" in fails("evaluate", tmp_path / "w.safetensors", pets)
    assert "0.png: no such file" in fails("predict", weights, tmp_path / "0.png")
    inner = pets / "val" / "b"
    assert "1.png: no such file" in fails("predict", weights, inner, tmp_path / "1.png")
    assert "holds no pictures" in fails("predict", weights, run)
    state = {**load_file(weights), "fc.bias.momentum": np.zeros(3)}
    save_file(state, run / STATE)
    assert "take best.safetensors or last.safetensors" in fails("predict", run / STATE, inner)
    assert f"holds no pictures; name the folders in it, such as {inner}" in fails(
        "predict", weights, pets / "val"
    )
    assert "--top must be at least 1" in fails("predict", weights, pets, "--top", "0")
    assert "--image-size must be" in fails(
        "predict", weights, pets / "val" / "b", "--image-size", "0"
    )
    (pets / "val" / "x").mkdir()
    assert "val/x is a class that was not trained" in fails("evaluate", weights, pets)
    (run / CLASSES).write_text('["a"]')
    assert "names 1 classes, but the weights have 3" in fails("evaluate", weights, pets)
    (run / CLASSES).write_text("{")
    assert "classes.json is not a list of classes" in fails("evaluate", weights, pets)
