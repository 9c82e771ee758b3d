"""Files are written whole or not at all, whatever stops the process, and weights are checked."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from parity_tests.support import ROOT, TINY, random
from resnet_parity.errors import ParityError
from resnet_parity.files import (
    atomic_file,
    check_readable,
    check_writable,
    replacing,
    replacing_folder,
    write_atomically,
    writing,
)
from resnet_parity.weights.files import read_weights, write_weights

WRITER = """
import os, signal, sys, time
from pathlib import Path
from resnet_parity import cli
from resnet_parity.cli import show
from resnet_parity.files import write_atomically

def sync(descriptor):
    print("written", file=sys.stderr, flush=True)
    time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # as does one under nohup
os.fsync = sync
show._list = lambda arguments: write_atomically(Path(sys.argv[1]), b"new")
sys.exit(cli.main(["list"]))
"""
"""Runs a command that stays between writing the temporary file and renaming it."""


def stopped_writer(path: Path, number: signal.Signals) -> tuple[int, str]:
    """Send a signal to a process that writes `path`; its exit code and its stderr."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    assert process.stderr.readline() == "written\n"
    process.send_signal(number)
    _, errors = process.communicate()
    return process.returncode, errors


STOPS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "stopped by SIGTERM",
    signal.SIGHUP: "stopped by SIGHUP",
}


@pytest.mark.parametrize("number", STOPS, ids=lambda number: number.name)
def test_a_signal_while_writing_leaves_the_old_file_and_nothing_beside_it(number, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    error = f"resnet-parity: error: {STOPS[number]}\n"
    assert stopped_writer(path, number) == (128 + number, error)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_the_next_write_deletes_what_a_killed_process_left(tmp_path):
    path = tmp_path / "file"
    assert stopped_writer(path, signal.SIGKILL) == (-signal.SIGKILL, "")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".resnet-parity-"), "the name says whose it is"
    others = [tmp_path / name for name in ("tmpabcdefgh", ".resnet-parity", "x.resnet-parity-.tmp")]
    for each in others:
        each.touch()
    write_atomically(path, b"new")
    assert set(tmp_path.iterdir()) == {path, *others}


def test_the_temporary_file_of_a_process_at_work_stays(tmp_path, monkeypatch):
    seen = []

    def sync(descriptor: int) -> None:
        seen.append(set(tmp_path.iterdir()))
        if len(seen) == 1:
            write_atomically(tmp_path / "other", b"other")

    monkeypatch.setattr(os, "fsync", sync)
    write_atomically(tmp_path / "file", b"new")
    assert len(seen) == 2
    assert seen[0] < seen[1]
    assert {each.name for each in tmp_path.iterdir()} == {"file", "other"}


def test_the_content_reaches_the_disk_before_the_name(tmp_path, monkeypatch):
    """Else a crash of the machine could leave an empty file under the new name."""
    calls = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: calls.append(os.fstat(descriptor).st_size))
    monkeypatch.setattr(
        Path, "replace", lambda path, target: (calls.append("replace"), replace(path, target))
    )
    write_atomically(tmp_path / "file", b"content")
    assert calls == [7, "replace"]


