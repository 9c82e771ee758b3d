"""Workers: whatever an adapter can do, from another process, without pickles and without traces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from resnet_spec import Stage, get_architecture

from parity_tests.support import EVERYTHING, ROOT, TINY, exact, python, random
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.adapters.messages import pack, unpack
from resnet_parity.adapters.remote import RemoteAdapter, remote_adapters
from resnet_parity.checks.run import Engine, run_check
from resnet_parity.errors import MissingFrameworkError, ParityError


@pytest.fixture(scope="module")
def torch():
    with remote_adapters("torch") as adapters:
        yield adapters["torch"]


def there_and_back(value):
    arrays: list[np.ndarray] = []
    text = json.dumps(pack(value, arrays, lambda model: pytest.fail(f"{model} stays here")))
    return unpack(json.loads(text), dict(enumerate(arrays)), lambda number: None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        float("inf"),
        "a name",
        (1, [2, ("x",)], {}),
        {"a": 1, 3: (None,), (1, 2): []},
        ["array", 0],
        EVERYTHING,
        get_architecture("seresnet50", features_only=True, out_indices=(0, 2)),
        {"stage": Stage(2, 16)},
    ],
    ids=str,
)
def test_a_value_comes_back_as_it_was(value):
    back = there_and_back(value)
    assert back == value
    assert type(back) is type(value)


def test_arrays_come_back_with_their_bits():
    given = {name: np.array([0.1, -0.0, np.nan], name) for name in ("float32", "float64")}
    for name, array in there_and_back(given).items():
        assert array.dtype == name
        assert array.tobytes() == given[name].tobytes()


def test_the_checker_cannot_tell_it_from_the_adapter(torch):
    """Every tap has the same bits; methods, versions and unsupported reason are the same."""
    probe, here = random(TINY.name, "float32"), torch_adapter()
    assert torch.versions() == here.versions()
    assert torch.modes() == here.modes()
    assert torch.unsupported_reason("nchw", "exact") is None
    runs = []
    for adapter in (here, torch):
        model = adapter.build(TINY, probe.weights, "float32")
        runs.append(adapter.run(model, probe.images, mode="channels_last"))
    assert list(runs[0]) == list(runs[1])
    assert all(np.array_equal(runs[0][name], runs[1][name]) for name in runs[0])
    assert {v.status for v in run_check("exact", exact(TINY.name, "float64"), pair(torch))} == {
        "pass"
    }


def pair(adapter) -> tuple[Engine, ...]:
    return Engine("torch nchw", torch_adapter(), "nchw"), Engine("there", adapter, "nchw")


def test_a_failure_names_the_engine_and_the_worker_lives_on(torch):
    probe = random(TINY.name, "float32")
    with pytest.raises(ParityError, match=r"torch failed in its worker: WeightsError: .*float64"):
        torch.build(TINY, probe.weights, "float64")
    with pytest.raises(ParityError, match=r"torch failed in its worker: AttributeError: .*dance"):
        torch.dance()
    assert torch.versions()


def test_a_worker_that_dies_is_named_with_its_last_words(tmp_path):
    """Here by an implementation that writes to both streams and then leaves without a word of JSON."""
    package = tmp_path / "sitecustomize.py"
    package.write_text(
        "import os, sys\n"
        "from resnet_parity import frameworks\n"
        "class Hand:\n"
        "    def versions(self):\n"
        "        print('to stdout', flush=True)\n"
        "        print('to stderr', file=sys.stderr, flush=True)\n"
        "        os.abort()\n"
        "frameworks.torch_adapter = Hand\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    adapter = RemoteAdapter("torch", {"PYTHONPATH": path})
    with pytest.raises(ParityError) as death:
        adapter.versions()
    adapter.close()
    assert "the worker of torch died (SIGABRT)" in str(death.value)
    assert "to stdout\nto stderr" in str(death.value)


def test_what_a_worker_lacks_is_reported_as_here(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "from resnet_parity import frameworks\nframeworks.find_spec = lambda name: None\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    adapter = RemoteAdapter("keras jax", {"PYTHONPATH": path})
    with pytest.raises(MissingFrameworkError, match="keras is not installed; install it with"):
        adapter.versions()
    adapter.close()


def test_a_forgotten_model_is_forgotten_there(torch):
    probe = random(TINY.name, "float32")
    torch.build(TINY, probe.weights, "float32")  # and dropped at once
    assert len(torch._forgotten) == 1
    torch.modes()
    assert torch._forgotten == []


def test_nothing_is_left_of_a_worker(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    processes = []
    with pytest.raises(ZeroDivisionError), remote_adapters("torch", "keras torch") as adapters:
        processes += [adapter.__dict__["_process"] for adapter in adapters.values()]
        folders = list(tmp_path.iterdir())
        assert len(folders) == 2
        assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)
        raise ZeroDivisionError
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_nothing(tmp_path):
    """Interrupted while its workers start: one line, exit 130, no file and no process is left."""
    judge = subprocess.Popen(
        [sys.executable, "-m", "resnet_parity.cli", "matrix", "resnet18", "--check", "exact"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert judge.stderr
    while "starting a worker" not in judge.stderr.readline():
        assert judge.poll() is None
    while not list(tmp_path.glob("resnet-parity-*/stderr")):
        time.sleep(0.01)
    judge.send_signal(signal.SIGINT)
    _, complaint = judge.communicate()
    assert judge.returncode == 130
    assert complaint.splitlines()[-1] == "resnet-parity: error: interrupted"
    assert not list(tmp_path.glob("resnet-parity-*"))
    assert str(tmp_path) not in "".join(_command_lines())


def _command_lines():
    """Of all processes, where the system lists them as files."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_text()
        except OSError:
            continue


def test_a_worker_needs_no_install():
    """It finds the project of the checker who starts it, wherever that stands."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from resnet_parity.adapters.remote import remote_adapters\n"
        "with remote_adapters('torch') as implementations: print(implementations['torch'].modes()[0])"
    )
    result = python("-c", script, str(ROOT), cwd=Path("/"))
    assert (result.stdout, result.stderr) == ("nchw\n", "")
