"""Training on several devices: processes of `torchrun` in PyTorch, devices of one CPU in Keras."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Timer

import pytest

from parity_tests.support import ROOT, command, python
from parity_tests.training.test_run import colours as colours
from parity_tests.training.test_run import tensors
from resnet_parity import cli
from resnet_parity.adapters.keras import devices as adapter
from resnet_parity.compare import relative_error
from resnet_parity.errors import ParityError
from resnet_parity.tolerances import limit
from resnet_parity.training import run_folder
from resnet_parity.training.batches import Batches
from resnet_parity.training.folders import read_photographs
from resnet_parity.training.images import Images

GUARD = 600
"""The seconds after which a process that hangs is ended, and its test fails."""

OPTIONS = """
architecture = "resnet20"
dtype = "float64"
epochs = 6
image_size = 8
batch_size = 16
learning_rate = 1e-3
ema = 0.9
sync_batchnorm = true
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory, colours) -> Path:
    path = tmp_path_factory.mktemp("config") / "run.toml"
    path.write_text(f"folder = '{colours}'\n{OPTIONS}")
    return path


@pytest.fixture(scope="module")
def alone(config) -> Path:
    """A run in one process, in which synchronised norms are as others."""
    out = config.parent / "alone"
    assert cli.main(["train", "--config", str(config), "--out", str(out)]) == 0
    return out


