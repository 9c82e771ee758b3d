"""Runs of `train`: the folder that they leave, what ends them, and how they go on."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file

from resnet_spec import ema_name, get_architecture, parameters

from parity_tests.support import ROOT, light, python
from parity_tests.support import command as run_command
from resnet_parity import cli
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.tolerances import limit
from resnet_parity.training import run_folder
from resnet_parity.training.config import Config, make_config, read_config, to_toml
from resnet_parity.training.initial import initial_weights
from resnet_parity.training.run import train
from resnet_parity.weights.files import read_weights
from resnet_parity.weights.loading import load_weights

FRAMEWORKS = ("torch", "keras")
SMALL = ("--architecture", "resnet20", "--image-size", "8", "--batch-size", "8")


@pytest.fixture(scope="module")
def digits(tmp_path_factory) -> Path:
    """The folder that `scripts/digits` writes."""
    script = (ROOT / "scripts" / "digits").read_text()
    (code,) = re.findall(r"<<'PYTHON'\n(.*?)PYTHON\n", script, flags=re.DOTALL)
    folder = tmp_path_factory.mktemp("digits")
    result = python("-c", code, str(folder))
    assert result.returncode == 0 and "1797 pictures of 10 classes" in result.stdout
    return folder


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    """Noise, and one brighter colour, which is the class: 32 pictures to train, 6 to validate."""
    folder, stream = tmp_path_factory.mktemp("colours"), np.random.default_rng(0)
    for index in range(38):
        label = index % 3
        pixels = stream.integers(0, 160, (10, 12, 3), dtype="uint8")
        pixels[:, :, label] += 90
        path = folder / ("train" if index < 32 else "val") / "rgb"[label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return folder


def command(folder: Path | str, out: Path, *more: str, epochs: int = 3) -> list[str]:
    return ["train", str(folder), "--out", str(out), *SMALL, "--epochs", str(epochs), *more]


def tensors(out: Path, name: str = run_folder.STATE) -> dict[str, np.ndarray]:
    return load_file(out / name)


def assert_same_run(ours: Path, theirs: Path) -> None:
    for file in (run_folder.STATE, run_folder.LAST, run_folder.BEST):
        first, second = tensors(ours, file), tensors(theirs, file)
        assert first.keys() == second.keys()
        for name, array in first.items():
            np.testing.assert_array_equal(array, second[name], err_msg=f"{file}: {name}")
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}


def float64(folder: Path, tmp_path: Path) -> Config:
    """Three epochs of four steps, at a rate that does not amplify roundings."""
    path = written(tmp_path / "run.toml", FLOAT64)
    return make_config(read_config(path) | {"folder": str(folder)})


FLOAT64 = """
architecture = "resnet20"
dtype = "float64"
epochs = 3
image_size = 8
batch_size = 8
learning_rate = 1e-3
ema = 0.9
"""


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_command_of_the_readme_learns_digits(framework, digits, tmp_path, capsys, monkeypatch):
    """Three of its fifteen epochs."""
    monkeypatch.chdir(tmp_path)
    Path("digits").symlink_to(digits)
    (line,) = re.findall(r"^resnet-parity (train .*?) +#", (ROOT / "README.md").read_text(), re.M)
    more = ("--framework", framework, "--epochs", "3", "--json")
    assert cli.main([*shlex.split(line), *more]) == 0
    out, printed = tmp_path / "run", capsys.readouterr()
    found = json.loads(printed.out)
    assert found["best"]["val_accuracy"] > 0.8
    assert printed.err.count("\nepoch ") + printed.err.startswith("epoch ") == 3
    assert {path.name for path in out.iterdir()} == {
        *(run_folder.CONFIG, run_folder.CLASSES, run_folder.METRICS, run_folder.CURVES),
        *(run_folder.STATE, run_folder.LAST, run_folder.BEST),
        *([run_folder.EVENTS] if find_spec("tensorboard") else []),
    }
    with (out / run_folder.METRICS).open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3]
    assert [float(row["val_loss"]) for row in rows] == [
        each["val_loss"] for each in found["epochs"]
    ]
    assert json.loads((out / run_folder.CLASSES).read_text()) == [*"0123456789"]
    assert make_config(read_config(out / run_folder.CONFIG)).framework == framework
    arch = get_architecture("resnet20", num_classes=10)
    last = read_weights(out / run_folder.LAST, arch)
    assert all((last[p.name] == tensors(out)[p.name]).all() for p in parameters(arch))


TRICKS = ("--recipe", "bag-of-tricks", "--ema", "0.9")


@pytest.fixture(scope="module", params=FRAMEWORKS)
def whole(request, colours, tmp_path_factory) -> tuple[str, Path]:
    """A framework, and an undisturbed run in it."""
    out = tmp_path_factory.mktemp(request.param) / "run"
    assert cli.main(command(colours, out, *TRICKS, "--framework", request.param)) == 0
    return request.param, out


def test_averages_are_saved_in_place_of_the_weights(whole):
    _, out = whole
    found, arch = tensors(out), get_architecture("resnet20", num_classes=3)
    last = read_weights(out / run_folder.LAST, arch)
    for p in parameters(arch):
        expected = found[ema_name(p.name)] if p.trainable else found[p.name]
        np.testing.assert_array_equal(last[p.name], expected, err_msg=p.name)
    assert (last["fc.weight"] != found["fc.weight"]).any()
    assert "ema = 0.9\n" in (out / run_folder.CONFIG).read_text()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda each: each.name)
def test_a_run_that_is_ended_goes_on_exactly(number, whole, colours, tmp_path):
    """kill -9 between two epochs, and Ctrl-C, after which a checkpoint holds a part of an epoch."""
    framework, undisturbed = whole
    out = tmp_path / "run"
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "resnet_parity"),
            *command(colours, out, *TRICKS, "--framework", framework),
        ],
        cwd=ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        line = next(line for line in process.stderr if line.startswith("epoch 1 of 3"))
        process.send_signal(number)
        rest = process.stderr.read()
    if number == signal.SIGINT:
        assert process.returncode == 130, line + rest
        assert "--resume goes on from there" in rest
    else:
        assert process.returncode == -number
    assert 4 <= run_folder.read_checkpoint(out).step < 12
    # In another process: what is forked here, beside the threads of TensorFlow, may never end.
    resumed = run_command("train", "--resume", "--out", str(out), "--workers", "2")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(out, undisturbed)
    ours, theirs = (run_folder.read_checkpoint(each).epochs for each in (out, undisturbed))
    if find_spec("tensorboard"):
        assert curves(out).keys() == run_folder.SCALARS.keys()
        for tag, name in run_folder.SCALARS.items():
            assert curves(out)[tag] == [
                (each.epoch, np.float32(getattr(each, name))) for each in ours
            ], tag
    for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
        first, second = ([getattr(each, name) for each in epochs] for epochs in (ours, theirs))
        error = np.abs(np.array(first) - second).max()
        assert error < limit("keras habits", "float32"), name


def curves(out: Path) -> dict[str, list[tuple[int, Any]]]:
    """The steps and values of each curve, as TensorBoard reads every event of a folder."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_file_loader")
    found: dict[str, list[tuple[int, Any]]] = {}
    for path in sorted(out.glob("*tfevents*")):
        for event in reader.EventFileLoader(str(path)).Load():
            for value in event.summary.value:
                point = event.step, np.float32(value.tensor.float_val[0])
                found.setdefault(value.tag, []).append(point)
    return found


