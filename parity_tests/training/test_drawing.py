"""Pictures of results: what they show, and that it can be read."""

from __future__ import annotations

import io
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from resnet_parity.training.drawing import confusion_figure, confusion_png


def counts(number: int) -> np.ndarray:
    """Right for a half; the class after it is named for the other half."""
    found = np.eye(number, dtype="int64") * 5000
    return found + np.roll(found, 1, axis=1)


def test_a_confusion_matrix_shows_true_classes_in_rows():
    figure = confusion_figure(np.array([[3, 1], [0, 0]]), ["cat", "$d_o_g$"])
    axes = figure.axes[0]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), [[0.75, 0.25], [0, 0]])
    assert {(t.get_position(), t.get_text()) for t in axes.texts} == {
        *(((0, 0), "3"), ((1, 0), "1"), ((0, 1), "0"), ((1, 1), "0"))
    }
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == [label.get_text() for label in axes.get_xticklabels()] == ["cat", "$d_o_g$"]
    assert not any(label.get_parse_math() for label in axes.get_xticklabels())
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")


@pytest.mark.parametrize("number", [2, 3, 10, 20, 21, 50, 100])
def test_the_letters_of_a_confusion_matrix_are_apart_and_inside(number):
    """On the canvas: names do not overlap, and a count is inside its cell."""
    classes = [
        f"class_{index}" if index % 3 else "a_very_long_name_" * 4 for index in range(number)
    ]
    figure = confusion_figure(counts(number), classes)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    axes, renderer = figure.axes[0], canvas.get_renderer()
    for labels, axis in ((axes.get_xticklabels(), "x"), (axes.get_yticklabels(), "y")):
        assert len(labels) == number
        assert min(label.get_fontsize() for label in labels) >= 6
        boxes = [label.get_window_extent(renderer) for label in labels]
        spans = sorted(tuple(getattr(box, f"interval{axis}")) for box in boxes)
        assert all(before[1] <= after[0] for before, after in pairwise(spans))
        for box in boxes:
            assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
            assert figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1
    cell = axes.get_window_extent(renderer).width / number
    assert len(axes.texts) == (number**2 if number <= 20 else 0)
    assert all(text.get_window_extent(renderer).width < cell for text in axes.texts)


def test_a_confusion_matrix_of_many_classes_and_of_any_letters_is_a_png_file():
    for classes in ([str(index) for index in range(120)], ["\u732b", "\n"]):
        image = Image.open(io.BytesIO(confusion_png(counts(len(classes)), classes)))
        assert image.format == "PNG" and min(image.size) > 400