@contextmanager
def torchrun(processes: int, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`train` in processes that `torchrun` starts; it ends them when it is ended."""
    launcher = ("torch.distributed.run", f"--nproc-per-node={processes}", "-m", "resnet_parity")
    with subprocess.Popen(
        [sys.executable, "-m", *launcher, "train", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        guard = Timer(GUARD, process.terminate)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.terminate()
            try:
                process.wait(GUARD)
            except subprocess.TimeoutExpired:
                process.kill()


def after_first_epoch(process: subprocess.Popen[str]) -> str:
    """Wait for the first epoch; returns what was printed until then."""
    assert process.stderr
    printed = ""
    for line in process.stderr:
        printed += line
        if line.startswith("epoch 1 of 6"):
            return printed
    pytest.fail(f"no epoch was complete: {printed}")


def number(process: int, launcher: int) -> int:
    """The id of one of the processes that a launcher started, by its number."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended
            continue
        if parent == launcher and f"RANK={process}".encode() in variables:
            return int(folder.name)
    raise AssertionError(f"torchrun started no process {process}")


def assert_same(ours: Path, theirs: Path, quantity: str = "float64") -> None:
    """The epochs are the same, and all tensors but for rounding."""
    first, second = tensors(ours), tensors(theirs)
    assert first.keys() == second.keys()
    errors = {name: relative_error(first[name], array) for name, array in second.items()}
    assert max(errors.values()) < limit("several devices", quantity)
    for ours_epoch, theirs_epoch in zip(
        *(run_folder.read_checkpoint(each).epochs for each in (ours, theirs)), strict=True
    ):
        assert ours_epoch.accuracy == theirs_epoch.accuracy
        assert ours_epoch.val_accuracy == theirs_epoch.val_accuracy


def test_two_processes_with_synchronised_norms_train_as_one(config, alone, tmp_path):
    """Two workers at batch 8, interrupted once, give the weights of one at batch 16."""
    out = tmp_path / "run"
    with torchrun(2, "--config", str(config), "--out", str(out)) as process:
        after_first_epoch(process)
        os.kill(number(1, process.pid), signal.SIGINT)  # all processes end after the same step
        printed = "".join(process.communicate())
    assert printed.count("--resume goes on from there") == 1, printed
    assert "another process" not in printed
    assert 2 <= run_folder.read_checkpoint(out).step < 12
    with torchrun(2, "--resume", "--out", str(out)) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0, errors
    assert printed.count("best.safetensors") == 1
    assert {path.name for path in out.iterdir()} == {path.name for path in alone.iterdir()}
    assert_same(out, alone)


def test_a_run_whose_process_was_killed_goes_on_with_any_number(config, alone, tmp_path, capsys):
    """Three processes have shares of 6, 5 and 5 photographs."""
    out = tmp_path / "run"
    with torchrun(3, "--config", str(config), "--out", str(out)) as process:
        after_first_epoch(process)
        os.kill(number(2, process.pid), signal.SIGKILL)
        _, printed = process.communicate()
    assert process.returncode == 1
    assert re.findall("resnet-parity: error: (.*)", printed) == [
        "another process of this run ended; start the command again with --resume, which goes on "
        "from the last checkpoint"
    ]
    assert 2 <= run_folder.read_checkpoint(out).step < 12
    assert cli.main(["train", "--resume", "--out", str(out)]) == 0
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert_same(out, alone)


ON_DEVICES = """
import keras
from parity_tests.support import TINY
from parity_tests.training.noise import Noise
from parity_tests.training.test_fit import AVERAGED
from resnet_parity.adapters.loading import run_adapter
from resnet_parity.compare import relative_error
from resnet_parity.probes import random_weights

runs, weights = run_adapter("keras")[1], random_weights(TINY, 0, "float64")

def trained(train, **options):
    run, logs = runs.start(TINY, weights, AVERAGED, "float64", **options), {}
    keep = lambda epoch, means: logs.update(means)
    runs.fit(run, train, Noise(3, last=3), epochs=range(1), on_epoch=keep)
    return logs, runs.get_state(run)

with runs.devices(2):
    logs, state = trained(Noise(3), synchronized=True)
    apart = trained(Noise(1))[1] if keras.backend.backend() == "tensorflow" else {}
expected, others = trained(Noise(3))
print(max(relative_error(state[name], array) for name, array in others.items()))
assert logs.keys() == expected.keys()
print(max(abs(mean - expected[name]) for name, mean in logs.items()))
if apart:
    one, name = trained(Noise(1))[1], "bn1.running_mean"
    print(relative_error(apart[name], one[name]))
    assert relative_error(apart["bn1.running_var"], one["bn1.running_var"]) > 1e-4
"""


@pytest.mark.parametrize(("backend", "dtype"), [("tensorflow", "float64"), ("jax", "float32")])
def test_two_devices_of_keras_train_as_one(backend, dtype):
    """Two images each, and in validation a batch of three; norms of halves track their mean."""
    result = python("-c", ON_DEVICES, KERAS_BACKEND=backend, timeout=GUARD)
    assert result.returncode == 0, result.stderr
    errors = [float(line) for line in result.stdout.split()]
    assert max(errors) < limit("several devices", dtype), errors


@pytest.mark.full
@pytest.mark.parametrize("kind", ["sync-batchnorm", "no-sync-batchnorm"])
def test_both_frameworks_train_alike_on_two_devices(kind, config, alone, tmp_path):
    """With norms of their own, too: then the running statistics are the means of all devices."""
    ours, theirs = tmp_path / "torch", tmp_path / "keras"
    with torchrun(2, "--config", str(config), f"--{kind}", "--out", str(ours)) as process:
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    line = ("train", "--config", str(config), f"--{kind}", "--out", str(theirs))
    result = command(*line, "--framework", "keras", "--devices", "2", timeout=GUARD)
    assert result.returncode == 0, result.stderr
    assert_same(ours, theirs)
    if kind == "sync-batchnorm":
        assert_same(theirs, alone)


@pytest.mark.full
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_damaged_photograph_ends_a_run_of_equal_shares(backend, colours, tmp_path):
    folder, out = tmp_path / "colours", tmp_path / "run"
    shutil.copytree(colours, folder)
    whole = next((folder / "train" / "r").iterdir())
    for index in range(100):
        shutil.copy(whole, whole.with_name(f"copy{index}.png"))
    whole.write_text("no picture")
    line = ("train", str(folder), "--out", str(out), "--architecture", "resnet20")
    more = ("--image-size", "8", "--epochs", "1", "--framework", "keras", "--devices", "2")
    result = command(*line, *more, KERAS_BACKEND=backend, timeout=GUARD)
    assert result.returncode == 2, result.stderr
    assert f"{whole}: not an image" in result.stderr
    assert "delete it: devices have equal shares of a batch" in result.stderr


def test_shares_that_cannot_be_are_named(config, tmp_path, capsys, monkeypatch):
    def fails(*more: str) -> str:
        line = ["train", "--config", str(config), "--out", str(tmp_path / "run"), *more]
        assert cli.main(line) == 2
        return capsys.readouterr().err

    assert "torchrun --nproc-per-node=2 -m resnet_parity" in fails("--devices", "2")
    keras = ("--framework", "keras", "--devices")
    with pytest.raises(ParityError, match="--devices is 3, but Keras finds 2: a, b"):
        adapter._checked(["a", "b"], 3)
    monkeypatch.setattr(adapter, "_tensorflow_scope", lambda count: nullcontext())
    assert "must be a multiple of --devices, not 16" in fails(*keras, "3")
    assert "--compile goes with one device of Keras" in fails(*keras, "2", "--compile")
    assert "7 devices need as many photographs for validation" in fails(*keras, "7")
    assert "has no two photographs for each of 16 devices" in fails(*keras, "16")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    assert "start it without torchrun" in fails(*keras, "1")


def test_processes_share_every_batch_of_training_and_the_batches_of_validation(colours):
    photographs = read_photographs(colours)
    images = Images(8, "none", seed=0)
    for samples, whole in ((photographs.train, True), (photographs.val, False)):
        all_of = Batches(samples, replace(images, is_training=whole), 4, whole=whole)
        parts = [replace(all_of, process=each, processes=3) for each in range(3)]
        found = [part.load(1, index) for part in parts for index in range(len(part))]
        expected = [all_of.load(1, index) for index in range(len(all_of))]
        ours, theirs = (
            sorted(bytes(image) for batch in batches for image in batch.images)
            for batches in (found, expected)
        )
        assert ours == theirs
        if whole:
            assert {len(part) for part in parts} == {len(all_of)}
            sizes = [[len(part.load(1, index).labels) for part in parts] for index in range(8)]
            assert sizes == [[2, 1, 1]] * 8
        else:
            assert [len(part) for part in parts] == [1, 1, 0]
