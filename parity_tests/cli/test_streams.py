"""Closed, full and narrow streams: the exit code stays right, and no text lands in another."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from time import sleep

import pytest
from rich.text import Text

from parity_tests.support import ROOT, python
from resnet_parity import cli, progress, streams
from resnet_parity.cli import show
from resnet_parity.reports.tables import new_table

COMMAND = f"{sys.executable} -m resnet_parity"


def shell(line: str, **environment: str) -> tuple[int, str, str]:
    """Run a line of bash in which $C is the command; its exit code, stdout and stderr."""
    result = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            "C": COMMAND,
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


FULL = "resnet-parity: error: the result cannot be written: No space left on device\n"
UNKNOWN = "unknown architecture 'nope'"

LINES = {
    "$C show resnet20 >&-": (0, "", ""),
    "$C show resnet20 --json >&- 2>&- <&-": (0, "", ""),
    "$C show nope 2>&-": (2, "", ""),
    "$C show nope >&-": (2, "", UNKNOWN),
    "$C show --bad 2>&-": (2, "", ""),
    "$C show resnet20 >/dev/full": (2, "", FULL),
    "$C show resnet20 --json >/dev/full": (2, "", FULL),
    "$C --help >/dev/full": (2, "", FULL),
    "$C --version >/dev/full": (2, "", FULL),
    "$C show nope 2>/dev/full": (2, "", ""),
    "$C show --bad 2>/dev/full": (2, "", ""),
    "$C --version | head -0": (0, "", ""),
    "$C list | head -0": (0, "", ""),
}


@pytest.mark.parametrize("line", LINES)
def test_closed_and_full_streams_change_no_exit_code(line):
    code, out, message = LINES[line]
    found_code, found_out, err = shell(line)
    assert (found_code, found_out) == (code, out), err
    assert (message in err) if message else (err == "")
    assert "Traceback" not in err


def test_a_folder_that_is_gone_and_no_home_do_no_harm(tmp_path):
    folder = f"cd {tmp_path}; mkdir gone; cd gone; rmdir ../gone"
    line = f"{folder}; env -u HOME $C compare resnet18 plain18"
    code, out, err = shell(line, PYTHONPATH=str(ROOT), TMPDIR="/nonexistent", KERAS_BACKEND="x")
    assert (code, err) == (0, "")
    assert "plain18" in out


SETTINGS = ("[1]", '{"floatx": "float7"}', '{"image_data_format": "hwcn"}')

LOAD = """
from resnet_parity.adapters.loading import keras_adapter
from resnet_parity.errors import ParityError
try:
    keras_adapter("torch")
except ParityError as error:
    print(error)