def test_events_are_appended_and_a_torn_file_is_completed(tmp_path):
    pytest.importorskip("tensorboard")
    epochs = [run_folder.Epoch(n, 1 / n, 0.5, 2 / n, 0.25, 0.1, 9, 1, 1e9 + n) for n in (1, 2, 3)]
    path = tmp_path / run_folder.EVENTS
    for count in (1, 2):
        run_folder._write_events(path, epochs[:count])
    whole, inode = path.read_bytes(), path.stat().st_ino
    for torn in (whole, whole[:-3], whole[:100], whole[:1]):
        path.write_bytes(torn)
        run_folder._write_events(path, epochs)
        assert path.stat().st_ino == inode, "TensorBoard would go on reading the old file"
        found = {"loss/training": 1, "loss/validation": 2}
        for tag, value in found.items():
            assert curves(tmp_path)[tag] == [(n, np.float32(value / n)) for n in (1, 2, 3)], tag
        assert curves(tmp_path)["accuracy/training"][0] == (1, 0.5)
        assert curves(tmp_path)["accuracy/validation"][0] == (1, 0.25)
    path.write_bytes(whole[:50] + b"other" + whole[55:])
    run_folder._write_events(path, epochs[:2])
    assert path.read_bytes() == whole


def test_a_run_of_one_framework_goes_on_in_the_other(colours, tmp_path):
    """In float64 the curve and all tensors are those of a run in one framework."""
    config = float64(colours, tmp_path)
    whole, mixed = tmp_path / "whole", tmp_path / "mixed"
    expected = train(config, whole)

    def interrupt(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, mixed, say=interrupt)
    other = make_config({"framework": "keras"}, read_config(mixed / run_folder.CONFIG))
    found = train(other, mixed, resume=True)
    most = limit("lockstep", "float64")
    assert len(found.epochs) == 3
    for ours, theirs in zip(expected.epochs, found.epochs, strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy"):
            first, second = (np.array(getattr(each, name)) for each in (ours, theirs))
            assert relative_error(first, second) < most, name
    first, second = tensors(whole), tensors(mixed)
    assert first.keys() == second.keys()
    assert all(relative_error(array, second[name]) < most for name, array in first.items())


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_keeps_float32_weights(framework, dtype, colours, tmp_path, capsys):
    out = tmp_path / "run"
    more = ("--framework", framework, "--dtype", dtype)
    assert cli.main(command(colours, out, *more, epochs=1)) == 0
    found = tensors(out)
    scale = found.pop("loss_scale", None)
    assert {array.dtype.name for array in found.values()} == {"float32"}
    if dtype == "float16":
        assert scale is not None and scale[0] in [2.0**power for power in range(16)]
        assert scale[1] == 4 - (15 - np.log2(scale[0]))  # each step that was skipped halved it
    else:
        assert scale is None
    before = tensors(out)
    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    assert all((array == before[name]).all() for name, array in tensors(out).items())


@pytest.mark.parametrize("framework", light(FRAMEWORKS, ["torch"]))
def test_a_run_on_native_data_goes_on_exactly(framework, colours, tmp_path, monkeypatch, capsys):
    """Only in its own framework; where that is PyTorch, it needs torchvision."""
    others = {"framework": framework, "augmentation": "crop", "native_data": True, "epochs": 2}
    config = replace(float64(colours, tmp_path), **others)
    undisturbed, out = tmp_path / "whole", tmp_path / "run"
    train(config, undisturbed)

    def interrupt(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, out, say=interrupt)
    other = "keras" if framework == "torch" else "torch"
    assert cli.main(["train", "--resume", "--out", str(out), "--framework", other]) == 2
    assert f"was begun with --framework {framework}, not {other}" in capsys.readouterr().err
    assert cli.main(["train", "--resume", "--out", str(out), "--workers", "2"]) == 0
    assert_same_run(out, undisturbed)
    assert ("torchvision" in (out / run_folder.CONFIG).read_text()) == (framework == "torch")
    capsys.readouterr()
    assert cli.main(["evaluate", str(out / run_folder.LAST), str(colours)]) == 0
    assert "trained with --native-data; here" in capsys.readouterr().err
    monkeypatch.setattr(
        "resnet_parity.adapters.loading.find_spec", lambda name: name == "torch" or None
    )
    if framework == "torch":
        train(replace(config, native_data=False), tmp_path / "shared")
        assert tensors(tmp_path / "shared")["fc.bias"].any()
        assert (tensors(tmp_path / "shared")["fc.bias"] != tensors(out)["fc.bias"]).any()
        assert cli.main(command(colours, tmp_path / "none", "--native-data")) == 3
        message = capsys.readouterr().err
        assert "torchvision is not installed; install it with" in message
        assert message.count("\n") == 1
        assert not (tmp_path / "none").exists()


def test_the_bar_of_a_terminal_counts_the_steps_that_are_done(colours, tmp_path, monkeypatch):
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=160)
    for module in ("cli.train", "progress"):
        monkeypatch.setattr(f"resnet_parity.{module}.console", lambda **_: terminal)
    assert cli.main(command(colours, tmp_path / "run", epochs=1)) == 0
    assert "4/4" in stream.getvalue() and "0:00:00 left" in stream.getvalue()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_loss_that_is_no_number_ends_the_run(framework, colours, tmp_path, capsys):
    out = tmp_path / "run"
    more = ("--framework", framework, "--learning-rate", "1e30")
    assert cli.main(command(colours, out, *more)) == 2
    message = capsys.readouterr().err
    assert re.search(r"the loss is (nan|inf) at step [2-4], in epoch 1;", message), message
    assert "--learning-rate below 1e+30" in message
    assert not (out / run_folder.STATE).exists()


