"""Remote adapters: all that an adapter does, done in another process that leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from resnet_spec import Stage, get_architecture

from parity_tests.support import EVERYTHING, ROOT, TINY, exact, python, random
from resnet_parity.adapters.loading import torch_adapter
from resnet_parity.adapters.remote import RemoteAdapter, remote_adapters
from resnet_parity.checks import run_check
from resnet_parity.checks.engine import Engine
from resnet_parity.errors import MissingFrameworkError, ParityError, ProbeError

FAKE = """
import ctypes, gc, os, signal, subprocess, sys
from resnet_parity import errors
from resnet_parity.adapters import loading

class Model:
    pass

class Fake:
    def build(self):
        return Model()

    def alive(self, *models):
        assert all(isinstance(model, Model) for model in models)
        gc.collect()
        return sum(isinstance(each, Model) for each in gc.get_objects())

    def echo(self, value):
        return value

    def refuse(self):
        raise errors.ProbeError("no such probe")

    def environment(self, name):
        return os.environ.get(name)

    def child(self):
        return subprocess.Popen(["sleep", "600"]).pid

    def die(self, how):
        print("to stdout", flush=True)
        print("to stderr", file=sys.stderr, flush=True)
        os.write(1, b"natively\\n")
        exec(how)

loading.torch_adapter = Fake
loading.keras_adapter = lambda backend: Fake()
"""


@pytest.fixture(scope="module")
def torch():
    with remote_adapters("torch") as adapters:
        yield adapters["torch"]


@pytest.fixture
def fake(tmp_path) -> Callable[..., RemoteAdapter]:
    """A function that starts a worker with the adapter above in place of a framework's."""
    (tmp_path / "sitecustomize.py").write_text(FAKE)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    return lambda framework="torch": RemoteAdapter(framework, {"PYTHONPATH": path})


VALUES: list[Any] = [
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
]


def test_a_value_comes_back_as_it_was(fake):
    adapter = fake()
    for value in VALUES:
        back = adapter.echo(value)
        assert back == value
        assert type(back) is type(value)
    adapter.close()


def test_arrays_come_back_with_their_bits(fake):
    given = {name: np.array([0.1, -0.0, np.nan], name) for name in ("float32", "float64")}
    given["large"] = np.random.default_rng(0).normal(size=(2, 3, 256, 512))
    adapter = fake()
    back = adapter.echo(value=given)
    adapter.close()
    assert list(back) == list(given)
    for name, array in back.items():
        assert array.dtype == given[name].dtype
        assert array.tobytes() == given[name].tobytes()
        assert array.flags.writeable


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


def test_this_projects_errors_keep_their_class(fake):
    adapter = fake()
    with pytest.raises(ProbeError, match=r"^no such probe$"):
        adapter.refuse()
    adapter.close()