"""


@pytest.mark.parametrize("settings", SETTINGS)
def test_settings_of_keras_that_make_no_sense_are_named(settings, tmp_path):
    (tmp_path / "keras.json").write_text(settings)
    result = python("-c", LOAD, KERAS_HOME=str(tmp_path))
    assert result.stdout.startswith("Keras cannot be imported: ")
    fix = f"; correct or delete its settings in {tmp_path}/keras.json, or install Keras again\n"
    assert result.stdout.endswith(fix)


def test_a_machine_without_a_temporary_folder_is_reported(monkeypatch, capsys):
    def fail() -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("resnet_parity.adapters.remote.TemporaryFile", fail)
    assert cli.main(["matrix", "resnet20", "--engines", "torch nchw"]) == 2
    out, err = capsys.readouterr()
    message = "resnet-parity: error: No usable temporary directory found in ['/tmp']"
    assert (out, err.splitlines()[-1]) == ("", message)


@pytest.mark.parametrize("columns", ["0", "1", "20", "x", "-5", "99999999999999999999"])
def test_any_width_of_the_terminal_is_taken(columns, monkeypatch, capsys):
    with monkeypatch.context() as patch:  # pytest itself reads COLUMNS after the test
        patch.setenv("COLUMNS", columns)
        patch.setattr(streams, "is_terminal", lambda: True)
        assert cli.main(["show", "resnet20", "--layers"]) == 0
        assert capsys.readouterr().out.count("\n") < 5000
        with pytest.raises(SystemExit) as stop:
            cli.main(["verify", "--help"])
        assert stop.value.code == 0


def test_only_the_result_reaches_stdout(monkeypatch, capfd):
    """A framework or a user's model may print: by Python, by C, or by a child process."""
    run = show._list

    def noisy(arguments: argparse.Namespace) -> tuple[int, Callable[[], None]]:
        print("python")
        os.write(1, b"native\n")
        subprocess.run(["echo", "child"], check=True)
        return run(arguments)

    monkeypatch.setattr(show, "_list", noisy)
    assert cli.main(["list", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)[0]["name"] == "resnet18"
    assert sorted(err.split()) == ["child", "native", "python"]


def test_a_signal_that_a_framework_makes_an_error_of_still_stops(monkeypatch, capsys):
    def wrap(_: argparse.Namespace) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise RuntimeError("export failed") from error

    monkeypatch.setattr(show, "_list", wrap)
    assert cli.main(["list"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().err == "resnet-parity: error: stopped by SIGTERM\n"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "restored"


def test_json_is_ascii_and_text_is_escaped_in_any_encoding():
    code, out, err = shell(
        "$C list --json; $C code Bottleneck", LC_ALL="C", PYTHONIOENCODING="ascii"
    )
    assert (code, err) == (0, "")
    assert json.loads(out[: out.index("\n]\n") + 2])
    assert out.isascii()


HOSTILE = "a\nb\x1b[2J\x1b]8;;http://x\x07\r\x9b1m\u202e[bold]:smile:\udcff"
ESCAPED = r"b\x1b[2J\x1b]8;;http://x\x07\r\x9b1m\u202e[bold]:smile:\udcff"


PARTS = """
import ctypes, sys
from resnet_parity import cli, streams
from resnet_parity.cli import show
kept = sys.stdout

def parts(arguments):
    print("by a kept stream", file=kept)
    ctypes.CDLL(None).printf(b"by C\\n")
    streams.show_result(lambda: print("first part"))
    ctypes.CDLL(None).printf(b"by C\\n")
    print("by Python")
    return 0, lambda: print("last part")

show._list = parts
sys.exit(cli.main(["list"]))
"""


def buffered(redirection: str) -> tuple[int, str, str]:
    """Run `PARTS` with the buffers that Python and C have by default."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {redirection}', sys.executable, PARTS],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.returncode, result.stdout, result.stderr


def test_parts_of_a_result_reach_stdout_while_it_is_reserved_and_nothing_else_does():
    code, out, err = buffered("")
    assert (code, out.splitlines()) == (0, ["first part", "last part"])
    assert sorted(err.splitlines()) == ["by C", "by C", "by Python", "by a kept stream"]


def test_a_part_that_cannot_be_written_is_reported_once():
    code, out, err = buffered(">/dev/full")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1] == (
        "resnet-parity: error: the result cannot be written: No space left on device"
    )
    assert "Exception ignored" not in err and "first part" not in err


def test_a_reader_that_leaves_early_changes_no_exit_code():
    code, out, err = buffered("| head -c 0")
    assert (code, out) == (0, "")
    assert "Exception ignored" not in err and "part" not in err


UNFINISHED = """
import sys
from resnet_parity import cli, streams
from resnet_parity.cli import show

def parts(arguments):
    for number in range(100):
        print("part", number, file=sys.stderr)
        streams.show_result(lambda: print("x" * 1000), is_last=False)
    return 1, lambda: print("last part")

show._list = parts
sys.exit(cli.main(["list"]))
"""


def test_work_ends_when_the_reader_of_its_first_parts_leaves(monkeypatch):
    monkeypatch.setitem(globals(), "PARTS", UNFINISHED)
    code, out, err = buffered("| head -c 10")
    assert (code, out) == (128 + signal.SIGPIPE, "x" * 10)
    assert "part 0" in err and "part 99" not in err
    assert "error" not in err and "Exception ignored" not in err
    code, out, err = buffered("")
    assert (code, out.count("x"), "part 99" in err) == (1, 100_000, True)


def test_reports_escape_what_does_not_print(capsys):
    """In plain text, in a table, and in text that a report has made itself."""
    console = streams.console()
    console.print(HOSTILE)
    console.print(Text(HOSTILE))
    table = new_table("name")
    table.add_row(HOSTILE)
    console.print(table)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    made = ESCAPED.replace(r"\x07\r", "")  # `Text` drops these
    assert lines == ["a", ESCAPED, "a", made, "name", "a", ESCAPED]


def test_progress_escapes_what_does_not_print_on_a_terminal_and_elsewhere(capsys, monkeypatch):
    with progress.progress_line() as begin:
        begin(HOSTILE, 1)
    assert capsys.readouterr().err == f"a\n{ESCAPED} ...\n"
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress.progress_line() as begin:
        begin(HOSTILE, 1)
    drawn = capsys.readouterr().err
    assert ESCAPED[:20] in drawn
    assert not [each for each in ("\x1b[2J", "\x07", "\x9b", "\u202e") if each in drawn]


def test_without_a_terminal_a_line_says_that_a_long_step_still_runs(capsys, monkeypatch):
    monkeypatch.setattr(progress, "QUIET", 0.01)
    with progress.progress_line() as begin:
        begin("compiling", 2)
        seen = ""
        while len(re.findall(r"^\.\.\. \d+ s$", seen, flags=re.MULTILINE)) < 2:
            seen += capsys.readouterr().err
            sleep(0.01)
    assert "compiling ...\n" in seen


def test_messages_escape_the_arguments(capsys):
    assert cli.main(["inspect", HOSTILE[:-1]]) == 2
    assert cli.main(["show", HOSTILE]) == 2
    with pytest.raises(SystemExit):
        cli.main(["show", "resnet18", HOSTILE])
    out, err = capsys.readouterr()
    assert out == ""
    assert "\n" + "resnet-parity: error: a" in "\n" + err
    assert err.replace("\n", "").isprintable()
    assert err.count(r"\x1b[2J") == 3