def test_the_mode_of_an_existing_file_stays(tmp_path):
    path = tmp_path / "file"
    mask = os.umask(0o027)
    try:
        write_atomically(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o640, "that of any new file"
        for mode in (0o600, 0o664, 0o755):
            path.chmod(mode)
            write_atomically(path, b"newer")
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(mask)


def test_the_target_of_a_link_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    link.symlink_to("folder/target")
    for content in (b"created", b"replaced"):
        write_atomically(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
        assert list(target.parent.iterdir()) == [target]


def _unwritable(tmp_path: Path) -> dict[str, tuple[Path, str]]:
    for name in ("pipe", "weights.safetensors"):
        os.mkfifo(tmp_path / name)
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "dangling").symlink_to("absent/target")
    return {
        "pipe": (tmp_path / "pipe", "is not a regular file; name a file"),
        "device": (Path("/dev/null"), "is not a regular file; name a file"),
        "folder": (tmp_path, "is a folder; name a file"),
        "circle": (tmp_path / "circle", "cannot be written: Too many levels of symbolic links"),
        "dangling": (tmp_path / "dangling", "there is no folder"),
        "absent": (tmp_path / "absent" / "file", "there is no folder"),
        "file as folder": (tmp_path / "file" / "file", "there is no folder"),
        "long name": (tmp_path / ("x" * 256), "x cannot be written: File name too long"),
    }


def test_what_cannot_be_written_is_refused_before_and_while_writing(tmp_path):
    unwritable = _unwritable(tmp_path)
    before = set(tmp_path.iterdir())
    for path, message in unwritable.values():
        with pytest.raises(ParityError, match=message):
            check_writable(path)
        with pytest.raises(ParityError, match=message):
            write_atomically(path, b"")
    assert set(tmp_path.iterdir()) == before
    assert (tmp_path / "pipe").is_fifo()


def test_a_name_may_have_255_bytes(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
    with pytest.raises(ParityError, match="xx cannot be read: File name too long"):
        check_readable(tmp_path / ("x" * 256))


def spoilt(kind: str) -> dict[str, np.ndarray]:
    """The weights of `TINY` with one tensor spoilt in the given way."""
    weights = dict(random(TINY.name, "float32").weights)
    kernel, variance = weights["conv1.weight"], weights["bn1.running_var"]
    spoilt = {
        "missing": {},
        "extra": {"conv1.weight": kernel, "conv9.weight": kernel},
        "shape": {"conv1.weight": kernel[:-1]},
        "float64": {"conv1.weight": kernel.astype("float64")},
        "float16": {"conv1.weight": kernel.astype("float16")},
        "NaN": {"conv1.weight": np.where(kernel == kernel.max(), np.nan, kernel)},
        "infinity": {"conv1.weight": np.where(kernel == kernel.max(), np.inf, kernel)},
        "variance": {"conv1.weight": kernel, "bn1.running_var": -variance},
    }
    del weights["conv1.weight"]
    return weights | spoilt[kind]


SPOILT = {
    "missing": "conv1.weight is missing",
    "extra": "conv9.weight is not a tensor of this architecture",
    "shape": "conv1.weight has shape",
    "float64": "conv1.weight is (float64|F64)",
    "float16": "conv1.weight is (float16|F16)",
    "NaN": "conv1.weight holds values that are not finite",
    "infinity": "conv1.weight holds values that are not finite",
    "variance": r"bn1.running_var holds a negative variance",
}


@pytest.mark.parametrize("kind", SPOILT)
def test_write_weights_refuses_what_read_weights_refuses(kind, tmp_path):
    weights, (written, saved) = spoilt(kind), (tmp_path / name for name in ("written", "saved"))
    weights = {name: np.ascontiguousarray(array) for name, array in weights.items()}
    with pytest.raises(ParityError, match=f"(?s)written.*{SPOILT[kind]}"):
        write_weights(written, TINY, weights)
    assert not written.exists()
    save_file(weights, saved)
    with pytest.raises(ParityError, match=f"(?s)saved.*{SPOILT[kind]}"):
        read_weights(saved, TINY)


def test_weights_are_read_as_they_were_written(tmp_path):
    weights = random(TINY.name, "float32").weights
    path = tmp_path / "weights.safetensors"
    write_weights(path, TINY, {name: weights[name] for name in reversed(list(weights))})
    read = read_weights(path, TINY)
    assert all(read[name].tobytes() == array.tobytes() for name, array in weights.items())


def test_a_name_of_an_untrusted_file_cannot_write_to_the_terminal(tmp_path):
    """No line break, no escape sequence, no change of direction."""
    weights = dict(random(TINY.name, "float32").weights)
    name = "fc\n\x1b[2J\x1b]0;title\x07\r\x9b1m\u202e"
    save_file({**weights, name: weights["fc.bias"]}, tmp_path / "w")
    with pytest.raises(ParityError) as caught:
        read_weights(tmp_path / "w", TINY)
    _, problem = str(caught.value).splitlines()
    assert problem.isprintable()
    assert r"- fc\n\x1b[2J\x1b]0;title\x07\r\x9b1m\u202e is not a tensor" in problem


@pytest.mark.parametrize("context", [atomic_file, replacing, replacing_folder])
def test_an_error_of_the_caller_is_not_one_of_writing(context, tmp_path):
    path = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="source"), context(path):
        (tmp_path / "source").read_bytes()
    full = pytest.raises(ParityError, match="out cannot be written: No space")
    with full, context(path), writing(path):
        raise OSError(28, "No space left on device")
    assert not any(tmp_path.iterdir())
    with pytest.raises(ParityError, match="out cannot be written"), replacing(path):
        pass  # nothing was written
    assert not any(tmp_path.iterdir())
