"""Conformance vectors: the file is whole, reproduced by the oracle and both hands, and checked."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager

import pytest

from resnet_spec import ARCHITECTURES, parameters

from parity_tests.support import ALL_NAMES, ROOT, exact
from resnet_parity import cli, vectors
from resnet_parity.frameworks import torch_adapter
from resnet_parity.splitmix import Stream
from resnet_torch.modes import modes

FILE = ROOT / "conformance" / "vectors.json"


@pytest.fixture(scope="module")
def data() -> dict:
    return json.loads(FILE.read_text())


def test_every_row_has_three_seeds(data):
    assert list(data["architectures"]) == ALL_NAMES
    for name, rows in data["architectures"].items():
        assert [row["seed"] for row in rows] == [0, 1, 2]
        stages = [f"layer{i + 1}" for i in range(len(ARCHITECTURES[name].stages))]
        for row in rows:
            hashes = [row[key] for key in ("image", "weights", *stages, "logits")]
            hashes += [row["gradient of image"], row["gradients of weights"]]
            assert len(set(hashes)) == len(hashes)
            assert all(len(text) == 64 for text in hashes)
            assert any(row["first logits"])
            assert all(row["first gradients"])


def test_the_file_is_text_of_modest_size():
    assert FILE.read_text() == vectors.as_text(json.loads(FILE.read_text()))
    assert FILE.stat().st_size < 2**18


def test_a_hash_is_what_the_page_says(data):
    """The image and the weights, drawn and packed as `conformance/README.md` has it."""
    row = data["architectures"]["resnet20"][0]
    count = 2 * 3 * 32 * 64
    assert row["image shape"] == [2, 3, 32, 64]
    numbers = Stream("exact/resnet20/0/image").below(17, count) - 8
    assert hashlib.sha256(numbers.astype("<f4").tobytes()).hexdigest() == row["image"]
    weights = exact("resnet20", "float32").weights
    packed = b"".join(
        (weights[p.name] + 0.0).astype("<f4").tobytes()
        for p in parameters(ARCHITECTURES["resnet20"])
    )
    assert hashlib.sha256(packed).hexdigest() == row["weights"]


@pytest.mark.full
@pytest.mark.parametrize("name", ALL_NAMES)
def test_oracle_and_hands_reproduce_every_row(name, capsys):
    """Every other run has PyTorch and the oracle reproduce resnet20's, and Keras hold to that."""
    assert cli.main(["vectors", name, "--check"]) == 0
    assert "9 of 9 makers gave the same bits" in capsys.readouterr().out


@pytest.fixture
def workers(monkeypatch) -> list[str]:
    """What happens to workers, in whose place PyTorch stands in this process."""
    happened: list[str] = []

    @contextmanager
    def here(*hands: str):
        happened.append(f"start {', '.join(hands)}")
        yield {hand: torch_adapter() for hand in hands}
        happened.append("end")

    monkeypatch.setattr("resnet_parity.workers.remote_adapters", here)
    return happened


def test_making_it_again_gives_the_same(data, tmp_path, monkeypatch):
    """Rows that are not named stay as they are."""
    copy = tmp_path / "vectors.json"
    copy.write_text(FILE.read_text())
    assert cli.main(["vectors", "resnet20", "--file", str(copy)]) == 0
    assert copy.read_text() == FILE.read_text()
    assert list(tmp_path.iterdir()) == [copy], "nothing half-written is left"


def test_a_wrong_hash_is_named(data, tmp_path, capsys, workers):
    wrong = json.loads(json.dumps(data))
    wrong["architectures"]["resnet20"][1]["layer2"] = "0" * 64
    path = tmp_path / "vectors.json"
    path.write_text(json.dumps(wrong))
    assert cli.main(["vectors", "resnet20", "--check", "--file", str(path)]) == 1
    output = capsys.readouterr().out
    for maker in ("oracle", "torch nchw", "keras nchw"):
        assert f"resnet20, seed 1, {maker}: layer2 differ" in output


def test_what_keras_compiled_for_a_row_ends_with_it(workers, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert cli.main(["vectors", "resnet20", "plain20", "--check"]) == 0
    assert workers == ["start keras jax", "end"] * 2
    captured = capsys.readouterr()
    assert "18 of 18 makers gave the same bits" in captured.out
    assert [line for line in captured.err.splitlines() if "seed 2" in line] == [
        "resnet20, seed 2 ...",
        "plain20, seed 2 ...",
    ]


@pytest.mark.parametrize(
    ("rough", "said"),
    [
        (("nchw",), "note: keras: channels_last mode stands in for nchw, because 1 / sqrt(4)"),
        (modes(), "resnet20, seed 0, keras nchw: cannot hold. 1 / sqrt(4) is 0.49999994 in"),
    ],
)
def test_modes_that_round_are_told(rough, said, round_in, capsys, workers):
    """Another one stands in; where there is none, nothing is proven.

    PyTorch's own modes are not replaced.
    """
    round_in(*rough, hand="torch")
    assert cli.main(["vectors", "resnet20", "--check"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert said in printed
    assert "resnet20, seed 0, torch nchw: cannot hold." in printed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "cannot be read"),
        ("no json", "holds no conformance vectors of format 1 for resnet20"),
        ('{"format": 2, "architectures": {}}', "holds no conformance vectors of format 1"),
        ('{"format": 1, "architectures": {}}', "holds no conformance vectors of format 1"),
        (
            '{"format": 1, "dtype": "float32", "architectures": {"resnet20": [{"seed": 0}]}}',
            "lacks seeds of resnet20",
        ),
        ('{"format": 1, "dtype": "float32", "architectures": [1]}', "holds no conformance"),
    ],
)
def test_a_bad_file_is_told(text, said, tmp_path, capsys):
    path = tmp_path / "vectors.json"
    if text is not None:
        path.write_text(text)
    assert cli.main(["vectors", "resnet20", "--check", "--file", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nowhere" / "vectors.json"):
        assert cli.main(["vectors", "resnet1202", "--file", str(path)]) == 2
        assert "folder" in capsys.readouterr().err