@pytest.mark.parametrize(
    ("how", "reported"),
    [
        ("os.abort()", "SIGABRT"),
        ("os._exit(3)", "exit code 3"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("ctypes.string_at(0)", "SIGSEGV"),
    ],
)
def test_a_worker_that_dies_is_named_with_its_last_output(how, reported, fake):
    """The error shows the last output of both streams, which is hidden until then."""
    adapter = fake()
    with pytest.raises(ParityError) as death:
        adapter.die(how)
    with pytest.raises(ParityError, match="died"):
        adapter.echo(1)
    adapter.close()
    with pytest.raises(ParityError, match="died"):
        adapter.echo(1)
    assert f"the worker of torch died ({reported})" in str(death.value)
    assert "to stdout\nto stderr\nnatively" in str(death.value)
    assert ("perhaps no memory was left" in str(death.value)) == (reported == "SIGKILL")


def test_a_framework_missing_in_a_worker_is_reported_as_here(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "from resnet_parity.adapters import loading\nloading.find_spec = lambda name: None\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    adapter = RemoteAdapter("keras jax", {"PYTHONPATH": path})
    with pytest.raises(MissingFrameworkError, match="keras, jax are not installed; install"):
        adapter.versions()
    adapter.close()


def test_a_worker_starts_in_the_environment_of_its_framework(fake):
    workers = fake("torch"), fake("keras jax")
    switches = ("KERAS_BACKEND", "NVIDIA_TF32_OVERRIDE")
    values = [[worker.environment(name) for name in switches] for worker in workers]
    assert values == [[os.environ.get(name) for name in switches], ["jax", "0"]]
    for worker in workers:
        worker.close()


def test_a_forgotten_model_is_forgotten_there(fake):
    adapter = fake()
    model = adapter.build()
    assert adapter.alive(model) == 1
    adapter.build()  # and dropped at once
    assert adapter.alive(model) == 1
    del model
    assert adapter.alive() == 0
    adapter.close()


def test_nothing_is_left_of_a_worker(tmp_path, monkeypatch):
    """Not even while it runs is there a file with a name."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    processes = []
    with pytest.raises(ZeroDivisionError), remote_adapters("torch", "keras torch") as adapters:
        processes += [adapter.__dict__["_process"] for adapter in adapters.values()]
        assert not list(tmp_path.iterdir())
        raise ZeroDivisionError
    assert [process.poll() for process in processes] == [-signal.SIGKILL] * 2
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_nothing(tmp_path):
    """Interrupted while its workers start: one line, exit 130, no file and no process is left."""
    checker = subprocess.Popen(
        [sys.executable, "-m", "resnet_parity", "matrix", "resnet18", "--check", "exact"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert checker.stderr
    while "starting a worker" not in checker.stderr.readline():
        assert checker.poll() is None
    while Path("/proc/self").exists() and len(processes_with(tmp_path)) < 2:
        time.sleep(0.01)
    checker.send_signal(signal.SIGINT)
    output, complaint = checker.communicate()
    assert checker.returncode == 130
    assert output == ""
    assert complaint.splitlines()[-1] == "resnet-parity: error: interrupted"
    assert not list(tmp_path.iterdir())
    assert all_end(tmp_path)


ORPHANS = """
import os, signal
from resnet_parity.adapters.remote import RemoteAdapter
adapter = RemoteAdapter("torch")
adapter.echo(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_after_its_checker_was_killed(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(FAKE)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    killed = python("-c", ORPHANS, PYTHONPATH=path)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert all_end(tmp_path)


def test_children_of_a_worker_end_with_it(fake, tmp_path):
    adapter = fake()
    child = adapter.child()
    if Path("/proc/self").exists():  # its environment is listed shortly after its start
        assert wait_until(lambda: child in processes_with(tmp_path))
    adapter.close()
    assert all_end(tmp_path)


def all_end(path: Path) -> bool:
    """Wait, for a minute at most, until no process has that path in its environment."""
    return wait_until(lambda: not processes_with(path))


def wait_until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 60
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def processes_with(path: Path) -> list[int]:
    """The processes that run with that path in their environment, where the system lists them."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            if str(path) in environment.read_text(errors="replace"):
                found.append(int(environment.parent.name))
        except OSError:
            continue
    return found


def test_a_worker_needs_no_install_and_no_guard_in_a_script(tmp_path):
    """It finds the project of the checker, and does not run the checker's main module again.

    The checker itself imports no framework.
    """
    script = tmp_path / "script.py"
    script.write_text(
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from resnet_parity.adapters.remote import remote_adapters\n"
        "with remote_adapters('torch') as adapters:\n"
        "    print(adapters['torch'].modes()[0], *adapters['torch'].versions())\n"
        "print('torch' in sys.modules)\n"
    )
    result = python(str(script), str(ROOT), cwd=Path("/"), PYTHONPATH="")
    assert (result.stdout, result.stderr) == ("nchw torch\nFalse\n", "")
