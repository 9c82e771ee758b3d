"""`benchmarks.training` measures rounds and waits of each side, and ratios of work."""

from __future__ import annotations

import io
import itertools

import pytest
from PIL import Image

from benchmarks import training, training_sides
from benchmarks.training import Race, Wait
from benchmarks.training_sides import STEPS, Clock, Work
from resnet_parity.errors import ParityError


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(training, "WORK", Work("resnet20", 8, 2))
    monkeypatch.setattr(training, "PHOTOGRAPHS", 10)


def test_a_ratio_is_that_of_medians_and_counts_work():
    found = training.ratio([1.0, 2.0, 3.0], [4.0, 2.0, 6.0], factor=0.5)
    assert found == {"ratio": 1.0, "quartiles": [0.5, 2.0]}


def test_the_photographs_are_large_and_a_fifth_of_them_validates(tiny, tmp_path):
    training.write_photographs(tmp_path)
    paths = [*tmp_path.rglob("*.jpg")]
    for path in paths:
        with Image.open(path) as picture:
            assert picture.size == (500, 375)
    assert sorted(path.parts[-3] for path in paths) == ["train"] * 8 + ["val"] * 2


def test_a_clock_prints_the_seconds_of_an_image_in_a_round(monkeypatch, capsys):
    """A step takes a second, but four the first one of a round, which does not count."""
    seconds: list[int] = []
    monkeypatch.setattr(training_sides.time, "process_time", lambda: sum(seconds))
    monkeypatch.setattr(training_sides.sys, "stdin", io.StringIO("\n"))
    clock = Clock(Work("resnet20", 8, 2))
    with pytest.raises(SystemExit):
        for step in itertools.count():
            seconds.append(1 if step % (STEPS + 1) else 4)
            clock.after_step(step)
    assert capsys.readouterr().out.split() == ["0.5", "0.5"]


def test_a_clock_adds_up_the_waits_for_batches(monkeypatch, capsys):
    """Each look at the time takes a second: three waits, and the epoch from begin to end."""
    monkeypatch.setattr(training_sides.time, "perf_counter", itertools.count(0).__next__)
    clock = Clock(Work("resnet20", 8, 2, "folder"))
    assert [*clock.waits("ab")] == ["a", "b"]
    clock.after_epoch(0)
    assert capsys.readouterr().out == f"[7, {3 / 7}]\n"


@pytest.mark.parametrize("side", ["torch fit", "keras fit"])
def test_a_side_waits_for_a_part_of_its_time(side, tiny):
    found = training.wait(Wait(side, workers=0), epochs=1)
    assert 0 < found["waited"] < 1


def test_sides_train_in_turns(tiny):
    found = training.race(Race("torch fit", "torch fit", "resnet20"), rounds=2)
    assert min(found["seconds"]) > 0 and not found["per_mac"]


def test_a_side_that_ends_is_an_error(tiny):
    with pytest.raises(ParityError, match="ended with 1"):
        training.race(Race("nothing", "nothing"))
