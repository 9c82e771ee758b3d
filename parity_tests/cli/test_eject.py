"""The command `eject`: where it writes, what it takes, what it refuses."""

from __future__ import annotations

import pytest

from resnet_spec import to_json

from parity_tests.support import TINY
from resnet_parity import cli, files
from resnet_parity.eject import eject, keras_writer, torch_writer


def test_it_prints_a_file(capsys):
    assert cli.main(["eject", "resnet18", "--framework", "torch", "--no-check"]) == 0
    assert capsys.readouterr().out == eject("resnet18", "torch")


def test_both_files_are_written_with_the_check_in_their_headers(tmp_path, capsys):
    spec = tmp_path / "tiny.json"
    spec.write_text(to_json(TINY))
    out = tmp_path / "net.py"
    assert cli.main(["eject", str(spec), "--num-classes", "3", "-o", str(out)]) == 0
    for framework in ("torch", "keras"):
        text = (tmp_path / f"net_{framework}.py").read_text()
        assert f"\nChecked with {framework} " in text
        assert "logits (N, 3)" in text
    assert capsys.readouterr().out.count("net_") == 2


def test_an_architecture_of_a_module(tmp_path, monkeypatch, capsys):
    """It may be an object, or what a function returns."""
    monkeypatch.syspath_prepend(tmp_path)
    text = "from resnet_spec import *\nNET = Architecture('net', 'basic', stages(1, 1))\n"
    (tmp_path / "user_nets.py").write_text(f"{text}def make():\n    return NET\nTEXT = 'net'\n")
    for member in ("NET", "make"):
        command = ["eject", f"user_nets:{member}", "--framework", "keras", "--no-check"]
        assert cli.main(command) == 0
        assert "net in Keras" in capsys.readouterr().out
    assert cli.main(["eject", "user_nets:TEXT"]) == 2
    assert "is a str, not a resnet_spec.Architecture" in capsys.readouterr().err


def test_options_of_the_architecture(capsys):
    sizes = ["--in-channels", "1", "--features", "2,4", "--output-stride", "8", "--size", "64x96"]
    command = ["eject", "resnet50", "--framework", "torch", "--no-check", *sizes]
    assert cli.main(command) == 0
    text = capsys.readouterr().out
    assert text.startswith('"""resnet50 in PyTorch: images (N, 1, H, W) to feature maps.\n')
    assert "conv(1, 64, 7, 2)" in text
    assert "(3, 512, 2048, 1, 2, 4),  # (N, 2048, 8, 12)" in text
    assert "nn.Linear" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff", "is not UTF-8"),
        (b"{}", "takes the fields"),
        (
            to_json(TINY).replace('"blocks":1', '"blocks":999999999').encode(),
            "1,999,999,998 blocks",
        ),
    ],
)
def test_json_files_that_are_no_architecture(content, message, tmp_path, capsys):
    (tmp_path / "net.json").write_bytes(content)
    assert cli.main(["eject", str(tmp_path / "net.json")]) == 2
    assert message in capsys.readouterr().err


def test_no_file_is_overwritten(tmp_path, capsys):
    out = tmp_path / "net.py"
    out.write_text("mine")
    command = ["eject", "resnet18", "--framework", "torch", "-o", str(out)]
    assert cli.main(command) == 2
    assert "exists already; name another file with --out" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_without_the_framework_the_check_may_be_left_out(monkeypatch, capsys):
    monkeypatch.setattr("resnet_parity.adapters.loading.find_spec", lambda name: None)
    assert cli.main(["eject", "resnet18", "--framework", "torch"]) == 3
    assert "or leave the check out: --no-check" in capsys.readouterr().err


@pytest.mark.parametrize("writer", [torch_writer, keras_writer])
def test_a_file_that_computes_something_else_is_not_written(writer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writer, "number", lambda value: "0.25")  # epsilons and momenta
    spec = tmp_path / "tiny.json"
    spec.write_text(to_json(TINY))
    framework = writer.__name__.rpartition(".")[2].removesuffix("_writer")
    out = tmp_path / "net.py"
    assert cli.main(["eject", str(spec), "--framework", framework, "-o", str(out)]) == 1
    assert f"the file of 'tiny' for {framework} " in capsys.readouterr().err
    assert not out.exists()


def test_a_loader_and_tests_are_added(tmp_path, capsys):
    spec = tmp_path / "tiny.json"
    spec.write_text(to_json(TINY))
    out = tmp_path / "net.py"
    options = ["--no-check", "--with-loader", "--with-tests", "-o", str(out)]
    assert cli.main(["eject", str(spec), *options]) == 0
    written = {path.name: path.read_text() for path in tmp_path.glob("*.py")}
    assert set(written) == {
        f"{test}net_{f}.py" for test in ("", "test_") for f in ("torch", "keras")
    }
    assert "def load_state_dict(" in written["net_keras.py"]
    assert "from net_torch import ResNet" in written["test_net_torch.py"]
    (tmp_path / "net_torch.py").unlink()
    assert cli.main(["eject", str(spec), *options]) == 2
    assert "test_net_torch.py exists already" in capsys.readouterr().err


def test_without_the_last_file_none_is_written(tmp_path, monkeypatch, capsys):
    made = []

    def temporary(folder, right=files._temporary):
        made.append(folder)
        if len(made) == 4:
            raise OSError(28, "No space left on device")
        return right(folder)

    monkeypatch.setattr(files, "_temporary", temporary)
    spec = tmp_path / "tiny.json"
    spec.write_text(to_json(TINY))
    out = tmp_path / "net.py"
    assert cli.main(["eject", str(spec), "--no-check", "--with-tests", "-o", str(out)]) == 2
    assert "test_net_keras.py cannot be written: No space" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [spec]


@pytest.mark.parametrize("width", [100, 160])
def test_both_files_side_by_side(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("resnet_parity.streams.is_terminal", lambda: True)
    assert cli.main(["eject", "resnet18", "--side-by-side"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    (line,) = (line for line in lines if "self.bn1 = batch_norm(64)" in line)
    assert ('x = batch_norm(x, name="bn1")' in line) is (width == 160)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--with-loader", "--framework", "torch"], "adds to the Keras file"),
        (["--with-tests"], "name the first one with --out"),
        (["-o", "net-1.py"], "cannot be imported"),
        (["-o", "net"], "end it with .py"),
        (["-o", "class.py", "--framework", "torch"], "cannot be imported"),
        (["-o", "torch.py", "--framework", "torch"], "would hide the module 'torch'"),
        (["-o", "math.py", "--framework", "keras"], "would hide the module 'math'"),
        (["--side-by-side", "-o", "net.py"], "leave --framework, --out and --with-tests out"),
        (["--side-by-side", "--framework", "keras"], "leave --framework, --out and"),
        (["--side-by-side", "--with-tests"], "leave --framework, --out and --with-tests out"),
    ],
)
def test_options_that_do_not_go_together(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["eject", "resnet18", "--no-check", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
