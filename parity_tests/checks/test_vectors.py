"""Conformance vectors: the file is complete, and the oracle and both implementations give it."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from resnet_spec import ARCHITECTURES, parameters

from parity_tests.support import ALL_NAMES, ROOT, SMALL, TINY, exact, steps
from resnet_parity import cli, vectors
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.adapters.torch.modes import modes
from resnet_parity.errors import ParityError
from resnet_parity.probes.splitmix import Stream

FILE = ROOT / "conformance" / "vectors.json"


@pytest.fixture(scope="module")
def data() -> dict:
    return json.loads(FILE.read_text())


def test_every_architecture_has_three_seeds(data):
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


def test_a_hash_is_made_as_documented(data):
    """The image and the weights, drawn and packed as `conformance/README.md` says."""
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
def test_oracle_and_implementations_give_every_vector(name, capsys):
    assert cli.main(["vectors", name, "--verify"]) == 0
    assert "12 of 12 vectors have the same bits" in capsys.readouterr().out


def test_pytorch_gives_the_vectors(data, torch_engines):
    """The vectors of an architecture with other layers than the following tests use."""
    checks = list(vectors.verify_vectors(data, "resnetv2_18", torch_engines, (0,)))
    assert [(check.source, check.matches) for check in checks] == [
        ("oracle", True),
        ("torch nchw", True),
        ("torch channels_last", True),
    ]


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A file of two small networks, which compile quickly where Keras has to."""
    for arch in (TINY, SMALL):
        monkeypatch.setitem(ARCHITECTURES, arch.name, arch)
    path = tmp_path / "own.json"
    assert cli.main(["vectors", TINY.name, SMALL.name, "--file", str(path)]) == 0
    return path


def test_both_implementations_give_the_file(own, capsys):
    """Keras runs in a worker."""
    assert cli.main(["vectors", TINY.name, "--verify", "--file", str(own)]) == 0
    assert "12 of 12 vectors have the same bits" in capsys.readouterr().out


@pytest.fixture
def workers(monkeypatch) -> list[str]:
    """The starts and ends of workers; PyTorch in this process takes their place."""
    happened: list[str] = []

    @contextmanager
    def here(*frameworks: str):
        happened.append(f"start {', '.join(frameworks)}")
        try:
            yield {framework: torch_adapter() for framework in frameworks}
        finally:
            happened.append("end")

    monkeypatch.setattr("resnet_parity.adapters.remote.remote_adapters", here)
    return happened


def test_making_it_again_gives_the_same(data, tmp_path, monkeypatch):
    """Architectures that are not named stay unchanged."""
    copy = tmp_path / "vectors.json"
    copy.write_text(FILE.read_text())
    assert cli.main(["vectors", "resnet20", "--file", str(copy)]) == 0
    assert copy.read_text() == FILE.read_text()
    assert list(tmp_path.iterdir()) == [copy], "no temporary file is left"


def test_a_wrong_hash_is_named(own, capsys, workers):
    wrong = json.loads(own.read_text())
    wrong["architectures"][TINY.name][1]["layer2"] = "0" * 64
    own.write_text(json.dumps(wrong))
    assert cli.main(["vectors", TINY.name, "--verify", "--file", str(own)]) == 1
    output = capsys.readouterr().out
    for source in ("oracle", "torch nchw", "torch channels_last", "keras nchw"):
        assert f"tiny, seed 1, {source}: layer2 differ" in output
    assert "8 of 12 vectors have the same bits" in output


def test_a_hash_that_the_file_lacks_is_named(own, capsys, workers):
    lacking = json.loads(own.read_text())
    del lacking["architectures"][TINY.name][1]["layer2"]
    own.write_text(json.dumps(lacking))
    assert cli.main(["vectors", TINY.name, "--verify", "--file", str(own)]) == 1
    assert "tiny, seed 1, oracle: layer2 (the file lacks it) differ" in capsys.readouterr().out


def test_each_architecture_has_its_own_worker(own, workers, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert cli.main(["vectors", TINY.name, SMALL.name, "--verify", "--file", str(own)]) == 0
    assert workers == ["start keras jax", "end"] * 2
    captured = capsys.readouterr()
    assert "24 of 24 vectors have the same bits" in captured.out
    assert steps(captured.err) == [
        f"{name}, {step} ..."
        for name in (TINY.name, SMALL.name)
        for step in ("starting Keras", "seed 0", "seed 1", "seed 2")
    ]


def test_a_worker_that_fails_ends_and_the_error_names_its_architecture(
    own, workers, monkeypatch, capsys
):
    def died(*_):
        raise ParityError("the worker of keras torch died (SIGKILL)")

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr("resnet_parity.adapters.torch.adapter.run", died)
    arguments = ["--verify", "--file", str(own), "--keras-backend", "torch"]
    assert cli.main(["vectors", TINY.name, *arguments]) == 2
    assert workers == ["start keras torch", "end"]
    assert "tiny: the worker of keras torch died (SIGKILL)" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["theano", "tensorflow eager", " "])
def test_an_unknown_backend_is_reported(backend, workers, monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    assert cli.main(["vectors", "resnet20", "--verify"]) == 2
    assert f"error: unknown Keras backend {backend!r}; it is one of:" in capsys.readouterr().err
    assert workers == []


@pytest.mark.parametrize(
    ("rough", "said"),
    [
        (("nchw",), "note: keras: channels_last mode runs instead of nchw, because 1 / sqrt(4)"),
        (modes(), "resnet20, seed 0, keras nchw: skipped: 1 / sqrt(4) is 0.49999994 in"),
    ],
)
def test_modes_that_round_are_reported(rough, said, make_modes_round, capsys, workers):
    """A fallback mode runs; without one, Keras is skipped. PyTorch's modes have no fallback."""
    make_modes_round(*rough, framework="torch")
    assert cli.main(["vectors", "resnet20", "--verify"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert said in printed
    assert "resnet20, seed 0, torch nchw: skipped:" in printed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
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
def test_a_bad_file_is_reported(text, said, tmp_path, capsys):
    path = tmp_path / "vectors.json"
    if text is not None:
        path.write_text(text)
    assert cli.main(["vectors", "resnet20", "--verify", "--file", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_a_path_that_cannot_be_written_is_reported_before_the_work(tmp_path, capsys):
    for path in (tmp_path, tmp_path / "nowhere" / "vectors.json"):
        assert cli.main(["vectors", "resnet1202", "--file", str(path)]) == 2
        assert "folder" in capsys.readouterr().err
