"""Grad-CAM: the maps are those of a closed form, alike in both frameworks, and drawn in place."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parity_tests.support import exact, light, python, random
from parity_tests.training.test_classify import logits
from parity_tests.training.test_classify import run as run
from resnet_parity import cli
from resnet_parity.adapters.loading import run_adapter
from resnet_parity.errors import ImageError
from resnet_parity.photographs import MEAN, STD
from resnet_parity.probes import Probe
from resnet_parity.tolerances import limit
from resnet_parity.training.classify import open_classifier
from resnet_parity.training.explain import difference, explain, picture
from resnet_parity.training.folders import Sample
from resnet_parity.training.run_folder import LAST

CHOSEN = np.array([3, 7])


def class_activation_maps(given: Probe) -> np.ndarray:
    """The maps (N, h, w) of Zhou et al. 2015, arXiv:1512.04150, without what is negative.

    After a global average the gradient of a logit is its row of the classifier over the cells.
    """
    features = [value for value in given.expected.values() if value.ndim == 4][-1]
    features = np.maximum(features, 0)  # the last tap of a preactivated network is its norm
    rows = given.weights["fc.weight"][CHOSEN]
    maps = np.einsum("nchw,nc->nhw", features.astype("float64"), rows.astype("float64"))
    return np.maximum(maps, 0) / features[0, 0].size


def grad_cam(framework: str, given: Probe) -> np.ndarray:
    images = np.ascontiguousarray(given.images.transpose(0, 2, 3, 1))
    return run_adapter(framework)[1].explainer(given.architecture, given.weights)(images, CHOSEN)


@pytest.mark.parametrize("framework", ["torch", "keras"])
@pytest.mark.parametrize("name", ["resnet18", "resnet20", "resnetv2_50"])
def test_a_map_is_the_class_activation_map_in_every_bit(name, framework):
    given = exact(name, "float64")
    expected = class_activation_maps(given)
    assert (expected > 0).any() and (expected == 0).any()
    np.testing.assert_array_equal(grad_cam(framework, given), expected)


BACKEND = """
import numpy as np
from parity_tests.support import exact
from parity_tests.training.test_explain import class_activation_maps, grad_cam
given = exact("resnet20", "float64")
np.testing.assert_array_equal(grad_cam("keras", given), class_activation_maps(given))
import keras
print(keras.backend.backend())
"""


@pytest.mark.parametrize("backend", light(["torch", "jax"], ["torch"]))
def test_a_map_is_the_class_activation_map_on_each_backend_of_keras(backend):
    result = python("-c", BACKEND, KERAS_BACKEND=backend)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{backend}\n"


@pytest.mark.parametrize("name", ["resnet18", "resnet20"])
def test_the_maps_of_both_frameworks_differ_by_rounding(name):
    given = random(name, "float64")
    maps = [grad_cam(framework, given) for framework in ("torch", "keras")]
    for own in zip(*maps, class_activation_maps(given), strict=True):
        assert difference(np.stack(own)) < limit("explain", "maps")


def test_a_difference_is_relative_to_the_largest_value():
    assert difference(np.array([[[1.0, 4.0]], [[2.0, 4.0]]])) == 1 / 4
    assert difference(np.zeros((2, 3, 3))) == 0


def test_a_picture_is_hot_where_the_map_is(tmp_path):
    """A grey image of 5 x 7 pixels becomes 45 times as large; its right upper corner is red."""
    heat = np.zeros((2, 3))
    heat[0, 2] = 1e-9
    grey = ((np.full((5, 7, 3), 100) / 255 - MEAN) / STD).astype("float32")
    with Image.open(io.BytesIO(picture(grey, heat))) as image:
        assert (image.format, image.size) == ("PNG", (315, 225))
        corners = [image.getpixel(at) for at in ((314, 0), (0, 0), (0, 224), (314, 224))]
    assert corners == [(178, 50, 50), *[(50, 50, 114)] * 3]
    with Image.open(io.BytesIO(picture(grey, np.zeros((2, 3))))) as image:
        assert {image.getpixel((x, y)) for x in range(315) for y in range(225)} == {(50, 50, 114)}


def test_the_pixels_of_the_photograph_are_half_of_its_picture():
    coldest = np.array([0, 0, 128])
    levels = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
    image = ((levels / 255 - MEAN) / STD).astype("float32")
    with Image.open(io.BytesIO(picture(image, np.zeros((7, 7))))) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn), np.rint((levels + coldest) / 2))


def explained(run: Path, out: Path, *more: str) -> list[str]:
    val = run.parent / "pets" / "val"
    return [
        "predict",
        str(run / LAST),
        str(val / "b"),
        str(val / "g"),
        "--explain",
        str(out),
        *more,
    ]


def test_predictions_are_explained_in_both_frameworks(run, tmp_path, capsys):
    val, out = run.parent / "pets" / "val", tmp_path / "maps"
    (val / "b" / "0.png").rename(val / "b" / "1.png")  # there is one in g, too
    line = explained(run, out, "--framework", "both", "--json")
    assert cli.main(line) == 0
    rows = json.loads(capsys.readouterr().out)["photographs"]
    assert [Path(row["explained"]).name for row in rows] == [
        *("1.png", "3.png", "6.png", "9.png", "1-2.png", "10.png", "4.png", "7.png")
    ]
    assert sorted(out.iterdir()) == sorted(Path(row["explained"]) for row in rows)
    for row in rows:
        assert row["difference"] < limit("explain", "maps")
        assert len(row["named"]) == 2 and {*row["named"]} == {row["classes"][0][0]}
        with Image.open(row["explained"]) as image:
            assert image.size == (224, 224)
    labels = logits(run)[0].argmax(axis=1)[: len(rows)]
    assert len({*labels}) > 1
    classifier = open_classifier(run / LAST)
    images = [classifier.images.load(Path(row["photograph"]), 0, 0) for row in rows]
    explainer = run_adapter("torch")[1].explainer(classifier.architecture, classifier.weights)
    for row, *own in zip(rows, images, explainer(np.stack(images), labels), strict=True):
        assert Path(row["explained"]).read_bytes() == picture(*own)
    assert cli.main(line) == 2
    assert "maps exists already; name a new folder" in capsys.readouterr().err


def test_maps_that_differ_and_classes_that_differ_fail(run, tmp_path, monkeypatch, capsys):
    from resnet_parity.adapters.keras import runs

    whole = runs.explainer
    monkeypatch.setattr(
        runs, "explainer", lambda *given: lambda *images: 1.001 * whole(*given)(*images)
    )
    assert cli.main(explained(run, tmp_path / "one", "--framework", "both")) == 1
    assert "differ by at most 1.0e-03 of their largest value" in capsys.readouterr().out
    assert cli.main(explained(run, tmp_path / "two", "--framework", "keras")) == 0
    assert "differ by" not in capsys.readouterr().out
    monkeypatch.undo()
    classifier = runs.classifier
    monkeypatch.setattr(runs, "classifier", lambda *own: lambda images: -classifier(*own)(images))
    assert cli.main(explained(run, tmp_path / "three", "--framework", "both")) == 1
    assert capsys.readouterr().out.count("the frameworks disagree on ") == 8


def test_a_photograph_that_is_gone_leaves_no_folder(run, tmp_path, capsys):
    path = run.parent / "pets" / "val" / "b" / "0.png"
    samples = [Sample(path, 0)] * 9 + [Sample(tmp_path / "gone.png", 0)]
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        explain(tmp_path / "maps", open_classifier(run / LAST), samples, ["torch"])
    assert {each.name for each in tmp_path.iterdir()} == {"pets", "run"}