def test_a_loss_in_validation_that_is_no_number_keeps_the_last_checkpoint(
    colours, tmp_path, capsys
):
    """The last step of an epoch spoils the weights, after its loss was taken."""
    out = tmp_path / "run"
    more = ("--learning-rate", "1e30", "--batch-size", "32")
    assert cli.main(command(colours, out, *more)) == 2
    message = capsys.readouterr().err
    assert "the loss in validation is nan at step 1, in epoch 1;" in message
    assert not (out / run_folder.STATE).exists() and not (out / run_folder.BEST).exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_last_one(
    colours, tmp_path, monkeypatch, capsys
):
    """No file may grow beyond a limit of the system: writing one ends in it, as on a full disk."""
    out, undisturbed = tmp_path / "run", tmp_path / "whole"
    train(float64(colours, tmp_path), undisturbed)
    kept: dict[str, bytes] = {}
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(line: str) -> None:
        if not kept and line.startswith("epoch 1"):
            kept.update({path.name: path.read_bytes() for path in out.iterdir()})
            size = len(kept[run_folder.LAST])
            assert 2 * size < len(kept[run_folder.STATE])
            resource.setrlimit(resource.RLIMIT_FSIZE, (2 * size, hard))

    monkeypatch.setattr("resnet_parity.cli.train.say", fill)
    path = written(tmp_path / "run.toml", FLOAT64)
    try:
        assert cli.main(["train", str(colours), "--out", str(out), "--config", str(path)]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    message = capsys.readouterr().err
    assert message.endswith(f"{out / run_folder.STATE} cannot be written: File too large\n")
    assert message.count("\n") == 1
    assert {path.name for path in out.iterdir()} == {*kept}
    assert (out / run_folder.STATE).read_bytes() == kept[run_folder.STATE]
    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    assert_same_run(out, undisturbed)


def test_damaged_photographs_are_named_once(digits, tmp_path, capsys):
    folder = tmp_path / "digits"
    for path in digits.rglob("*.png"):
        if int(path.stem) < 300:
            target = folder / path.relative_to(digits)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    bad = folder / "train" / "0" / "0010.png"
    bad.unlink(missing_ok=True)
    bad.write_text("no picture")
    assert cli.main(command(folder, tmp_path / "run", epochs=2)) == 0
    printed = capsys.readouterr()
    assert printed.err.count("left out: ") == 1 and "0010.png" in printed.err
    assert "damaged photographs that were left out: 1" in printed.out


def test_a_run_goes_on_once_its_damaged_photographs_are_replaced(colours, tmp_path, capsys):
    folder, out = tmp_path / "colours", tmp_path / "run"
    shutil.copytree(colours, folder)
    bad = next((folder / "train" / "r").iterdir())
    whole = bad.read_bytes()
    bad.write_text("no picture")
    assert cli.main(command(folder, out, epochs=1)) == 2
    message = capsys.readouterr().err
    assert "1 of 38 photographs are damaged" in message
    assert f"The first is {bad}: not an image" in message
    bad.write_bytes(whole)
    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    assert not (out / run_folder.DAMAGED).exists()


def test_a_run_says_what_it_found_and_does_not_become_a_class(colours, tmp_path, capsys):
    folder = tmp_path / "colours"
    shutil.copytree(colours / "train", folder)
    inner = folder / "b" / "older"
    inner.mkdir()
    assert cli.main(command(folder, folder / "run", "--val-split", "0.2")) == 2
    assert "run would be a class of" in capsys.readouterr().err
    assert not (folder / "run").exists()
    assert cli.main(command(folder, tmp_path / "run", "--val-split", "0.2", epochs=1)) == 0
    found = "3 classes, 26 photographs to train on, 6 to validate; 1 other files or folders"
    assert f"{found}, the first {inner}\n" in capsys.readouterr().err


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_backbone_is_frozen_and_then_trained(framework, colours, tmp_path):
    """Interrupted after any epoch, the run goes on as if it had not been."""
    path = written(tmp_path / "run.toml", f"{FLOAT64}freeze_backbone = 1\n")
    config = make_config(
        read_config(path) | {"folder": str(colours), "framework": framework, "dtype": "float32"}
    )
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    train(config, whole)
    for number in (1, 2):

        def interrupt(line: str, number: int = number) -> None:
            if line.startswith(f"epoch {number}"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(config, stopped, resume=number > 1, say=interrupt)
        if number == 1:
            found = tensors(stopped)
            begun = initial_weights(get_architecture("resnet20", num_classes=3), 0)
            moved = {name for name, array in begun.items() if (found[name] != array).any()}
            assert moved == {"fc.weight", "fc.bias"}
    train(config, stopped, resume=True)
    assert_same_run(stopped, whole)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_option_to_compile_reaches_the_loop(framework, colours, tmp_path, monkeypatch):
    loop, seen = import_module(f"resnet_{framework}.fit"), []
    fit = loop.fit
    monkeypatch.setattr(loop, "fit", lambda *each, **more: (seen.append(more), fit(*each, **more)))
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)  # which takes a minute
    out, more = tmp_path / "run", ("--framework", framework, "--compile")
    assert cli.main(command(colours, out, *more, epochs=1)) == 0
    assert [each["compiled"] for each in seen] == [True]


def test_without_a_compiler_a_run_does_not_begin(colours, tmp_path):
    """On a machine without a C++ compiler and without cached code."""
    out, cache = tmp_path / "run", str(tmp_path / "cache")
    line = "-m", "resnet_parity", *command(colours, out, "--compile")
    result = python(*line, CXX="/nowhere/g++", TORCHINDUCTOR_CACHE_DIR=cache)
    assert result.returncode == 2
    (message,) = [each for each in result.stderr.splitlines() if "error: " in each]
    assert "torch.compile does not work here: " in message and "leave out --compile" in message
    assert "Traceback" not in result.stderr and not out.exists()


def test_a_split_of_other_photographs_is_refused(colours, tmp_path, capsys):
    """It would move photographs that were trained on to those of validation."""
    folder, out = tmp_path / "colours", tmp_path / "run"
    shutil.copytree(colours / "train", folder)
    assert cli.main(command(folder, out, "--val-split", "0.2", epochs=1)) == 0
    line = ["train", "--resume", "--out", str(out)]
    assert cli.main(line) == 0
    next((folder / "r").iterdir()).unlink()
    assert cli.main(line) == 2
    assert "and the run was begun with 26 and 6; put them back" in capsys.readouterr().err


def test_weights_of_another_head_are_adapted(colours, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    out, arch = tmp_path / "run", get_architecture("resnet20")
    run_folder.write_weights(tmp_path / "w.safetensors", arch, initial_weights(arch, 1))
    more = ("--weights", "w.safetensors", "--recipe", "fine-tune")
    line = command(colours, out, *more, epochs=1)
    assert cli.main(line) == 0
    assert "fc: re-initialised, for 3 classes instead of 10" in capsys.readouterr().err
    assert read_config(out / run_folder.CONFIG)["weights"] == str(tmp_path / "w.safetensors")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_run_goes_on_with_the_architecture_of_its_weights(framework, colours, tmp_path):
    """A file may state another epsilon than the architecture of its name has."""
    arch = replace(get_architecture("resnet20"), bn_eps=0.01)
    run_folder.write_weights(tmp_path / "w.safetensors", arch, initial_weights(arch, 1))
    more = {"weights": str(tmp_path / "w.safetensors"), "architecture": "", "framework": framework}
    config, out = replace(float64(colours, tmp_path), **more), tmp_path / "run"
    train(config, tmp_path / "whole")

    def interrupt(line: str) -> None:
        if line.startswith("epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, out, say=interrupt)
    begun = read_config(out / run_folder.CONFIG)
    train(make_config({}, begun), out, resume=True)
    assert_same_run(out, tmp_path / "whole")
    assert load_weights(out / run_folder.LAST).architecture.bn_eps == 0.01


def test_a_killed_run_gets_the_files_of_its_checkpoint(colours, tmp_path, monkeypatch):
    """The best weights are of an epoch of the checkpoint, in whatever way the run went on."""
    config, out = replace(float64(colours, tmp_path), epochs=1), tmp_path / "run"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(run_folder, "write_results", killed)
        train(config, out)
    assert (out / run_folder.STATE).exists() and not (out / run_folder.BEST).exists()
    train(config, out, resume=True)
    train(config, tmp_path / "whole")
    assert_same_run(out, tmp_path / "whole")


def test_initial_weights_have_the_law_of_the_layers():
    arch = get_architecture("resnet18")
    weights = initial_weights(arch, 0)
    assert list(weights) == [p.name for p in parameters(arch)]
    kernel = weights["layer3.0.conv1.weight"]
    deviation = np.sqrt(2 / (kernel.shape[0] * 9))
    assert kernel.std() / deviation == pytest.approx(1, abs=5 / np.sqrt(kernel.size))
    assert np.abs(kernel).max() > 3 * deviation
    bound = 1 / np.sqrt(512)
    assert 0.9 * bound < np.abs(weights["fc.weight"]).max() <= bound
    assert not weights["bn1.bias"].any() and (weights["bn1.running_var"] == 1).all()
    assert (weights["bn1.weight"] == 1).all()
    assert not (weights["conv1.weight"] == initial_weights(arch, 1)["conv1.weight"]).any()


OPTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a batch of one": ({"batch_size": 1}, "batch_size must be at least 2, not 1"),
    "no epoch": ({"epochs": 0}, "epochs must be at least 1, not 0"),
    "a text": ({"epochs": "three"}, "epochs must be an integer, not 'three'"),
    "a recipe": ({"recipe": "quick"}, "recipe must be one of paper, bag-of-tricks, fine-tune"),
    "no folder": ({"folder": ""}, "name a folder of photographs"),
    "averages": ({"ema": -0.5}, "ema must be at least 0, not -0.5"),
    "not a number": ({"learning_rate": float("nan")}, "learning_rate must be at least 0"),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_an_option_that_cannot_be_is_named(kind):
    options, message = OPTIONS[kind]
    with pytest.raises(ParityError, match=message):
        make_config({"folder": "photographs", **options})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 3", r"c\.toml: unknown option 'epoch'.*epochs"),
        ("epochs = ", r"c\.toml is not a TOML file, or is damaged"),
    ],
)
def test_a_config_that_cannot_be_read_is_named(text, message, tmp_path):
    with pytest.raises(ParityError, match=message):
        read_config(written(tmp_path / "c.toml", text))


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbfepochs = 3\r\n")
    assert read_config(path) == {"epochs": 3}


def test_a_config_is_written_as_it_was_read(tmp_path):
    config = make_config({"folder": 'a "b"\\c\x7f\n\u00e9\U0001f600', "learning_rate": 1e-30})
    path = written(tmp_path / "c.toml", to_toml(config, {"recipe": {"period": 3}}))
    assert make_config(read_config(path)) == config
    assert (
        make_config({"folder": "f", **read_config(written(path, "val_split = 0"))}).val_split == 0
    )


def test_a_run_is_not_begun_or_resumed_with_what_does_not_fit(colours, tmp_path, capsys):
    out = tmp_path / "run"

    def fails(*line: str) -> str:
        assert cli.main(["train", *line, "--out", str(out)]) == 2
        return capsys.readouterr().err

    assert "run holds no run to go on with; leave --resume out" in fails("--resume")
    path = written(tmp_path / "run.toml", "folder = 3")
    assert "folder must be text, not 3" in fails("--config", str(path))
    assert "resnet19" in fails(str(colours), "--architecture", "resnet19")
    assert "32 photographs are no batch of 64" in fails(
        str(colours), "--batch-size", "64", "--architecture", "resnet50"
    )
    assert "ema must lie in [0, 1), not 1.0" in fails(*command(colours, out, "--ema", "1")[1:])
    assert cli.main(command(colours, out, epochs=1)) == 0
    assert "exists already and holds a run; go on with it by --resume" in fails(str(colours))
    message = fails("--resume", "--epochs", "2")
    assert "was begun with --epochs 1, not 2" in message and "last.safetensors of this" in message
    assert "was begun with --architecture resnet20, not resnet18" in fails(
        "--resume", "--architecture", "resnet18"
    )
    assert "was begun with --native-data False, not True" in fails("--resume", "--native-data")
    fewer = tmp_path / "fewer"
    shutil.copytree(colours, fewer)
    next((fewer / "train" / "r").iterdir()).unlink()
    message = (
        "gives 31 photographs to train on and 6 to validate, and the run was begun with 32 and 6"
    )
    assert message in fails(str(fewer), "--resume")
    (out / run_folder.CLASSES).write_text('["r", "g"')
    assert "classes.json is not a list of classes, or is damaged" in fails("--resume")
    (out / run_folder.CLASSES).write_text('["r", "g"]')
    assert "has other classes than" in fails("--resume")
    (out / run_folder.STATE).write_bytes(b"damaged")
    assert "last.state.safetensors is not the checkpoint of a run" in fails("--resume")
